"""Migrations: their newest is HEAD, they make the tables that the code speaks of, and starting together does no harm."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import asyncpg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.ext.asyncio import create_async_engine

from ostiary.storage import upgrade
from ostiary.storage.migrate import HEAD, at_head, make_tables, migrate
from ostiary.storage.tables import metadata
from tests.services.postgres import PostgresServer

NO_DETECTOR = "SET LOCAL deadlock_timeout = '1h'"
WAITS = "SELECT 1 FROM pg_locks WHERE relation = 'accounts'::regclass AND NOT granted"


def differences(connection: Connection) -> list[object]:
    """What Alembic would still change to get from the database to the tables of the code."""
    context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
    return list(compare_metadata(context, metadata))


def contents(file: Path) -> list[tuple[object, ...]]:
    """What SQLite notes of each table and index, and the rows."""
    with closing(sqlite3.connect(file)) as connection:
        noted = connection.execute("SELECT name, type, tbl_name, sql FROM sqlite_master ORDER BY name").fetchall()
        tables = [name for name, kind, *_ in noted if kind == "table"]
        return [*noted, *((name, *row) for name in tables for row in connection.execute(f"SELECT * FROM {name}"))]  # noqa: S608


def test_head_is_the_newest_migration() -> None:
    script = ScriptDirectory.from_config(upgrade.configuration())

    assert script.get_heads() == [HEAD]


async def test_the_migrations_make_the_tables_that_the_code_speaks_of(database_url: str) -> None:
    if database_url.startswith("sqlite"):
        engine = create_engine(database_url)
        with engine.connect() as connection:
            found = differences(connection)
        engine.dispose()
    else:
        asynchronous = create_async_engine("postgresql+asyncpg" + database_url[database_url.index("://") :])
        async with asynchronous.connect() as connection_:
            found = await connection_.run_sync(differences)
        await asynchronous.dispose()

    assert found == []


async def test_an_empty_file_gets_what_the_migrations_make_and_no_other_database_does(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    """Every column, index and condition, as SQLite itself writes them down, and every row."""
    quick, whole, behind = tmp_path / "quick.db", tmp_path / "whole.db", tmp_path / "behind.db"
    await upgrade.upgrade(f"sqlite:///{whole}")
    with closing(sqlite3.connect(behind)) as connection:
        connection.execute("CREATE TABLE alembic_version (version_num TEXT)")

    was_made = [make_tables(url) for url in (f"sqlite:///{quick}", f"sqlite:///{quick}", f"sqlite:///{behind}")]

    assert was_made == [True, False, False]
    assert not make_tables(postgres.create_database("empty"))
    assert contents(quick) == contents(whole), "run: python scripts/sqlite_tables.py"
    assert [name for name, *_ in contents(behind)] == ["alembic_version"]
    assert quick.stat().st_mode & 0o777 == 0o600


async def test_servers_that_start_together_make_the_tables_once(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'together.db'}"

    was_made = await asyncio.gather(*(asyncio.to_thread(make_tables, url) for _ in range(8)))

    assert sorted(was_made) == [False] * 7 + [True]
    assert await at_head(url)


async def test_a_database_at_head_is_left_alone(database_url: str) -> None:
    assert await at_head(database_url)
    assert not await migrate(database_url)


async def test_an_empty_file_is_brought_to_head(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'folder' / 'new.db'}"
    before = await at_head(url)

    assert await migrate(url)

    assert (before, await at_head(url)) == (False, True)
    assert not await migrate(url)


async def test_servers_that_start_together_migrate_once(postgres: PostgresServer) -> None:
    url = postgres.create_database("together")

    async with asyncio.timeout(60):
        await asyncio.gather(*(migrate(url) for _ in range(4)))

    assert await at_head(url)


async def test_a_unit_of_work_that_a_migration_meets_head_on_goes_first(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has sessions and wants accounts; the migration has accounts and wants sessions."""
    url = postgres.create_database("head_on")
    await migrate(url)
    unit = await asyncpg.connect(url)
    # Nobody comes and ends one of the two.
    await unit.execute(f"BEGIN; {NO_DETECTOR}; LOCK TABLE sessions IN ROW EXCLUSIVE MODE")
    meeting: asyncio.Future[asyncio.Task[int]] = asyncio.get_running_loop().create_future()

    async def until_it_waits(driver: asyncpg.Connection[asyncpg.Record]) -> None:
        meeting.set_result(asyncio.create_task(unit.fetchval("SELECT count(*) FROM accounts")))
        await driver.execute(f"DO $$ BEGIN WHILE NOT EXISTS ({WAITS}) LOOP PERFORM pg_sleep(0.01); END LOOP; END $$")

    def crossing(connection: Connection) -> None:
        connection.execute(text(NO_DETECTOR))
        connection.execute(text("LOCK TABLE accounts IN ACCESS EXCLUSIVE MODE"))
        if not meeting.done():
            connection.connection.run_async(until_it_waits)
        connection.execute(text("ALTER TABLE sessions ADD COLUMN later TEXT"))

    monkeypatch.setattr(upgrade, "run", crossing)
    migrating = asyncio.create_task(upgrade.upgrade(url))

    async with asyncio.timeout(60):
        assert await (await meeting) == 0
        await unit.execute("COMMIT")
        await migrating
    assert await unit.fetchval("SELECT count(later) FROM sessions") == 0
    await unit.close()


async def test_a_migration_that_breaks_half_way_leaves_nothing(tmp_path: Path) -> None:
    """A table in the way: what came before it in the same step must not stay."""
    path = tmp_path / "broken.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE outbox (id TEXT)")
    connection.commit()
    tried = await asyncio.gather(migrate(f"sqlite:///{path}"), return_exceptions=True)

    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    connection.execute("DROP TABLE outbox")
    connection.commit()
    connection.close()

    assert isinstance(tried[0], Exception)
    assert tables == {"outbox"}
    assert await migrate(f"sqlite:///{path}")
