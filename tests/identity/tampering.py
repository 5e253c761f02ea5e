"""What somebody with the database and without the root key can do to the audit: each returns the numbers that must be named."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from sqlalchemy import delete, insert, select, update

from ostiary.identity.audit import AuditEvent
from ostiary.identity.audit_chain import MARKER
from ostiary.identity.context import Context, new_id
from ostiary.storage.statements import Query, Statement
from ostiary.storage.tables import audit_events, markers

Tampering = Callable[[Context, list[AuditEvent], int], Awaitable[set[int | str]]]
_events = audit_events.c


async def rows_of(ctx: Context) -> list[AuditEvent]:
    """The linked rows, in order."""
    return await ctx.db.all(
        Query(AuditEvent, select(audit_events).where(_events.position.is_not(None)).order_by(_events.position)),
    )


async def put(ctx: Context, row: AuditEvent) -> None:
    """Insert this very row."""
    await ctx.db.run(Statement(insert(audit_events).values(**msgspec.structs.asdict(row))))


async def alter(ctx: Context, row: AuditEvent, **values: Any) -> None:
    """Give one row other values."""
    await ctx.db.run(Statement(update(audit_events).where(_events.id == row.id).values(**values)))


async def write_ends(ctx: Context, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the record of the chain's ends."""
    text = await ctx.db.one(Query(str, select(markers.c.value).where(markers.c.name == MARKER)))
    record = msgspec.json.decode(text or "{}")
    change(record)
    await ctx.db.run(
        Statement(update(markers).where(markers.c.name == MARKER).values(value=msgspec.json.encode(record).decode()))
    )


def changed(name: str, value: object) -> Tampering:
    """Another value in one column."""

    async def tamper(ctx: Context, rows: list[AuditEvent], which: int) -> set[int | str]:
        await alter(ctx, rows[which], **{name: value})
        return {_number(rows[which])}

    return tamper


async def removed(ctx: Context, rows: list[AuditEvent], which: int) -> set[int | str]:
    await ctx.db.run(Statement(delete(audit_events).where(_events.id == rows[which].id)))
    return {_number(rows[which])}


async def removed_and_renumbered(ctx: Context, rows: list[AuditEvent], which: int) -> set[int | str]:
    await removed(ctx, rows, which)
    for row in rows[which + 1 :]:
        await alter(ctx, row, position=_number(row) - 1)
    return {_number(rows[-1])}


async def cut_off(ctx: Context, rows: list[AuditEvent], which: int) -> set[int | str]:
    await ctx.db.run(Statement(delete(audit_events).where(_events.position >= rows[which].position)))
    return {_number(row) for row in rows[which:]}


async def cut_off_with_the_head(ctx: Context, rows: list[AuditEvent], which: int) -> set[int | str]:
    await cut_off(ctx, rows, which)
    last = rows[which - 1]
    head = {"position": _number(last), "link": (last.link or b"").hex(), "at": last.at}
    await write_ends(ctx, lambda record: record["ends"].update(head=head))
    return {"ends"}


async def cut_off_at_the_beginning(ctx: Context, rows: list[AuditEvent], which: int) -> set[int | str]:
    await ctx.db.run(Statement(delete(audit_events).where(_events.position <= rows[which].position)))
    return {_number(row) for row in rows[: which + 1]}


async def exchanged(ctx: Context, rows: list[AuditEvent], which: int) -> set[int | str]:
    one, other = rows[which], rows[(which + 1) % len(rows)]
    await alter(ctx, one, position=-1)
    await alter(ctx, other, position=_number(one), link=one.link)
    await alter(ctx, one, position=_number(other), link=other.link)
    return {_number(one), _number(other)}


async def unlinked(ctx: Context, rows: list[AuditEvent], which: int) -> set[int | str]:
    await alter(ctx, rows[which], position=None, link=None)
    return {_number(rows[which])}


async def forged(ctx: Context, rows: list[AuditEvent], which: int) -> set[int | str]:
    """A row that waits to be linked like those that the server wrote, with a true row's seal."""
    row = msgspec.structs.replace(rows[which], id=new_id(), position=None, link=None)
    await put(ctx, row)
    return {row.id}


async def unsealed(ctx: Context, rows: list[AuditEvent], which: int) -> set[int | str]:
    """A row like those of before the chain."""
    row = msgspec.structs.replace(rows[which], id=new_id(), seal=None, position=None, link=None)
    await put(ctx, row)
    return {row.id}


async def appended(ctx: Context, rows: list[AuditEvent], which: int) -> set[int | str]:
    row = msgspec.structs.replace(rows[which], id=new_id(), position=_number(rows[-1]) + 1)
    await put(ctx, row)
    return {_number(row)}


async def prepended(ctx: Context, rows: list[AuditEvent], which: int) -> set[int | str]:
    row = msgspec.structs.replace(rows[which], id=new_id(), position=_number(rows[0]) - 1)
    await put(ctx, row)
    return {_number(row)}


async def without_ends(ctx: Context, _rows: list[AuditEvent], _which: int) -> set[int | str]:
    await ctx.db.run(Statement(delete(markers).where(markers.c.name == MARKER)))
    return {"ends"}


async def reopened(ctx: Context, rows: list[AuditEvent], which: int) -> set[int | str]:
    """So that unsealed rows would be taken in once more."""
    await unsealed(ctx, rows, which)
    await write_ends(ctx, lambda record: record["ends"].update(is_open=True))
    return {"ends"}


TAMPERINGS: dict[str, Tampering] = {
    "another event": changed("event", "account:deleted"),
    "another time": changed("at", 1),
    "another account": changed("account_id", "b0a1f1d2-0000-4000-8000-000000000000"),
    "another reason": changed("reason", "operator"),
    "another address": changed("address", "203.0.113.99"),
    "another client": changed("user_agent", "curl"),
    "another request": changed("request_id", "0"),
    "another device": changed("device", "0123456789ab"),
    "another detail": changed("detail", '{"amr":"otp"}'),
    "another seal": changed("seal", b"0" * 32),
    "no seal": changed("seal", None),
    "another link": changed("link", b"0" * 32),
    "removed": removed,
    "removed and renumbered": removed_and_renumbered,
    "cut off": cut_off,
    "cut off with the head": cut_off_with_the_head,
    "cut off at the beginning": cut_off_at_the_beginning,
    "exchanged": exchanged,
    "unlinked": unlinked,
    "forged": forged,
    "unsealed": unsealed,
    "appended": appended,
    "prepended": prepended,
    "without ends": without_ends,
    "reopened": reopened,
}


def _number(row: AuditEvent) -> int:
    assert row.position is not None
    return row.position
