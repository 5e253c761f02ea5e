"""The audit's chain: sealed rows are given numbers and linked in order, so that none can be removed, moved or put in unnoticed.

A row is linked seconds after it was written, by whichever node comes first; a request pays for its row's seal alone. The chain's
two ends are signed and kept apart from the rows: the head, so that rows cannot be cut off at the end, and the floor, up to which
retention has swept. What this proves, and what only a head kept elsewhere proves, says docs/decisions/011-audit-chain.md.
"""

from __future__ import annotations

import hmac
from collections.abc import AsyncIterator, Sequence
from itertools import takewhile

import msgspec
from sqlalchemy import BigInteger, LargeBinary, and_, bindparam, delete, func, or_, select, update

from ostiary.identity import audit
from ostiary.identity.audit import AuditEvent
from ostiary.identity.audit_walk import Finding, Place, Walk, is_sealed, link_of
from ostiary.identity.context import Client, Context, Services, begin
from ostiary.storage.statements import Query, Statement
from ostiary.storage.tables import audit_events, markers

BATCH = 32
"""So many rows at most are linked or swept in one transaction: on SQLite that holds the loop and the writer for a millisecond."""
PAGE = 256
"""So many rows are read at once when they are only looked at."""
MARKER = "audit_chain"


class BrokenChainError(Exception):
    """The chain's ends are missing or not as this deployment signed them (the argument): nothing can be linked or swept."""


class Ends(msgspec.Struct, frozen=True):
    """Where the chain begins and ends. While it `is_open`, unsealed rows of before the chain are taken in as they are."""

    floor: Place
    head: Place
    is_open: bool


class Verdict(msgspec.Struct, frozen=True):
    """What a verification saw. Rows that wait have their seals, and no number yet; `unknown` heads lie below what was swept."""

    findings: tuple[Finding, ...]
    checked: int
    waiting: int
    waiting_since: int | None
    ends: Ends | None
    unknown: tuple[Place, ...] = ()


class Standing(msgspec.Struct, frozen=True):
    """How the chain stands: its head (None before the first server ran), and how many rows wait for their place, since when."""

    head: Place | None
    waiting: int
    waiting_since: int | None


class _Signed(msgspec.Struct, frozen=True):
    ends: Ends
    signature: str


_events = audit_events.c
_marker = Query(str, select(markers.c.value).where(markers.c.name == MARKER))
_begin = Statement(
    lambda insert_or: (
        insert_or(markers)
        .values(name=MARKER, value=bindparam("value"), created_at=bindparam("now"))
        .on_conflict_do_nothing(index_elements=["name"])
    ),
)
_move = Statement(
    update(markers).where(markers.c.name == MARKER, markers.c.value == bindparam("b_value")).values(value=bindparam("new_value")),
)
_forget = Statement(delete(markers).where(markers.c.name == MARKER))
_unlinked = Query(
    AuditEvent,
    select(audit_events)
    .where(
        _events.position.is_(None),
        or_(_events.at > bindparam("at"), and_(_events.at == bindparam("at"), _events.id > bindparam("id"))),
    )
    .order_by(_events.at, _events.id)
    .limit(bindparam("most")),
)
_after = Query(
    AuditEvent,
    select(audit_events).where(_events.position > bindparam("position")).order_by(_events.position).limit(bindparam("most")),
)
_waiting: Query[tuple[int, int | None]] = Query(
    lambda count, since: (count, since), select(func.count(), func.min(_events.at)).where(_events.position.is_(None))
)
_last = Query(int, select(_events.position).where(_events.position.is_not(None)).order_by(_events.position.desc()).limit(1))
_below = Query(
    AuditEvent,
    select(audit_events).where(_events.position <= bindparam("position")).order_by(_events.position).limit(PAGE),
)
_link = Statement(
    update(audit_events)
    .where(_events.id == bindparam("b_id"), _events.position.is_(None))
    .values(
        seal=bindparam("new_seal", type_=LargeBinary),
        position=bindparam("new_position", type_=BigInteger),
        link=bindparam("new_link", type_=LargeBinary),
    ),
)
_delete = Statement(delete(audit_events).where(_events.position <= bindparam("position")))
_take_apart = Statement(update(audit_events).values(seal=None, position=None, link=None))


