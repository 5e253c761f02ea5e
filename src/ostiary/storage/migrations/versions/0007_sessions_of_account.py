"""An account's live sessions are counted from an index; nothing is looked for by when a session ends"""

from __future__ import annotations

from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.create_index("sessions_of_account", "sessions", ["account_id", "epoch", "revoked_at", "created_at"])
    op.drop_index("sessions_account_id", table_name="sessions")
    op.drop_index("sessions_expires_at", table_name="sessions")
