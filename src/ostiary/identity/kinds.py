"""Which first proof a sign-in page asks for at an address: the password, or a key made from it in the browser.

A page must know before anything is sent, since a key account's password never leaves the browser; and a stranger may ask. So
every address has a kind, whether somebody has an account there or not (docs/decisions/012-kinds.md).
"""

from __future__ import annotations

import hmac

import msgspec
from sqlalchemy import Text, and_, bindparam, or_, select

from ostiary.identity import accounts, credentials, devices
from ostiary.identity.context import Context
from ostiary.identity.public_keys import DEFAULTS, Parameters, decoded
from ostiary.storage import tables
from ostiary.storage.statements import Query

_MARK_LENGTH = 24


class FirstProof(msgspec.Struct, frozen=True):
    """The kind of credential to prove, and how a key would be derived; the latter is there for every kind."""

    kind: str
    parameters: Parameters
    is_known: bool
    """Whether the account has signed in from this device before, which no stranger's has."""


class _Held(msgspec.Struct, frozen=True):
    """An address, its credential if it has one, and whether the address is verified."""

    email: str
    account_id: str
    kind: str | None
    config: str | None
    verified_at: int | None


_local = and_(
    tables.credentials.c.account_id == tables.accounts.c.id,
    or_(tables.credentials.c.kind == credentials.PASSWORD, tables.credentials.c.kind == credentials.PUBLIC_KEY),
)
_held_nearest_email = Query(
    _Held,
    select(
        tables.accounts.c.email,
        tables.accounts.c.id,
        tables.credentials.c.kind,
        tables.credentials.c.config,
        tables.accounts.c.verified_at,
    )
    .select_from(tables.accounts.outerjoin(tables.credentials, _local))
    .where(accounts.is_nearest(bindparam("email", type_=Text)))
    .order_by(tables.credentials.c.kind)
    .limit(1),
)


async def of_address(ctx: Context, email: str, mark: str = "") -> FirstProof:
    """What to ask for at this address. It is the same for a stranger's every question until somebody can sign in there.

    An account whose owner must verify the address first counts as none: else registering somebody's address, which answers
    alike for a free one and a taken one, and asking again would tell which it was. `mark` is what the registering browser keeps.
    """
    address = accounts.canonical(email)
    held = None if "\0" in email else await ctx.db.one(_held_nearest_email, email=address)
    if held and (held.email != address or (held.verified_at is None and ctx.settings.requires_verification)):
        held = None
    made_up = _made_up(ctx, email)
    kind = held.kind if held and held.kind else made_up
    if hmac.compare_digest(mark.encode(), mark_of(ctx, email).encode()):
        kind = credentials.PUBLIC_KEY
    is_key = held is not None and held.kind == credentials.PUBLIC_KEY
    parameters = decoded(held.config or "").parameters if held and is_key else DEFAULTS
    is_here = devices.known(ctx, held.account_id if held else "") is not None
    return FirstProof(kind, parameters, is_here and held is not None and held.kind is not None)


def mark_of(ctx: Context, email: str) -> str:
    """What a browser keeps that asked for a key account at this address: by it the address is of that kind, there and then."""
    return ctx.services.digester.digest("key sign-up", accounts.canonical(email)).hex()[:_MARK_LENGTH]


def _made_up(ctx: Context, email: str) -> str:
    # A coin for each address that never falls anew. Even odds, whatever the true ones are: so no answer more than doubles the
    # odds of an account, and none changes as other accounts come and go.
    digest = ctx.services.digester.digest("kind", accounts.canonical(email))
    return credentials.PUBLIC_KEY if digest[0] & 1 else credentials.PASSWORD
