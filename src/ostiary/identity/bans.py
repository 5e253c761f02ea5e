"""Bans: shut out by decision, of an operator or of the violation counter. In the database, so that no restart lifts one."""

from __future__ import annotations

import contextlib
import ipaddress

import msgspec
from sqlalchemy import bindparam, delete, or_, select

from ostiary.identity import accounts, audit, sessions
from ostiary.identity.context import Context, micros, new_id
from ostiary.identity.refusals import Banned
from ostiary.identity.throttle import folded, network
from ostiary.limits.store import Rule
from ostiary.storage.statements import Query, Statement
from ostiary.storage.tables import bans

ACCOUNT = "account"
ADDRESS = "address"
DECAY = 24 * 3600 * 1_000_000
"""Violations older than this are forgotten."""


class Ban(msgspec.Struct, frozen=True):
    """A row. Without `expires_at` it lasts until it is lifted."""

    id: str
    kind: str
    subject: str
    reason: str
    created_at: int
    expires_at: int | None


_put = Statement(
    lambda insert: (
        statement := insert(bans).values({column.name: bindparam(column.name) for column in bans.c})
    ).on_conflict_do_update(
        index_elements=["kind", "subject"],
        set_={name: statement.excluded[name] for name in ("reason", "created_at", "expires_at")},
    ),
)
_in_force = or_(bans.c.expires_at.is_(None), bans.c.expires_at > bindparam("now"))
_find = Query(Ban, select(bans).where(bans.c.kind == bindparam("kind"), bans.c.subject == bindparam("subject"), _in_force))
_list = Query(Ban, select(bans).where(_in_force).order_by(bans.c.created_at))
_lift = Statement(delete(bans).where(bans.c.kind == bindparam("b_kind"), bans.c.subject == bindparam("b_subject")))
_sweep = Statement(delete(bans).where(bans.c.expires_at < bindparam("before")))


async def check_address(ctx: Context) -> None:
    """Raises Banned when the client's address is shut out."""
    ban = await of(ctx, ADDRESS, network(ctx.client.address))
    if ban is not None:
        raise Banned("address", ban.expires_at)


async def add(ctx: Context, kind: str, subject: str, reason: str, expires_at: int | None) -> Ban:
    """Shut out, from now on: an account's sessions end with this transaction."""
    ban = Ban(new_id(), kind, subject, reason, ctx.now, expires_at)
    if kind == ACCOUNT:
        await sessions.end_all(ctx, subject)
    await ctx.db.run(_put, **msgspec.structs.asdict(ban))
    await audit.record(ctx, audit.Event.BANNED, subject if kind == ACCOUNT else None, reason, kind=kind)
    return ban


async def lift(ctx: Context, kind: str, subject: str) -> bool:
    """Let in again; False when there was no ban."""
    lifted = await ctx.db.run(_lift, b_kind=kind, b_subject=subject) == 1
    if lifted:
        await audit.record(ctx, audit.Event.BAN_LIFTED, subject if kind == ACCOUNT else None, kind=kind)
    return lifted


async def of(ctx: Context, kind: str, subject: str) -> Ban | None:
    """The ban in force of an account's id or of a network, if there is one."""
    return await ctx.db.one(_find, kind=kind, subject=subject, now=ctx.now)


async def in_force(ctx: Context) -> list[Ban]:
    """All bans, the oldest first."""
    return await ctx.db.all(_list, now=ctx.now)


async def sweep(ctx: Context, before: int) -> int:
    """Delete what expired before then."""
    return await ctx.db.run(_sweep, before=before)


async def violation(ctx: Context, kind: str, score: int, email: str | None = None) -> None:
    """Score a request over a limit, by address and by e-mail; ban on each crossing of BAN_INTERVAL (librechat-wire 2.2, 2.3).

    A stranger can run up the score of an address's owner; so an e-mail's ban is only for the address that ran it up.
    """
    if score <= 0:
        return
    await audit.record(ctx, audit.Event.VIOLATION, None, kind)
    if not ctx.settings.limits.ban_violations:
        return
    address = network(ctx.client.address)
    interval = ctx.settings.limits.ban_interval
    keys = [f"{kind}:{address}", *([f"{kind}:{folded(email)}:{address}"] if email else [])]
    for key in keys:
        rule = Rule("violation", 1_000_000_000, DECAY)
        taken = None
        for _ in range(score):
            taken = await ctx.services.limits.take(rule, key, ctx.now)
        if taken is None:
            continue
        count = rule.capacity - taken.remaining
        if (count - score) // interval < count // interval:
            await add(ctx, ADDRESS, address, kind, ctx.now + micros(ctx.settings.limits.ban_duration))
            return


async def subject_of(ctx: Context, name: str) -> tuple[str, str]:
    """What an operator means: an account by e-mail or id, or a network address. Raises AccountGone."""
    with contextlib.suppress(ValueError):
        return ADDRESS, network(str(ipaddress.ip_address(name)))
    return ACCOUNT, (await accounts.named(ctx, name)).id
