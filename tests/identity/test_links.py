"""Links asked for at once: the last one issued is the one that works."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from ostiary.identity import accounts, links, recovery, verification
from ostiary.identity.context import Context
from tests.dialects.librechat.browser import EMAIL, signed_in
from tests.house import House

AT_ONCE = 8


async def by_operator(ctx: Context, email: str) -> None:
    """As `ostiary user reset-link` does."""
    await recovery.link_for_operator(ctx, await accounts.named(ctx, email))


async def again(ctx: Context, email: str) -> None:
    """As who has lost the first mail asks for it."""
    await verification.answer(ctx, email, verification.STYLE, "verification")


@pytest.mark.parametrize(
    ("issue", "purpose"),
    [(recovery.answer, recovery.PURPOSE), (by_operator, recovery.PURPOSE), (again, verification.PURPOSE)],
    ids=["reset", "operator", "verification"],
)
async def test_of_many_links_asked_for_at_once_one_works(
    house: House, issue: Callable[[Context, str], Awaitable[None]], purpose: str
) -> None:
    await signed_in(house)
    async with house.begin() as ctx:
        account = await accounts.named(ctx, EMAIL)
        await accounts.change_email(ctx, account.id, EMAIL, None)

    async def ask() -> None:
        async with house.begin() as ctx:
            await issue(ctx, EMAIL)

    await asyncio.gather(*(ask() for _ in range(AT_ONCE)))

    async with house.begin() as ctx:
        assert len(await links.usable(ctx, purpose)) == 1
