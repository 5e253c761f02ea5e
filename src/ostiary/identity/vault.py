"""Vault rows: opaque to us, owned by the account, keyed by (owner, id), so that nobody's id can name another's row.

Rows are encrypted under the account's key. So every write holds the account first: a row written while the key changes would be
unreadable for ever.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from hashlib import sha256

import msgspec
from sqlalchemy import bindparam, delete, select, update

from ostiary.identity import accounts
from ostiary.identity.accounts import Account
from ostiary.identity.context import MICROSECONDS, Context, new_id
from ostiary.identity.refusals import CollectionGone, RowGone, RowLimitReached, RowRefused, RowsMismatched
from ostiary.storage.statements import Query, Statement
from ostiary.storage.tables import ciphers, collections


class Row(msgspec.Struct, frozen=True):
    """A row. `created` and `last_modified` are the client's (seconds); `written_at` is ours."""

    owner_id: str
    id: str
    type: int
    protected_data: str
    collection_id: str | None
    favorite: bool | int
    re_prompt: bool | int
    created: int
    last_modified: int
    written_at: int


class Collection(msgspec.Struct, frozen=True):
    """A name under which rows are kept; times are seconds."""

    owner_id: str
    id: str
    name: str
    created: int
    last_modified: int


class Rewritten(msgspec.Struct, frozen=True):
    """A row's contents under another key."""

    id: str
    data: str


MOST_DIGITS = 65536
"""Hex digits of one row's contents. The original declares a number that it never applied (librepass-wire 4)."""
_HEX = re.compile(r"[0-9a-f]+", re.ASCII | re.IGNORECASE)
_MUTABLE = [column.name for column in ciphers.c if column.name not in {"owner_id", "id"}]
_put = Statement(
    lambda insert: (
        statement := insert(ciphers).values({column.name: bindparam(column.name) for column in ciphers.c})
    ).on_conflict_do_update(index_elements=["owner_id", "id"], set_={name: statement.excluded[name] for name in _MUTABLE}),
)
_owned = ciphers.c.owner_id == bindparam("owner_id")
_all = Query(Row, select(ciphers).where(_owned).order_by(ciphers.c.created, ciphers.c.id))
_since = Query(
    Row,
    select(ciphers).where(_owned, ciphers.c.written_at >= bindparam("since")).order_by(ciphers.c.created, ciphers.c.id),
)
_one = Query(Row, select(ciphers).where(_owned, ciphers.c.id == bindparam("id")))
_ids = Query(str, select(ciphers.c.id).where(_owned).order_by(ciphers.c.created, ciphers.c.id))
_delete = Statement(delete(ciphers).where(ciphers.c.owner_id == bindparam("b_owner_id"), ciphers.c.id == bindparam("b_id")))
_rewrite = Statement(
    update(ciphers)
    .where(ciphers.c.owner_id == bindparam("b_owner_id"), ciphers.c.id == bindparam("b_id"))
    .values(protected_data=bindparam("data"), written_at=bindparam("now")),
)
_put_collection = Statement(
    lambda insert: (
        statement := insert(collections).values({column.name: bindparam(column.name) for column in collections.c})
    ).on_conflict_do_update(
        index_elements=["owner_id", "id"],
        set_={name: statement.excluded[name] for name in ("name", "last_modified")},
    ),
)
_in_collections = collections.c.owner_id == bindparam("owner_id")
_collections = Query(Collection, select(collections).where(_in_collections).order_by(collections.c.created, collections.c.id))
_collection = Query(Collection, select(collections).where(_in_collections, collections.c.id == bindparam("id")))
_delete_collection = Statement(
    delete(collections).where(collections.c.owner_id == bindparam("b_owner_id"), collections.c.id == bindparam("b_id")),
)


def check_contents(data: str) -> None:
    """Raises RowRefused unless a row may hold this."""
    if len(data) > MOST_DIGITS or not _HEX.fullmatch(data):
        raise RowRefused("contents")


async def listed(ctx: Context, owner_id: str, since: int = 0) -> list[Row]:
    """The account's rows, or those written in or after the second `since`.

    A row written in the same second as the client's last look is sent again rather than lost.
    """
    if since <= 0:
        return await ctx.db.all(_all, owner_id=owner_id)
    return await ctx.db.all(_since, owner_id=owner_id, since=since * MICROSECONDS)


