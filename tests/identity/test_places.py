"""Places that an account has signed in from."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import select

from ostiary.identity import accounts, places, throttle
from ostiary.identity.context import Client, begin
from ostiary.storage.statements import Query
from ostiary.storage.tables import places as table
from tests.dialects.librechat.browser import EMAIL, browser, signed_in
from tests.house import House

_rows = Query(lambda *row: row, select(table))


async def known(house: House, address: str, client: str = "test") -> str | None:
    async with begin(house.services, Client(address, client)) as ctx:
        account = await accounts.named(ctx, EMAIL)
        return await places.known(ctx, account.id, throttle.network(address))


async def test_a_place_is_a_household_and_outlives_its_sessions_by_half_a_year(house: House) -> None:
    await (await signed_in(house, address="192.0.2.7")).post("/api/auth/logout")
    await browser(house, "2001:db8:1:2::7").login()

    house.clock.advance(timedelta(days=179).total_seconds())
    await house.jobs.sweep()
    here = [await known(house, address) for address in ("192.0.2.7", "2001:db8:1:2:ffff::8")]
    elsewhere = [await known(house, address) for address in ("192.0.2.8", "2001:db8:1:3::7")]
    house.clock.advance(timedelta(days=2).total_seconds())
    await house.jobs.sweep()

    assert all(here)
    assert elsewhere == [None, None]
    assert [await known(house, address) for address in ("192.0.2.7", "2001:db8:1:2::7")] == [None, None]


async def test_a_client_that_has_been_here_has_a_budget_apart_from_the_others_here(house: House) -> None:
    someone = browser(house, "192.0.2.7")
    await someone.register()
    someone.client.headers["user-agent"] = "LibrePass/1.2"
    await someone.login()

    own, others = await known(house, "192.0.2.7", "LibrePass/1.2"), {await known(house, "192.0.2.7", f"x{n}") for n in range(3)}

    assert own is not None
    assert len(others) == 1
    assert own not in others


async def test_an_account_without_places_is_known_nowhere(house: House) -> None:
    await browser(house, "192.0.2.7").register()

    assert await known(house, "192.0.2.7") is None
    async with house.begin() as ctx:
        assert await places.known(ctx, None, "192.0.2.7") is None


async def test_a_place_is_stored_as_digests_that_differ_from_account_to_account(house: House) -> None:
    for email in (EMAIL, "other@example.com"):
        await signed_in(house, email, "192.0.2.7")

    async with house.begin() as ctx:
        rows = await ctx.db.all(_rows)

    assert len({row[1] for row in rows}) == len({row[2] for row in rows}) == len(rows) == 2
    assert b"192.0.2.7" not in repr(rows).encode()


async def test_signing_in_again_from_a_place_leaves_one_row(house: House) -> None:
    someone = await signed_in(house, address="192.0.2.7")
    await someone.login()
    await someone.login()

    async with house.begin() as ctx:
        assert len(await ctx.db.all(_rows)) == 1
