"""Bringing a database to this version's tables (Alembic), at start and by `ostiary migrate`."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from ostiary.parts import Part
from ostiary.storage import sqlite
from ostiary.storage.trouble import UnavailableError

if TYPE_CHECKING:
    import asyncpg

    from ostiary.storage import upgrade
else:
    asyncpg = Part("asyncpg")
    # Alembic is a sixth of what a start loads, and a start at HEAD needs none of it.
    upgrade = Part("ostiary.storage.upgrade")

HEAD = "0007"
"""The newest migration (a test compares it with the folder)."""
TABLES = Path(__file__).parent / "tables.sql"
"""What the migrations make of an empty SQLite file (a test compares)."""
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


def make_tables(url: str) -> bool:
    """Make this version's tables, all or none, in a SQLite file that is empty or not there; whether it was.

    A first start waits for that alone, and not for every migration since the first version.
    """
    if not url.startswith("sqlite"):
        return False
    path = url.removeprefix("sqlite:///")
    sqlite.prepare_file(path)
    with closing(sqlite.connect(path)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        # Asked with the lock in hand: another process may be making them, or have made them a moment ago.
        if connection.execute("SELECT count(*) FROM sqlite_master").fetchone() != (0,):
            return False
        for statement in TABLES.read_text("utf-8").split(";\n"):
            connection.execute(statement)
        connection.execute("COMMIT")
    return True


async def migrate(url: str) -> bool:
    """Apply what is missing, each step whole or not at all; whether anything was. Raises UnavailableError, ForeignTablesError."""
    if await at_head(url):
        return False
    if make_tables(url):
        return True
    await upgrade.upgrade(url)
    return True
