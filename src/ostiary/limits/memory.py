"""Counters of one process, bounded in memory: the keys untouched for longest make room."""

from __future__ import annotations

from collections import OrderedDict

from ostiary.limits.store import Rule, Taken, judged

MOST_KEYS = 200_000


class MemoryLimits:
    """See `LimitStore`. Constant time per call, at most MOST_KEYS keys."""

    def __init__(self, most_keys: int = MOST_KEYS) -> None:
        self._most = most_keys
        self._used: OrderedDict[tuple[str, str], tuple[float, int]] = OrderedDict()

    async def take(self, rule: Rule, key: str, now: int) -> Taken:
        used, since = self._current(rule, key, now)
        if rule.kind == "bucket" and used + 1 > rule.capacity:
            # A refused try does not deepen a bucket's debt, so that trying too often is not punished for ever.
            self._keep(rule, key, used, since)
            return judged(rule, used + 1, now - since, now)
        self._keep(rule, key, used + 1, since)
        return judged(rule, used + 1, now - since, now)

    async def give_back(self, rule: Rule, key: str, now: int) -> None:
        used, since = self._current(rule, key, now)
        if used >= 1:
            self._keep(rule, key, used - 1, since)

    async def forget(self, rule: Rule, key: str) -> None:
        self._used.pop((rule.name, key), None)

    async def ping(self) -> None:
        """This process always answers itself."""

    async def close(self) -> None:
        self._used.clear()

    def _current(self, rule: Rule, key: str, now: int) -> tuple[float, int]:
        """What is used, and since when; a clock that went back starts the key anew rather than locking it for ever."""
        used, since = self._used.get((rule.name, key), (0.0, now))
        elapsed = now - since
        if elapsed < 0:
            return used, now
        if rule.kind == "window":
            return (used, since) if elapsed < rule.period else (0.0, now)
        return max(0.0, used - elapsed * rule.capacity / rule.period), now

    def _keep(self, rule: Rule, key: str, used: float, since: int) -> None:
        self._used[rule.name, key] = (used, since)
        self._used.move_to_end((rule.name, key))
        if len(self._used) > self._most:
            self._used.popitem(last=False)
