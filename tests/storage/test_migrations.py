"""The tables in the database, in the migrations and in `storage.tables` are the same."""

from __future__ import annotations

from pathlib import Path

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine

from ostiary.storage.migrate import HEAD, at_head, migrate
from ostiary.storage.tables import metadata
from ostiary.storage.upgrade import configuration


def test_the_known_head_is_the_newest_migration() -> None:
    assert ScriptDirectory.from_config(configuration()).get_current_head() == HEAD


async def test_migrations_make_exactly_the_tables_that_the_code_uses(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'fresh.db'}"

    was_changed, was_changed_again = await migrate(url), await migrate(url)

    engine = create_engine(url)
    with engine.connect() as connection:
        difference = compare_metadata(MigrationContext.configure(connection), metadata)
    engine.dispose()
    assert (was_changed, was_changed_again) == (True, False)
    assert await at_head(url)
    assert difference == []


async def test_the_database_file_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    await migrate(f"sqlite:///{tmp_path / 'new' / 'fresh.db'}")

    assert (tmp_path / "new" / "fresh.db").stat().st_mode & 0o077 == 0
    assert (tmp_path / "new").stat().st_mode & 0o077 == 0
