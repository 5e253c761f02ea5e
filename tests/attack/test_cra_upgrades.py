"""CRA-10, the other half: an old schema with old rows is taken over, and a server goes on through the migration of the next version."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bcrypt
import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, column, insert, table

from ostiary.storage import upgrade
from ostiary.storage.migrate import HEAD
from tests.attack.crashes import Site
from tests.attack.harness import SECONDS, came_true, somewhere
from tests.attack.people import PASSWORD, Person, enrolled, owing, signed_in
from tests.services.postgres import PostgresServer

FIRST = "0001"
OLD_ID = "00000000-0000-4000-8000-000000000001"
OLD, HASH = "old@example.org", bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
# The rows of a first version: nothing of what later ones have added.
ACCOUNT = ("id", "email", "name", "role", "provider", "verified_at", "created_at", "updated_at")
CREDENTIAL = ("id", "account_id", "kind", "config", "created_at")
EVENT = ("id", "at", "event", "address", "user_agent", "request_id", "detail")
ROWS: tuple[tuple[str, tuple[str, ...], tuple[str | int, ...]], ...] = (
    ("accounts", ACCOUNT, (OLD_ID, OLD, "Old", "USER", "local", 1, 1, 1)),
    ("credentials", CREDENTIAL, ("c", OLD_ID, "password", json.dumps({"scheme": "bcrypt", "hash": HASH}), 1)),
    ("audit_events", EVENT, ("e", time.time_ns() // 1000, "account:registered", "", "", "", "{}")),
)
NEXT = f'''
"""Of the kinds that migrations have been: a table, a column, a column that is never empty, an index over many rows"""

import sqlalchemy as sa
from alembic import op

revision = "next"
down_revision = "{HEAD}"


def upgrade() -> None:
    op.create_table(
        "later",
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("account_id"),
    )
    op.get_context().config.attributes["half_way"]()
    for table in ("accounts", "sessions", "challenges", "links", "outbox"):
        op.add_column(table, sa.Column("later", sa.Text(), nullable=True))
        op.add_column(table, sa.Column("later_count", sa.BigInteger(), nullable=False, server_default="0"))
    op.create_index("audit_events_later", "audit_events", ["address"])
'''


@pytest.fixture(params=["sqlite", "postgresql"])
def old_site(request: pytest.FixtureRequest, tmp_path: Path) -> Site:
    """A site whose tables are to be made."""
    if request.param == "sqlite":
        return Site(tmp_path)
    server: PostgresServer = request.getfixturevalue("postgres")
    return Site(tmp_path, server.create_database("old_schema"))


def url_of(site: Site) -> str:
    return site.database_url or f"sqlite:///{site.folder / 'data' / 'ostiary.db'}"


def first_version(connection: Connection) -> None:
    """Its tables, and somebody's rows in them."""
    to(FIRST)(connection)
    for name, columns, values in ROWS:
        connection.execute(insert(table(name, *map(column, columns))), dict(zip(columns, values, strict=True)))


def to(revision: str, **attributes: Any) -> Callable[[Connection], None]:
    """What `upgrade.run` does, to another revision than the newest; a folder of further migrations may be given."""

    def run(connection: Connection) -> None:
        config: Config = upgrade.configuration()
        if "folder" in attributes:
            here = Path(upgrade.__file__).parent / "migrations" / "versions"
            config.set_main_option("path_separator", "os")
            config.set_main_option("version_locations", f"{here}:{attributes['folder']}")
        config.attributes.update(attributes, connection=connection)
        command.upgrade(config, revision)

    return run


def let_in(someone: Person) -> int:
    """The sign-in's status, asked again as long as the answer says so."""
    someone.may_fail = (503,)
    while (reply := someone.login()).status == 503:
        assert reply.header("retry-after") is not None
    return reply.status


def test_cra_10_an_old_schema_is_taken_over_and_its_server_serves_through_the_next_migration(
    old_site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site, url = old_site, url_of(old_site)
    monkeypatch.setattr(upgrade, "run", first_version)
    asyncio.run(upgrade.upgrade(url))
    folder = tmp_path / "next"
    folder.mkdir()
    (folder / "next.py").write_text(NEXT)
    found: list[int] = []

    with site.living() as place:
        old = Person(place.url, somewhere(), email=OLD, password=PASSWORD)
        assert old.login().status == 200
        person = signed_in(place.url)
        app = enrolled(person)
        waiting = threading.Thread(target=lambda: found.append(let_in(old.elsewhere())))

        def half_way() -> None:
            """Who looks is answered while the migration is under way; who writes is answered, or else goes first."""
            if not found:
                found.extend(old.me().status for _ in range(3))
                waiting.start()

        monkeypatch.setattr(upgrade, "run", to("next", folder=folder, half_way=half_way))
        asyncio.run(upgrade.upgrade(url))
        waiting.join(SECONDS)

        there, pending = owing(person)
        assert found == [200] * 4
        assert there.prove(pending, backupCode=app.codes[0]).status == 200
        assert (old.refresh().status, signed_in(place.url).me().status) == (200, 200)
        assert person.post("/api/auth/requestPasswordReset", {"email": OLD}).status == 200
        assert came_true(lambda: site.count("SELECT count(*) FROM audit_events WHERE id = 'e' AND position > 0") == 1)
