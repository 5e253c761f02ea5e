"""Ids of rows that come with every sign-in: they stand in the index in the order in which they were made.

A random id puts each row on another page of its index, and every page that a unit touches is written whole when it commits.
"""

from __future__ import annotations

import os

_VARIANT = dict(zip("0123456789abcdef", "89ab" * 4, strict=True))


def ordered_id(now: int) -> str:
    """A fresh id: UUID v7 text (RFC 9562 section 5.7). It says when it was made (`now`, microseconds), so no account has one."""
    at, chance = f"{now // 1000 & 0xFFFF_FFFF_FFFF:012x}", os.urandom(10).hex()
    return f"{at[:8]}-{at[8:]}-7{chance[:3]}-{_VARIANT[chance[3]]}{chance[4:7]}-{chance[7:19]}"
