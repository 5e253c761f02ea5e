"""Ids of rows that come with every sign-in: they stand in the index in the order in which they were made.

A random id puts each row on another page of its index, and every page that a unit touches is written whole when it commits.
"""

from __future__ import annotations

import os

_VARIANT = dict(zip("0123456789abcdef", "89ab" * 4, strict=True))


class _OrderedIds:
    """Those of one millisecond are counted, up to 4,096 (RFC 9562 section 6.2, method 1); the rest is chance."""

    def __init__(self) -> None:
        self._at = 0
        self._count = 0

    def __call__(self, now: int) -> str:
        """A fresh id: UUID v7 text (RFC 9562 section 5.7). It says when it was made (`now`, microseconds): no account has one."""
        at = now // 1000 & 0xFFFF_FFFF_FFFF
        self._count = (self._count + 1) & 0xFFF if at == self._at else 0
        self._at = at
        moment, chance = f"{at:012x}", os.urandom(8).hex()
        return f"{moment[:8]}-{moment[8:]}-7{self._count:03x}-{_VARIANT[chance[0]]}{chance[1:4]}-{chance[4:]}"


ordered_id = _OrderedIds()
