"""The key ring: keys that `ostiary keys rotate` put in the place of those in the settings, shared by all nodes as sealed rows.

A new key waits before it takes over, so that every node knows it by then; what earlier keys signed or sealed stays good for as
long as it can be in use. So nobody's request fails, whichever node answers it (docs/decisions/009-key-ring.md).
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Sequence
from enum import StrEnum
from functools import partial

import msgspec
from sqlalchemy import bindparam, delete, insert, select, update

from ostiary.crypto.keys import Keys, derive
from ostiary.crypto.sealing import SealBrokenError, Sealer
from ostiary.identity import audit
from ostiary.identity.context import Client, Context, Services, begin, micros, new_id
from ostiary.settings import Settings, SettingsError
from ostiary.storage.statements import Query, Statement
from ostiary.storage.tables import key_ring

SECOND = 1_000_000
LOOK_SECONDS = 3
"""How often a running server looks for new keys."""
WAIT = 15 * SECOND
"""How long a new key waits: several looks of every node, and clocks that differ a little."""
DAY = 24 * 3600 * SECOND
_NOBODY = Client("", "key ring")


class Purpose(StrEnum):
    """What a root is for."""

    SEALING = "sealing"
    ACCESS = "access-tokens"
    REFRESH = "refresh-tokens"
    HANDSHAKE = "handshake"


class RotationUnderWayError(Exception):
    """Keys made lately have not taken over yet; the argument is when they will (microseconds)."""


class Row(msgspec.Struct, frozen=True):
    """A row."""

    id: str
    purpose: str
    number: int
    secret: bytes
    base: str
    created_at: int
    active_from: int
    overlap: int
    finished_at: int | None


_insert = Statement(insert(key_ring).values({column.name: bindparam(column.name) for column in key_ring.c}))
_all = Query(Row, select(key_ring).order_by(key_ring.c.purpose, key_ring.c.number))
_finish = Statement(
    update(key_ring)
    .where(key_ring.c.id == bindparam("b_id"), key_ring.c.finished_at.is_(None))
    .values(finished_at=bindparam("now"))
)
_drop = Statement(
    delete(key_ring).where(
        key_ring.c.purpose == bindparam("b_purpose"),
        key_ring.c.number < bindparam("b_number"),
        key_ring.c.base == bindparam("b_base"),
    )
)


async def rows(ctx: Context) -> list[Row]:
    """All keys of the ring, by purpose and number."""
    return await ctx.db.all(_all)


async def refresh(services: Services) -> list[Row]:
    """Let the services use what the ring holds now. Raises SettingsError when the root key does not open it."""
    async with begin(services, _NOBODY) as ctx:
        found = await rows(ctx)
    for purpose in Purpose:
        _apply(services, purpose, of_purpose(services.keys, found, purpose), ctx.now)
    return found


def of_purpose(keys: Keys, found: Sequence[Row], purpose: Purpose) -> list[Row]:
    """The purpose's keys that came after the secret that the settings give now.

    Whoever puts another secret into the settings wants that one: keys that came after the former one are out of use.
    """
    base = _fingerprint(keys, purpose)
    return [row for row in found if row.purpose == purpose and row.base == base]


def current(found: Sequence[Row], now: int) -> Row | None:
    """The key in use; None for the one in the settings."""
    return next((row for row in reversed(found) if row.active_from <= now), None)


def good_until(found: Sequence[Row], number: int) -> int | None:
    """When this key, replaced by later ones, stops being good; None while nothing replaces it. For tokens' keys."""
    return min((row.active_from + row.overlap for row in found if row.number > number), default=None)


