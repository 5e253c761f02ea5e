"""How many statements an operation costs: what is asked of the database for each is counted, so that none is added unseen."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from ostiary.storage.sqlite import SQLite
from tests.conftest import MakeHouse
from tests.dialects.librechat.browser import browser
from tests.house import House

_FRAME = ("BEGIN", "SAVEPOINT", "RELEASE", "COMMIT", "PRAGMA")


@contextmanager
def counted(house: House) -> Iterator[list[str]]:
    """The statements that are run meanwhile, without those that only frame a transaction."""
    database = house.services.database
    assert isinstance(database, SQLite)
    found: list[str] = []
    connections: tuple[sqlite3.Connection, ...] = (database._reader, database._writer.connection)

    def note(statement: str) -> None:
        if not statement.startswith(_FRAME):
            found.append(statement)

    for connection in connections:
        connection.set_trace_callback(note)
    yield found
    for connection in connections:
        connection.set_trace_callback(None)


@pytest.fixture
async def sqlite_house(make_house: MakeHouse) -> House:
    house = await make_house()
    if house.services.database.engine != "sqlite":
        pytest.skip("counted on SQLite; the statements are the same on both")
    return house


async def test_a_session_check_is_one_statement(sqlite_house: House) -> None:
    ada = browser(sqlite_house)
    await ada.register()
    await ada.login()

    with counted(sqlite_house) as found:
        assert (await ada.get("/api/user")).status_code == 200

    assert len(found) == 1, found


async def test_a_refresh_is_two_statements(sqlite_house: House) -> None:
    ada = browser(sqlite_house)
    await ada.register()
    await ada.login()

    with counted(sqlite_house) as found:
        assert (await ada.refresh()).status_code == 200

    assert len(found) == 2, found


async def test_a_login_asks_twice_and_writes_three_rows(sqlite_house: House) -> None:
    """Asked: the ban of the network, the account with all that it owes. Known by its device, so its place is not asked for.

    Written: the session, the place, the audit.
    """
    ada = browser(sqlite_house)
    await ada.register()
    await ada.login()

    with counted(sqlite_house) as found:
        assert (await ada.login()).status_code == 200

    assert [statement.partition(" ")[0] for statement in found] == ["SELECT"] * 2 + ["INSERT"] * 3
