"""What every test stands on: real engines, the application as it is in production, and a clock that the test owns."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page

from ostiary.storage.migrate import migrate
from ostiary.storage.tables import metadata
from tests.house import House, open_house
from tests.services.browser import running_browser, somebody
from tests.services.postgres import PostgresServer

MakeHouse = Callable[..., Awaitable[House]]


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """One real PostgreSQL for this worker's session."""
    with PostgresServer() as server:
        yield server


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with all tables and no rows, to copy."""
    return tmp_path_factory.mktemp("template") / "template.db"


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest) -> str:
    """Every test that touches rows runs on both engines."""
    return str(request.param)


@pytest.fixture(scope="session")
def spare_databases() -> list[str]:
    """Databases that earlier tests have left behind, emptied: making one costs more than emptying it."""
    return []


@pytest.fixture
async def database_url(
    engine: str, tmp_path: Path, migrated_file: Path, spare_databases: list[str], request: pytest.FixtureRequest
) -> AsyncIterator[str]:
    """A database with this version's tables and no rows."""
    if engine == "sqlite":
        if not migrated_file.exists():  # noqa: ASYNC240 - the loop has nothing else to do
            await migrate(f"sqlite:///{migrated_file}")
        shutil.copy(migrated_file, tmp_path / "ostiary.db")
        yield f"sqlite:///{tmp_path / 'ostiary.db'}"
        return
    if not spare_databases:
        server: PostgresServer = request.getfixturevalue("postgres")
        fresh = server.create_database("ostiary")
        await migrate(fresh)
        spare_databases.append(fresh)
    url = spare_databases.pop()
    yield url
    await _empty(url)
    spare_databases.append(url)


async def _empty(url: str) -> None:
    rows = ";".join(f"DELETE FROM {table.name}" for table in reversed(metadata.sorted_tables))  # noqa: S608 - our own table names
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(rows)
    finally:
        await connection.close()


@pytest.fixture
async def make_house(database_url: str, tmp_path: Path) -> AsyncIterator[MakeHouse]:
    """Houses with settings of the test's own, given by variable."""
    async with AsyncExitStack() as stack:

        async def make(**environment: str) -> House:
            return await stack.enter_async_context(open_house(database_url, tmp_path, environment))

        yield make


@pytest.fixture
async def house(make_house: MakeHouse) -> House:
    """A house with the defaults, its rate limits off (lockout stays)."""
    return await make_house()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    """One Chromium for this worker's session. Who uses it lives in the session's loop: `@pytest.mark.asyncio(loop_scope="session")`."""
    async with running_browser() as started:
        yield started


@pytest_asyncio.fixture(loop_scope="session")
async def page(browser: Browser) -> AsyncIterator[Page]:
    """An empty tab in a browser without a past, which can reach this machine alone."""
    async with somebody(browser) as context:
        yield await context.new_page()
