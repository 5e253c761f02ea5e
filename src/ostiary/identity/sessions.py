"""Sessions: the authenticated state. A browser's session is a refresh family with one deadline; a key's session has one key.

A refresh token is (session, generation) under two signatures; nothing of it is stored. Rotation raises the generation in one
conditional UPDATE. A token rotated within the grace still answers, with the family's newest token, so that two tabs and a lost
reply log nobody out; after the grace its return ends the family (RFC 9700 section 4.14.2).
"""

from __future__ import annotations

import contextlib
import hmac
from functools import partial
from typing import Literal

import msgspec
from sqlalchemy import BigInteger, LargeBinary, bindparam, delete, exists, or_, select, update

from ostiary.crypto.tokens import TokenHash
from ostiary.identity import accounts, audit, notices
from ostiary.identity.accounts import Account
from ostiary.identity.context import Client, Context, Services, begin, micros
from ostiary.identity.refusals import ProofRefused, RefreshReused, SessionGone
from ostiary.storage import tables
from ostiary.storage.database import UnavailableError
from ostiary.storage.ids import ordered_id
from ostiary.storage.statements import Query, Statement

BROWSER: Literal["browser"] = "browser"
KEY: Literal["key"] = "key"
TOUCH_EVERY = 5 * 60 * 1_000_000
"""A key session notes its use when the address changed or this long passed (librepass-wire 11)."""
MOST_ROTATIONS = 16
TRIES = 4
SWEEP_STEP = 200


class Session(msgspec.Struct, frozen=True):
    """A row."""

    id: str
    account_id: str
    kind: str
    token_hash: bytes | None
    amr: str
    epoch: int
    generation: int
    rotations: str
    handshake_epoch: int | None
    last_step: int
    address: str
    user_agent: str
    created_at: int
    proved_at: int
    last_used_at: int
    expires_at: int
    revoked_at: int | None


class Principal(msgspec.Struct, frozen=True):
    """Who acts in this request: a live session and its account."""

    session: Session
    account: Account


class SessionRequest(msgspec.Struct, frozen=True):
    """What kind of session a sign-in wants. `token_hash` is its key's, or what a browser shows our pages (`page_hash`).

    `handshake_epoch` is a key session's.
    """

    kind: Literal["browser", "key"]
    token_hash: TokenHash | None = None
    handshake_epoch: int | None = None
    last_step: int = 0


class Refreshed(msgspec.Struct, frozen=True):
    """The family's newest token: its session as it stands now, and when that token came to be (microseconds)."""

    principal: Principal
    issued_at: int


_sessions, _accounts = tables.sessions, tables.accounts
_WIDTH = len(_sessions.c)


def _principal(*row: object) -> Principal:
    return Principal(Session(*row[:_WIDTH]), Account(*row[_WIDTH:]))  # type: ignore[arg-type]


def _live(*where: object) -> Query[Principal]:
    return Query(
        _principal,
        select(*_sessions.c, *accounts.COLUMNS)
        .join_from(_sessions, _accounts, _accounts.c.id == _sessions.c.account_id)
        .where(
            *where,  # type: ignore[arg-type]
            _sessions.c.revoked_at.is_(None),
            _sessions.c.expires_at > bindparam("now"),
            _sessions.c.epoch == _accounts.c.epoch,
        ),
    )


