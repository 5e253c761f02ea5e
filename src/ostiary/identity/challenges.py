"""Challenges: pending sign-ins that owe a factor. Never a half-valid session; answered once, by deleting the row."""

from __future__ import annotations

import msgspec
from sqlalchemy import BigInteger, bindparam, delete, select, update

from ostiary.crypto.tokens import TokenHash
from ostiary.identity import accounts
from ostiary.identity.accounts import Account
from ostiary.identity.context import Client, Context, Services
from ostiary.identity.refusals import ProofRefused
from ostiary.identity.sessions import SessionRequest
from ostiary.storage import tables
from ostiary.storage.ids import ordered_id
from ostiary.storage.statements import Query, Statement
from ostiary.storage.tables import challenges

LIFE = 5 * 60 * 1_000_000
MOST_FAILURES = 5


class Challenge(msgspec.Struct, frozen=True):
    """A row; `config` is the SessionRequest that an answer will fulfil."""

    id: str
    account_id: str
    token_hash: bytes
    kind: str
    amr: str
    epoch: int
    failures: int
    config: str
    created_at: int
    expires_at: int


_insert = accounts.insert_while_there(challenges, tables.accounts.c.epoch == bindparam("epoch", type_=BigInteger))
_pending = Query(
    Challenge,
    select(challenges).where(
        challenges.c.token_hash == bindparam("token_hash"),
        challenges.c.expires_at > bindparam("now"),
        challenges.c.failures < MOST_FAILURES,
    ),
)
_hold = Statement(
    update(challenges)
    .where(challenges.c.id == bindparam("b_id"), challenges.c.failures < MOST_FAILURES)
    .values(failures=challenges.c.failures),
)
_take = Statement(delete(challenges).where(challenges.c.id == bindparam("b_id"), challenges.c.failures < MOST_FAILURES))
_fail = Statement(
    update(challenges).where(challenges.c.id == bindparam("b_id")).values(failures=challenges.c.failures + 1),
)
_sweep = Statement(delete(challenges).where(challenges.c.expires_at < bindparam("before")))


def browser_hash(services: Services, client: Client, secret: str) -> TokenHash:
    """What a browser's challenge is found by: its secret answers for the browser that began it, and no other."""
    return services.digester.digest("challenge", f"{secret}\0{client.user_agent}")


async def open_challenge(
    ctx: Context,
    account: Account,
    token_hash: TokenHash,
    amr: tuple[str, ...],
    request: SessionRequest,
) -> None:
    """Keep what the first proof earned until the factor is answered, at most five minutes.

    Raises ProofRefused when the account went, or its epoch was raised, since it was read.
    """
    touched = await ctx.db.run(
        _insert,
        id=ordered_id(ctx.now),
        account_id=account.id,
        token_hash=token_hash,
        kind=request.kind,
        amr=" ".join(amr),
        epoch=account.epoch,
        failures=0,
        config=msgspec.json.encode(request).decode(),
        created_at=ctx.now,
        expires_at=ctx.now + LIFE,
    )
    if not touched:
        raise ProofRefused("changed_meanwhile")


async def pending(ctx: Context, token_hash: TokenHash) -> Challenge | None:
    """The challenge that this token answers, if it still can be answered."""
    return await ctx.db.one(_pending, token_hash=token_hash, now=ctx.now)


async def hold(ctx: Context, challenge: Challenge) -> bool:
    """Keep it as it is until this unit ends: answers wait for one another. False when it can be answered no more."""
    return await ctx.db.run(_hold, b_id=challenge.id) == 1


async def take(ctx: Context, challenge: Challenge) -> bool:
    """Spend it; True for exactly one caller."""
    return await ctx.db.run(_take, b_id=challenge.id) == 1


async def fail(ctx: Context, challenge: Challenge) -> None:
    """Count a wrong answer; after MOST_FAILURES the challenge takes no more."""
    await ctx.db.run(_fail, b_id=challenge.id)


async def sweep(ctx: Context, before: int) -> int:
    """Delete what expired before then."""
    return await ctx.db.run(_sweep, before=before)
