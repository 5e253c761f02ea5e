"""The hashing lanes against published vectors and against the `bcrypt` package; and what serves where they were not built."""

from __future__ import annotations

import platform
import random
import re
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import bcrypt
import pytest

from ostiary.crypto import hashing
from tests.crypto.compare_lanes import hashed, loaded

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


@pytest.fixture(params=[False, True], ids=["compiled", "by hand"])
def _either(request: pytest.FixtureRequest) -> Iterator[None]:
    """What the compiler made of the costly rounds, and what was written by hand for x86-64."""
    flags = set(Path("/proc/cpuinfo").read_text().split())
    is_possible = not request.param or (platform.machine() == "x86_64" and {"bmi1", "bmi2"} <= flags)

    assert _lanes.use_hand(request.param) is is_possible
    if not is_possible:
        pytest.skip("this processor has no BMI")
    yield
    _lanes.calibrate()


@pytest.mark.parametrize("width", range(1, 9))
@pytest.mark.usefixtures("_either")
def test_published_vectors_hold_in_every_width(width: int) -> None:
    assert hashed(_lanes, VECTORS, width) == [expected for _, expected in VECTORS]


@pytest.mark.usefixtures("_either")
def test_the_lanes_and_the_package_agree() -> None:
    """Costs mixed, any bytes, every length, more jobs than lanes. `make lanes` does it 100,000 times."""
    dice = random.Random(7)  # noqa: S311 - repeatable data
    for _ in range(40):
        jobs = [job(dice) for _ in range(dice.randint(1, 12))]

        assert hashed(_lanes, jobs, dice.randint(1, 8)) == [bcrypt.hashpw(*each) for each in jobs]


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
    desk = _lanes.Desk()
    desk.put(1, b"fine", b"$2b$04$CCCCCCCCCCCCCCCCCCCCC.")

    with pytest.raises(ValueError, match=r"72 bytes|setting"):
        desk.put(2, key, setting)

    assert [number for number, _ in desk.work()] == [1]


def test_what_is_put_there_while_a_thread_works_joins_it() -> None:
    desk = _lanes.Desk()
    dear, cheap = (b"dear", b"$2b$10$CCCCCCCCCCCCCCCCCCCCC."), (b"cheap", b"$2b$04$CCCCCCCCCCCCCCCCCCCCC.")
    desk.put(0, *dear)
    ended: list[tuple[int, bytes]] = []
    has_joined = threading.Event()

    def work() -> None:
        while found := desk.work():
            ended.extend(found)
            has_joined.set()

    thread = threading.Thread(target=work)
    thread.start()
    desk.put(1, *cheap)
    with pytest.raises(RuntimeError, match="another thread"):
        desk.work()
    has_joined.wait()
    desk.put(2, *cheap)
    thread.join()

    assert [number for number, _ in ended] == [1, 2, 0]
    assert dict(ended) == {0: bcrypt.hashpw(*dear), 1: bcrypt.hashpw(*cheap), 2: bcrypt.hashpw(*cheap)}
    assert desk.work() == []


def test_a_desk_has_an_end() -> None:
    desk = _lanes.Desk()
    for number in range(8):
        desk.put(number, b"x", b"$2b$04$CCCCCCCCCCCCCCCCCCCCC.")

    with pytest.raises(RuntimeError, match="full"):
        desk.put(8, b"x", b"$2b$04$CCCCCCCCCCCCCCCCCCCCC.")

    assert sorted(number for number, _ in desk.work()) == list(range(8))


def test_calibration_chooses_a_width_that_exists() -> None:
    assert 1 <= _lanes.calibrate() <= 8


WITHOUT_LANES = """
import asyncio, sys
sys.modules["ostiary.crypto._lanes"] = None
from ostiary.crypto import hashing
from tests.crypto.compare_lanes import loaded
from ostiary.crypto.passwords import PasswordHasher
async def main():
    hasher = PasswordHasher(4, threads=2)
    made = await asyncio.gather(*(hasher.make(f"password {number}") for number in range(6)))
    verdicts = await asyncio.gather(*(hasher.verify(f"password {number}", each) for number, each in enumerate(made)))
    wrong = await hasher.verify("another", made[0])
    print(hashing.HAS_LANES, [each.is_right for each in verdicts], wrong.is_right)
asyncio.run(main())
"""


def test_without_the_lanes_the_package_serves() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT_LANES], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == f"False {[True] * 6} False"


def test_a_wheel_holds_lanes_that_agree(tmp_path: Path) -> None:
    source, wheels, unpacked = tmp_path / "source", tmp_path / "wheels", tmp_path / "unpacked"
    shutil.copytree(NATIVE.parents[2], source / "src", ignore=shutil.ignore_patterns("*.so", "__pycache__", "*.egg-info"))
    for name in ("pyproject.toml", "README.md", "LICENSE", "MANIFEST.in"):
        shutil.copy(NATIVE.parents[3] / name, source / name)

    build = ["wheel", "--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", str(wheels), str(source)]
    subprocess.run([sys.executable, "-m", "pip", *build], check=True, capture_output=True)
    with zipfile.ZipFile(next(wheels.glob("ostiary-*-abi3-*.whl"))) as wheel:
        library = wheel.extract("ostiary/crypto/_lanes.abi3.so", unpacked)

    assert hashed(loaded(library), VECTORS, 4) == [expected for _, expected in VECTORS]
