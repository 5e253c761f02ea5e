"""How many statements an operation costs: what is asked of the database for each is counted, so that none is added unseen."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from ostiary.storage.sqlite import SQLite
from tests.conftest import MakeHouse
from tests.dialects.librechat.browser import browser
from tests.dialects.librepass.owner import registered
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


async def test_a_login_is_three_statements(sqlite_house: House) -> None:
    """Asked: whether the network is shut out, and the account with all that it owes. Written: the session, the audit.

    The first login of a day from a place writes the place too.
    """
    ada = browser(sqlite_house)
    await ada.register()
    await ada.login()

    with counted(sqlite_house) as found:
        assert (await ada.login()).status_code == 200

    assert [statement.partition(" ")[0] for statement in found] == ["SELECT", "INSERT", "INSERT"]


async def test_a_key_login_is_three_statements(sqlite_house: House) -> None:
    """A client without cookies, known by its place."""
    grace = await registered(sqlite_house)
    await grace.login()
    proof = {"email": grace.email, "sharedKey": await grace.shared_key()}

    with counted(sqlite_house) as found:
        assert (await grace.post("/api/auth/oauth?grantType=login", proof)).status_code == 200

    assert [statement.partition(" ")[0] for statement in found] == ["SELECT", "INSERT", "INSERT"]
