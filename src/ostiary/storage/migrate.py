"""Bringing a database to this version's tables (Alembic), at start and by `ostiary migrate`."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import asyncpg
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, create_engine, event, text
from sqlalchemy.engine import Engine
from sqlalchemy.ext.asyncio import create_async_engine

from ostiary.storage import sqlite
from ostiary.storage.trouble import UnavailableError

HEAD = "0001"
"""The newest migration (a test compares it with the folder). Knowing it saves a start the second that Alembic takes."""
_LOCK = 0x0571A47
_VERSION = "SELECT version_num FROM alembic_version"


async def at_head(url: str) -> bool:
    """Whether the database has this version's tables. Raises UnavailableError when it cannot be asked."""
    if url.startswith("sqlite"):
        return _file_at_head(Path(url.removeprefix("sqlite:///")))
    try:
        postgres = await asyncpg.connect(url, timeout=5)
    except (OSError, TimeoutError, asyncpg.PostgresError) as error:
        raise UnavailableError(type(error).__name__) from error
    try:
        return bool(await postgres.fetchval(_VERSION) == HEAD)
    except asyncpg.UndefinedTableError:
        return False
    finally:
        await postgres.close()


def _file_at_head(path: Path) -> bool:
    if not path.exists() or not path.stat().st_size:
        return False
    connection = sqlite3.connect(path)
    try:
        found: tuple[str] | None = connection.execute(_VERSION).fetchone()
    except sqlite3.OperationalError:
        return False
    finally:
        connection.close()
    return found == (HEAD,)


async def migrate(url: str) -> bool:
    """Apply what is missing, each step whole or not at all; whether anything was. Raises UnavailableError."""
    if await at_head(url):
        return False
    if url.startswith("sqlite"):
        path = url.removeprefix("sqlite:///")
        sqlite.prepare_file(path)
        sqlite.connect(path).close()
        engine = create_engine(url)
        _make_ddl_transactional(engine)
        try:
            with engine.begin() as connection:
                upgrade(connection)
        finally:
            engine.dispose()
        return True
    asynchronous = create_async_engine("postgresql+asyncpg" + url[url.index("://") :])
    try:
        async with asynchronous.begin() as connection_:
            # Nodes that start together take turns; the lock goes with the transaction.
            await connection_.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
            await connection_.run_sync(upgrade)
    finally:
        await asynchronous.dispose()
    return True


def configuration() -> Config:
    """Alembic's configuration; there is no ini file."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config


def upgrade(connection: Connection) -> None:
    """Run the migrations on this connection."""
    config = configuration()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _make_ddl_transactional(engine: Engine) -> None:
    # The driver would commit before each DDL statement; a crash between two would leave half a migration.
    @event.listens_for(engine, "connect")
    def _(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None

    @event.listens_for(engine, "begin")
    def _(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
