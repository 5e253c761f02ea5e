"""What a provider gave for a session: its own name for it, and its tokens, sealed. Gone with the session's sign-out."""

from __future__ import annotations

from random import SystemRandom

import msgspec
from sqlalchemy import bindparam, delete, insert, or_, select, update

from ostiary.crypto.sealing import SealBrokenError
from ostiary.identity import audit, sessions
from ostiary.identity.context import Context
from ostiary.storage.statements import Query, Statement
from ostiary.storage.tables import provider_sessions as table

PLACE = "provider_sessions.sealed"
SECOND = 1_000_000
CLAIM = 60 * SECOND
"""Longer than a provider may take."""
SHARE = (0.6, 0.8)
"""Of a token's life, after which it is renewed."""
LEAST_PAUSE = 600 * SECOND
"""Between renewals that nobody asked for: tokens of five minutes are renewed by whoever needs them."""
FIRST_PAUSE = 30 * SECOND
LONGEST_PAUSE = 1800 * SECOND
JITTER = (0.75, 1.25)
_random = SystemRandom()


class Grant(msgspec.Struct, frozen=True):
    """A provider's answer. `expires_at` is the access token's end (microseconds)."""

    access_token: str = ""
    refresh_token: str = ""
    id_token: str = ""
    expires_at: int = 0
    sid: str | None = None
    """The provider's name for its session, for back-channel logout."""


class ProviderSession(msgspec.Struct, frozen=True):
    """A row. `holder` is a session's id, or for a pending sign-in the digest that its challenge is found by."""

    holder: str
    account_id: str
    provider: str
    issuer: str
    subject: str
    sid: str | None
    sealed: bytes
    expires_at: int
    created_at: int
    renewed_at: int
    due_at: int | None
    claimed_until: int
    attempts: int
    dead_at: int | None


_insert = Statement(insert(table).values({column.name: bindparam(column.name) for column in table.c}))
_find = Query(ProviderSession, select(table).where(table.c.holder == bindparam("holder"), table.c.expires_at > bindparam("now")))
_move = Statement(
    update(table)
    .where(table.c.holder == bindparam("b_holder"))
    .values(holder=bindparam("new_holder"), expires_at=bindparam("expires_at"), due_at=bindparam("new_due_at"))
)
_same = (table.c.holder == bindparam("b_holder"), table.c.sealed == bindparam("b_sealed"))
_claim = Statement(
    update(table)
    .where(*_same, table.c.claimed_until <= bindparam("now"), table.c.dead_at.is_(None))
    .values(claimed_until=bindparam("new_claimed_until"))
)
_renew = Statement(
    update(table)
    .where(*_same)
    .values(
        sealed=bindparam("new_sealed"),
        renewed_at=bindparam("now"),
        due_at=bindparam("new_due_at"),
        claimed_until=0,
        attempts=0,
    )
)
_postpone = Statement(
    update(table).where(*_same).values(claimed_until=0, attempts=table.c.attempts + 1, due_at=bindparam("new_due_at"))
)
_bury = Statement(update(table).where(*_same).values(claimed_until=0, due_at=None, dead_at=bindparam("now")))
_due = Query(
    ProviderSession,
    select(table)
    .where(
        table.c.due_at <= bindparam("now"),
        table.c.claimed_until <= bindparam("now"),
        table.c.dead_at.is_(None),
        table.c.expires_at > bindparam("now"),
    )
    .order_by(table.c.due_at)
    .limit(bindparam("most")),
)
_forget = Statement(delete(table).where(table.c.holder == bindparam("b_holder")))
_sweep = Statement(delete(table).where(table.c.expires_at < bindparam("before")))
_of_provider = Query(
    ProviderSession,
    select(table).where(
        table.c.provider == bindparam("provider"),
        table.c.issuer == bindparam("issuer"),
        or_(table.c.subject == bindparam("subject"), bindparam("subject") == ""),
        or_(table.c.sid == bindparam("sid"), bindparam("sid") == ""),
    ),
)


async def keep(
    ctx: Context,
    holder: str,
    account_id: str,
    grant: Grant,
    *,
    provider: str,
    issuer: str,
    subject: str,
    expires_at: int,
    is_pending: bool = False,
) -> None:
    """Remember what the provider gave, until then. Of a pending sign-in nothing is renewed."""
    await ctx.db.run(
        _insert,
        holder=holder,
        account_id=account_id,
        provider=provider,
        issuer=issuer,
        subject=subject,
        sid=grant.sid,
        sealed=_sealed(ctx, grant),
        expires_at=expires_at,
        created_at=ctx.now,
        renewed_at=ctx.now,
        due_at=None if is_pending else _due_at(ctx, grant),
        claimed_until=0,
        attempts=0,
        dead_at=None,
    )


