"""Hashes away from the event loop: what waits is computed together, in lanes (docs/decisions/010-hashing-lanes.md).

All bookkeeping happens on the loop; the threads compute and nothing else. A task that finds a thread free starts at once and
alone. When all are busy it joins what a thread computes as soon as that has a lane free, and the others there go on.
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
from functools import partial
from itertools import count
from typing import NamedTuple, Protocol

from ostiary.crypto.desks import HAS_LANES, Desk, Width, new_desk

MOST_COST = 16
"""The most that is computed: 32 times what a cost of 11 takes. bcrypt itself goes to 31, which is days."""
ALONE = 4 if HAS_LANES else 1
"""How many lanes' worth of a thread goes to what is computed alone."""
NICE = 10
_SPARE_TURNS = 64
_LEAST_TELLING = 0.25
"""Units of work; what is over sooner tells more of the way to a thread and back."""
_ONE = 10
"""A bcrypt of this cost is one unit of work."""
_SWEEP_SECONDS = 0.05
"""How often those who wait are asked whether they still do."""


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


class LoneTask(Protocol):
    """A hash that takes a thread for itself."""

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
    """See `LoneTask`; the setting is `$2b$…` up to the salt, or a whole hash. These are computed side by side."""

    key: bytes = field(repr=False)
    setting: bytes = field(repr=False)
    memory = 0

    @property
    def units(self) -> float:
        cost = self.setting[4:6]
        return 2.0 ** (int(cost) - _ONE) if cost.isdigit() else 1.0


@dataclass(slots=True, order=True)
class _Job:
    tag: float
    number: int
    task: Bcrypt | LoneTask = field(compare=False, repr=False)
    asker: Asker = field(compare=False)
    units: float = field(compare=False)
    due_at: float = field(compare=False)
    answer: asyncio.Future[bytes] = field(compare=False)
    began_at: float = field(default=0.0, compare=False)
    company: int = field(default=0, compare=False)
    """How many a thread had in hand when this one joined, itself among them."""


