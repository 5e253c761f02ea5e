"""What a provider gave for a session: its own name for it, and its tokens, sealed. Gone with the session's sign-out."""

from __future__ import annotations

import msgspec
from sqlalchemy import bindparam, delete, insert, or_, select, update

from ostiary.crypto.sealing import SealBrokenError
from ostiary.identity import audit, sessions
from ostiary.identity.context import Context
from ostiary.storage.statements import Query, Statement
from ostiary.storage.tables import provider_sessions as table

PLACE = "provider_sessions.sealed"


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


_insert = Statement(insert(table).values({column.name: bindparam(column.name) for column in table.c}))
_find = Query(ProviderSession, select(table).where(table.c.holder == bindparam("holder"), table.c.expires_at > bindparam("now")))
_move = Statement(
    update(table)
    .where(table.c.holder == bindparam("b_holder"))
    .values(holder=bindparam("new_holder"), expires_at=bindparam("expires_at"))
)
_renew = Statement(
    update(table)
    .where(table.c.holder == bindparam("b_holder"), table.c.sealed == bindparam("b_sealed"))
    .values(sealed=bindparam("new_sealed"))
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
    ctx: Context, holder: str, account_id: str, grant: Grant, *, provider: str, issuer: str, subject: str, expires_at: int
) -> None:
    """Remember what the provider gave, until then."""
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
    )


async def hand_over(ctx: Context, challenge: str, session: sessions.Session) -> None:
    """The pending sign-in became this session."""
    await ctx.db.run(_move, b_holder=challenge, new_holder=session.id, expires_at=session.expires_at)


async def of_session(ctx: Context, session_id: str) -> ProviderSession | None:
    """What a provider gave for this session, if one did."""
    return await ctx.db.one(_find, holder=session_id, now=ctx.now)


def grant_of(ctx: Context, row: ProviderSession) -> Grant:
    """The tokens; an empty grant when they cannot be opened any more."""
    try:
        return msgspec.json.decode(ctx.services.sealer.open(row.sealed, PLACE), type=Grant)
    except SealBrokenError:
        return Grant()


async def renew(ctx: Context, row: ProviderSession, grant: Grant) -> bool:
    """Fresh tokens in the old ones' place; False when another request has renewed them meanwhile."""
    return await ctx.db.run(_renew, b_holder=row.holder, b_sealed=row.sealed, new_sealed=_sealed(ctx, grant)) == 1


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


def _sealed(ctx: Context, grant: Grant) -> bytes:
    return ctx.services.sealer.seal(msgspec.json.encode(grant), PLACE)
