"""`ostiary migrate`: this version's tables."""

from __future__ import annotations

import asyncio

import click

from ostiary.cli.config import without_password
from ostiary.cli.desk import explained, load_settings
from ostiary.cli.output import Answer, answering
from ostiary.storage.migrate import HEAD, migrate


@click.command("migrate")
@answering
def migrate_database() -> Answer:
    """Bring the database to this version's tables. `ostiary serve` does the same when it starts."""
    settings = load_settings()
    with explained(settings):
        was_changed = asyncio.run(migrate(settings.database_url))
    where = without_password(settings.database_url)
    words = f"{where} is now at version {HEAD}." if was_changed else f"{where} is at version {HEAD} already."
    return Answer({"migrated": was_changed, "version": HEAD, "database": where}, words)
