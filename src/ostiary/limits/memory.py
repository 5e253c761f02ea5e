"""Counters of one process, bounded in memory (`limits.table`)."""

from __future__ import annotations

from secrets import token_hex
from typing import NamedTuple

from ostiary.limits.store import Rule, Taken, Wanted, judged, left
from ostiary.limits.table import MOST_SETS, Table

_BITS = (1 << 64) - 1


class MemoryLimits:
    """See `LimitStore`. Constant time per call, at most 56 MB however many keys there are."""

    def __init__(self, most_sets: int = MOST_SETS) -> None:
        self._table = Table(most_sets)
        self._salt = token_hex(8)

    def __len__(self) -> int:
        """How many keys are counted."""
        return self._table.rows

    @property
    def pushed_out(self) -> int:
        """How many counters had to make room before their time."""
        return self._table.pushed_out

    async def take(self, rule: Rule, key: str, now: int) -> Taken:
        table, tag = self._table, self._tag(rule, key)
        slot = table.find(tag)
        used, since = self._left(rule, slot, now) if slot >= 0 else (0.0, now)
        taken = judged(rule, used + 1, now - since, now)
        if taken.is_allowed:
            if slot >= 0:
                table.used[slot], table.since[slot] = used + 1, since
            else:
                table.add(tag, rule, 1.0, now)
        return taken

    async def take_each(self, wanted: Wanted, now: int) -> list[Taken]:
        found = [self._find(rule, key, now) for rule, key in wanted]
        taken = [judged(each.rule, each.used + 1, now - each.since, now) for each in found]
        for each in taken:
            if not each.is_allowed:
                return taken
        # New rows last: they move others.
        for is_new in (False, True):
            for one in found:
                if (one.slot < 0) is is_new:
                    self._keep(one, 1)
        return taken

    async def give_back(self, rule: Rule, key: str, now: int) -> None:
        self._give_back(rule, key, now)

    async def give_back_each(self, wanted: Wanted, now: int) -> None:
        for rule, key in wanted:
            self._give_back(rule, key, now)

    async def forget(self, rule: Rule, key: str) -> None:
        self._table.drop(self._tag(rule, key))

    async def ping(self) -> None:
        """This process always answers itself."""

    async def close(self) -> None:
        """Nothing outlives the process."""

    def _give_back(self, rule: Rule, key: str, now: int) -> None:
        found = self._find(rule, key, now)
        if found.used > 1:
            self._keep(found, -1)
        elif found.used == 1:
            self._table.clear(found.slot)

    def _find(self, rule: Rule, key: str, now: int) -> _Found:
        table, tag = self._table, self._tag(rule, key)
        slot = table.find(tag)
        if slot < 0:
            return _Found(rule, tag, slot, 0.0, now)
        return _Found(rule, tag, slot, *self._left(rule, slot, now))

    def _left(self, rule: Rule, slot: int, now: int) -> tuple[float, int]:
        table = self._table
        # Kept even when this try is refused: else a clock that went back would hold the door shut until it has caught up.
        table.since[slot] = min(table.since[slot], now)
        return left(rule, table.used[slot], table.since[slot], now)

    def _keep(self, found: _Found, change: int) -> None:
        table, slot = self._table, found.slot
        if slot < 0:
            table.add(found.tag, found.rule, found.used + change, found.since)
        else:
            table.used[slot], table.since[slot] = found.used + change, found.since

    def _tag(self, rule: Rule, key: str) -> int:
        """Python's hash of text is keyed and differs from process to process (PEP 456): nobody can make two keys meet."""
        return hash((self._salt, rule.name, key)) & _BITS or 1


class _Found(NamedTuple):
    """A key as it stands now; `slot` is -1 while it has no row."""

    rule: Rule
    tag: int
    slot: int
    used: float
    since: int
