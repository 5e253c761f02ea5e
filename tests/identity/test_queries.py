"""What an operation costs, counted: statements, how they are answered, waits for the disk, calls; so that none is added unseen."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import httpx
import pytest

import ostiary
from ostiary.storage.sqlite import SQLite
from tests.dialects.librechat.browser import browser
from tests.dialects.librepass.owner import registered
from tests.house import House

_FRAME = ("BEGIN", "SAVEPOINT", "RELEASE", "COMMIT", "PRAGMA")
_OURS = str(Path(ostiary.__file__).parent)
MOST_CALLS = {"session check": 45, "refresh": 111, "preLogin": 42, "key login": 177}
"""Of functions of ours, for one request; a twentieth more than they were when this was written."""


def connections(house: House) -> tuple[sqlite3.Connection, ...]:
    database = house.services.database
    assert isinstance(database, SQLite)
    return database._reader, database._writer.connection


@contextmanager
def run(house: House) -> Iterator[list[str]]:
    """The statements that are run meanwhile."""
    found: list[str] = []
    for connection in connections(house):
        connection.set_trace_callback(found.append)
    yield found
    for connection in connections(house):
        connection.set_trace_callback(None)


@contextmanager
def counted(house: House) -> Iterator[list[str]]:
    """The same, without those that only frame a transaction."""
    found: list[str] = []
    with run(house) as statements:
        yield found
    found += [statement for statement in statements if not statement.startswith(_FRAME)]


@contextmanager
def calls() -> Iterator[list[str]]:
    """The functions of ours that are called meanwhile; one that waits is called again when it goes on."""
    found: list[str] = []

    def note(frame: FrameType, event: str, _argument: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(_OURS):
            found.append(frame.f_code.co_qualname)

    sys.setprofile(note)
    try:
        yield found
    finally:
        sys.setprofile(None)


async def light_requests(house: House) -> dict[str, Callable[[], Awaitable[httpx.Response]]]:
    """The requests that wait for no hash, each to be asked again and again, by clients whose places are known."""
    ada, grace = browser(house), await registered(house)
    await ada.register()
    await ada.login()
    await grace.login()
    proof = {"email": grace.email, "sharedKey": await grace.shared_key()}
    return {
        "session check": lambda: ada.get("/api/user"),
        "refresh": ada.refresh,
        "preLogin": lambda: grace.get(f"/api/auth/preLogin?email={grace.email}"),
        "key login": lambda: grace.post("/api/auth/oauth?grantType=login", proof),
    }


@pytest.fixture
def engine() -> str:
    """The statements are the same on both."""
    return "sqlite"


async def test_a_session_check_is_one_statement(house: House) -> None:
    ada = browser(house)
    await ada.register()
    await ada.login()

    with counted(house) as found:
        assert (await ada.get("/api/user")).status_code == 200

    assert len(found) == 1, found


async def test_a_refresh_is_two_statements(house: House) -> None:
    ada = browser(house)
    await ada.register()
    await ada.login()

    with counted(house) as found:
        assert (await ada.refresh()).status_code == 200

    assert len(found) == 2, found


async def test_a_login_is_three_statements(house: House) -> None:
    """Asked: whether the network is shut out, and the account with all that it owes. Written: the session, the audit.

    The first login of a day from a place writes the place too.
    """
    ada = browser(house)
    await ada.register()
    await ada.login()

    with counted(house) as found:
        assert (await ada.login()).status_code == 200

    assert [statement.partition(" ")[0] for statement in found] == ["SELECT", "INSERT", "INSERT"]


async def test_a_key_login_is_three_statements(house: House) -> None:
    """A client without cookies, known by its place."""
    grace = await registered(house)
    await grace.login()
    proof = {"email": grace.email, "sharedKey": await grace.shared_key()}

    with counted(house) as found:
        assert (await grace.post("/api/auth/oauth?grantType=login", proof)).status_code == 200

    assert [statement.partition(" ")[0] for statement in found] == ["SELECT", "INSERT", "INSERT"]


async def test_pre_login_is_one_statement_whoever_it_is_for(house: House) -> None:
    grace = await registered(house)

    for email in (grace.email, "nobody@example.org"):
        with counted(house) as found:
            assert (await grace.get(f"/api/auth/preLogin?email={email}")).status_code == 200

        assert len(found) == 1, found


async def test_no_request_goes_through_a_table_row_by_row(house: House) -> None:
    """An account's live sessions, of which there may be many, are counted without a look at their rows."""
    asked = await light_requests(house)
    with counted(house) as found:
        for ask in asked.values():
            assert (await ask()).status_code == 200

    plans = [
        detail
        for statement in found
        for *_, detail in house.services.database._reader.execute(f"EXPLAIN QUERY PLAN {statement}")  # type: ignore[attr-defined]
    ]

    tables = {name for (name,) in connections(house)[0].execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert not [detail for detail in plans if detail.startswith("SCAN") and detail.split()[1] in tables]
    assert [detail for detail in plans if "sessions_of_account" in detail] == [
        "SEARCH sessions USING COVERING INDEX sessions_of_account (account_id=? AND epoch=? AND revoked_at=?)"
    ]


async def test_what_is_written_waits_for_the_disk_once_and_what_is_read_never(house: House) -> None:
    framed: dict[str, list[str]] = {}
    for name, ask in (await light_requests(house)).items():
        with run(house) as found:
            assert (await ask()).status_code == 200
        framed[name] = [word for statement in found if (word := statement.split()[0]) in _FRAME]

    written = ["BEGIN", "COMMIT"]
    assert framed == {"session check": [], "refresh": written, "preLogin": [], "key login": written}


@pytest.mark.parametrize("name", MOST_CALLS)
async def test_a_light_request_takes_no_more_calls_than_it_did(house: House, name: str) -> None:
    """Calls are what a request's time is made of, and unlike time they can be counted on any machine."""
    ask = (await light_requests(house))[name]
    await ask()

    with calls() as found:
        assert (await ask()).status_code == 200

    assert len(found) <= MOST_CALLS[name], found
