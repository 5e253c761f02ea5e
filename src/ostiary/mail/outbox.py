"""Mail as rows: written in the transaction that it speaks of, sent later, tried again, given up after a day.

A row holds links that give access, so its contents are sealed, and emptied once it is sent.
"""

from __future__ import annotations

import msgspec
from sqlalchemy import bindparam, delete, func, insert, or_, select, update

from ostiary.crypto.sealing import Sealer
from ostiary.mail.messages import Message
from ostiary.storage.database import Unit
from ostiary.storage.ids import ordered_id
from ostiary.storage.statements import Query, Statement
from ostiary.storage.tables import outbox

SECOND = 1_000_000
LEASE = 120 * SECOND
"""A sender that died is believed dead after this long."""
GIVE_UP_AFTER = 24 * 3600 * SECOND
KEEP_SENT = 7 * 24 * 3600 * SECOND


class DeliveryError(Exception):
    """A mail did not leave; the text says why and what to look at, without addresses."""


class Row(msgspec.Struct, frozen=True):
    """A row."""

    id: str
    kind: str
    status: str
    sealed: bytes
    attempts: int
    last_error: str | None
    created_at: int
    due_at: int
    sent_at: int | None


class Standing(msgspec.Struct, frozen=True):
    """How the queue stands: what waits and since when, how much of it failed before (one of the reasons), what was given up."""

    waiting: int
    oldest_at: int | None
    failing: int
    error: str | None
    given_up: int


_insert = Statement(insert(outbox).values({column.name: bindparam(column.name) for column in outbox.c}))
_due = Query(
    Row,
    select(outbox)
    .where(or_(outbox.c.status == "queued", outbox.c.status == "sending"), outbox.c.due_at <= bindparam("now"))
    .order_by(outbox.c.due_at, outbox.c.id)
    .limit(20),
)
_claim = Statement(
    update(outbox)
    .where(
        outbox.c.id == bindparam("b_id"),
        outbox.c.status == bindparam("b_status"),
        outbox.c.due_at == bindparam("b_due_at"),
    )
    .values(status="sending", due_at=bindparam("lease"), attempts=outbox.c.attempts + 1),
)
_sent = Statement(
    update(outbox)
    .where(outbox.c.id == bindparam("b_id"))
    .values(status="sent", sent_at=bindparam("now"), sealed=b"", last_error=None),
)
_again = Statement(
    update(outbox)
    .where(outbox.c.id == bindparam("b_id"))
    .values(status=bindparam("status"), due_at=bindparam("due"), last_error=bindparam("error")),
)
_retry = Statement(
    update(outbox)
    .where(or_(outbox.c.status == "queued", outbox.c.status == "abandoned"))
    .values(status="queued", due_at=bindparam("now")),
)
_listed = Query(Row, select(outbox).order_by(outbox.c.created_at.desc()).limit(bindparam("most")))
_waits = or_(outbox.c.status == "queued", outbox.c.status == "sending")
_standing = Query(
    Standing,
    select(
        func.count().filter(_waits),
        func.min(outbox.c.created_at).filter(_waits),
        func.count().filter(_waits, outbox.c.last_error.is_not(None)),
        func.max(outbox.c.last_error).filter(_waits),
        func.count().filter(outbox.c.status == "abandoned"),
    ).where(or_(_waits, outbox.c.status == "abandoned")),
)
_sweep = Statement(
    delete(outbox).where(
        or_(outbox.c.status == "sent", outbox.c.status == "abandoned"), outbox.c.created_at < bindparam("before")
    )
)


async def put(unit: Unit, sealer: Sealer, message: Message, now: int) -> None:
    """Queue a mail within the caller's transaction."""
    row_id = ordered_id(now)
    await unit.run(
        _insert,
        id=row_id,
        kind=message.template,
        status="queued",
        sealed=sealer.seal(msgspec.json.encode(message), f"outbox {row_id}"),
        attempts=0,
        last_error=None,
        created_at=now,
        due_at=now,
        sent_at=None,
    )


async def claim_due(unit: Unit, now: int) -> list[Row]:
    """Rows to send now; each is claimed by exactly one sender."""
    rows = await unit.all(_due, now=now)
    return [
        row for row in rows if await unit.run(_claim, b_id=row.id, b_status=row.status, b_due_at=row.due_at, lease=now + LEASE)
    ]


def opened(sealer: Sealer, row: Row) -> Message:
    """The mail in the row. Raises SealBrokenError."""
    return msgspec.json.decode(sealer.open(row.sealed, f"outbox {row.id}"), type=Message)


async def mark_sent(unit: Unit, row: Row, now: int) -> None:
    """It left: nothing of its contents stays."""
    await unit.run(_sent, b_id=row.id, now=now)


async def mark_failed(unit: Unit, row: Row, error: str, now: int) -> bool:
    """Try again later (1 s, 2 s, 4 s … 5 min); False when it is given up after a day."""
    is_over = now - row.created_at > GIVE_UP_AFTER
    wait = min(2 ** min(row.attempts, 9), 300) * SECOND
    await unit.run(_again, b_id=row.id, status="abandoned" if is_over else "queued", due=now + wait, error=error[:200])
    return not is_over


async def retry_all(unit: Unit, now: int) -> int:
    """Make everything that waits or was given up due now; how many."""
    return await unit.run(_retry, now=now)


async def listed(unit: Unit, most: int = 100) -> list[Row]:
    """The newest rows first."""
    return await unit.all(_listed, most=most)


async def standing(unit: Unit) -> Standing:
    """How the queue stands now."""
    found = await unit.one(_standing)
    return found if found is not None else Standing(0, None, 0, None, 0)


async def sweep(unit: Unit, now: int) -> int:
    """Delete what was sent or given up long ago."""
    return await unit.run(_sweep, before=now - KEEP_SENT)
