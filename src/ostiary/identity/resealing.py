"""Sealing anew, in the background, what an earlier key of the ring sealed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec
from sqlalchemy import ColumnElement, Table, bindparam, select, update

from ostiary.crypto.sealing import SealBrokenError, Sealer, number_of
from ostiary.identity import credentials, key_ring, provider_sessions, public_keys
from ostiary.identity.context import Client, Services, begin
from ostiary.identity.key_ring import Purpose, Row
from ostiary.storage import tables
from ostiary.storage.statements import Query, Statement

AT_ONCE = 100
_NOBODY = Client("", "resealing")


class _Held(msgspec.Struct, frozen=True):
    """A row that holds something sealed: its key, whose it is, and the column."""

    id: str
    owner: str
    value: bytes | str


Renew = Callable[[Sealer, _Held], bytes | str | None]
"""The column's value sealed by the present key, or None when it is already, or cannot be opened."""


class _Column(msgspec.Struct, frozen=True):
    """A column of sealed values."""

    some: Query[_Held]
    put: Statement
    renewed: Renew


def _column(
    table: Table, value: str, owner: ColumnElement[str], where: ColumnElement[bool], renewed: Renew, key: str = "id"
) -> _Column:
    key_column, value_column = table.c[key], table.c[value]
    some = (
        select(key_column, owner, value_column).where(key_column > bindparam("after"), where).order_by(key_column).limit(AT_ONCE)
    )
    # Only over what was read: whoever wrote meanwhile sealed it themselves.
    put = (
        update(table).where(key_column == bindparam("b_id"), value_column == bindparam("b_old")).values({value: bindparam("new")})
    )
    return _Column(Query(_Held, some), Statement(put), renewed)


def _in_place(place: Callable[[_Held], str]) -> Renew:
    def renewed(sealer: Sealer, held: _Held) -> bytes | None:
        return _again(sealer, bytes(held.value), place(held)) if isinstance(held.value, bytes) else None

    return renewed


def _hint(sealer: Sealer, held: _Held) -> str | None:
    config = public_keys.decoded(held.value)
    if config.hint is None:
        return None
    renewed = _again(sealer, bytes.fromhex(config.hint), f"hint {held.owner}")
    return None if renewed is None else public_keys.encoded(msgspec.structs.replace(config, hint=renewed.hex()))


def _again(sealer: Sealer, sealed: bytes, place: str) -> bytes | None:
    if number_of(sealed) == sealer.number:
        return None
    try:
        return sealer.seal(sealer.open(sealed, place), place)
    except SealBrokenError:
        return None


_factors, _credentials, _outbox, _granted = tables.factors, tables.credentials, tables.outbox, tables.provider_sessions
COLUMNS = (
    _column(
        _factors, "config", _factors.c.account_id, _factors.c.config.is_not(None), _in_place(lambda held: f"totp {held.owner}")
    ),
    _column(_credentials, "config", _credentials.c.account_id, _credentials.c.kind == credentials.PUBLIC_KEY, _hint),
    _column(_outbox, "sealed", _outbox.c.id, _outbox.c.status != "sent", _in_place(lambda held: f"outbox {held.owner}")),
    _column(
        _granted,
        "sealed",
        _granted.c.account_id,
        _granted.c.holder.is_not(None),
        _in_place(lambda _held: provider_sessions.PLACE),
        key="holder",
    ),
)
"""Everything sealed that lives longer than the ten minutes of a sign-in elsewhere (`federation.flows`)."""


async def reseal(services: Services) -> int:
    """Seal by the present key whatever an earlier one sealed, some rows at a time; how many. Safe on several nodes at once."""
    return sum([await _reseal_column(services, column) for column in COLUMNS])


async def finish(services: Services, found: list[Row]) -> None:
    """A day after a sealing key took over: look once more, and if nothing is left under earlier keys, forget those."""
    row = key_ring.current(key_ring.of_purpose(services.keys, found, Purpose.SEALING), services.clock())
    if row is None or row.finished_at is not None or row.active_from + row.overlap > services.clock():
        return
    if await reseal(services) == 0:
        async with begin(services, _NOBODY) as ctx:
            await key_ring.finish(ctx, row)


async def _reseal_column(services: Services, column: _Column) -> int:
    after, done = "", 0
    while True:
        async with begin(services, _NOBODY) as ctx:
            held = await ctx.db.all(column.some, after=after)
            renewed = [(row, column.renewed(services.sealer, row)) for row in held]
            changed = [{"b_id": row.id, "b_old": row.value, "new": value} for row, value in renewed if value is not None]
            await ctx.db.run_many(column.put, changed)
        done += len(changed)
        if len(held) < AT_ONCE:
            return done
        after = held[-1].id
        # Requests come first.
        await asyncio.sleep(0)
