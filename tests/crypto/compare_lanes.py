"""`make lanes`: random hashes by the lanes, built with the sanitizers, and by the `bcrypt` package: every one must be the same."""

from __future__ import annotations

import argparse
import importlib.util
import os
import random
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Protocol, cast

import bcrypt

from ostiary.crypto.desks import Desk

NATIVE = Path(__file__).resolve().parents[2] / "src" / "ostiary" / "crypto" / "native"
SANITIZERS = ("-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")


class Lanes(Protocol):
    """`ostiary.crypto._lanes`, built elsewhere."""

    Desk: Callable[[], Desk]
    use_hand: Callable[[bool], bool]


def build(folder: Path) -> Path:
    target = folder / "_lanes.so"
    include = f"-I{sysconfig.get_paths()['include']}"
    sources = [str(NATIVE / "lanes.c"), str(NATIVE / "eksblowfish.c"), str(NATIVE / "by_hand.c")]
    warnings = ("-Wall", "-Wextra", "-Werror", "-std=c11")
    subprocess.run(["gcc", *warnings, *SANITIZERS, "-shared", "-fPIC", include, *sources, "-o", str(target)], check=True)
    return target


def loaded(library: str) -> Lanes:
    spec = importlib.util.spec_from_file_location("_lanes", library)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return cast("Lanes", module)


def hashed(lanes: Lanes, jobs: list[tuple[bytes, bytes]], width: int) -> list[bytes]:
    """The bcrypt of each key and setting, at one desk that has no more than so many in hand. Raises ValueError."""
    desk = lanes.Desk()
    found: dict[int, bytes | ValueError] = {}
    put = 0
    while len(found) < len(jobs):
        for number in range(put, min(len(jobs), len(found) + width)):
            desk.put(number, *jobs[number])
            put += 1
        found.update(desk.work())
    return [cast("bytes", found[number]) for number in range(len(jobs))]


def compare(library: str, seed: int, count: int) -> int:
    lanes, dice, done = loaded(library), random.Random(seed), 0  # noqa: S311 - repeatable data
    while done < count:
        lanes.use_hand(dice.random() < 0.5)
        jobs = []
        for _ in range(min(dice.randint(1, 20), count - done)):
            version = dice.choice((b"$2a$", b"$2b$", b"$2y$"))
            salt = bcrypt.gensalt(dice.choice((4, 4, 4, 4, 5, 6))).replace(b"$2b$", version, 1)
            key = bytes(dice.choice(b"\0ab\xff") for _ in range(dice.randint(0, 72)))
            jobs.append((dice.choice((key, dice.randbytes(len(key)))), salt))
        assert hashed(lanes, jobs, dice.randint(1, 8)) == [bcrypt.hashpw(*job) for job in jobs], (seed, jobs)
        done += len(jobs)
    return done


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare the lanes with the bcrypt package.")
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--library", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.library:
        cores = len(os.sched_getaffinity(0))
        with ProcessPoolExecutor(cores) as pool:
            shares = [-(-options.count // (cores * 10))] * cores * 10
            done = sum(pool.map(compare, [options.library] * len(shares), range(len(shares)), shares))
        print(f"{done} hashes, every one as the bcrypt package has it")  # noqa: T201 - a program
        return
    with tempfile.TemporaryDirectory() as folder:
        library = build(Path(folder))
        runtime = subprocess.run(
            ["gcc", "-print-file-name=libasan.so"], check=True, capture_output=True, text=True
        ).stdout.strip()
        environment = {**os.environ, "LD_PRELOAD": runtime, "ASAN_OPTIONS": "detect_leaks=0"}
        command = [sys.executable, __file__, "--count", str(options.count), "--library", str(library)]
        subprocess.run(command, check=True, env=environment)


if __name__ == "__main__":
    main()
