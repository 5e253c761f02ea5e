"""Hashes away from the event loop: what waits is computed together, in lanes (docs/decisions/010-hashing-lanes.md).

All bookkeeping happens on the loop; the threads compute and nothing else. A task that finds a thread free starts at
once and alone. When all are busy it waits, and what waits shares the next free thread's lanes.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import math
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import count
from typing import NamedTuple, Protocol

import bcrypt

try:
    from ostiary.crypto import _lanes
except ImportError:  # pragma: no cover - where the set-up found no compiler
    _lanes = None  # type: ignore[assignment]

HAS_LANES = _lanes is not None
MOST_COST = 16
"""The most that is computed: 32 times what a cost of 11 takes. bcrypt itself goes to 31, which is days."""
ALONE = 4 if HAS_LANES else 1
"""How many lanes' worth of a thread goes to what is computed alone."""
NICE = 10
_FIRST_WIDTH = 4
_SPARE_TURNS = 64
_LEAST_TELLING = 0.25
"""Units of work; what is over sooner tells more of the way to a thread and back."""
_ONE = 10
"""A bcrypt of this cost is one unit of work."""


class HashingBusyError(Exception):
    """Not computed: `full`, `late` or `gone`. Trying again in `retry_after` seconds is likely to work."""

    def __init__(self, reason: str = "full", retry_after: int = 1) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after = retry_after


class Asker(NamedTuple):
    """Whose turn a hash takes: addresses take turns, and so do accounts. Who `is_gone` has hung up and wants no answer."""

    address: str = ""
    account: str = ""
    is_gone: Callable[[], bool] = lambda: False


class Task(Protocol):
    """A hash to be computed."""

    @property
    def kind(self) -> str:
        """What is of one kind takes equally long."""
        ...

    @property
    def units(self) -> float:
        """The share of a thread's time that it takes, in bcrypts of cost 10 in full lanes."""
        ...

    @property
    def memory(self) -> int:
        """Bytes that it needs while it is computed, when they are worth counting."""
        ...

    def compute(self) -> bytes:
        """The hash. Raises ValueError for what cannot be computed, MemoryError."""
        ...


@dataclass(frozen=True, slots=True)
class Bcrypt:
    """See `Task`; the setting is `$2b$…` up to the salt, or a whole hash. Those of one cost are computed together."""

    key: bytes = field(repr=False)
    setting: bytes = field(repr=False)
    memory = 0

    @property
    def kind(self) -> str:
        return f"bcrypt {self.setting[4:6].decode('latin-1')}"

    @property
    def units(self) -> float:
        cost = self.setting[4:6]
        return 2.0 ** (int(cost) - _ONE) if cost.isdigit() else 1.0

    def compute(self) -> bytes:
        return hash_together([(self.key, self.setting)])[0]


@dataclass(slots=True, order=True)
class _Job:
    tag: float
    number: int
    task: Task = field(compare=False, repr=False)
    asker: Asker = field(compare=False)
    units: float = field(compare=False)
    due_at: float = field(compare=False)
    answer: asyncio.Future[bytes] = field(compare=False)


class Width:
    """How many lanes are best on this processor: measured once in a process, by the first who hashes."""

    lanes = _FIRST_WIDTH if HAS_LANES else 1
    is_measured = not HAS_LANES

    @classmethod
    def measure(cls) -> None:
        cls.is_measured = True
        cls.lanes = _lanes.calibrate()


