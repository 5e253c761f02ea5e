"""What a limit is, and what keeps its counters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import msgspec

MICROSECONDS = 1_000_000


class Rule(msgspec.Struct, frozen=True):
    """A named limit.

    `window`: at most `capacity` within `period` of the key's first. `bucket`: starts full with `capacity` and fills evenly, the
    whole of it in `period`. Periods are microseconds. What `guards` an account is the last to make room where room is short.
    """

    name: str
    capacity: int
    period: int
    kind: Literal["window", "bucket"] = "window"
    guards: bool = False


class Taken(msgspec.Struct, frozen=True):
    """What a limit said: whether it may go on, what remains, and when (microseconds, UTC) it is as good as new."""

    rule: Rule
    is_allowed: bool
    remaining: int
    reset_at: int
    retry_after: int
    """Seconds until the next one is allowed; 0 when this one was."""
    used: float = 0.0
    """How much of the capacity was gone with this one."""


Wanted = Sequence[tuple[Rule, str]]
"""Rules, each with the key that it is counted by."""


class LimitStore(Protocol):
    """Counts before the work is done, so that nothing is to be had by racing. What is refused does not count."""

    def __len__(self) -> int:
        """How many keys this process holds."""
        ...

    @property
    def pushed_out(self) -> int:
        """How many of them had to make room before their time."""
        ...

    async def take(self, rule: Rule, key: str, now: int) -> Taken:
        """Count one."""
        ...

    async def take_each(self, wanted: Wanted, now: int) -> list[Taken]:
        """Count one of each, or none when any of them refuses; in one step, and one round trip."""
        ...

    async def give_back(self, rule: Rule, key: str, now: int) -> None:
        """Uncount one: the work turned out to be harmless. Where that was all, nothing is left that could tell of it."""
        ...

    async def give_back_each(self, wanted: Wanted, now: int) -> None:
        """Uncount one of each."""
        ...

    async def forget(self, rule: Rule, key: str) -> None:
        """Start this key anew."""
        ...

    async def ping(self) -> None:
        """Raise when it cannot count for all processes."""
        ...

    async def close(self) -> None:
        """Let go."""
        ...


def left(rule: Rule, used: float, since: int, now: int) -> tuple[float, int]:
    """What is still used of what was used at `since`, and since when it counts from now on.

    A clock that went back starts the key's time anew rather than locking it for ever.
    """
    elapsed = now - since
    if elapsed < 0:
        return used, now
    if rule.kind == "window":
        return (used, since) if elapsed < rule.period else (0.0, now)
    return max(0.0, used - elapsed * rule.capacity / rule.period), now


def judged(rule: Rule, used: float, elapsed: int, now: int) -> Taken:
    """The verdict when `used` of the capacity are gone, this one counted, and a window began `elapsed` microseconds ago."""
    is_allowed = used <= rule.capacity
    remaining = max(0, int(rule.capacity - used))
    if rule.kind == "window":
        rest = rule.period - elapsed
        return Taken(rule, is_allowed, remaining, now + rest, 0 if is_allowed else -(-rest // MICROSECONDS), used)
    fill = rule.period / rule.capacity
    missing = 0 if is_allowed else int((used - rule.capacity) * fill)
    full_again = now + int(min(used, rule.capacity) * fill)
    return Taken(rule, is_allowed, remaining, full_again, max(-(-missing // MICROSECONDS), int(not is_allowed)), used)
