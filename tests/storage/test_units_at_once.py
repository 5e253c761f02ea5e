"""Units of work side by side, alike on both engines: neighbours that fail, are quicker, or are cancelled at any moment."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from ostiary.storage.database import Database, UnavailableError, UnstorableError, open_database
from tests.storage import notes


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with await open_database(database_url) as opened:
        yield opened


async def test_a_unit_that_only_reads_has_nothing_to_end(database: Database) -> None:
    committed, rolled_back = database.unit(), database.unit()

    assert await committed.one(notes.find, name="a") is None
    assert await rolled_back.all(notes.names) == []
    await committed.commit()
    await rolled_back.rollback()


async def test_a_read_before_the_first_write_sees_what_is_committed_at_that_moment(database: Database) -> None:
    unit = database.unit()
    before = await unit.one(notes.find, name="a")
    await notes.keep(database, "a", "1")

    assert (before, await unit.one(notes.find, name="a")) == (None, "1")


async def test_writes_tell_how_many_rows_they_touched(database: Database) -> None:
    unit = database.unit()
    await unit.run_many(notes.add, [{"name": name, "value": "", "at": 7} for name in "ab"])

    assert await unit.run(notes.change, b_name="a", value="x") == 1
    assert await unit.run(notes.change, b_name="z", value="x") == 0
    assert await unit.run(notes.claim, name="a", value="", at=0) == 0
    assert await unit.run(notes.claim, name="c", value="", at=0) == 1
    assert await unit.run_returning(notes.count, b_name="a") == 8
    assert await unit.run_returning(notes.count, b_name="z") is None
    assert await unit.run(notes.remove, b_name="a") == 1
    await unit.run_many(notes.add, [])
    await unit.rollback()


async def test_a_broken_rule_means_try_again_and_keeps_nothing(database: Database) -> None:
    """Another unit was quicker: whoever tries again finds what it did."""
    await notes.keep(database, "a")
    unit = database.unit()
    await unit.run(notes.add, name="b", value="", at=0)

    with pytest.raises(UnavailableError):
        await unit.run(notes.add, name="a", value="", at=0)
    await unit.rollback()

    assert await notes.kept(database) == ["a"]
    await notes.keep(database, "c")


async def test_after_what_cannot_be_stored_the_database_goes_on(database: Database) -> None:
    for values in ({"value": "lone \ud800", "at": 0}, {"value": "", "at": 2**63}, {"value": "", "at": -(2**63) - 1}):
        unit = database.unit()
        with pytest.raises(UnstorableError):
            await unit.run(notes.add, name="a", **values)
        await unit.rollback()

    await notes.keep(database, "b")
    assert await notes.kept(database) == ["b"]


async def test_two_hundred_counts_at_once_all_count(database: Database) -> None:
    await notes.keep(database, "counter")

    async def count() -> int | None:
        unit = database.unit()
        found = await unit.run_returning(notes.count, b_name="counter")
        await unit.commit()
        return found

    async with asyncio.timeout(30):
        found = await asyncio.gather(*(count() for _ in range(200)))

    assert sorted(number for number in found if number is not None) == list(range(1, 201))


async def test_one_of_many_claims_wins(database: Database) -> None:
    async def claim(number: int) -> int:
        unit = database.unit()
        won = await unit.run(notes.claim, name="first", value=str(number), at=0)
        await unit.commit()
        return won

    found = await asyncio.gather(*(claim(number) for number in range(50)))

    assert sum(found) == 1
    assert await database.unit().one(notes.find, name="first") == str(found.index(1))


async def test_units_that_fail_do_not_take_their_neighbours_along(database: Database) -> None:
    """On SQLite the units become durable together; each stands behind a savepoint of its own."""

    async def write(number: int) -> None:
        unit = database.unit()
        await unit.run(notes.add, name=f"n{number:02d}", value="", at=0)
        if number % 3 == 0:
            await unit.rollback()
        elif number % 3 == 1:
            with pytest.raises(UnavailableError):
                await unit.run(notes.add, name=f"n{number:02d}", value="again", at=0)
            await unit.rollback()
        else:
            await unit.commit()

    await asyncio.gather(*(write(number) for number in range(60)))

    assert await notes.kept(database) == [f"n{number:02d}" for number in range(60) if number % 3 == 2]


async def test_units_that_are_cancelled_at_any_moment_never_stop_the_others(database: Database) -> None:
    async def write(number: int) -> None:
        unit = database.unit()
        try:
            await unit.run(notes.add, name=f"n{number:03d}", value="", at=0)
            await asyncio.sleep(0)
            await unit.run(notes.change, b_name=f"n{number:03d}", value="2")
        except BaseException:
            await unit.rollback()
            raise
        await unit.commit()

    for turns in range(12):
        tasks = [asyncio.create_task(write(turns * 10 + number)) for number in range(10)]
        for _ in range(turns):
            await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        async with asyncio.timeout(10):
            await asyncio.gather(*tasks, return_exceptions=True)

    kept = await notes.kept(database)
    assert {f"n{number:03d}" for number in range(120) if number % 2} <= set(kept)
    for name in kept:
        assert await database.unit().one(notes.find, name=name) == "2"


async def test_a_commit_that_is_cancelled_is_still_whole(database: Database) -> None:
    """Whoever hung up has been promised nothing; what was written is there whole, and the next one goes on."""

    async def write() -> None:
        unit = database.unit()
        try:
            await unit.run_many(notes.add, [{"name": name, "value": "", "at": 0} for name in "ab"])
            await unit.commit()
        except BaseException:
            await unit.rollback()
            raise

    for turns in range(8):
        task = asyncio.create_task(write())
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        async with asyncio.timeout(10):
            await notes.keep(database, f"n{turns}")
        kept = await notes.kept(database)
        assert ("a" in kept) == ("b" in kept)
        unit = database.unit()
        for name in "ab":
            await unit.run(notes.remove, b_name=name)
        await unit.commit()


async def test_a_closed_database_keeps_everything_and_answers_no_more(database_url: str) -> None:
    database = await open_database(database_url)
    await database.ping()
    await asyncio.gather(*(notes.keep(database, f"n{number}") for number in range(5)))

    await database.close()

    with pytest.raises(UnavailableError):
        await database.ping()
    async with await open_database(database_url) as again:
        assert await notes.kept(again) == [f"n{number}" for number in range(5)]
