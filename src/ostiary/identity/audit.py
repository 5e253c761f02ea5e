"""The audit: one vocabulary, one row per outcome, in the same transaction as what it speaks of."""

from __future__ import annotations

from enum import StrEnum

import msgspec
from sqlalchemy import Text, bindparam, delete, insert, or_, select

from ostiary.identity.context import Context, Outcome, new_id
from ostiary.storage.statements import Query, Statement
from ostiary.storage.tables import audit_events


class Event(StrEnum):
    """`subject:area:what_happened`."""

    REGISTERED = "account:registered"
    REGISTRATION_REFUSED = "account:registration:refused"
    REGISTRATION_OF_TAKEN = "account:registration:address_taken"
    SIGNED_IN = "account:sign_in:succeeded"
    SIGN_IN_REFUSED = "account:sign_in:refused"
    FACTOR_ASKED = "account:sign_in:factor_asked"
    FACTOR_REFUSED = "account:sign_in:factor_refused"
    PROOF_REFUSED = "account:proof:refused"
    SIGNED_OUT = "account:session:ended"
    SESSIONS_ENDED = "account:session:all_ended"
    REFRESH_REUSED = "account:session:refresh_reused"
    VERIFICATION_SENT = "account:verification:sent"
    VERIFIED = "account:verification:succeeded"
    RESET_ASKED = "account:reset:asked"
    RESET_DONE = "account:reset:succeeded"
    RESET_REFUSED = "account:reset:refused"
    PASSWORD_CHANGED = "account:password:changed"  # noqa: S105 - a name, not a password
    KEY_CHANGED = "account:key:changed"
    HINT_SENT = "account:hint:sent"
    HINT_REFUSED = "account:hint:refused"
    EMAIL_CHANGE_ASKED = "account:email:change_asked"
    EMAIL_CHANGED = "account:email:changed"
    FACTOR_ENROLLED = "account:two_factor:enabled"
    FACTOR_REMOVED = "account:two_factor:disabled"
    FACTOR_LOCKED = "account:two_factor:locked"
    BACKUP_CODES_MADE = "account:two_factor:backup_codes_made"
    BACKUP_CODE_USED = "account:two_factor:backup_code_used"
    STEP_UP_REFUSED = "account:two_factor:refused"
    TERMS_ACCEPTED = "account:terms:accepted"
    DELETED = "account:deleted"
    EXPIRED = "account:expired"
    ROLE_CHANGED = "account:role:changed"
    UNLOCKED = "account:unlocked"
    INVITED = "invitation:created"
    INVITATION_REVOKED = "invitation:revoked"
    BANNED = "ban:created"
    BAN_LIFTED = "ban:lifted"
    VIOLATION = "limit:violated"
    IDENTITY_LINKED = "account:identity:linked"
    IDENTITY_UNLINKED = "account:identity:unlinked"
    GRANT_DEAD = "account:provider_tokens:ended"
    IMPORTED = "account:imported"
    KEYS_ROTATED = "keys:rotated"


_WARNINGS = frozenset(
    {
        Event.SIGN_IN_REFUSED,
        Event.FACTOR_REFUSED,
        Event.PROOF_REFUSED,
        Event.REFRESH_REUSED,
        Event.FACTOR_LOCKED,
        Event.VIOLATION,
        Event.STEP_UP_REFUSED,
    },
)


class AuditEvent(msgspec.Struct, frozen=True):
    """A row."""

    id: str
    at: int
    event: str
    account_id: str | None
    reason: str | None
    address: str
    user_agent: str
    request_id: str
    detail: str


_record = Statement(insert(audit_events).values({column.name: bindparam(column.name) for column in audit_events.c}))
_latest = Query(
    AuditEvent,
    select(audit_events)
    .where(
        or_(
            bindparam("account_id", type_=Text).is_(None),
            audit_events.c.account_id == bindparam("account_id", type_=Text),
        ),
        or_(bindparam("event", type_=Text).is_(None), audit_events.c.event.like(bindparam("event", type_=Text))),
        audit_events.c.at > bindparam("since"),
    )
    .order_by(audit_events.c.at.desc())
    .limit(bindparam("most")),
)
_sweep = Statement(delete(audit_events).where(audit_events.c.at < bindparam("before")))


async def record(ctx: Context, event: Event, account_id: str | None = None, reason: str = "", **detail: str | int | bool) -> None:
    """Write the row, and the log line once it is durable. A write: hash and talk before it."""
    await ctx.db.run(
        _record,
        id=new_id(),
        at=ctx.now,
        event=event.value,
        account_id=account_id,
        reason=reason or None,
        address=ctx.client.address,
        user_agent=ctx.client.user_agent[:256],
        request_id=ctx.client.request_id,
        detail=msgspec.json.encode(detail).decode() if detail else "{}",
    )
    ctx.outcomes.append(Outcome(event.value, account_id, reason or None, event in _WARNINGS))


async def latest(
    ctx: Context,
    *,
    account_id: str | None = None,
    event: str | None = None,
    since: int = 0,
    most: int = 100,
) -> list[AuditEvent]:
    """The newest rows first. `event` may hold SQL's `%`."""
    return await ctx.db.all(_latest, account_id=account_id, event=event, since=since, most=most)


async def sweep(ctx: Context, before: int) -> int:
    """Delete rows older than the retention."""
    return await ctx.db.run(_sweep, before=before)
