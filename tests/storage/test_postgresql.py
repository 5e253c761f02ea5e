"""PostgreSQL that goes away and comes back: the callers are told "not now", never "done"."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator

import asyncpg
import httpx
import pytest

from ostiary.storage.database import Database, UnavailableError, open_database
from ostiary.storage.migrate import migrate
from tests.conftest import MakeHouse
from tests.services.postgres import PostgresServer
from tests.storage import notes


@pytest.fixture
def engine() -> str:
    return "postgresql"


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    """One that the test may stop."""
    with PostgresServer() as started:
        yield started


@pytest.fixture
async def url(server: PostgresServer) -> str:
    url = server.create_database("ostiary")
    await migrate(url)
    return url


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with await open_database(database_url, pool_size=3) as opened:
        yield opened


async def backends(url: str, state: str) -> int:
    """How many connections of ours are in this state."""
    connection = await asyncpg.connect(url)
    try:
        query = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = $1 AND pid <> pg_backend_pid()"
        )
        return int(await connection.fetchval(query, state))
    finally:
        await connection.close()


async def end_backends(url: str) -> None:
    """What an administrator or a failover does to every connection."""
    connection = await asyncpg.connect(url)
    query = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    await connection.execute(query)
    await connection.close()


async def test_without_a_server_nothing_opens(url: str, server: PostgresServer) -> None:
    server._stop()

    with pytest.raises(UnavailableError):
        await open_database(url)
    with pytest.raises(UnavailableError):
        await migrate(url)


async def test_a_server_that_stopped_is_answered_with_not_now(url: str, server: PostgresServer) -> None:
    database = await open_database(url)
    unit = database.unit()
    await unit.run(notes.add, name="a", value="", at=0)
    server._stop()

    began = time.monotonic()
    with pytest.raises(UnavailableError):
        await unit.commit()
    for ask in (database.ping(), notes.kept(database), notes.keep(database, "b"), database.unit().one(notes.find, name="a")):
        with pytest.raises(UnavailableError):
            await ask
    assert time.monotonic() - began < 10
    await database.close()


async def test_after_lost_connections_the_next_unit_gets_a_fresh_one(database: Database, database_url: str) -> None:
    await notes.keep(database, "before")
    await end_backends(database_url)

    async with asyncio.timeout(10):
        for _ in range(5):
            try:
                await notes.keep(database, "after")
            except UnavailableError:
                continue
            break

    assert await notes.kept(database) == ["after", "before"]


async def test_a_connection_lost_inside_a_unit_means_try_again_and_keeps_nothing(database: Database, database_url: str) -> None:
    unit = database.unit()
    await unit.run(notes.add, name="a", value="", at=0)
    await end_backends(database_url)

    with pytest.raises(UnavailableError):
        await unit.run(notes.add, name="b", value="", at=0)
    with pytest.raises(UnavailableError):
        await unit.rollback()

    await notes.keep(database, "c")
    assert await notes.kept(database) == ["c"]


async def test_a_commit_after_a_failed_statement_is_no_commit(database: Database) -> None:
    await notes.keep(database, "a")
    unit = database.unit()
    await unit.run(notes.add, name="b", value="", at=0)
    with pytest.raises(UnavailableError):
        await unit.run(notes.add, name="a", value="", at=0)

    with pytest.raises(UnavailableError):
        await unit.commit()

    assert await notes.kept(database) == ["a"]


async def test_a_deadlock_means_try_again(database: Database) -> None:
    await notes.keep(database, "a")
    await notes.keep(database, "b")
    one, two = database.unit(), database.unit()
    await one.run(notes.change, b_name="a", value="1")
    await two.run(notes.change, b_name="b", value="2")

    found = await asyncio.gather(
        one.run(notes.change, b_name="b", value="1"), two.run(notes.change, b_name="a", value="2"), return_exceptions=True
    )

    assert sorted(isinstance(result, UnavailableError) for result in found) == [False, True]
    for unit, result in zip((one, two), found, strict=True):
        await (unit.rollback() if isinstance(result, UnavailableError) else unit.commit())


async def test_units_that_are_cancelled_leave_no_transaction_open(database: Database, database_url: str) -> None:
    await notes.keep(database, "locked")
    blocker = database.unit()
    await blocker.run(notes.change, b_name="locked", value="1")

    async def write() -> None:
        unit = database.unit()
        try:
            await unit.run(notes.change, b_name="locked", value="2")
        except BaseException:
            await unit.rollback()
            raise
        await unit.commit()

    tasks = [asyncio.create_task(write()) for _ in range(6)]
    for _ in range(1000):
        if await backends(database_url, "active") >= 2:
            break
        await asyncio.sleep(0.01)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await blocker.commit()

    async with asyncio.timeout(10):
        await asyncio.gather(*(notes.keep(database, f"n{number}") for number in range(6)))
    assert await backends(database_url, "idle in transaction") == 0


async def test_a_unit_cancelled_while_it_waits_for_a_connection_blocks_nobody(database: Database, database_url: str) -> None:
    units = [database.unit() for _ in range(3)]
    for number, unit in enumerate(units):
        await unit.run(notes.add, name=f"u{number}", value="", at=0)
    waiting = [asyncio.create_task(notes.keep(database, f"w{number}")) for number in range(4)]
    await asyncio.sleep(0.05)
    for task in waiting[:2]:
        task.cancel()
    for unit in units:
        await unit.commit()

    async with asyncio.timeout(10):
        await asyncio.gather(*waiting, return_exceptions=True)
        await asyncio.gather(*(notes.keep(database, f"n{number}") for number in range(6)))
    assert {"w2", "w3"} <= set(await notes.kept(database))
    assert await backends(database_url, "idle in transaction") == 0


@pytest.mark.parametrize(
    "error",
    [
        # The server ended the connection between the driver's check of its state and the statement: seen once in many runs.
        asyncpg.InternalClientError("cannot switch to state 12; another operation (2) is in progress"),
        asyncpg.InterfaceError("connection is closed"),
        asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation"),
        asyncpg.AdminShutdownError("terminating connection due to administrator command"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_a_lost_connection_is_an_outage_whatever_the_driver_calls_it(
    database: Database, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(asyncpg.Connection, "_execute", fail)

    with pytest.raises(UnavailableError):
        await notes.kept(database)


async def test_the_application_answers_503_and_recovers(make_house: MakeHouse, database_url: str) -> None:
    house = await make_house()
    body = {"email": "u@example.com", "password": "lamp-at-noon"}
    assert (await house.client.post("/api/auth/login", json=body)).status_code == 404
    await end_backends(database_url)

    answers: list[httpx.Response] = []
    async with asyncio.timeout(20):
        while not answers or answers[-1].status_code != 404:
            answers.append(await house.client.post("/api/auth/login", json=body))
            assert len(answers) < 20

    for answer in answers[:-1]:
        assert (answer.status_code, answer.json()) == (503, {"message": "Service temporarily unavailable"})
        assert int(answer.headers["retry-after"]) >= 1


async def test_the_application_without_its_database_is_not_ready(make_house: MakeHouse, url: str, server: PostgresServer) -> None:
    house = await make_house(DATABASE_URL=url)
    before = await house.client.get("/readyz")
    server._stop()

    ready, health, live = [await house.client.get(path) for path in ("/readyz", "/health", "/livez")]
    login = await house.client.post("/api/auth/login", json={"email": "u@example.com", "password": "lamp-at-noon"})

    assert before.json()["status"] == "ready"
    assert (ready.status_code, ready.json()["database"]["ok"]) == (503, False)
    assert (health.status_code, live.status_code) == (503, 200)
    assert login.status_code == 503
    assert "Traceback" not in login.text
