"""The hashing lanes against published vectors, against the `bcrypt` package, and as a service."""

from __future__ import annotations

import asyncio
import random
import re
from pathlib import Path

import bcrypt
import pytest

from ostiary.crypto import hashing
from ostiary.crypto.hashing import HashingBusyError, HashingPool
from ostiary.crypto.passwords import PasswordHasher

_lanes = pytest.importorskip("ostiary.crypto._lanes", reason="the lanes were not built: no compiler")
NATIVE = Path(hashing.__file__).parent / "native"

# Published with jBCrypt (Miller) and crypt_blowfish (Solar Designer).
VECTORS = [
    (b"", b"$2a$08$HqWuK6/Ng6sg9gQzbLrgb.Tl.ZHfXLhvt/SgVyWhQqgqcZ7ZuUtye"),
    (b"a", b"$2a$06$m0CrhHm10qJ3lXRY.5zDGO3rS2KdeeWLuGmsfGlMfOxih58VYVfxe"),
    (b"abc", b"$2a$06$If6bvum7DFjUnE9p2uDeDu0YHzrHM6tf.iqN8.yx.jNN1ILEf7h0i"),
    (b"abcdefghijklmnopqrstuvwxyz", b"$2a$06$.rCVZVOThsIa97pEDOxvGuRRgzG64bvtJ0938xuqzv18d3ZpQhstC"),
    (b"~!@#$%^&*()      ~!@#$%^&*()PNBFRD", b"$2a$06$fPIsBO8qRqkjj273rfaOI.HtSV9jLDpTbZn782DC6/t7qT67P6FfO"),
    (b"U*U", b"$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"),
    (b"U*U*", b"$2a$05$CCCCCCCCCCCCCCCCCCCCC.VGOzA784oUp/Z0DY336zx7pLYAy0lwK"),
    (b"U*U*U", b"$2a$05$XXXXXXXXXXXXXXXXXXXXXOAcXxm9kjPGEMsLznoKqmqw7tc8WCx4a"),
    (b"", b"$2a$05$CCCCCCCCCCCCCCCCCCCCC.7uG0VCzI2bS7j6ymqJi9CdcdxiRTWNy"),
]


