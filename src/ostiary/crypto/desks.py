"""Where a thread hashes: a desk, with as many bcrypts side by side as it has lanes (docs/decisions/010-hashing-lanes.md)."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Sequence
from typing import Protocol

import bcrypt

try:
    from ostiary.crypto import _lanes
except ImportError:  # pragma: no cover - where the set-up found no compiler
    _lanes = None  # type: ignore[assignment]

HAS_LANES = _lanes is not None
_FIRST_WIDTH = 4


class Desk(Protocol):
    """What one thread works at while others put before it what it should compute."""

    def put(self, number: int, key: bytes, setting: bytes, /) -> None:
        """Have the bcrypt of a key computed, under a number of the caller's choice. At most `Width.lanes` at a time.

        May be called while a thread works: it joins what is computed there. Raises ValueError for what is no setting.
        """
        ...

    def work(self) -> Sequence[tuple[int, bytes | ValueError]]:
        """Compute until something has ended, and say what; nothing when there is nothing to do. One thread at a time."""
        ...


class PlainDesk:
    """Without lanes: one after the other, by the `bcrypt` package."""

    def __init__(self) -> None:
        self._jobs: deque[tuple[int, bytes, bytes]] = deque()

    def put(self, number: int, key: bytes, setting: bytes, /) -> None:
        """See `Desk`."""
        self._jobs.append((number, key, setting))

    def work(self) -> list[tuple[int, bytes | ValueError]]:
        """See `Desk`."""
        if not self._jobs:
            return []
        number, key, setting = self._jobs.popleft()
        try:
            return [(number, bcrypt.hashpw(key, setting))]
        except ValueError as error:
            return [(number, error)]


def new_desk() -> Desk:
    """As the set-up made it possible."""
    return _lanes.Desk() if HAS_LANES else PlainDesk()


class Width:
    """How many lanes are best on this processor: measured once in a process, by the thread whose first hash is done."""

    lanes = _FIRST_WIDTH if HAS_LANES else 1
    is_measured = not HAS_LANES

    @classmethod
    def measure_once(cls) -> None:
        """Takes about 45 ms the first time."""
        if not cls.is_measured:
            cls.is_measured = True
            cls.lanes = _lanes.calibrate()


def fair_threads(processes: int) -> int:
    """How many threads each of so many processes may hash in: as many as there are cores, in all, and each has one.

    More would stay half empty: whoever finds a thread free is hashed alone, and a core does the more the fuller a thread's lanes.
    """
    return max(1, len(os.sched_getaffinity(0)) // processes)
