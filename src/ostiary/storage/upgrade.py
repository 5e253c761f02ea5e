"""Running the migrations (Alembic). `storage.migrate` loads this when there is something to do."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.util.exc import CommandError
from sqlalchemy import Connection, create_engine, event, text
from sqlalchemy.engine import Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from ostiary.storage import sqlite
from ostiary.storage.trouble import ForeignTablesError, UnavailableError

_LOCK = 0x0571A47
LOCK_MILLISECONDS = 50
"""So long a migration waits for a table: units of work that use one are shorter, and PostgreSQL looks for deadlocks later."""
MOST_TRIES = 200
PAUSE_SECONDS = (0.05, 0.25)
_IN_THE_WAY = frozenset({"55P03", "40P01"})
"""lock_not_available, deadlock_detected."""


async def upgrade(url: str) -> None:
    """Bring the database to the newest tables, beside servers that use it. Raises ForeignTablesError, UnavailableError."""
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
        for _ in range(MOST_TRIES):
            if await _is_done(asynchronous):
                return
            # Whoever it would have met head-on goes on meanwhile.
            await asyncio.sleep(random.uniform(*PAUSE_SECONDS))  # noqa: S311 - when to try again, no secret
    finally:
        await asynchronous.dispose()
    raise UnavailableError("its tables are in use without a pause")


async def _is_done(engine: AsyncEngine) -> bool:
    """Run the migrations in one transaction; False, and nothing is changed, when a table could not be had at once.

    A migration that holds one table and waits for the next may wait for someone who waits for the first. PostgreSQL ends one of
    two such after a second (`deadlock_timeout`), whichever has waited so long, and that would be somebody's sign-in.
    """
    try:
        async with engine.begin() as connection:
            # Nodes that start together take turns; the lock goes with the transaction.
            await connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
            # Not before: a node may wait for its turn as long as the other's migration takes.
            await connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_MILLISECONDS}ms'"))
            await connection.run_sync(run)
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) not in _IN_THE_WAY:
            raise
        return False
    return True


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
