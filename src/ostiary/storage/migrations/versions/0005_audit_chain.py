"""The audit's rows are sealed and linked, and say which device it was"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column("audit_events", sa.Column("device", sa.Text(), nullable=True))
    op.add_column("audit_events", sa.Column("seal", sa.LargeBinary(), nullable=True))
    op.add_column("audit_events", sa.Column("position", sa.BigInteger(), nullable=True))
    op.add_column("audit_events", sa.Column("link", sa.LargeBinary(), nullable=True))
    linked, unlinked = sa.text("position IS NOT NULL"), sa.text("position IS NULL")
    op.create_index(
        "audit_events_position", "audit_events", ["position"], unique=True, sqlite_where=linked, postgresql_where=linked
    )
    op.create_index("audit_events_unlinked", "audit_events", ["at", "id"], sqlite_where=unlinked, postgresql_where=unlinked)
