"""A million counters in little memory: rows of four numbers, no objects.

A key is a tag of 64 bits; it lives in one of the 16 rows of one set. The number of sets grows with the keys, one set at a time
(Litwin's linear hashing, VLDB 1980), so that no step takes longer than a look at three sets. Where a set is full, what is worth
least makes room: what is over, else what is furthest from its limit. So a stranger who makes a million keys loses their own, and
to push out one spent limit would have to spend fifteen others of the same set, which nobody can aim at.
"""

from __future__ import annotations

from mmap import MAP_ANONYMOUS, MAP_PRIVATE, mmap
from sys import byteorder

from ostiary.limits.store import Rule, left

WAYS = 16
MOST_SETS = 131_072
"""Two million rows of 25 bytes: a million keys are half of them, so that hardly any set is full."""
FIRST_SETS = 64
LOAD = 0.3
"""Of the rows in use; then there is a set more, so that a full set is rare."""
_FREE = 0


class Table:
    """Counters by tag. Memory is used as sets are."""

    def __init__(self, most_sets: int = MOST_SETS) -> None:
        self.pushed_out = 0
        """How many counters had to make room before their time."""
        self.rows = 0
        """How many there are."""
        slots = most_sets * WAYS
        # One tag more than there are rows: in older Pythons, Debian 12's too, `find` looks at some bytes behind where it should
        # end (CPython's issue 105235), and what lies behind the last page may be nobody's: the process would end there.
        tags = _pages((slots + 1) * 8)
        self._find = tags.find
        self._tags = memoryview(tags).cast("Q")
        self.used = memoryview(_pages(slots * 8)).cast("d")
        self.since = memoryview(_pages(slots * 8)).cast("q")
        self._rule = memoryview(_pages(slots))
        self._rules: list[Rule] = []
        self._numbers: dict[str, int] = {}
        self._most_sets = most_sets
        self._sets = self._level = min(FIRST_SETS, most_sets)
        self._mask = 2 * self._level - 1
        self._hand = 0

    def find(self, tag: int) -> int:
        """The row of this tag, until the next `add`; -1 when there is none. `used` and `since` may be read and written there."""
        place = tag & self._mask
        at = WAYS * 8 * (place if place < self._sets else place - self._level)
        end = at + WAYS * 8
        wanted = tag.to_bytes(8, byteorder)
        while (at := self._find(wanted, at, end)) >= 0:
            if at % 8 == 0:
                return at // 8
            at += 1
        return -1

    def add(self, tag: int, rule: Rule, used: float, since: int) -> None:
        """A row for a tag that has none; `since` is now."""
        slot = self._room(tag, since)
        self._tags[slot], self.used[slot], self.since[slot], self._rule[slot] = tag, used, since, self._number(rule)

    def drop(self, tag: int) -> None:
        """Forget this tag."""
        slot = self.find(tag)
        if slot >= 0:
            self.clear(slot)

    def clear(self, slot: int) -> None:
        """Free a row in use."""
        self._tags[slot] = _FREE
        self.rows -= 1

    def _start(self, tag: int) -> int:
        """The first row of the tag's set: by as many bits as there are whole doublings of sets, and one more behind the split."""
        place = tag & self._mask
        return WAYS * (place if place < self._sets else place - self._level)

    def _number(self, rule: Rule) -> int:
        number = self._numbers.get(rule.name)
        if number is None:
            number = self._numbers[rule.name] = len(self._rules)
            self._rules.append(rule)
        return number

    def _room(self, tag: int, now: int) -> int:
        if self.rows >= self._sets * WAYS * LOAD:
            self._make_room(now)
        start = self._start(tag)
        tags = self._tags[start : start + WAYS].tolist()
        if _FREE in tags:
            self.rows += 1
            return start + tags.index(_FREE)
        slot = min(range(start, start + WAYS), key=lambda slot: self._worth(slot, now))
        self.pushed_out += not self._is_over(slot, now)
        return slot

    def _make_room(self, now: int) -> None:
        """Clear what is over in the next set in turn; where much is left, use one set more."""
        start = self._hand % self._sets * WAYS
        self._hand += 1
        kept = 0
        for slot in range(start, start + WAYS):
            if self._tags[slot] == _FREE:
                continue
            if self._is_over(slot, now):
                self.clear(slot)
            else:
                kept += 1
        if kept > WAYS * LOAD and self._sets < self._most_sets:
            self._split()

    def _split(self) -> None:
        old, new = (self._sets - self._level) * WAYS, self._sets * WAYS
        self._sets += 1
        for slot in range(old, old + WAYS):
            tag = self._tags[slot]
            if tag == _FREE or self._start(tag) == old:
                continue
            self._tags[new], self.used[new] = tag, self.used[slot]
            self.since[new], self._rule[new] = self.since[slot], self._rule[slot]
            self._tags[slot] = _FREE
            new += 1
        if self._sets == 2 * self._level:
            self._level, self._mask = self._sets, 2 * self._sets - 1

    def _is_over(self, slot: int, now: int) -> bool:
        return now - self.since[slot] >= self._rules[self._rule[slot]].period

    def _worth(self, slot: int, now: int) -> tuple[float, bool, int]:
        rule, since = self._rules[self._rule[slot]], self.since[slot]
        used, _ = left(rule, self.used[slot], since, now)
        return used / rule.capacity, rule.guards, since


def _pages(size: int) -> mmap:
    """Zeroes that the system backs with memory when they are first written."""
    return mmap(-1, size, flags=MAP_PRIVATE | MAP_ANONYMOUS)
