"""Bans: shut out by decision, of an operator or of the violation counter. In the database, so that no restart lifts one."""

from __future__ import annotations

import contextlib
import ipaddress

import msgspec
from sqlalchemy import ColumnElement, FromClause, and_, bindparam, delete, or_, select

from ostiary.identity import accounts, audit, devices, sessions
from ostiary.identity.accounts import Arrival, Candidate
from ostiary.identity.context import Context, micros, new_id
from ostiary.identity.refusals import Banned
from ostiary.identity.throttle import folded, network
from ostiary.limits.store import Rule
from ostiary.storage.statements import Query, Statement
from ostiary.storage.tables import bans

ACCOUNT = "account"
ADDRESS = "address"
EARNED = "earned"
"""Of an address as well, by the violations of whoever is behind it."""
OPERATOR, LIMITS = "operator", "limits"
DECAY = 24 * 3600 * 1_000_000
"""Violations older than this are forgotten."""
MOST_TOLD = 10
"""Violations of one network that the audit is told in a quarter of an hour; all of them are scored."""


class Ban(msgspec.Struct, frozen=True):
    """A row. Without `expires_at` it lasts until it is lifted."""

    id: str
    kind: str
    subject: str
    reason: str
    created_at: int
    expires_at: int | None


class _Arriving(msgspec.Struct, frozen=True):
    """Whom an identifier names, or a neighbour of theirs, and whether the network is banned."""

    candidate: Candidate
    is_shut_out: bool


def _arriving_of(*row: object) -> _Arriving:
    return _Arriving(accounts.candidate_of(*row[:-1]), row[-1] is not None)


_put = Statement(
    lambda insert: (
        statement := insert(bans).values({column.name: bindparam(column.name) for column in bans.c})
    ).on_conflict_do_update(
        index_elements=["kind", "subject"],
        set_={name: statement.excluded[name] for name in ("reason", "created_at", "expires_at")},
    ),
)


def _lasts(ban: FromClause) -> ColumnElement[bool]:
    return or_(ban.c.expires_at.is_(None), ban.c.expires_at > bindparam("now"))


def _is_of_network(ban: FromClause) -> ColumnElement[bool]:
    return and_(or_(ban.c.kind == ADDRESS, ban.c.kind == EARNED), ban.c.subject == bindparam("network"), _lasts(ban))


_find = Query(Ban, select(bans).where(bans.c.kind == bindparam("kind"), bans.c.subject == bindparam("subject"), _lasts(bans)))
# In the order of their kinds: what an operator decided comes first.
_find_address = Query(Ban, select(bans).where(_is_of_network(bans)).order_by(bans.c.kind).limit(1))
_network_bans = bans.alias("network_bans")
_arriving = Query(
    _arriving_of,
    accounts.CANDIDATE.add_columns(_network_bans.c.id.label("shut_out")).outerjoin(_network_bans, _is_of_network(_network_bans)),
)
_list = Query(Ban, select(bans).where(_lasts(bans)).order_by(bans.c.created_at))
_lift = Statement(delete(bans).where(bans.c.kind == bindparam("b_kind"), bans.c.subject == bindparam("b_subject")))
_sweep = Statement(delete(bans).where(bans.c.expires_at < bindparam("before")))


async def check_address(ctx: Context, account_id: str | None = None) -> None:
    """Raises Banned when the client's address is shut out.

    What strangers earned for an address that many share does not shut out a device that this account knows: it may go on to prove
    that it is the owner's, within a budget of its own. An operator's ban is for everybody.
    """
    ban = await ctx.db.one(_find_address, network=network(ctx.client.address), now=ctx.now)
    if ban is not None and not (ban.kind == EARNED and account_id is not None and await _is_let_past(ctx, account_id)):
        seldom = audit.Seldom(ban.id, period=DECAY)
        await audit.tell(ctx, audit.Event.BAN_MET, seldom, None, ban.reason, kind=ADDRESS, subject=ban.subject)
        raise Banned("address", ban.expires_at)