async def hand_over(ctx: Context, challenge: str, session: sessions.Session) -> ProviderSession | None:
    """The pending sign-in became this session; its row, if a provider vouched for it."""
    row = await of_session(ctx, challenge)
    if row is None:
        return None
    due_at = _due_at(ctx, grant_of(ctx, row))
    moved = {"new_holder": session.id, "expires_at": session.expires_at, "new_due_at": due_at}
    await ctx.db.run(_move, b_holder=challenge, **moved)
    return msgspec.structs.replace(row, holder=session.id, expires_at=session.expires_at, due_at=due_at)


async def of_session(ctx: Context, session_id: str) -> ProviderSession | None:
    """What a provider gave for this session, if one did."""
    return await ctx.db.one(_find, holder=session_id, now=ctx.now)


def grant_of(ctx: Context, row: ProviderSession) -> Grant:
    """The tokens; an empty grant when they cannot be opened any more."""
    try:
        return msgspec.json.decode(ctx.services.sealer.open(row.sealed, PLACE), type=Grant)
    except SealBrokenError:
        return Grant()


async def due(ctx: Context, most: int) -> list[ProviderSession]:
    """Rows whose tokens should be renewed now, and which nobody renews."""
    return await ctx.db.all(_due, now=ctx.now, most=most)


async def claim(ctx: Context, row: ProviderSession) -> bool:
    """Whether the caller alone may renew this row's tokens, for a while; False when somebody else does, or has."""
    until = ctx.now + CLAIM
    return await ctx.db.run(_claim, b_holder=row.holder, b_sealed=row.sealed, now=ctx.now, new_claimed_until=until) == 1


async def renew(ctx: Context, row: ProviderSession, grant: Grant) -> bool:
    """Fresh tokens in the old ones' place; False when the row is not any more what it was."""
    values = {"new_sealed": _sealed(ctx, grant), "now": ctx.now, "new_due_at": _due_at(ctx, grant)}
    if await ctx.db.run(_renew, b_holder=row.holder, b_sealed=row.sealed, **values):
        return True
    # Sealed anew under a new key meanwhile (`resealing`) it is still the same grant, and the provider has spent it.
    present = await of_session(ctx, row.holder)
    if present is None or grant_of(ctx, present) != grant_of(ctx, row):
        return False
    return await ctx.db.run(_renew, b_holder=row.holder, b_sealed=present.sealed, **values) == 1


async def postpone(ctx: Context, row: ProviderSession) -> None:
    """It did not work this time: again later, each time later than the time before."""
    pause = min(FIRST_PAUSE * 2 ** min(row.attempts, 10), LONGEST_PAUSE)
    due_at = ctx.now + int(pause * _random.uniform(*JITTER)) if row.due_at is not None else None
    await ctx.db.run(_postpone, b_holder=row.holder, b_sealed=row.sealed, new_due_at=due_at)


async def bury(ctx: Context, row: ProviderSession) -> None:
    """The provider renews these no more. Whoever asks for them is told so, and the provider is not asked again."""
    if await ctx.db.run(_bury, b_holder=row.holder, b_sealed=row.sealed, now=ctx.now):
        await audit.record(ctx, audit.Event.GRANT_DEAD, row.account_id, row.provider, session=row.holder)


async def forget(ctx: Context, session_id: str) -> None:
    """The session ended."""
    await ctx.db.run(_forget, b_holder=session_id)


async def end_at_provider(ctx: Context, provider: str, issuer: str, subject: str, sid: str) -> list[str]:
    """The provider says that these ended there: end them here; the ids of the sessions. Empty texts match all, not both."""
    rows = await ctx.db.all(_of_provider, provider=provider, issuer=issuer, subject=subject, sid=sid) if subject or sid else []
    for row in rows:
        if await sessions.end_by_id(ctx, row.account_id, row.holder):
            await audit.record(ctx, audit.Event.SIGNED_OUT, row.account_id, "provider", session=row.holder)
        await forget(ctx, row.holder)
    return [row.holder for row in rows]


async def sweep(ctx: Context, before: int) -> int:
    """Delete what ended before then."""
    return await ctx.db.run(_sweep, before=before)


def _due_at(ctx: Context, grant: Grant) -> int | None:
    if not grant.refresh_token:
        return None
    # Well before the end, and not all at the same moment: after an outage everybody would come back at once.
    return ctx.now + max(int((grant.expires_at - ctx.now) * _random.uniform(*SHARE)), LEAST_PAUSE)


def _sealed(ctx: Context, grant: Grant) -> bytes:
    return ctx.services.sealer.seal(msgspec.json.encode(grant), PLACE)