async def link_waiting(services: Services, client: Client) -> Place:
    """Link what waits, the oldest first, some at a time; the head that follows. Raises BrokenChainError."""
    while True:
        async with begin(services, client) as ctx:
            linked, head = await _link_some(ctx)
        if linked < BATCH:
            return head


async def sweep(services: Services, client: Client, before: int) -> int:
    """Delete linked rows from the chain's beginning while they are older; how many. The floor follows, so that the rest verifies.

    Rows are looked at before they go: what does not fit is told by an event. Raises BrokenChainError.
    """
    swept = 0
    while True:
        async with begin(services, client) as ctx:
            some = await _sweep_some(ctx, before)
        swept += some
        if some < BATCH:
            return swept


async def verify(ctx: Context, heads: Sequence[Place] = ()) -> Verdict:
    """Look at every row, while the server goes on; changes nothing. `heads` are what earlier verifications or the log printed."""
    # In this order: rows are numbered and the head is moved in one transaction, so a number seen now has its head a moment later.
    last = await ctx.db.one(_last) or 0
    try:
        ends = await _ends(ctx)
        findings: list[Finding] = []
    except BrokenChainError as error:
        ends, findings = None, [Finding("ends", reason=str(error))]
    walk = Walk(ctx.services, ends.floor if ends else None)
    unseen = {head.position: head for head in heads}
    async for place in _walked(ctx, walk, ends.head.position if ends else last):
        given = unseen.pop(place.position, place)
        if given.link != place.link:
            findings.append(_not_the_head(given))
    findings += walk.findings
    if ends is not None:
        findings += await _beyond(ctx, ends, walk, last)
        findings += [_not_the_head(head) for head in unseen.values() if head.position > ends.head.position]
    waiting, since, foreign = await _look_at_waiting(ctx, is_open=ends is not None and ends.is_open)
    unknown = tuple(head for head in unseen.values() if ends is None or head.position <= ends.head.position)
    return Verdict((*findings, *foreign), walk.checked, waiting, since, ends, unknown)


async def standing(ctx: Context) -> Standing:
    """How the chain stands, without a look at its rows. Raises BrokenChainError."""
    text = await ctx.db.one(_marker)
    waiting, since = await ctx.db.one(_waiting) or (0, None)
    return Standing(_decoded(ctx, text).head if text is not None else None, waiting, since)


async def restart(ctx: Context) -> int:
    """Begin a new chain with the rows as they are: nothing before vouches for them any more. How many rows were numbered."""
    await ctx.db.run(_forget)
    taken_apart = await ctx.db.run(_take_apart)
    await audit.record(ctx, audit.Event.CHAIN_RESTARTED, None, "operator", rows=taken_apart)
    return taken_apart


async def _link_some(ctx: Context) -> tuple[int, Place]:
    text = await ctx.db.one(_marker)
    rows = await ctx.db.all(_unlinked, at=-1, id="", most=BATCH)
    if text is None:
        ends = await _first_ends(ctx)
        text = _encoded(ctx, ends)
        if not await ctx.db.run(_begin, value=text, now=ctx.now):
            # Another node was quicker: there is more to do, on another look.
            return BATCH, ends.head
    else:
        ends = _decoded(ctx, text)
    is_open = ends.is_open and len(rows) == BATCH
    if not rows and is_open == ends.is_open:
        return 0, ends.head
    position, link = ends.head.position, bytes.fromhex(ends.head.link)
    linked, foreign = [], []
    for row in rows:
        seal = row.seal
        if seal is None and ends.is_open:
            seal = audit.seal_of(ctx.services, row)
        elif not is_sealed(ctx.services, row):
            foreign.append(row.id)
        position += 1
        link = link_of(ctx.services, position, link, seal or b"")
        linked.append({"b_id": row.id, "new_seal": seal, "new_position": position, "new_link": link})
    head = Place(position, link.hex(), ctx.now)
    # Whoever moves the head has the turn: it is the first write, and everybody else's comes to nothing.
    if not await ctx.db.run(_move, b_value=text, new_value=_encoded(ctx, Ends(ends.floor, head, is_open))):
        return BATCH, ends.head
    await ctx.db.run_many(_link, linked)
    for row_id in foreign:
        await audit.record(ctx, audit.Event.CHAIN_BROKEN, None, "foreign", row=row_id)
    return len(rows), head