async def rotate(ctx: Context, purposes: Collection[Purpose], *, at_once: bool = False) -> list[Row]:
    """Make a fresh key for each purpose. `at_once`: access tokens signed until now are refused from now on.

    Raises RotationUnderWayError.
    """
    found = await rows(ctx)
    if waiting := [row.active_from for row in found if row.active_from > ctx.now and row.purpose in set(purposes)]:
        raise RotationUnderWayError(max(waiting))
    made = []
    for purpose in purposes:
        number = max((row.number for row in found if row.purpose == purpose), default=0) + 1
        is_forced = at_once and purpose is Purpose.ACCESS
        row = Row(
            id=new_id(),
            purpose=purpose.value,
            number=number,
            secret=_wrapper(ctx.services.keys).seal(secrets.token_hex(32).encode(), _place(purpose, number)),
            base=_fingerprint(ctx.services.keys, purpose),
            created_at=ctx.now,
            active_from=ctx.now if is_forced else ctx.now + WAIT,
            overlap=0 if is_forced else _overlap(ctx.settings, purpose),
            finished_at=None,
        )
        await ctx.db.run(_insert, **msgspec.structs.asdict(row))
        made.append(row)
    await audit.record(ctx, audit.Event.KEYS_ROTATED, None, "at_once" if at_once else "", purposes=" ".join(purposes))
    return made


async def finish(ctx: Context, row: Row) -> None:
    """Nothing is left under keys before this sealing key: forget them."""
    await ctx.db.run(_finish, b_id=row.id, now=ctx.now)
    await ctx.db.run(_drop, b_purpose=row.purpose, b_number=row.number, b_base=row.base)


async def sweep(ctx: Context) -> None:
    """Forget keys whose tokens and sessions have all ended. Sealing keys go when nothing is sealed by them (`finish`)."""
    found = await rows(ctx)
    for purpose in (Purpose.ACCESS, Purpose.REFRESH, Purpose.HANDSHAKE):
        mine = of_purpose(ctx.services.keys, found, purpose)
        used = current(mine, ctx.now)
        if used is not None and used is not mine[0] and used.active_from + used.overlap <= ctx.now:
            await ctx.db.run(_drop, b_purpose=used.purpose, b_number=used.number, b_base=used.base)


def _apply(services: Services, purpose: Purpose, found: list[Row], now: int) -> None:
    keys = services.keys
    opened = {row.number: _opened(keys, row) for row in found}
    used = current(found, now)
    number = used.number if used else 0
    match purpose:
        case Purpose.SEALING:
            services.sealer.use({each: derive(secret, "sealing") for each, secret in opened.items()}, number)
        case Purpose.HANDSHAKE:
            later: list[tuple[int, Callable[[str], bytes]]] = [
                (row.active_from, partial(derive, opened[row.number])) for row in found
            ]
            services.handshake.use(later)
        case Purpose.ACCESS | Purpose.REFRESH:
            every = {0: _base(keys, purpose), **opened}
            others = [secret for each, secret in every.items() if each != number and (good_until(found, each) or now + 1) > now]
            signer = services.access_tokens if purpose is Purpose.ACCESS else services.refresh_tokens
            signer.use(every[number], others[::-1])


def _opened(keys: Keys, row: Row) -> bytes:
    try:
        return _wrapper(keys).open(row.secret, _place(row.purpose, row.number))
    except SealBrokenError as error:
        text = (
            "OSTIARY_ROOT_KEY is not the one under which this database's keys are sealed. Bring that one back: without it "
            "nobody's second factor can be read"
        )
        raise SettingsError(text) from error


def _wrapper(keys: Keys) -> Sealer:
    return Sealer(keys.derive("key ring"))


def _place(purpose: str, number: int) -> str:
    return f"key_ring {purpose} {number}"


def _base(keys: Keys, purpose: Purpose) -> bytes:
    return {Purpose.ACCESS: keys.jwt_secret, Purpose.REFRESH: keys.jwt_refresh_secret}.get(purpose, keys.root)


def _fingerprint(keys: Keys, purpose: Purpose) -> str:
    return derive(_base(keys, purpose), "fingerprint", 8).hex()


def _overlap(settings: Settings, purpose: Purpose) -> int:
    """How long something made by an earlier key can still be shown to us."""
    lives = settings.sessions
    return {
        # A bearer, and the answer to a second factor, which is signed alike and lives five minutes.
        Purpose.ACCESS: max(micros(lives.access_life), 5 * 60 * SECOND),
        Purpose.REFRESH: micros(lives.refresh_life),
        # A session goes on proving itself with the server key of its own sign-in.
        Purpose.HANDSHAKE: micros(lives.key_max_age) + 2 * micros(lives.handshake_period),
        Purpose.SEALING: DAY,
    }[purpose]