class _Thread:
    """What a thread has in hand: some bcrypts at its desk, or one hash that is computed alone."""

    def __init__(self) -> None:
        self.desk: Desk = new_desk()
        self.jobs: dict[int, _Job] = {}
        self.is_alone = False
        self.is_at_desk = False
        self.busy_since = 0.0


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
        self.thread_seconds = 0.0
        """For how long threads had something in hand, all told; `lane_seconds` of it is how full their lanes were."""
        self.lane_seconds = 0.0
        self.shed: Counter[str] = Counter()
        """Hashes that were not computed, by the reason of HashingBusyError."""
        self._limit = queue
        self._patience = patience
        self._most_memory = memory
        self._memory = 0
        self._running = 0.0
        self._pace = 0.0
        self._queue: list[_Job] = []
        self._swept_at = 0.0
        self._numbers = count()
        self._turn = 0.0
        self._turns: dict[str, float] = {}
        self._threads = [_Thread() for _ in range(threads)]
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="hashing", initializer=_yield_to_others)

    @property
    def computing(self) -> int:
        """Hashes that threads have in hand."""
        return sum(len(thread.jobs) for thread in self._threads)

    async def compute(self, task: Bcrypt | LoneTask, asker: Asker) -> bytes:
        """The task's hash. Raises HashingBusyError; ValueError for what cannot be computed."""
        units = task.units
        tag = self._next_turn(asker, units)
        if (wait := self.estimated_wait(tag)) > self._patience:
            raise self._busy_error("late", wait)
        if self.waiting - self.computing >= self._limit:
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
        """Seconds until what waits before this turn is done, as fast as it went lately; zero while a lane is free."""
        if self._open_thread() is not None:
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
        """Give those whose turn it is what is free."""
        self._sweep()
        passed: list[_Job] = []
        draining: _Thread | None = None
        while self._queue and (thread := self._open_thread(draining)) is not None:
            job = heapq.heappop(self._queue)
            if not self._is_wanted(job):
                continue
            has_memory = not self._memory or self._memory + job.task.memory <= self._most_memory
            if isinstance(job.task, Bcrypt) or (has_memory and not thread.jobs):
                self._turn = max(self._turn, job.tag)
                self._begin(thread, job)
                continue
            passed.append(job)
            if draining is None and has_memory:
                # Lanes that are always filled again would never leave a thread to it.
                draining = min(self._threads, key=lambda thread: (thread.is_alone, len(thread.jobs)))
        for job in passed:
            heapq.heappush(self._queue, job)
        if not self._queue:
            self._turns.clear()

    def _sweep(self) -> None:
        """Answer those who are gone or late, wherever they stand."""
        if (now := time.monotonic()) >= self._swept_at + _SWEEP_SECONDS:
            self._swept_at = now
            self._queue = [job for job in self._queue if self._is_wanted(job)]
            heapq.heapify(self._queue)

    def _open_thread(self, draining: _Thread | None = None) -> _Thread | None:
        """One that has nothing in hand, else the one with the most lanes free."""
        open_threads = [
            thread
            for thread in self._threads
            if not thread.jobs or not (thread is draining or thread.is_alone or len(thread.jobs) >= Width.lanes)
        ]
        return min(open_threads, key=lambda thread: len(thread.jobs), default=None)

    def _begin(self, thread: _Thread, job: _Job) -> None:
        job.began_at = time.monotonic()
        if not thread.jobs:
            thread.busy_since = job.began_at
        thread.jobs[job.number] = job
        job.company = len(thread.jobs)
        self._running += job.units
        self._memory += job.task.memory
        if not isinstance(job.task, Bcrypt):
            thread.is_alone = True
            work = asyncio.get_running_loop().run_in_executor(self._pool, job.task.compute)
            work.add_done_callback(partial(self._lone_ended, thread, job))
            return
        try:
            thread.desk.put(job.number, job.task.key, job.task.setting)
        except ValueError as error:
            # One broken hash must not be anybody else's failure.
            self._end(thread, job, error)
        else:
            self._attend(thread)

    def _attend(self, thread: _Thread) -> None:
        """Have the thread at its desk, unless it is."""
        if not thread.is_at_desk:
            thread.is_at_desk = True
            loop = asyncio.get_running_loop()
            work = loop.run_in_executor(
                self._pool, _work, thread.desk, lambda ended: loop.call_soon_threadsafe(self._ended, thread, ended)
            )
            work.add_done_callback(partial(self._left, thread))

    def _ended(self, thread: _Thread, ended: Sequence[tuple[int, bytes | ValueError]]) -> None:
        for number, found in ended:
            self._end(thread, thread.jobs[number], found)
        self._hand_out()

    def _left(self, thread: _Thread, work: asyncio.Future[None]) -> None:
        """The thread found nothing more to do at its desk; what was put there as it left is done now."""
        thread.is_at_desk = False
        if work.cancelled():
            for job in thread.jobs.values():
                job.answer.cancel()
        elif (error := work.exception()) is not None:
            thread.desk = new_desk()
            for job in [job for job in thread.jobs.values() if isinstance(job.task, Bcrypt)]:
                self._end(thread, job, error)
            self._hand_out()
        elif thread.jobs and not thread.is_alone:
            self._attend(thread)

    def _lone_ended(self, thread: _Thread, job: _Job, work: asyncio.Future[bytes]) -> None:
        thread.is_alone = False
        if work.cancelled():
            job.answer.cancel()
            return
        self._end(thread, job, work.exception() or work.result())
        self._hand_out()

    def _end(self, thread: _Thread, job: _Job, found: bytes | BaseException) -> None:
        now = time.monotonic()
        company = len(thread.jobs)
        del thread.jobs[job.number]
        self._running -= job.units
        self._memory -= job.task.memory
        self.lane_seconds += now - job.began_at
        if not thread.jobs:
            self.thread_seconds += now - thread.busy_since
        if job.answer.done():
            return
        if isinstance(found, bytes):
            if job.units >= _LEAST_TELLING:
                self._learn((now - job.began_at) / job.units, (job.company + company) / 2)
            job.answer.set_result(found)
        elif isinstance(found, MemoryError):
            # An answer of "not now" beats none, and the others go on.
            job.answer.set_exception(self._busy_error("full", 0))
        else:
            job.answer.set_exception(found)

    def _is_wanted(self, job: _Job) -> bool:
        if job.answer.done():
            return False
        if job.asker.is_gone():
            job.answer.set_exception(self._busy_error("gone", 0))
        elif time.monotonic() > job.due_at:
            job.answer.set_exception(self._busy_error("late", self.estimated_wait(job.tag)))
        return not job.answer.done()

    def _forget_turns(self) -> None:
        """Keep the turns of those who wait. Whoever does not stands no worse for being forgotten."""
        self._turns.clear()
        for job in self._queue:
            if not job.answer.done():
                for name in _names(job.asker):
                    self._turns[name] = max(job.tag, self._turns.get(name, 0.0))

    def _learn(self, seconds: float, company: float) -> None:
        """How long a thread takes for a unit of work. Lanes half empty tell only that it takes no longer."""
        pace = seconds / company
        if not self._pace:
            self._pace = pace
        elif company >= Width.lanes:
            self._pace += (pace - self._pace) / 16
        else:
            self._pace = min(self._pace, pace)


def _names(asker: Asker) -> list[str]:
    return [name for name in (asker.address and f"address {asker.address}", asker.account and f"account {asker.account}") if name]


def _yield_to_others() -> None:
    """Let whatever else has something to do go first, on a core that a hash would have for itself: the event loop above all."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)


def _work(desk: Desk, tell: Callable[[Sequence[tuple[int, bytes | ValueError]]], object]) -> None:
    while ended := desk.work():
        tell(ended)
        Width.measure_once()