def test_the_table_is_the_fraction_of_pi() -> None:
    words = [int(word, 16) for word in re.findall(r"0x([0-9a-f]{8})", (NATIVE / "pi.h").read_text())]
    bits = 32 * len(words) + 64

    def arctangent_of_one_in(x: int) -> int:
        term = (1 << bits) // x
        total, divisor, sign = term, 1, 1
        while term:
            term //= x * x
            divisor, sign = divisor + 2, -sign
            total += sign * (term // divisor)
        return total

    fraction = 4 * (4 * arctangent_of_one_in(5) - arctangent_of_one_in(239)) - (3 << bits)

    assert words == [(fraction >> (bits - 32 * (at + 1))) & 0xFFFFFFFF for at in range(1042)]


@pytest.mark.parametrize("width", range(1, 9))
def test_published_vectors_hold_in_every_width(width: int) -> None:
    assert _lanes.hash_together(VECTORS, width) == [expected for _, expected in VECTORS]


def test_the_lanes_and_the_package_agree() -> None:
    """Costs mixed, any bytes, every length, more jobs than lanes. `make lanes` does it 100,000 times."""
    dice = random.Random(7)  # noqa: S311 - repeatable data
    for _ in range(60):
        jobs = [job(dice) for _ in range(dice.randint(1, 12))]

        assert _lanes.hash_together(jobs, dice.randint(1, 8)) == [bcrypt.hashpw(*each) for each in jobs]


def job(dice: random.Random) -> tuple[bytes, bytes]:
    salt = bcrypt.gensalt(dice.choice((4, 4, 4, 5)))
    return dice.randbytes(dice.randint(0, 72)), salt.replace(b"$2b$", dice.choice((b"$2a$", b"$2b$", b"$2y$")), 1)


@pytest.mark.parametrize(
    ("key", "setting"),
    [
        (b"x" * 73, b"$2b$04$CCCCCCCCCCCCCCCCCCCCC."),
        (b"x", b"$2b$03$CCCCCCCCCCCCCCCCCCCCC."),
        (b"x", b"$2b$32$CCCCCCCCCCCCCCCCCCCCC."),
        (b"x", b"$2x$04$CCCCCCCCCCCCCCCCCCCCC."),
        (b"x", b"$2b$04$CCCCCCCCCCCCCCCCCCCC\0."),
        (b"x", b"$2b$04$short"),
        (b"x", b""),
    ],
)
def test_what_is_no_setting_is_refused(key: bytes, setting: bytes) -> None:
    with pytest.raises(ValueError, match=r"72 bytes|setting"):
        _lanes.hash_together([(b"fine", b"$2b$04$CCCCCCCCCCCCCCCCCCCCC."), (key, setting)], 4)


def test_calibration_chooses_a_width_that_exists() -> None:
    assert 1 <= _lanes.calibrate() <= 8


async def test_a_broken_hash_is_nobody_elses_failure() -> None:
    pool = HashingPool(1, 50)
    setting = b"$2b$04$CCCCCCCCCCCCCCCCCCCCC."

    found = await asyncio.gather(
        *(pool.hash(b"x", setting if number != 3 else b"$2b$04$broken", "") for number in range(6)), return_exceptions=True
    )

    assert [type(each) for each in found] == [bytes, bytes, bytes, ValueError, bytes, bytes]
    pool.close()


async def test_what_waits_shares_a_call_and_the_queue_is_bounded() -> None:
    hasher = PasswordHasher(4, threads=1, queue=7)

    found = await asyncio.gather(*(hasher.make(f"password {number}") for number in range(12)), return_exceptions=True)

    made = [each for each in found if not isinstance(each, BaseException)]
    assert len(made) == 8
    assert sum(isinstance(each, HashingBusyError) for each in found) == 4
    assert hasher.calls < 8 or not hashing.HAS_LANES
    assert hasher.waiting == 0
    for number, stored in enumerate(made):
        assert (await hasher.verify(f"password {number}", stored)).is_right
        assert not (await hasher.verify("another", stored)).is_right
    hasher.close()


async def test_one_source_does_not_hold_up_another() -> None:
    pool = HashingPool(1, 100)
    order: list[str] = []

    async def ask(source: str) -> None:
        await pool.hash(b"x", b"$2b$04$CCCCCCCCCCCCCCCCCCCCC.", source)
        order.append(source)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(60):
            tasks.create_task(ask("greedy"))
        tasks.create_task(ask("modest"))

    assert order.index("modest") < 20
    pool.close()


async def test_who_stops_waiting_frees_the_place() -> None:
    pool = HashingPool(1, 10)
    waiters = [asyncio.create_task(pool.hash(b"x", b"$2b$06$CCCCCCCCCCCCCCCCCCCCC.", "")) for _ in range(8)]
    await asyncio.sleep(0)

    for waiter in waiters[1:]:
        waiter.cancel()
    await asyncio.gather(*waiters, return_exceptions=True)

    assert (pool.waiting, pool.calls) == (0, 1)
    pool.close()


async def test_the_memory_of_turns_is_bounded_while_the_queue_never_empties() -> None:
    pool = HashingPool(1, 4)
    first = asyncio.create_task(pool.hash(b"x", b"$2b$09$CCCCCCCCCCCCCCCCCCCCC.", "first"))
    await asyncio.sleep(0)
    for number in range(300):
        brief = asyncio.create_task(pool.hash(b"x", b"$2b$04$CCCCCCCCCCCCCCCCCCCCC.", f"source {number}"))
        await asyncio.sleep(0)
        brief.cancel()
        await asyncio.gather(brief, return_exceptions=True)

    assert len(pool._turns) < 100
    await first
    pool.close()


async def test_out_of_memory_is_an_answer_and_the_next_hash_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = HashingPool(1, 10)
    monkeypatch.setattr(hashing, "_compute", lambda _jobs: (_ for _ in ()).throw(MemoryError))

    found = await asyncio.gather(
        *(pool.hash(b"x", b"$2b$04$CCCCCCCCCCCCCCCCCCCCC.", "") for _ in range(3)), return_exceptions=True
    )
    monkeypatch.undo()

    assert [type(each) for each in found] == [HashingBusyError] * 3
    assert (await pool.hash(b"x", b"$2b$04$CCCCCCCCCCCCCCCCCCCCC.", "")).startswith(b"$2b$04$")
    pool.close()
