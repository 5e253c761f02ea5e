"""Writes src/ostiary/storage/tables.sql from the migrations: `python scripts/sqlite_tables.py`. A test keeps the two alike."""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

from ostiary.storage.migrate import HEAD, TABLES
from ostiary.storage.upgrade import upgrade

INTRODUCTION = """-- The tables of an empty SQLite file, as the migrations make them.
-- Written by scripts/sqlite_tables.py: change the migrations, then run it.
"""


def text() -> str:
    """The whole file: what SQLite itself notes of each table and index, in the order in which they were made."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "made.db"
        asyncio.run(upgrade(f"sqlite:///{path}"))
        with closing(sqlite3.connect(path)) as connection:
            made = [sql for (sql,) in connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY rowid")]
    statements = [*made, f"INSERT INTO alembic_version VALUES ('{HEAD}')"]
    return INTRODUCTION + "".join(f"{statement};\n" for statement in statements)


if __name__ == "__main__":
    TABLES.write_text(text())
