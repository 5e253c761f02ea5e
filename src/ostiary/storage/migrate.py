"""Bringing a database to this version's tables (Alembic), at start and by `ostiary migrate`."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

from ostiary.parts import Part
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
    """Apply what is missing, each step whole or not at all; whether anything was. Raises UnavailableError, ForeignTablesError."""
    if await at_head(url):
        return False
    await upgrade.upgrade(url)
    return True
