"""Pictures of people, kept here: whoever looks at one tells nobody, and one that only a bearer opens can be seen at all."""

from __future__ import annotations

import msgspec
from sqlalchemy import bindparam, select

from ostiary.identity import accounts
from ostiary.identity.accounts import Account
from ostiary.identity.context import Context
from ostiary.storage.statements import Query, Statement
from ostiary.storage.tables import pictures as table

DAY = 24 * 3600 * 1_000_000
PATH = "/api/user/pictures/"
CHOSEN = "manual=true"
"""In a picture's address: the owner chose it, and no provider's takes its place (librechat-wire 8.4)."""
_ENDINGS = {"image/png": "png", "image/jpeg": "jpg", "image/gif": "gif", "image/webp": "webp"}


class Picture(msgspec.Struct, frozen=True):
    """A media type and the bytes."""

    media_type: str
    content: bytes


class Kept(msgspec.Struct, frozen=True):
    """A row; without a name it stands for a picture that could not be had."""

    account_id: str
    source: str
    name: str | None
    media_type: str | None
    content: bytes | None
    fetched_at: int


_of_account = Query(Kept, select(table).where(table.c.account_id == bindparam("account_id")))
_by_name = Query(Kept, select(table).where(table.c.name == bindparam("name")))
_VALUES = ("source", "name", "media_type", "content", "fetched_at")
_keep = Statement(
    lambda insert: (
        statement := insert(table).values({column.name: bindparam(column.name) for column in table.c})
    ).on_conflict_do_update(index_elements=["account_id"], set_={name: statement.excluded[name] for name in _VALUES}),
)


async def is_wanted(ctx: Context, account: Account, source: str) -> bool:
    """Whether the picture at this address should be fetched: not where the owner chose one, and not twice a day."""
    if CHOSEN in (account.avatar or ""):
        return False
    kept = await ctx.db.one(_of_account, account_id=account.id)
    return kept is None or kept.source != _digest(ctx, source.encode()) or kept.fetched_at <= ctx.now - DAY


async def keep(ctx: Context, account: Account, source: str, picture: Picture | None) -> None:
    """Make it the account's, if that is still there. None: it could not be had, so it has the provider's own address of it."""
    if not await accounts.stays(ctx, account.id):
        return
    name = None
    if picture is not None:
        name = f"{_digest(ctx, account.id.encode() + picture.content)}.{_ENDINGS[picture.media_type]}"
    await ctx.db.run(
        _keep,
        account_id=account.id,
        source=_digest(ctx, source.encode()),
        name=name,
        media_type=picture.media_type if picture is not None else None,
        content=picture.content if picture is not None else None,
        fetched_at=ctx.now,
    )
    address = f"{PATH}{name}?manual=false" if name else source
    if address != account.avatar:
        await accounts.change(ctx, account.id, "avatar", address)


async def by_name(ctx: Context, name: str) -> Picture | None:
    """The picture with this name. Whoever knows the name may see it: it cannot be guessed."""
    kept = await ctx.db.one(_by_name, name=name)
    if kept is None or kept.media_type is None or kept.content is None:
        return None
    return Picture(kept.media_type, kept.content)


def _digest(ctx: Context, text: bytes) -> str:
    return ctx.services.digester.digest("picture", text.hex()).hex()[:40]