_by_id = _live(_sessions.c.id == bindparam("id"), _sessions.c.kind == BROWSER)
_by_token = _live(
    _sessions.c.token_hash == bindparam("token_hash"),
    _sessions.c.kind == KEY,
    _sessions.c.last_used_at > bindparam("idle_since"),
)
_by_page_token = _live(_sessions.c.token_hash == bindparam("token_hash"), _sessions.c.kind == BROWSER)
_of_account = Query(
    Session,
    select(_sessions)
    .join_from(_sessions, _accounts, _accounts.c.id == _sessions.c.account_id)
    .where(
        _sessions.c.account_id == bindparam("account_id"),
        _sessions.c.revoked_at.is_(None),
        _sessions.c.expires_at > bindparam("now"),
        _sessions.c.epoch == _accounts.c.epoch,
        or_(_sessions.c.kind == BROWSER, _sessions.c.last_used_at > bindparam("idle_since")),
    )
    .order_by(_sessions.c.last_used_at.desc(), _sessions.c.id),
)
_TYPES = {"handshake_epoch": BigInteger, "token_hash": LargeBinary, "revoked_at": BigInteger}
_open = accounts.insert_while_there(_sessions, _accounts.c.epoch == bindparam("epoch", type_=BigInteger))
_rotate = Statement(
    update(_sessions)
    .where(
        _sessions.c.id == bindparam("b_id"),
        _sessions.c.generation == bindparam("b_generation"),
        _sessions.c.revoked_at.is_(None),
        exists().where(_accounts.c.id == _sessions.c.account_id, _accounts.c.epoch == _sessions.c.epoch),
    )
    .values(generation=_sessions.c.generation + 1, rotations=bindparam("new_rotations"), last_used_at=bindparam("now")),
)
_end = Statement(
    update(_sessions)
    .where(
        _sessions.c.id == bindparam("b_id"),
        _sessions.c.account_id == bindparam("b_account_id"),
        _sessions.c.revoked_at.is_(None),
    )
    .values(revoked_at=bindparam("now")),
)
_keep = Statement(
    update(_sessions)
    .where(
        _sessions.c.id == bindparam("b_id"),
        _sessions.c.account_id == bindparam("b_account_id"),
        _sessions.c.epoch == bindparam("b_epoch"),
        _sessions.c.revoked_at.is_(None),
    )
    .values(epoch=bindparam("new_epoch")),
)
_touch = Statement(
    update(_sessions)
    .where(_sessions.c.id == bindparam("b_id"), accounts.there(_sessions.c.account_id))
    .values(last_used_at=bindparam("now"), address=bindparam("new_address")),
)
_oldest = (
    select(_sessions.c.id)
    .where(
        _sessions.c.account_id == bindparam("b_account_id"),
        _sessions.c.epoch == bindparam("b_epoch"),
        _sessions.c.revoked_at.is_(None),
    )
    .order_by(_sessions.c.created_at.desc())
    .offset(bindparam("keep"))
    .limit(1000)
)
_evict = Statement(update(_sessions).where(_sessions.c.id.in_(_oldest.scalar_subquery())).values(revoked_at=bindparam("now")))
_spend_step = Statement(
    update(_sessions).where(_sessions.c.id == bindparam("b_id"), _sessions.c.last_step == bindparam("step")).values(last_step=0),
)
_note_step = Statement(update(_sessions).where(_sessions.c.id == bindparam("b_id")).values(last_step=bindparam("step")))
_has_ended = or_(_sessions.c.expires_at < bindparam("before"), _sessions.c.revoked_at < bindparam("before"))
_next_to_sweep = Query(
    lambda session_id, has_ended: (session_id, bool(has_ended)),
    select(_sessions.c.id, _has_ended).where(_sessions.c.id > bindparam("after")).order_by(_sessions.c.id).limit(SWEEP_STEP),
)
_delete_ended = Statement(delete(_sessions).where(_sessions.c.id == bindparam("b_id"), _has_ended))


async def open_session(
    ctx: Context, account: Account, request: SessionRequest, amr: tuple[str, ...], *, live: int = 0
) -> Session:
    """A new session, unless the account's epoch was raised since it was read (then ProofRefused). `live` is how many it has."""
    durations = ctx.settings.sessions
    life = micros(durations.key_max_age if request.kind == KEY else durations.refresh_life)
    session = Session(
        id=ordered_id(ctx.now),
        account_id=account.id,
        kind=request.kind,
        token_hash=request.token_hash,
        amr=" ".join(amr),
        epoch=account.epoch,
        generation=0,
        rotations="[]",
        handshake_epoch=request.handshake_epoch,
        last_step=request.last_step,
        address=ctx.client.address,
        user_agent=ctx.client.user_agent[:256],
        created_at=ctx.now,
        proved_at=ctx.now,
        last_used_at=ctx.now,
        expires_at=ctx.now + life,
        revoked_at=None,
    )
    if not await ctx.db.run(_open, **msgspec.structs.asdict(session)):
        raise ProofRefused("changed_meanwhile")
    if live >= durations.per_account:
        await ctx.db.run(_evict, b_account_id=account.id, b_epoch=account.epoch, keep=durations.per_account, now=ctx.now)
    return session


async def by_id(ctx: Context, session_id: str) -> Principal | None:
    """The live browser session with this id."""
    return await ctx.db.one(_by_id, id=session_id, now=ctx.now)


async def by_token(ctx: Context, token_hash: TokenHash) -> Principal | None:
    """The live key session with this key; its use is noted now and then."""
    principal = await ctx.db.one(_by_token, token_hash=token_hash, now=ctx.now, idle_since=_idle_since(ctx))
    return await _touched(ctx, principal)


async def by_page_token(ctx: Context, token_hash: TokenHash) -> Principal | None:
    """The live browser session that shows our pages this token; its use is noted now and then."""
    return await _touched(ctx, await ctx.db.one(_by_page_token, token_hash=token_hash, now=ctx.now))


async def _touched(ctx: Context, principal: Principal | None) -> Principal | None:
    if principal is None:
        return None
    session = principal.session
    if session.address != ctx.client.address or ctx.now - session.last_used_at >= TOUCH_EVERY:
        ctx.afterwards.append(partial(_note_use, ctx.services, ctx.client, session.id))
    return principal


async def _note_use(services: Services, client: Client, session_id: str) -> None:
    """In a unit of its own: one that wrote the session and then held its account would meet a step-up head-on."""
    # What the caller came for is done and durable: a note that cannot be written now takes none of it back.
    with contextlib.suppress(UnavailableError):
        async with begin(services, client) as ctx:
            await ctx.db.run(_touch, b_id=session_id, now=ctx.now, new_address=client.address)


async def of_account(ctx: Context, account_id: str) -> list[Session]:
    """The account's live sessions, the last used first."""
    return await ctx.db.all(_of_account, account_id=account_id, now=ctx.now, idle_since=_idle_since(ctx))


