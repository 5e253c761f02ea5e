"""The audit: one vocabulary, one row per outcome, in the same transaction as what it speaks of.

Each row is sealed as it is written, which asks the database nothing; `audit_chain` links the rows to one another soon after.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TypedDict, Unpack

import msgspec
from sqlalchemy import ColumnElement, Text, bindparam, insert, or_, select

from ostiary.identity import devices
from ostiary.identity.context import Context, Outcome, Services
from ostiary.limits.store import Rule
from ostiary.storage.ids import ordered_id
from ostiary.storage.statements import Query, Statement
from ostiary.storage.tables import audit_events


class Event(StrEnum):
    """`subject:area:what_happened`."""

    REGISTERED = "account:registered"
    REGISTRATION_REFUSED = "account:registration:refused"
    REGISTRATION_OF_TAKEN = "account:registration:address_taken"
    SIGNED_IN = "account:sign_in:succeeded"
    SIGN_IN_REFUSED = "account:sign_in:refused"
    SIGN_IN_TURNED_AWAY = "account:sign_in:turned_away"
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
    FACTOR_TURNED_AWAY = "account:two_factor:turned_away"
    TERMS_ACCEPTED = "account:terms:accepted"
    DELETED = "account:deleted"
    EXPIRED = "account:expired"
    ROLE_CHANGED = "account:role:changed"
    UNLOCKED = "account:unlocked"
    INVITED = "invitation:created"
    INVITATION_REVOKED = "invitation:revoked"
    BANNED = "ban:created"
    BAN_LIFTED = "ban:lifted"
    BAN_MET = "ban:met"
    VIOLATION = "limit:violated"
    BUDGET_SPENT = "limit:server_budget_spent"
    SPRAY_SUSPECTED = "spray:suspected"
    IDENTITY_LINKED = "account:identity:linked"
    IDENTITY_UNLINKED = "account:identity:unlinked"
    GRANT_DEAD = "account:provider_tokens:ended"
    IMPORTED = "account:imported"
    KEYS_ROTATED = "keys:rotated"
    CHAIN_BROKEN = "audit:chain:broken"
    CHAIN_RESTARTED = "audit:chain:restarted"


WARNINGS = frozenset(
    {
        Event.SIGN_IN_REFUSED,
        Event.SIGN_IN_TURNED_AWAY,
        Event.FACTOR_REFUSED,
        Event.PROOF_REFUSED,
        Event.REFRESH_REUSED,
        Event.FACTOR_LOCKED,
        Event.VIOLATION,
        Event.BUDGET_SPENT,
        Event.SPRAY_SUSPECTED,
        Event.STEP_UP_REFUSED,
        Event.FACTOR_TURNED_AWAY,
        Event.BAN_MET,
        Event.CHAIN_BROKEN,
        Event.CHAIN_RESTARTED,
    },
)
FOR_EVER = 2**62
QUARTER = 15 * 60 * 1_000_000
DEVICE_LENGTH = 12
"""So much of a device's id tells devices apart and helps nobody to make its mark."""


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
    device: str | None
    detail: str
    seal: bytes | None = None
    position: int | None = None
    link: bytes | None = None


class Picked(TypedDict, total=False):
    """Which rows to look for. In `event`, `address` and `reason` a `*` (or SQL's `%`) stands for anything."""

    account_id: str | None
    event: str | None
    address: str | None
    reason: str | None


class Wanted(Picked, total=False):
    """The same, and from when (after) to when (microseconds)."""

    since: int
    until: int


def _like(column: ColumnElement[str | None], name: str) -> ColumnElement[bool]:
    given = bindparam(name, type_=Text)
    return or_(given.is_(None), column.like(given, escape="\\"))


_record = Statement(insert(audit_events).values({column.name: bindparam(column.name) for column in audit_events.c}))
_latest = Query(
    AuditEvent,
    select(audit_events)
    .where(
        or_(
            bindparam("account_id", type_=Text).is_(None),
            audit_events.c.account_id == bindparam("account_id", type_=Text),
        ),
        _like(audit_events.c.event, "event"),
        _like(audit_events.c.address, "address"),
        _like(audit_events.c.reason, "reason"),
        audit_events.c.at > bindparam("since"),
        audit_events.c.at <= bindparam("until"),
    )
    .order_by(audit_events.c.at.desc())
    .limit(bindparam("most")),
)


async def record(ctx: Context, event: Event, account_id: str | None = None, reason: str = "", **detail: str | int | bool) -> None:
    """Write the row, and the log line once it is durable. A write: hash and talk before it."""
    row = AuditEvent(
        id=ordered_id(ctx.now),
        at=ctx.now,
        event=event.value,
        account_id=account_id,
        reason=reason or None,
        address=ctx.client.address,
        user_agent=ctx.client.user_agent[:256],
        request_id=ctx.client.request_id,
        device=_device(ctx, account_id),
        detail=msgspec.json.encode(detail).decode() if detail else "{}",
    )
    written = msgspec.structs.asdict(row)
    written["seal"] = seal_of(ctx.services, row)
    await ctx.db.run(_record, **written)
    ctx.outcomes.append(Outcome(event.value, account_id, reason or None, event in WARNINGS))


class Seldom(msgspec.Struct, frozen=True):
    """How often an event is told that a stranger can bring about at will: of each `key` so many times within a while."""

    key: str
    most: int = 1
    period: int = QUARTER


async def tell(
    ctx: Context, event: Event, seldom: Seldom, account_id: str | None = None, reason: str = "", **detail: str | int | bool
) -> None:
    """Record it, unless it was told often enough: nobody can fill the audit. Counters may be in Redis: not behind a write."""
    rule = Rule("audit.told", seldom.most, seldom.period)
    taken = await ctx.services.limits.take(rule, f"{event.value} {reason} {seldom.key}", ctx.now)
    if taken.is_allowed:
        await record(ctx, event, account_id, reason, **detail)


async def latest(ctx: Context, *, most: int = 100, **wanted: Unpack[Wanted]) -> list[AuditEvent]:
    """The newest rows first."""
    return await ctx.db.all(
        _latest,
        account_id=wanted.get("account_id"),
        event=_pattern(wanted.get("event")),
        address=_pattern(wanted.get("address")),
        reason=_pattern(wanted.get("reason")),
        since=wanted.get("since", 0),
        until=wanted.get("until", FOR_EVER),
        most=most,
    )


def seal_of(services: Services, row: AuditEvent) -> bytes:
    """The keyed digest over all that the row says: nobody without the root key can write a row or change one."""
    said = (row.id, row.at, row.event, row.account_id, row.reason, row.address, row.user_agent, row.request_id)
    return services.digester.digest("audit row", msgspec.json.encode((*said, row.device, row.detail)).decode())


def _device(ctx: Context, account_id: str | None) -> str | None:
    known = devices.known(ctx, account_id or "")
    return known[:DEVICE_LENGTH] if known else None


def _pattern(text: str | None) -> str | None:
    if text is None:
        return None
    return text.replace("\\", "\\\\").replace("_", "\\_").replace("*", "%")
