"""Answers whose time must not tell what was found, where what there is to do cannot be made the same.

A registration writes an account, or a mail to the owner of one; a spent budget is looked up among an account's events, or among
none. Such a unit of work ends no sooner than EVEN_SECONDS after the moment from which it may differ: a fixed moment, longer than
either takes, and not a random one, which many tries average away. `bench/enumeration.py` measures what is left.
"""

from __future__ import annotations

import asyncio

from ostiary.identity.context import Context

EVEN_SECONDS = 0.01


def moment() -> float:
    """Now, as `even_out` counts."""
    return asyncio.get_running_loop().time()


def even_out(ctx: Context, since: float) -> None:
    """Let the unit end, durable, no sooner than EVEN_SECONDS after then."""

    async def rest() -> None:
        await asyncio.sleep(since + EVEN_SECONDS - moment())

    ctx.afterwards.append(rest)
