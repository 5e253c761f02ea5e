"""`/api/cipher` and `/api/collection` (librepass-wire 9.1): opaque rows, which clients cannot do without."""

from __future__ import annotations

from starlette.responses import Response

from ostiary.dialects.librepass import deps, errors, schemas
from ostiary.dialects.librepass.errors import BodyRefused, NothingThere
from ostiary.http.calls import Call, json_response
from ostiary.identity import throttle, vault
from ostiary.identity.context import Context
from ostiary.identity.refusals import CollectionRefused, RowLimitReached, RowRefused
from ostiary.identity.sessions import Principal


async def put_cipher(call: Call) -> Response:
    """Create or replace. As PATCH, the id in the path is not looked at."""
    async with call.begin() as ctx:
        who = await _reader(call, ctx)
        row = deps.read(call, schemas.Cipher).row(who.account.id, ctx.now)
        try:
            await vault.write(ctx, who.account, [row])
        except RowLimitReached as refusal:
            # One row at a time, the original gives the limit no words of its own.
            raise RowRefused("limit") from refusal
    return json_response({"id": row.id}, 201)


async def list_ciphers(call: Call) -> Response:
    """Every row."""
    async with call.begin() as ctx:
        who = await _reader(call, ctx)
        rows = await vault.listed(ctx, who.account.id)
    return json_response([schemas.cipher_json(row) for row in rows])


async def get_cipher(call: Call) -> Response:
    """One row of the caller's."""
    async with call.begin() as ctx:
        who = await _reader(call, ctx)
        row = await vault.one(ctx, who.account.id, deps.path_id(call))
    return json_response(schemas.cipher_json(row))


async def delete_cipher(call: Call) -> Response:
    """Remove one row of the caller's."""
    async with call.begin() as ctx:
        who = await _reader(call, ctx)
        row_id = deps.path_id(call)
        await vault.remove(ctx, who.account, row_id)
    return json_response({"id": row_id})


async def sync(call: Call) -> Response:
    """Delete, save, and answer with what the client lacks; every row is checked before anything is written."""
    async with call.begin() as ctx:
        who = await _reader(call, ctx)
        given = deps.read(call, schemas.Sync)
        rows = [cipher.row(who.account.id, ctx.now) for cipher in given.updated]
        if len({row.id for row in rows}) < len(rows):
            raise RowRefused("twice")
        if rows or given.deleted:
            await vault.write(ctx, who.account, rows, [row_id.lower() for row_id in given.deleted])
        return await _state(ctx, who, given.last_sync_timestamp)


async def sync_by_query(call: Call) -> Response:
    """The same with nothing to save."""
    async with call.begin() as ctx:
        who = await _reader(call, ctx)
        since = deps.required(call, "lastSync")
        if not (since.isascii() and since.isdigit() and len(since) <= len(str(schemas.LATEST_SECOND))):
            raise BodyRefused(errors.MISMATCH)
        return await _state(ctx, who, int(since))


async def icon(call: Call) -> Response:  # noqa: ARG001 - whatever is asked
    """Never: the original fetches from whichever host a stranger names."""
    raise NothingThere


async def put_collection(call: Call) -> Response:
    """Create or rename."""
    async with call.begin() as ctx:
        who = await _reader(call, ctx)
        given = deps.read(call, schemas.NewCollection)
        try:
            used_id = await vault.put_collection(ctx, who.account, given.id.lower() if given.id else None, given.name)
        except RowLimitReached as refusal:
            raise CollectionRefused("too many collections") from refusal
    return json_response({"id": used_id}, 201)


async def list_collections(call: Call) -> Response:
    """Every collection."""
    async with call.begin() as ctx:
        who = await _reader(call, ctx)
        found = await vault.all_collections(ctx, who.account.id)
    return json_response([schemas.collection_json(collection) for collection in found])


async def get_collection(call: Call) -> Response:
    """One collection of the caller's."""
    async with call.begin() as ctx:
        who = await _reader(call, ctx)
        found = await vault.one_collection(ctx, who.account.id, deps.path_id(call))
    return json_response(schemas.collection_json(found))


async def delete_collection(call: Call) -> Response:
    """Remove the name; rows keep the id that they carry."""
    async with call.begin() as ctx:
        who = await _reader(call, ctx)
        collection_id = deps.path_id(call)
        await vault.remove_collection(ctx, who.account, collection_id)
    return json_response({"id": collection_id})


async def _reader(call: Call, ctx: Context) -> Principal:
    """Who acts, within the vault's bucket (section 10)."""
    who = await deps.principal(call, ctx)
    await throttle.take(ctx, ctx.services.rules.vault, f"account {who.account.id}")
    return who


async def _state(ctx: Context, who: Principal, since: int) -> Response:
    rows = await vault.listed(ctx, who.account.id, since)
    known = await vault.ids(ctx, who.account.id)
    return json_response({"ids": known, "ciphers": [schemas.cipher_json(row) for row in rows]})
