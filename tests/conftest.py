"""What every test stands on: real engines, the application as it is in production, and a clock that the test owns."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from uuid import uuid4

import pytest

from ostiary.storage.migrate import migrate
from tests.house import House, open_house
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


@pytest.fixture
async def database_url(engine: str, tmp_path: Path, migrated_file: Path, request: pytest.FixtureRequest) -> str:
    """A fresh database with this version's tables."""
    if engine == "sqlite":
        if not migrated_file.exists():
            await migrate(f"sqlite:///{migrated_file}")
        shutil.copy(migrated_file, tmp_path / "ostiary.db")
        return f"sqlite:///{tmp_path / 'ostiary.db'}"
    server: PostgresServer = request.getfixturevalue("postgres")
    if not getattr(server, "has_template", False):
        server.create_database("template_ostiary")
        await migrate(server.url("template_ostiary"))
        server.has_template = True  # type: ignore[attr-defined]
    name = f"test_{uuid4().hex}"
    server.create_database(name, template="template_ostiary")
    return server.url(name)


@pytest.fixture
async def make_house(database_url: str, tmp_path: Path) -> AsyncIterator[MakeHouse]:
    """Open a house with these settings: `await make_house(REGISTER_AUTO_LOGIN="true")`."""
    async with AsyncExitStack() as stack:

        async def make(**environment: str) -> House:
            return await stack.enter_async_context(open_house(database_url, tmp_path, environment))

        yield make


@pytest.fixture
async def house(make_house: MakeHouse) -> House:
    """A house with the defaults, its rate limits off (lockout stays)."""
    return await make_house()