def fair_threads(processes: int) -> int:
    """How many threads each of so many processes may hash in: as many as there are cores, in all, and each has one.

    More would stay half empty: whoever finds a thread free is hashed alone, and a core does the more the fuller a thread's lanes.
    """
    return max(1, len(os.sched_getaffinity(0)) // processes)


def hash_together(jobs: Sequence[tuple[bytes, bytes]]) -> list[bytes]:
    """The bcrypt of each (key, setting). Raises ValueError."""
    if HAS_LANES:
        return _lanes.hash_together(list(jobs), Width.lanes)
    return [bcrypt.hashpw(key, setting) for key, setting in jobs]


class HashingPool:
    """Threads that hash, bounded in number, in memory and in what may wait for them.

    Each address and each account takes its turn: the next hash of one stands behind its last, nobody's before the turn that is
    being served. So whoever floods waits for himself, and is the one who is turned away: by `patience` (the estimated wait,
    in seconds), or by the end of the queue when that is full.
    """

    def __init__(self, threads: int, queue: int, patience: float = math.inf, memory: int = 1 << 28) -> None:
        self.threads = threads
        self.waiting = 0
        """Hashes asked for and not yet answered."""
        self.done = 0
        self.calls = 0
        """Times that a thread was given something: `done` of `calls` is how full the lanes are."""
        self.shed: Counter[str] = Counter()
        """Hashes that were not computed, by the reason of HashingBusyError."""
        self._limit = queue + threads
        self._patience = patience
        self._most_memory = memory
        self._memory = 0
        self._busy = 0
        self._running = 0.0
        self._pace = 0.0
        self._measuring: asyncio.Future[None] | None = None
        self._queue: list[_Job] = []
        self._numbers = count()
        self._turn = 0.0
        self._turns: dict[str, float] = {}
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="hashing", initializer=_yield_to_others)

    async def compute(self, task: Task, asker: Asker) -> bytes:
        """The task's hash. Raises HashingBusyError; ValueError for what cannot be computed."""
        units = task.units
        tag = self._next_turn(asker, units)
        if (wait := self.estimated_wait(tag)) > self._patience:
            raise self._busy_error("late", wait)
        if self.waiting >= self._limit:
            self._make_room(tag)
        for name in _names(asker):
            self._turns[name] = tag
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._queue, _Job(tag, next(self._numbers), task, asker, units, time.monotonic() + self._patience, answer))
        self.waiting += 1
        self._hand_out()
        try:
            return await answer
        finally:
            self.waiting -= 1
            self.done += 1

    async def hash(self, key: bytes, setting: bytes, asker: Asker) -> bytes:
        """Bcrypt of the key. Raises HashingBusyError; ValueError for what is no setting."""
        return await self.compute(Bcrypt(key, setting), asker)

    def estimated_wait(self, tag: float = math.inf) -> float:
        """Seconds until what waits before this turn is done, as fast as it went lately; zero while a thread is free."""
        if self._busy < self.threads:
            return 0.0
        ahead = sum(job.units for job in self._queue if job.tag <= tag and not job.answer.done())
        return (ahead + self._running) * self._pace / self.threads

    def close(self) -> None:
        """Let running hashes end and take no more."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _next_turn(self, asker: Asker, units: float) -> float:
        if len(self._turns) > _SPARE_TURNS + 4 * self._limit:
            self._forget_turns()
        return max(self._turn, *(self._turns.get(name, 0.0) for name in _names(asker)), 0.0) + units

    def _make_room(self, tag: float) -> None:
        """Turn away whoever stands last: the newcomer, or another. Raises HashingBusyError."""
        last = max((job for job in self._queue if not job.answer.done()), default=None)
        if last is None or last.tag <= tag:
            raise self._busy_error("full", self.estimated_wait(tag))
        last.answer.set_exception(self._busy_error("full", self.estimated_wait(last.tag)))

    def _busy_error(self, reason: str, wait: float) -> HashingBusyError:
        self.shed[reason] += 1
        return HashingBusyError(reason, max(1, math.ceil(wait)))

    def _hand_out(self) -> None:
        while self._busy < self.threads and (batch := self._next_batch()):
            self._busy += 1
            self.calls += 1
            self._running += sum(job.units for job in batch)
            self._memory += batch[0].task.memory
            began_at = time.monotonic()
            work = asyncio.get_running_loop().run_in_executor(self._pool, _compute, [job.task for job in batch])
            work.add_done_callback(lambda done, batch=batch, began_at=began_at: self._finished(done, batch, began_at))  # type: ignore[misc]
            if not Width.is_measured:
                Width.is_measured = True
                self._measuring = asyncio.get_running_loop().run_in_executor(self._pool, Width.measure)

    def _next_batch(self) -> list[_Job]:
        """A fair share of what waits, all of one kind: who pays little does not wait for who pays much."""
        self._queue = [job for job in self._queue if self._is_wanted(job)]
        heapq.heapify(self._queue)
        free = self.threads - self._busy
        most = min(Width.lanes, -(-len(self._queue) // free))
        batch: list[_Job] = []
        others: list[_Job] = []
        while self._queue and len(batch) < most:
            job = heapq.heappop(self._queue)
            (batch if self._goes_with(batch, job) else others).append(job)
        for job in others:
            heapq.heappush(self._queue, job)
        if batch:
            self._turn = max(self._turn, batch[0].tag)
        if not self._queue:
            self._turns.clear()
        return batch

    def _is_wanted(self, job: _Job) -> bool:
        if job.answer.done():
            return False
        if job.asker.is_gone():
            job.answer.set_exception(self._busy_error("gone", 0))
        elif time.monotonic() > job.due_at:
            job.answer.set_exception(self._busy_error("late", self.estimated_wait(job.tag)))
        return not job.answer.done()

    def _goes_with(self, batch: list[_Job], job: _Job) -> bool:
        if batch:
            return job.task.kind == batch[0].task.kind and not job.task.memory
        return not self._memory or self._memory + job.task.memory <= self._most_memory

    def _forget_turns(self) -> None:
        """Keep the turns of those who wait. Whoever does not stands no worse for being forgotten."""
        self._turns.clear()
        for job in self._queue:
            if not job.answer.done():
                for name in _names(job.asker):
                    self._turns[name] = max(job.tag, self._turns.get(name, 0.0))

    def _finished(self, done: asyncio.Future[list[bytes | ValueError]], batch: list[_Job], began_at: float) -> None:
        self._busy -= 1
        units = sum(job.units for job in batch)
        self._running -= units
        self._memory -= batch[0].task.memory
        if done.cancelled():
            for job in batch:
                job.answer.cancel()
            return
        if units >= _LEAST_TELLING:
            self._learn((time.monotonic() - began_at) / units, is_full=len(batch) >= Width.lanes)
        self._hand_out()
        if (error := done.exception()) is not None:
            # Out of memory, most likely: an answer of "not now" beats none, and the others go on.
            for job in batch:
                if not job.answer.done():
                    job.answer.set_exception(self._busy_error("full", 0) if isinstance(error, MemoryError) else error)
            return
        for job, found in zip(batch, done.result(), strict=True):
            if job.answer.done():
                continue
            if isinstance(found, ValueError):
                job.answer.set_exception(found)
            else:
                job.answer.set_result(found)

    def _learn(self, seconds: float, *, is_full: bool) -> None:
        """How long a thread takes for a unit of work. Lanes half empty tell only that it takes no longer."""
        if not self._pace:
            self._pace = seconds
        elif is_full:
            self._pace += (seconds - self._pace) / 4
        else:
            self._pace = min(self._pace, seconds)


def _names(asker: Asker) -> list[str]:
    return [name for name in (asker.address and f"address {asker.address}", asker.account and f"account {asker.account}") if name]


def _yield_to_others() -> None:
    """Let whatever else has something to do go first, on a core that a hash would have for itself: the event loop above all."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)


def _compute(tasks: list[Task]) -> list[bytes | ValueError]:
    together = [(task.key, task.setting) for task in tasks if isinstance(task, Bcrypt)]
    if len(together) > 1:
        # One broken hash must not be anybody else's failure.
        with contextlib.suppress(ValueError):
            return list(hash_together(together))
    return [_alone(task) for task in tasks]


def _alone(task: Task) -> bytes | ValueError:
    try:
        return task.compute()
    except ValueError as error:
        return error
