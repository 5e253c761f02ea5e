"""When a provider's tokens are renewed, by whom, and whether its grant is dead"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("provider_sessions", sa.Column("renewed_at", sa.BigInteger(), server_default="0", nullable=False))
    op.add_column("provider_sessions", sa.Column("due_at", sa.BigInteger(), nullable=True))
    op.add_column("provider_sessions", sa.Column("claimed_until", sa.BigInteger(), server_default="0", nullable=False))
    op.add_column("provider_sessions", sa.Column("attempts", sa.BigInteger(), server_default="0", nullable=False))
    op.add_column("provider_sessions", sa.Column("dead_at", sa.BigInteger(), nullable=True))
    op.create_index("provider_sessions_due_at", "provider_sessions", ["due_at"])