def key_hash(services: Services, key: str) -> TokenHash:
    """What is stored of a session's key, whether it still waits for a factor or opens doors already."""
    return services.digester.digest("key", key)


def page_hash(services: Services, token: str) -> TokenHash:
    """What is stored of the token that a browser shows our pages: never one of a key, whatever its text."""
    return services.digester.digest("page", token)


def refresh_tag(services: Services, session_id: str, generation: int) -> str:
    """What a refresh token must carry besides its signature: nobody without the root key can make it."""
    return services.digester.digest("refresh", f"{session_id}.{generation}").hex()[:32]


async def rotate(ctx: Context, session_id: str, account_id: str, generation: int, tag: str, *, advance: bool = True) -> Refreshed:
    """The family's next token for its newest one; the newest again for one rotated within the grace.

    Without `advance` the newest stays the newest. Raises SessionGone, or RefreshReused after ending the family and telling the
    owner.
    """
    if not hmac.compare_digest(tag.encode(), refresh_tag(ctx.services, session_id, generation).encode()):
        raise SessionGone("forged")
    await ctx.db.start()
    for _ in range(TRIES):
        principal = await by_id(ctx, session_id)
        if principal is None or principal.account.id != account_id:
            raise SessionGone("no_session")
        session = principal.session
        rotations: list[int] = msgspec.json.decode(session.rotations)
        if generation == session.generation:
            if not advance:
                return Refreshed(principal, rotations[0] if rotations else session.created_at)
            if (refreshed := await _advance(ctx, principal, rotations)) is not None:
                return refreshed
            continue
        behind = session.generation - 1 - generation
        grace = micros(ctx.settings.sessions.refresh_grace)
        if 0 <= behind < len(rotations) and ctx.now - rotations[behind] <= grace:
            return Refreshed(principal, rotations[0])
        if await accounts.stays(ctx, account_id) and await end(ctx, session):
            await audit.record(ctx, audit.Event.REFRESH_REUSED, account_id, "generation_spent", behind=behind + 1)
            await notices.warn(ctx, "refresh_reused", principal.account)
        raise RefreshReused
    raise SessionGone("contended")


async def _advance(ctx: Context, principal: Principal, rotations: list[int]) -> Refreshed | None:
    session = principal.session
    since = ctx.now - micros(ctx.settings.sessions.refresh_grace)
    kept = [ctx.now, *[at for at in rotations[: MOST_ROTATIONS - 1] if at >= since]]
    encoded = msgspec.json.encode(kept).decode()
    if not await ctx.db.run(_rotate, b_id=session.id, b_generation=session.generation, new_rotations=encoded, now=ctx.now):
        return None
    advanced = msgspec.structs.replace(session, generation=session.generation + 1, rotations=encoded, last_used_at=ctx.now)
    return Refreshed(msgspec.structs.replace(principal, session=advanced), ctx.now)


async def end(ctx: Context, session: Session) -> bool:
    """End one session; False when it had ended."""
    return await ctx.db.run(_end, b_id=session.id, b_account_id=session.account_id, now=ctx.now) == 1


async def end_by_id(ctx: Context, account_id: str, session_id: str) -> bool:
    """End the account's session with this id; False when it has none such."""
    return await ctx.db.run(_end, b_id=session_id, b_account_id=account_id, now=ctx.now) == 1


async def end_all(ctx: Context, account_id: str, *, keep: str | None = None) -> None:
    """End every session and pending sign-in of the account, except the session with this id, if it lives."""
    epoch = await accounts.raise_epoch(ctx, account_id)
    if keep is not None:
        # Only a session of the epoch that just ended: one that an earlier event killed must not come back to life.
        await ctx.db.run(_keep, b_id=keep, b_account_id=account_id, b_epoch=epoch - 1, new_epoch=epoch)


async def spend_step(ctx: Context, session: Session, step: int) -> bool:
    """Use the session's memory of the TOTP step that it signed in with: once."""
    return await ctx.db.run(_spend_step, b_id=session.id, step=step) == 1


async def note_step(ctx: Context, session: Session, step: int) -> None:
    """Let the session use a TOTP step that it has just proved once more."""
    await ctx.db.run(_note_step, b_id=session.id, step=step)


async def sweep(ctx: Context, before: int, after: str) -> str:
    """Of the next SWEEP_STEP sessions behind this id delete those that ended before then; the last id, "" when there are no more.

    No index knows when sessions end: each sign-in and each refresh would pay for it. A look at all at once would hold up
    everybody where there are many.
    """
    found = await ctx.db.all(_next_to_sweep, after=after, before=before)
    ended = [session_id for session_id, has_ended in found if has_ended]
    if ended:
        await ctx.db.run_many(_delete_ended, [{"b_id": session_id, "before": before} for session_id in ended])
    return found[-1][0] if len(found) == SWEEP_STEP else ""


def _idle_since(ctx: Context) -> int:
    return ctx.now - micros(ctx.settings.sessions.key_idle)
