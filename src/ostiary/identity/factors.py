"""Second factors: what a code may be, and the one place where an answer is checked, counted and spent."""

from __future__ import annotations

from functools import partial

import msgspec
from sqlalchemy import bindparam, delete, insert, select, update

from ostiary.identity import audit, notices, throttle
from ostiary.identity.accounts import Account
from ostiary.identity.context import Client, Context, Services, begin, new_id
from ostiary.identity.refusals import FactorAbsent, FactorLocked, Throttled
from ostiary.storage.statements import Query, Statement
from ostiary.storage.tables import factors

TOTP = "totp"
TOTP_PENDING = "totp_pending"
BACKUP_CODE = "backup_code"
BACKUP_CODE_PENDING = "backup_code_pending"
MOST_CONSECUTIVE_FAILURES = 100
"""After so many wrong codes in a row the factor takes no more (NIST SP 800-63B-4 section 3.2.2)."""


class TOTPCode(msgspec.Struct, frozen=True):
    """Six digits from an authenticator."""

    code: str


class BackupCode(msgspec.Struct, frozen=True):
    """One of the codes kept for a lost authenticator."""

    code: str


class AnyCode(msgspec.Struct, frozen=True):
    """Either; the wire does not say which."""

    code: str


FactorProof = TOTPCode | BackupCode | AnyCode


class Enrolment(msgspec.Struct, frozen=True):
    """A row."""

    id: str
    account_id: str
    kind: str
    identifier: bytes | None
    config: bytes | None
    version: int
    last_step: int
    failures: int
    created_at: int
    confirmed_at: int | None
    last_used_at: int | None
    used_at: int | None


insert_row = Statement(insert(factors).values({column.name: bindparam(column.name) for column in factors.c}))
_of_kind = Query(
    Enrolment,
    select(factors)
    .where(factors.c.account_id == bindparam("account_id"), factors.c.kind == bindparam("kind"))
    .order_by(factors.c.created_at, factors.c.id),
)
delete_kind = Statement(
    delete(factors).where(factors.c.account_id == bindparam("b_account_id"), factors.c.kind == bindparam("b_kind")),
)
promote_kind = Statement(
    update(factors)
    .where(factors.c.account_id == bindparam("b_account_id"), factors.c.kind == bindparam("b_kind"))
    .values(kind=bindparam("new_kind"), confirmed_at=bindparam("now")),
)
_claim_try = Query(
    int,
    update(factors)
    .where(
        factors.c.account_id == bindparam("b_account_id"),
        factors.c.kind == TOTP,
        factors.c.failures < MOST_CONSECUTIVE_FAILURES,
    )
    .values(failures=factors.c.failures + 1)
    .returning(factors.c.failures),
)
_give_back = Statement(
    update(factors)
    .where(factors.c.account_id == bindparam("b_account_id"), factors.c.kind == TOTP, factors.c.failures > 0)
    .values(failures=factors.c.failures - 1),
)
_forgive = Statement(
    update(factors)
    .where(factors.c.account_id == bindparam("b_account_id"), factors.c.kind == TOTP, factors.c.failures > 0)
    .values(failures=0),
)


def row(
    account_id: str, kind: str, now: int, *, identifier: bytes | None = None, config: bytes | None = None
) -> dict[str, object]:
    """The values of a fresh row."""
    return {
        "id": new_id(),
        "account_id": account_id,
        "kind": kind,
        "identifier": identifier,
        "config": config,
        "version": 1,
        "last_step": 0,
        "failures": 0,
        "created_at": now,
        "confirmed_at": None,
        "last_used_at": None,
        "used_at": None,
    }


async def of_kind(ctx: Context, account_id: str, kind: str) -> list[Enrolment]:
    """The account's enrolments of one kind."""
    return await ctx.db.all(_of_kind, account_id=account_id, kind=kind)


async def count_try(ctx: Context, account: Account) -> None:
    """Count a try in a while, before it is looked at and before the first write: counters may be in Redis. Raises Throttled."""
    if not ctx.settings.limits.lockout:
        return
    taken = await throttle.take_of_account(ctx, ctx.services.rules.factor_account, account.id, account.id)
    if not taken.is_allowed:
        seldom = audit.Seldom(account.id, period=taken.rule.period)
        await audit.tell(ctx, audit.Event.FACTOR_TURNED_AWAY, seldom, account.id, taken.rule.name)
        ctx.services.metrics.refuse(taken.rule.name, ctx.now)
        raise Throttled(taken)


async def claim_try(ctx: Context, account: Account) -> int:
    """Count a try of the live factor as failed before it is looked at; how many there are in a row with this one.

    Tries at the same moment take turns until this unit ends, so that together they get no more than their number.
    Raises FactorLocked, FactorAbsent.
    """
    tries = await ctx.db.run_returning(_claim_try, b_account_id=account.id)
    if tries is not None:
        return tries
    if not await of_kind(ctx, account.id, TOTP):
        raise FactorAbsent
    ctx.afterwards.append(partial(_tell_locked, ctx.services, ctx.client, account.id))
    raise FactorLocked


async def _tell_locked(services: Services, client: Client, account_id: str) -> None:
    """In a unit of its own: what counts how often it is told may be in Redis, and the one that was refused has written."""
    async with begin(services, client) as ctx:
        await audit.tell(ctx, audit.Event.FACTOR_TURNED_AWAY, audit.Seldom(account_id), account_id, FactorLocked.code)


async def failed(ctx: Context, account: Account, tries: int) -> None:
    """The try was wrong, and stays counted; the owner is told of the last that is taken."""
    if tries == MOST_CONSECUTIVE_FAILURES:
        await audit.record(ctx, audit.Event.FACTOR_LOCKED, account.id, "too_many_failures")
        await notices.warn(ctx, "factor_locked", account)


async def give_back(ctx: Context, account: Account) -> None:
    """The try was right and proves nothing: it does not count, and failures before it stand."""
    await ctx.db.run(_give_back, b_account_id=account.id)


async def succeeded(ctx: Context, account: Account) -> None:
    """A right code: failures before it are forgotten."""
    forget_tries(ctx, account)
    await forgive(ctx, account.id)


def forget_tries(ctx: Context, account: Account) -> None:
    """Begin the limit on tries anew, once the unit is durable."""
    ctx.afterwards.append(partial(ctx.services.limits.forget, ctx.services.rules.factor_account, account.id))


async def forgive(ctx: Context, account_id: str) -> None:
    """Open a factor that too many wrong codes had closed; the limit on tries in a while stays."""
    await ctx.db.run(_forgive, b_account_id=account_id)
