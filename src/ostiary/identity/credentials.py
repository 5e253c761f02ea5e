"""Credentials: what is stored in order to check a proof. One table for all kinds, so that a new kind needs no migration."""

from __future__ import annotations

import msgspec
from sqlalchemy import bindparam, delete, insert, select, update

from ostiary.identity.context import Context, new_id
from ostiary.storage.statements import Query, Statement
from ostiary.storage.tables import credentials

PASSWORD = "password"  # noqa: S105 - a kind, not a password
PUBLIC_KEY = "public_key"
FEDERATED = "federated"


class Credential(msgspec.Struct, frozen=True):
    """A row; `config` is JSON whose shape the kind knows."""

    id: str
    account_id: str
    kind: str
    identifier: str | None
    config: str
    version: int
    created_at: int
    last_used_at: int | None


_insert = Statement(insert(credentials).values({column.name: bindparam(column.name) for column in credentials.c}))
_of_account = Query(
    Credential,
    select(credentials).where(credentials.c.account_id == bindparam("account_id"), credentials.c.kind == bindparam("kind")),
)
_all_of_account = Query(
    Credential,
    select(credentials).where(credentials.c.account_id == bindparam("account_id")).order_by(credentials.c.created_at),
)
_by_identifier = Query(
    Credential,
    select(credentials).where(credentials.c.kind == bindparam("kind"), credentials.c.identifier == bindparam("identifier")),
)
_replace = Statement(
    update(credentials)
    .where(credentials.c.account_id == bindparam("b_account_id"), credentials.c.kind == bindparam("b_kind"))
    .values(config=bindparam("new_config"), version=credentials.c.version + 1),
)
_renew = Statement(
    update(credentials)
    .where(credentials.c.id == bindparam("b_id"), credentials.c.config == bindparam("old_config"))
    .values(config=bindparam("new_config")),
)
_delete = Statement(
    delete(credentials).where(credentials.c.account_id == bindparam("b_account_id"), credentials.c.kind == bindparam("b_kind")),
)


async def add(ctx: Context, account_id: str, kind: str, config: str, identifier: str | None = None) -> None:
    """Store a credential of a fresh account."""
    await ctx.db.run(
        _insert,
        id=new_id(),
        account_id=account_id,
        kind=kind,
        identifier=identifier,
        config=config,
        version=1,
        created_at=ctx.now,
        last_used_at=None,
    )


async def of_account(ctx: Context, account_id: str, kind: str) -> Credential | None:
    """The account's credential of this kind."""
    return await ctx.db.one(_of_account, account_id=account_id, kind=kind)


async def all_of_account(ctx: Context, account_id: str) -> list[Credential]:
    """Every credential of the account, the oldest first."""
    return await ctx.db.all(_all_of_account, account_id=account_id)


async def by_identifier(ctx: Context, kind: str, identifier: str) -> Credential | None:
    """The credential that an issuer knows by this identifier."""
    return await ctx.db.one(_by_identifier, kind=kind, identifier=identifier)


async def replace(ctx: Context, account_id: str, kind: str, config: str) -> None:
    """The owner chose another: put it in the old one's place, or add it."""
    if not await ctx.db.run(_replace, b_account_id=account_id, b_kind=kind, new_config=config):
        await add(ctx, account_id, kind, config)


async def renew(ctx: Context, credential_id: str, old_config: str, config: str) -> None:
    """The same proof stored better (a stronger hash), unless it was replaced meanwhile."""
    await ctx.db.run(_renew, b_id=credential_id, old_config=old_config, new_config=config)


async def remove(ctx: Context, account_id: str, kind: str) -> None:
    """Forget it."""
    await ctx.db.run(_delete, b_account_id=account_id, b_kind=kind)
