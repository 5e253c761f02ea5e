"""The yardstick: how fast the `bcrypt` package alone is on all cores, and what one hash costs."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter, thread_time

import bcrypt
import msgspec

CORES = len(os.sched_getaffinity(0))
_PASSWORD = b"correct horse battery staple"


class RawHashing(msgspec.Struct):
    """Checks a second with one thread per core, and seconds of CPU of one check meanwhile."""

    rate: float
    cpu: float


def measure(cost: int, seconds: float) -> RawHashing:
    """Do nothing but check passwords for so long."""
    stored = bcrypt.hashpw(_PASSWORD, bcrypt.gensalt(cost))

    def check(_: int) -> tuple[float, float]:
        began_at, cpu, done = perf_counter(), thread_time(), 0
        while (elapsed := perf_counter() - began_at) < seconds:
            assert bcrypt.checkpw(_PASSWORD, stored)
            done += 1
        return done / elapsed, (thread_time() - cpu) / done

    with ThreadPoolExecutor(CORES) as pool:
        found = list(pool.map(check, range(CORES)))
    return RawHashing(sum(rate for rate, _ in found), sum(cpu for _, cpu in found) / CORES)