async def one(ctx: Context, owner_id: str, row_id: str) -> Row:
    """Raises RowGone, alike for no row and another's row."""
    found = await ctx.db.one(_one, owner_id=owner_id, id=row_id)
    if found is None:
        raise RowGone
    return found


async def ids(ctx: Context, owner_id: str) -> list[str]:
    """The ids of the account's rows."""
    return await ctx.db.all(_ids, owner_id=owner_id)


async def write(ctx: Context, account: Account, rows: Sequence[Row], gone: Iterable[str] = ()) -> None:
    """Delete those ids, then put the rows in place, all or nothing. Raises RowLimitReached, SessionGone."""
    await accounts.hold(ctx, account)
    gone = set(gone)
    there = set(await ids(ctx, account.id)) - gone
    wanted = there | {row.id for row in rows}
    # Whoever is over a limit that was lowered may still edit, but not add.
    if len(wanted) > max(ctx.settings.librepass.max_ciphers, len(there)):
        raise RowLimitReached
    await ctx.db.run_many(_delete, [{"b_owner_id": account.id, "b_id": row_id} for row_id in gone])
    await ctx.db.run_many(_put, [msgspec.structs.asdict(row) for row in rows])


async def remove(ctx: Context, account: Account, row_id: str) -> None:
    """Raises RowGone, SessionGone."""
    await accounts.hold(ctx, account)
    if not await ctx.db.run(_delete, b_owner_id=account.id, b_id=row_id):
        raise RowGone


async def check_complete(ctx: Context, owner_id: str, rows: Sequence[Rewritten]) -> None:
    """Raises RowsMismatched unless these are the account's rows, each once: what is left out could never be read again."""
    offered = [row.id for row in rows]
    if len(offered) != len(set(offered)) or set(offered) != set(await ids(ctx, owner_id)):
        raise RowsMismatched


async def rewrite(ctx: Context, owner_id: str, rows: Sequence[Rewritten]) -> None:
    """Put the contents under the new key in place."""
    await ctx.db.run_many(_rewrite, [{"b_owner_id": owner_id, "b_id": row.id, "data": row.data, "now": ctx.now} for row in rows])


async def fingerprint(ctx: Context, owner_id: str) -> str:
    """Changes whenever a row comes, goes, or changes its contents."""
    digest = sha256()
    for row in sorted(await listed(ctx, owner_id), key=lambda row: row.id):
        digest.update(f"{row.id}:{len(row.protected_data)}:{row.protected_data}\n".encode())
    return digest.hexdigest()


async def all_collections(ctx: Context, owner_id: str) -> list[Collection]:
    """The account's collections."""
    return await ctx.db.all(_collections, owner_id=owner_id)


async def one_collection(ctx: Context, owner_id: str, collection_id: str) -> Collection:
    """Raises CollectionGone, alike for no collection and another's."""
    found = await ctx.db.one(_collection, owner_id=owner_id, id=collection_id)
    if found is None:
        raise CollectionGone
    return found


async def put_collection(ctx: Context, account: Account, collection_id: str | None, name: str) -> str:
    """Make or rename a collection; its id. Raises RowLimitReached, SessionGone."""
    await accounts.hold(ctx, account)
    there = {collection.id for collection in await all_collections(ctx, account.id)}
    used_id = collection_id or new_id()
    if used_id not in there and len(there) >= ctx.settings.librepass.max_ciphers:
        raise RowLimitReached
    seconds = ctx.now // MICROSECONDS
    fresh = Collection(account.id, used_id, name, seconds, seconds)
    await ctx.db.run(_put_collection, **msgspec.structs.asdict(fresh))
    return used_id


async def remove_collection(ctx: Context, account: Account, collection_id: str) -> None:
    """Forget the name; rows that carry its id stay as they are. Raises CollectionGone, SessionGone."""
    await accounts.hold(ctx, account)
    if not await ctx.db.run(_delete_collection, b_owner_id=account.id, b_id=collection_id):
        raise CollectionGone
