"""A look-up by address reads a row whoever is asked for: before, between and behind all addresses."""

from __future__ import annotations

import pytest

from ostiary.identity import accounts, credentials, key_accounts, kinds
from tests.dialects.librechat.browser import browser
from tests.dialects.librepass import owner as librepass
from tests.house import House

KEY_OWNER = "q@example.org"


@pytest.mark.parametrize(
    ("asked", "read"),
    [
        ("a@example.org", "m@example.org"),
        ("m@example.org", "m@example.org"),
        ("n@example.org", KEY_OWNER),
        (KEY_OWNER, KEY_OWNER),
        ("\U0010ffff@example.org", KEY_OWNER),
    ],
)
async def test_every_look_up_reads_one_row_and_keeps_it_only_when_it_is_the_addresss_own(
    house: House, asked: str, read: str
) -> None:
    assert (await browser(house).register("m@example.org")).status_code == 200
    await librepass.registered(house, KEY_OWNER)

    async with house.begin() as ctx:
        one = await ctx.db.one(accounts._candidate_nearest_email, email=asked, kind=credentials.PASSWORD, now=ctx.now)
        two = await ctx.db.one(key_accounts._config_nearest_email, email=asked)
        three = await ctx.db.one(kinds._held_nearest_email, email=asked)
        candidate = await accounts.candidate(ctx, asked, credentials.PASSWORD)
        proof = await kinds.of_address(ctx, asked)

    assert one is not None
    assert two is not None
    assert three is not None
    assert (one.account.email, two.email, three.email) == (read, read, read)
    assert (candidate is not None) == (asked == read)
    if asked == read:
        assert proof.kind == (credentials.PUBLIC_KEY if read == KEY_OWNER else credentials.PASSWORD)
