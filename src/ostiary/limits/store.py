"""What a limit is, and what keeps its counters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

MICROSECONDS = 1_000_000


@dataclass(frozen=True, slots=True)
class Rule:
    """A named limit.

    `window`: at most `capacity` within `period` of the key's first. `bucket`: starts full with `capacity` and fills evenly, the
    whole of it in `period`. Periods are microseconds.
    """

    name: str
    capacity: int
    period: int
    kind: Literal["window", "bucket"] = "window"


@dataclass(frozen=True, slots=True)
class Taken:
    """What a limit said: whether it may go on, what remains, and when (microseconds, UTC) it is as good as new."""

    rule: Rule
    is_allowed: bool
    remaining: int
    reset_at: int
    retry_after: int
    """Seconds until the next one is allowed; 0 when this one was."""


class LimitStore(Protocol):
    """Counts before the work is done, so that nothing is to be had by racing."""

    async def take(self, rule: Rule, key: str, now: int) -> Taken:
        """Count one."""
        ...

    async def give_back(self, rule: Rule, key: str, now: int) -> None:
        """Uncount one: the work turned out to be harmless."""
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


def judged(rule: Rule, used: float, elapsed: int, now: int) -> Taken:
    """The verdict when `used` of the capacity are gone, this one counted, and a window began `elapsed` microseconds ago."""
    if rule.kind == "window":
        left = rule.period - elapsed
        is_allowed = used <= rule.capacity
        wait = 0 if is_allowed else left
        return Taken(rule, is_allowed, max(0, int(rule.capacity - used)), now + left, -(-wait // MICROSECONDS))
    fill = rule.period / rule.capacity
    is_allowed = used <= rule.capacity
    missing = 0 if is_allowed else int((used - rule.capacity) * fill)
    full_again = now + int(min(used, rule.capacity) * fill)
    return Taken(
        rule,
        is_allowed,
        max(0, int(rule.capacity - used)),
        full_again,
        max(-(-missing // MICROSECONDS), int(not is_allowed)),
    )
