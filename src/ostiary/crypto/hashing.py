"""bcrypt away from the event loop: what waits is computed together, in lanes (docs/decisions/010-hashing-lanes.md).

All bookkeeping happens on the loop; the threads compute and nothing else. A job that finds a thread free starts at
once and alone. When all are busy it waits, and what waits shares the next free thread's lanes.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import count

import bcrypt

try:
    from ostiary.crypto import _lanes
except ImportError:  # pragma: no cover - where the set-up found no compiler
    _lanes = None  # type: ignore[assignment]

HAS_LANES = _lanes is not None
MOST_COST = 16
"""The most that is computed: 32 times what a cost of 11 takes. bcrypt itself goes to 31, which is days."""
_FIRST_WIDTH = 4
_SPARE_TURNS = 64


class HashingBusyError(Exception):
    """The queue is full; trying again in `retry_after` seconds is likely to work."""

    retry_after = 1


@dataclass(slots=True, order=True)
class _Job:
    tag: int
    number: int
    key: bytes = field(compare=False, repr=False)
    setting: bytes = field(compare=False, repr=False)
    source: str = field(compare=False)
    answer: asyncio.Future[bytes] = field(compare=False)

    @property
    def cost(self) -> bytes:
        return self.setting[4:6]


class Width:
    """How many lanes are best on this processor: measured once in a process, by the first who hashes."""

    lanes = _FIRST_WIDTH if HAS_LANES else 1
    is_measured = not HAS_LANES

    @classmethod
    def measure(cls) -> None:
        cls.is_measured = True
        cls.lanes = _lanes.calibrate()


def hash_together(jobs: Sequence[tuple[bytes, bytes]]) -> list[bytes]:
    """The hash of each (key, setting); the setting is `$2b$…` up to the salt, or a whole hash. Raises ValueError."""
    if HAS_LANES:
        return _lanes.hash_together(list(jobs), Width.lanes)
    return [bcrypt.hashpw(key, setting) for key, setting in jobs]


class HashingPool:
    """Threads that hash, bounded in number and in what may wait for them; between sources it takes turns."""

    def __init__(self, threads: int, queue: int) -> None:
        self.threads = threads
        self.waiting = 0
        """Hashes asked for and not yet answered."""
        self.done = 0
        self.calls = 0
        """Times that a thread was given something: `done` of `calls` is how full the lanes are."""
        self._limit = queue + threads
        self._busy = 0
        self._measuring: asyncio.Future[None] | None = None
        self._queue: list[_Job] = []
        self._numbers = count()
        self._turn = 0
        self._turns: dict[str, int] = {}
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="hashing")

    async def hash(self, key: bytes, setting: bytes, source: str) -> bytes:
        """Bcrypt of the key. Raises HashingBusyError; ValueError for what is no setting."""
        if self.waiting >= self._limit:
            raise HashingBusyError
        # Each source's next job stands behind its last one, and nobody's before the turn that is being served.
        tag = max(self._turn, self._turns.get(source, 0)) + 1
        if len(self._turns) > _SPARE_TURNS + 2 * self._limit:
            self._forget_turns()
        self._turns[source] = tag
        job = _Job(tag, next(self._numbers), key, setting, source, asyncio.get_running_loop().create_future())
        heapq.heappush(self._queue, job)
        self.waiting += 1
        self._hand_out()
        try:
            return await job.answer
        finally:
            self.waiting -= 1
            self.done += 1

    def close(self) -> None:
        """Let running hashes end and take no more."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _hand_out(self) -> None:
        while self._busy < self.threads and (batch := self._next_batch()):
            self._busy += 1
            self.calls += 1
            task = asyncio.get_running_loop().run_in_executor(self._pool, _compute, [(job.key, job.setting) for job in batch])
            task.add_done_callback(lambda done, batch=batch: self._finished(done, batch))  # type: ignore[misc]
            if not Width.is_measured:
                Width.is_measured = True
                self._measuring = asyncio.get_running_loop().run_in_executor(self._pool, Width.measure)

    def _next_batch(self) -> list[_Job]:
        """A fair share of what waits, all of one cost: who pays little does not wait for who pays much."""
        self._queue = [job for job in self._queue if not job.answer.done()]
        heapq.heapify(self._queue)
        free = self.threads - self._busy
        most = min(Width.lanes, -(-len(self._queue) // free))
        batch: list[_Job] = []
        others: list[_Job] = []
        while self._queue and len(batch) < most:
            job = heapq.heappop(self._queue)
            (batch if not batch or job.cost == batch[0].cost else others).append(job)
        for job in others:
            heapq.heappush(self._queue, job)
        if batch:
            self._turn = max(self._turn, batch[0].tag)
        if not self._queue:
            self._turns.clear()
        return batch

    def _forget_turns(self) -> None:
        """Keep the turns of those who wait. Whoever does not stands no worse for being forgotten."""
        self._turns.clear()
        for job in self._queue:
            if not job.answer.done():
                self._turns[job.source] = max(job.tag, self._turns.get(job.source, 0))

    def _finished(self, done: asyncio.Future[list[bytes | ValueError]], batch: list[_Job]) -> None:
        self._busy -= 1
        if done.cancelled():
            for job in batch:
                job.answer.cancel()
            return
        self._hand_out()
        if (error := done.exception()) is not None:
            # Out of memory, most likely: an answer of "not now" beats none, and the others go on.
            for job in batch:
                if not job.answer.done():
                    job.answer.set_exception(HashingBusyError if isinstance(error, MemoryError) else error)
            return
        for job, found in zip(batch, done.result(), strict=True):
            if job.answer.done():
                continue
            if isinstance(found, ValueError):
                job.answer.set_exception(found)
            else:
                job.answer.set_result(found)


def _compute(jobs: list[tuple[bytes, bytes]]) -> list[bytes | ValueError]:
    try:
        return list(hash_together(jobs))
    except ValueError:
        # One broken hash must not be anybody else's failure.
        return [_alone(job) for job in jobs]


def _alone(job: tuple[bytes, bytes]) -> bytes | ValueError:
    try:
        return hash_together([job])[0]
    except ValueError as error:
        return error