async def _sweep_some(ctx: Context, before: int) -> int:
    text = await ctx.db.one(_marker)
    if text is None:
        return 0
    ends = _decoded(ctx, text)
    rows = await ctx.db.all(_after, position=ends.floor.position, most=BATCH)
    old = list(takewhile(lambda row: row.at < before and (row.position or 0) <= ends.head.position, rows))
    if not old:
        return 0
    walk = Walk(ctx.services, ends.floor)
    for row in old:
        walk.step(row)
    if not await ctx.db.run(_move, b_value=text, new_value=_encoded(ctx, Ends(walk.place, ends.head, ends.is_open))):
        return 0
    await ctx.db.run(_delete, position=walk.place.position)
    for found in walk.findings:
        await audit.record(
            ctx, audit.Event.CHAIN_BROKEN, None, found.kind, first=found.first or 0, last=found.last or 0, swept=True
        )
    return len(old)


async def _walked(ctx: Context, walk: Walk, until: int) -> AsyncIterator[Place]:
    """Every place up to that number, the floor first."""
    yield walk.place
    while walk.place.position < until:
        rows = await ctx.db.all(_after, position=walk.place.position, most=PAGE)
        if not rows or rows[0].position != walk.place.position + 1:
            floor = await _floor(ctx)
            if floor is not None and floor.position > walk.place.position:
                walk.resume(floor)
                continue
        if not rows:
            break
        for row in rows[: max(1, until - walk.place.position)]:
            walk.step(row)
            yield walk.place


async def _beyond(ctx: Context, ends: Ends, walk: Walk, last: int) -> list[Finding]:
    """What the chain's ends say against the rows that are there."""
    findings = []
    if walk.place.position < ends.head.position:
        findings.append(Finding("removed", walk.place.position + 1, ends.head.position, walk.place.at, ends.head.at))
    elif walk.place.position == ends.head.position and walk.place.link != ends.head.link and not walk.findings:
        findings.append(Finding("moved", walk.place.position, walk.place.position, None, ends.head.at))
    if last > ends.head.position:
        findings.append(Finding("foreign", ends.head.position + 1, last, ends.head.at))
    below = await ctx.db.all(_below, position=ends.floor.position)
    if below:
        named = tuple(row.id for row in below)
        findings.append(Finding("foreign", below[0].position, below[-1].position, None, ends.floor.at, named))
    return findings


async def _look_at_waiting(ctx: Context, *, is_open: bool) -> tuple[int, int | None, list[Finding]]:
    count, since, findings = 0, None, []
    at, row_id = -1, ""
    while rows := await ctx.db.all(_unlinked, at=at, id=row_id, most=PAGE):
        for row in rows:
            count += 1
            since = row.at if since is None else since
            if not is_sealed(ctx.services, row) and not (is_open and row.seal is None):
                findings.append(Finding("foreign", after=row.at, before=row.at, rows=(row.id,)))
        at, row_id = rows[-1].at, rows[-1].id
    return count, since, findings


async def _first_ends(ctx: Context) -> Ends:
    if await ctx.db.one(_last) is not None:
        raise BrokenChainError("missing")
    nowhere = Place(0, "", ctx.now)
    return Ends(nowhere, nowhere, is_open=True)


async def _ends(ctx: Context) -> Ends:
    text = await ctx.db.one(_marker)
    if text is None:
        raise BrokenChainError("missing")
    return _decoded(ctx, text)


async def _floor(ctx: Context) -> Place | None:
    try:
        return (await _ends(ctx)).floor
    except BrokenChainError:
        return None


def _not_the_head(head: Place) -> Finding:
    return Finding("ends", head.position, head.position, reason="head")


def _encoded(ctx: Context, ends: Ends) -> str:
    return msgspec.json.encode(_Signed(ends, _signature(ctx, ends))).decode()


def _decoded(ctx: Context, text: str) -> Ends:
    try:
        signed = msgspec.json.decode(text, type=_Signed)
    except msgspec.DecodeError as error:
        raise BrokenChainError("changed") from error
    if not hmac.compare_digest(signed.signature.encode(), _signature(ctx, signed.ends).encode()):
        raise BrokenChainError("changed")
    return signed.ends


def _signature(ctx: Context, ends: Ends) -> str:
    return ctx.services.digester.digest("audit ends", msgspec.json.encode(ends).decode()).hex()
