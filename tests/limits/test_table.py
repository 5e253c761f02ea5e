"""Many keys in little memory, and what makes room for what."""

from __future__ import annotations

import random
import re
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from ostiary.limits.memory import MemoryLimits
from ostiary.limits.store import Rule
from ostiary.limits.table import WAYS, Table

SECOND = 1_000_000
NOW = 1_900_000_000 * SECOND
WINDOW = Rule("test.window", 10, 900 * SECOND)
SHORT = Rule("test.short", 10, 60 * SECOND)
GUARD = Rule("test.guard", 10, 900 * SECOND, guards=True)
MILLION = 1_000_000
MEGABYTE = 1024 * 1024


def resident() -> int:
    """Bytes of this process that are in memory."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


async def spend(limits: MemoryLimits, rule: Rule, key: str, times: int) -> None:
    for _ in range(times):
        await limits.take(rule, key, NOW)


async def test_a_million_keys_take_less_than_64_megabytes_and_push_out_no_lockout() -> None:
    limits = MemoryLimits()
    before = resident()
    for number in range(50):
        await spend(limits, GUARD, f"locked {number}", 10)

    for number in range(MILLION):
        await limits.take(WINDOW, f"key {number}", NOW + number)

    assert resident() - before < 64 * MEGABYTE
    assert len(limits) + limits.pushed_out == MILLION + 50
    assert len(limits) > 0.98 * MILLION
    locked = [await limits.take(GUARD, f"locked {number}", NOW + MILLION) for number in range(50)]
    assert not [taken for taken in locked if taken.is_allowed]


def test_behind_the_last_row_there_is_memory_of_ours() -> None:
    """Debian 12's Python looks there (CPython's issue 105235), and where nothing is mapped the process ends."""
    table = Table(64)

    assert len(table._tags) > len(table.used)


async def test_beyond_its_size_the_table_grows_no_more_and_a_lockout_still_stands() -> None:
    limits = MemoryLimits(most_sets=64)
    await spend(limits, GUARD, "locked", 10)

    for number in range(50 * 64 * WAYS):
        await limits.take(WINDOW, f"key {number}", NOW)

    assert len(limits) <= 64 * WAYS
    assert not (await limits.take(GUARD, "locked", NOW)).is_allowed


async def test_what_is_over_makes_room_first() -> None:
    limits = MemoryLimits(most_sets=1)
    for number in range(WAYS):
        await spend(limits, SHORT if number == WAYS - 1 else WINDOW, f"key {number}", 10)

    await limits.take(WINDOW, "another", NOW + 60 * SECOND)

    assert limits.pushed_out == 0
    allowed = [(await limits.take(WINDOW, f"key {number}", NOW)).is_allowed for number in range(WAYS - 1)]
    assert not any(allowed)


async def test_what_is_furthest_from_its_limit_makes_room_next_and_a_guard_last() -> None:
    limits = MemoryLimits(most_sets=1)
    await spend(limits, GUARD, "guard", 10)
    for number in range(WAYS - 1):
        await spend(limits, WINDOW, f"key {number}", 2 + number % 9)

    for number in range(100):
        await spend(limits, WINDOW, f"another {number}", 10)

    assert not (await limits.take(GUARD, "guard", NOW)).is_allowed
    assert limits.pushed_out == 100


async def test_keys_that_are_over_are_cleared_before_the_table_grows() -> None:
    limits = MemoryLimits()
    for number in range(3000):
        await limits.take(WINDOW, f"key {number}", NOW)
    grown = len(limits)

    for number in range(50_000):
        await limits.take(WINDOW, f"another {number}", NOW + (number + 1000) * SECOND)

    assert grown > 2900
    assert len(limits) < 10_000


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1 << 32), count=st.integers(1, 3000))
def test_a_table_keeps_what_a_dictionary_would(seed: int, count: int) -> None:
    table, model, dice = Table(), dict[int, tuple[float, int]](), random.Random(seed)  # noqa: S311 - for a model
    for _ in range(count):
        tag, used, since = dice.getrandbits(64) or 1, float(dice.randrange(10)), NOW + dice.randrange(SECOND)
        if dice.random() < 0.2 and model and table.find(gone := dice.choice(list(model))) >= 0:
            table.drop(gone)
            del model[gone]
        table.add(tag, WINDOW, used, since)
        model[tag] = (used, since)

    found = {tag: (table.used[slot], table.since[slot]) for tag in model if (slot := table.find(tag)) >= 0}

    assert len(model) - len(found) == table.pushed_out
    assert found.items() <= model.items()
    assert table.rows == len(found)
