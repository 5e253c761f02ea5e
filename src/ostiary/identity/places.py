"""Known places: the household and the client that an account has signed in from. They outlive the sessions, as digests.

A client without cookies is known by them. They prove nothing; whoever comes from one has a budget of failures of its own.
"""

from __future__ import annotations

from sqlalchemy import bindparam, delete, select

from ostiary.identity.context import Context
from ostiary.storage.statements import Query, Statement
from ostiary.storage.tables import places

NOBODY = ""
_LENGTH = 12
NOTED_FOR = 24 * 3600 * 1_000_000
MOST_NOTED = 4096

_clients = Query(
    bytes,
    select(places.c.client).where(places.c.account_id == bindparam("account_id"), places.c.household == bindparam("household")),
)
_remember = Statement(
    lambda insert: (
        statement := insert(places).values({column.name: bindparam(column.name) for column in places.c})
    ).on_conflict_do_update(index_elements=["account_id", "household", "client"], set_={"seen_at": statement.excluded.seen_at}),
)
_sweep = Statement(delete(places).where(places.c.seen_at < bindparam("before")))


async def known(ctx: Context, account_id: str | None, household: str) -> str | None:
    """What the client's budget is keyed by, if the account has had a session from this household.

    A client that has been here before has one of its own; others share the household's. The same is asked for no account.
    """
    whose = account_id or NOBODY
    clients = await ctx.db.all(_clients, account_id=whose, household=_household(ctx, whose, household))
    client = _client(ctx, whose)
    if not clients:
        return None
    return f"{whose}@{household}" + (f" {client.hex()}" if client in clients else "")


def is_noted(ctx: Context, account_id: str, household: str) -> bool:
    """Whether this process has written within the day that this client was here: its row need be neither read nor written.

    The row may be gone sooner only with its account, whose id never comes back.
    """
    noted_at = ctx.services.noted_places.get(_whole(ctx, account_id, household))
    return noted_at is not None and noted_at <= ctx.now < noted_at + NOTED_FOR


async def remember(ctx: Context, account_id: str, household: str) -> None:
    """The account has a session from here, which is not noted yet."""
    whole, now = _whole(ctx, account_id, household), ctx.now
    row = {"household": _household(ctx, account_id, household), "client": _client(ctx, account_id)}
    await ctx.db.run(_remember, account_id=account_id, **row, seen_at=now)

    async def note() -> None:
        noted = ctx.services.noted_places
        noted.pop(whole, None)
        noted[whole] = now
        if len(noted) > MOST_NOTED:
            del noted[next(iter(noted))]

    ctx.afterwards.append(note)


async def sweep(ctx: Context, before: int) -> int:
    """Forget places where nobody has signed in since then."""
    return await ctx.db.run(_sweep, before=before)


def _household(ctx: Context, account_id: str, household: str) -> bytes:
    return ctx.services.digester.digest("household", f"{account_id} {household}")[:_LENGTH]


def _client(ctx: Context, account_id: str) -> bytes:
    return ctx.services.digester.digest("client", f"{account_id} {ctx.client.user_agent}")[:_LENGTH]


def _whole(ctx: Context, account_id: str, household: str) -> bytes:
    """What this process remembers a place and its client by: one digest, where a row has two."""
    return ctx.services.digester.digest("place", f"{account_id} {household} {ctx.client.user_agent}")