async def _is_let_past(ctx: Context, account_id: str) -> bool:
    device = devices.known(ctx, account_id)
    return device is not None and (await ctx.services.limits.take(ctx.services.rules.ban_device, device, ctx.now)).is_allowed


async def check_arrival(ctx: Context, email: object, kind: str) -> Arrival:
    """As `check_address`, and in the same statement whom the identifier names, for `sign_in`. Raises Banned."""
    # What no address can be is looked for as the empty one: the statement is the same, whoever asks.
    address = accounts.canonical(email) if isinstance(email, str) and email.isprintable() else ""
    found = await ctx.db.one(_arriving, email=address, kind=kind, network=network(ctx.client.address), now=ctx.now)
    # As in `accounts.candidate`: for an address that nobody has, another's row was read, and none only where nobody has any.
    whom = found.candidate if found is not None and found.candidate.account.email == address else None
    if found is None or found.is_shut_out:
        await check_address(ctx, whom.account.id if whom is not None else None)
    return Arrival(address, kind, whom)


async def add(ctx: Context, kind: str, subject: str, reason: str, expires_at: int | None, *, by: str = OPERATOR) -> Ban:
    """Shut out, from now on: an account's sessions end with this transaction. `by` is who decided it, for the audit."""
    ban, before = Ban(new_id(), kind, subject, reason, ctx.now, expires_at), await of(ctx, kind, subject)
    if kind == ACCOUNT:
        await sessions.end_all(ctx, subject)
    await ctx.db.run(_put, **msgspec.structs.asdict(ban))
    # Whoever goes on knocking is banned anew without end; the audit has been told.
    if by == OPERATOR or before is None:
        whom = subject if kind == ACCOUNT else None
        await audit.record(ctx, audit.Event.BANNED, whom, reason, kind=shown(kind), subject=subject, by=by, until=expires_at or 0)
    return ban


async def lift(ctx: Context, kind: str, subject: str) -> bool:
    """Let in again; False when there was no ban."""
    kinds = (ADDRESS, EARNED) if kind == ADDRESS else (kind,)
    lifted = sum([await ctx.db.run(_lift, b_kind=each, b_subject=subject) for each in kinds])
    if lifted:
        await audit.record(ctx, audit.Event.BAN_LIFTED, subject if kind == ACCOUNT else None, kind=kind, subject=subject)
    return lifted > 0


async def of(ctx: Context, kind: str, subject: str) -> Ban | None:
    """The ban in force of an account's id or of a network, if there is one."""
    return await ctx.db.one(_find, kind=kind, subject=subject, now=ctx.now)


async def in_force(ctx: Context) -> list[Ban]:
    """All bans, the oldest first."""
    return await ctx.db.all(_list, now=ctx.now)


def shown(kind: str) -> str:
    """The kind for people: of an account, or of an address."""
    return ADDRESS if kind == EARNED else kind


async def sweep(ctx: Context, before: int) -> int:
    """Delete what expired before then."""
    return await ctx.db.run(_sweep, before=before)


async def violation(ctx: Context, kind: str, score: int, email: str | None = None) -> None:
    """Score a request over a limit, by address and by e-mail; ban on each crossing of BAN_INTERVAL (librechat-wire 2.2, 2.3).

    A stranger can run up the score of an address's owner; so an e-mail's ban is only for the address that ran it up.
    """
    if score <= 0:
        return
    address = network(ctx.client.address)
    await audit.tell(ctx, audit.Event.VIOLATION, audit.Seldom(address, most=MOST_TOLD), None, kind)
    if not ctx.settings.limits.ban_violations:
        return
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
            # A row of its own: going on knocking must not shorten what an operator decided.
            await add(ctx, EARNED, address, kind, ctx.now + micros(ctx.settings.limits.ban_duration), by=LIMITS)
            return


async def subject_of(ctx: Context, name: str) -> tuple[str, str]:
    """What an operator means: an account by e-mail or id, or a network address. Raises AccountGone."""
    with contextlib.suppress(ValueError):
        return ADDRESS, network(str(ipaddress.ip_address(name)))
    return ACCOUNT, (await accounts.named(ctx, name)).id
