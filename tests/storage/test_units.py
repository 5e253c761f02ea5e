"""Units of work, on both engines: what is kept, what is undone, and who waits for whom."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import bindparam, func, insert, select

from ostiary.identity import accounts, audit
from ostiary.identity.refusals import ProofRefused
from ostiary.storage.database import Database, UnavailableError, UnstorableError, open_database
from ostiary.storage.statements import Query, Statement
from ostiary.storage.tables import markers
from tests.house import House
from tests.services.postgres import PostgresServer

put = Statement(insert(markers).values(name=bindparam("name"), value=bindparam("value"), created_at=bindparam("now")))
count = Query(int, select(func.count()).select_from(markers))
value_of = Query(str, select(markers.c.value).where(markers.c.name == bindparam("name")))


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with await open_database(database_url) as opened:
        yield opened


async def _put(database: Database, name: str, value: str = "") -> None:
    unit = database.unit()
    await unit.run(put, name=name, value=value, now=1)
    await unit.commit()


async def test_what_is_committed_is_seen_by_others_and_what_is_not_is_not(database: Database) -> None:
    writer, reader = database.unit(), database.unit()

    await writer.run(put, name="a", value="1", now=1)
    before = await reader.one(count)
    await writer.commit()

    assert before == 0
    assert await database.unit().one(count) == 1


async def test_a_unit_reads_what_it_wrote(database: Database) -> None:
    unit = database.unit()

    await unit.run(put, name="a", value="mine", now=1)

    assert await unit.one(value_of, name="a") == "mine"
    await unit.rollback()


@pytest.mark.parametrize("first", ["kept", "undone"])
async def test_a_rollback_undoes_this_unit_and_no_other(database: Database, first: str) -> None:
    kept, undone = database.unit(), database.unit()

    async def keep() -> None:
        await kept.run(put, name="kept", value="", now=1)
        await kept.commit()

    async def undo() -> None:
        await undone.run(put, name="undone", value="", now=1)
        await undone.rollback()

    await asyncio.gather(*((keep(), undo()) if first == "kept" else (undo(), keep())))

    assert await database.unit().one(value_of, name="kept") == ""
    assert await database.unit().one(value_of, name="undone") is None


async def test_two_hundred_units_at_once_are_all_kept(database: Database) -> None:
    await asyncio.gather(*(_put(database, f"unit {number}") for number in range(200)))

    assert await database.unit().one(count) == 200


async def test_a_cancelled_unit_leaves_the_others_their_turn(database: Database) -> None:
    holder = database.unit()
    await holder.run(put, name="holder", value="", now=1)
    waiting = [asyncio.create_task(_put(database, f"waiting {number}")) for number in range(10)]
    await asyncio.sleep(0)

    for task in waiting[::2]:
        task.cancel()
    await holder.commit()
    done = await asyncio.gather(*waiting, return_exceptions=True)

    survivors = [name for name, result in enumerate(done) if result is None]
    assert set(range(1, 10, 2)) <= set(survivors)
    assert await database.unit().one(count) == 1 + len(survivors)
    await _put(database, "afterwards")


async def test_a_refusal_keeps_its_traces_and_an_error_keeps_nothing(house: House) -> None:
    async def leave_a_trace(reason: str, end: Exception) -> None:
        async with house.begin() as ctx:
            await audit.record(ctx, audit.Event.SIGN_IN_REFUSED, None, reason)
            raise end

    with pytest.raises(ProofRefused):
        await leave_a_trace("mismatch", ProofRefused("mismatch"))
    with pytest.raises(ZeroDivisionError):
        await leave_a_trace("lost", ZeroDivisionError())

    async with house.begin() as ctx:
        assert [event.reason for event in await audit.latest(ctx)] == ["mismatch"]


@pytest.mark.parametrize("value", ["nul\0nul", "\ud800"])
async def test_a_text_that_cannot_be_stored_is_the_callers_fault(database: Database, engine: str, value: str) -> None:
    if engine == "sqlite" and "\0" in value:
        pytest.skip("SQLite stores NUL")
    unit = database.unit()

    with pytest.raises(UnstorableError):
        await unit.run(put, name="a", value=value, now=1)

    await unit.rollback()
    await _put(database, "a")


async def test_a_number_that_cannot_be_stored_is_the_callers_fault(database: Database) -> None:
    unit = database.unit()

    with pytest.raises(UnstorableError):
        await unit.run(put, name="a", value="", now=2**70)

    await unit.rollback()
    await _put(database, "a")


async def test_a_writer_waits_for_another_process_without_holding_up_readers(
    tmp_path_factory: pytest.TempPathFactory, house: House
) -> None:
    if house.services.database.engine != "sqlite":
        pytest.skip("PostgreSQL has no such lock")
    path = house.settings.database_url.removeprefix("sqlite:///")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    async with house.begin() as ctx:
        writing = asyncio.create_task(_register(house))
        await asyncio.sleep(0.02)
        read_meanwhile = await accounts.page(ctx)
        was_waiting = not writing.done()
    other.execute("COMMIT")
    other.close()

    await writing

    assert read_meanwhile == []
    assert was_waiting
    async with house.begin() as ctx:
        assert [account.email for account in await accounts.page(ctx)] == ["ada@example.org"]


async def _register(house: House) -> None:
    async with house.begin() as ctx:
        await accounts.insert_account(ctx, accounts.fresh(ctx, "ada@example.org", "Ada"))


async def test_a_postgresql_that_goes_away_is_unavailable_and_healed_when_it_is_back() -> None:
    with PostgresServer() as server:
        url = server.create_database("gone")
        async with await open_database(url) as database:
            await database.ping()
            server.create_database("other")
    with pytest.raises(UnavailableError):
        await open_database(url)


async def test_a_unit_may_begin_before_its_first_write(database: Database) -> None:
    unit = database.unit()

    await unit.start()
    await unit.start()
    found_before = await unit.one(value_of, name="a")
    await unit.run(put, name="a", value="1", now=1)
    await unit.commit()

    assert found_before is None
    assert await database.unit().one(value_of, name="a") == "1"


async def test_a_unit_that_began_and_wrote_nothing_leaves_the_writer_to_others(database: Database) -> None:
    for end in ("commit", "rollback"):
        unit = database.unit()
        await unit.start()
        await getattr(unit, end)()

    await _put(database, "b", "2")

    assert await database.unit().one(value_of, name="b") == "2"
