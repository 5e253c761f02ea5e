"""Running the migrations (Alembic). `storage.migrate` loads this when there is something to do."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.util.exc import CommandError
from sqlalchemy import Connection, create_engine, event, text
from sqlalchemy.engine import Engine
from sqlalchemy.ext.asyncio import create_async_engine

from ostiary.storage import sqlite
from ostiary.storage.trouble import ForeignTablesError

_LOCK = 0x0571A47


async def upgrade(url: str) -> None:
    """Bring the database to the newest tables. Raises ForeignTablesError."""
    if url.startswith("sqlite"):
        path = url.removeprefix("sqlite:///")
        sqlite.prepare_file(path)
        sqlite.connect(path).close()
        engine = create_engine(url)
        _make_ddl_transactional(engine)
        try:
            with engine.begin() as connection:
                run(connection)
        finally:
            engine.dispose()
        return
    asynchronous = create_async_engine("postgresql+asyncpg" + url[url.index("://") :])
    try:
        async with asynchronous.begin() as connection_:
            # Nodes that start together take turns; the lock goes with the transaction.
            await connection_.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
            await connection_.run_sync(run)
    finally:
        await asynchronous.dispose()


def configuration() -> Config:
    """Alembic's configuration; there is no ini file."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config


def run(connection: Connection) -> None:
    """Run the migrations on this connection. Raises ForeignTablesError."""
    config = configuration()
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise ForeignTablesError(str(error)) from error


def _make_ddl_transactional(engine: Engine) -> None:
    # The driver would commit before each DDL statement; a crash between two would leave half a migration.
    @event.listens_for(engine, "connect")
    def _(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None

    @event.listens_for(engine, "begin")
    def _(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
