"""Violations and bans (librechat-wire 2.2 to 2.4), made to work for anonymous callers, and without a stranger's hand on others."""

from __future__ import annotations

import httpx
import pytest

from ostiary.identity import accounts, bans
from tests.conftest import MakeHouse
from tests.dialects.librechat.browser import EMAIL, PASSWORD, browser, enrolled, owing, signed_in
from tests.house import House

BANNED = (403, {"message": "Your account has been temporarily banned due to violations of our service."})
ON = {"RATE_LIMITS": "on", "BAN_VIOLATIONS": "true", "LOGIN_MAX": "1", "LOCKOUT": "off"}
HOUR = 3600
OFFENDER = "198.51.100.1"


async def asked(client: httpx.AsyncClient, path: str = "/api/auth/login", **body: object) -> tuple[int, object]:
    answer = await client.post(path, json=body)
    return answer.status_code, answer.json()


async def offended(house: House, times: int = 20, address: str = OFFENDER) -> None:
    """That many requests over the limit."""
    client = house.client_at(address)
    for _ in range(times + 1):
        await client.post("/api/auth/login", json={})


async def ban(house: House, kind: str, subject: str, expires_at: int | None = None) -> None:
    async with house.begin() as ctx:
        await bans.add(ctx, kind, subject, "test", expires_at)


async def test_twenty_violations_ban_the_address_for_two_hours(make_house: MakeHouse) -> None:
    house = await make_house(**ON)
    await offended(house, 19)
    house.clock.advance(300)
    before = await asked(house.client_at(OFFENDER))
    await offended(house, 1)
    house.clock.advance(300)

    after = await asked(house.client_at(OFFENDER))
    house.clock.advance(2 * HOUR - 300 - 0.000001)
    at_the_end = await asked(house.client_at(OFFENDER))
    house.clock.advance(0.000001)

    assert before[0] == 404
    assert after == at_the_end == BANNED
    assert (await asked(house.client_at(OFFENDER)))[0] == 429
    house.clock.advance(300)
    assert (await asked(house.client_at(OFFENDER)))[0] == 404


async def test_another_address_is_not_banned_with_it(make_house: MakeHouse) -> None:
    house = await make_house(**ON)
    await offended(house, 25)
    house.clock.advance(300)

    assert (await asked(house.client_at("198.51.100.2")))[0] == 404


async def test_a_stranger_cannot_ban_an_owner_by_violations(make_house: MakeHouse) -> None:
    house = await make_house(**ON)
    await browser(house, "192.0.2.1").register()
    for _ in range(30):
        await asked(house.client_at(OFFENDER), email=EMAIL, password="wrong password")

    assert (await asked(house.client_at("192.0.2.1"), email=EMAIL, password=PASSWORD))[0] == 200


async def test_old_violations_are_forgotten(make_house: MakeHouse) -> None:
    house = await make_house(**ON)
    await offended(house, 19)
    house.clock.advance(24 * HOUR)
    await offended(house, 19)
    house.clock.advance(300)

    assert (await asked(house.client_at(OFFENDER)))[0] == 404


async def test_nothing_is_banned_where_the_operator_did_not_ask_for_it(make_house: MakeHouse) -> None:
    house = await make_house(**ON | {"BAN_VIOLATIONS": "false"})
    await offended(house, 60)
    house.clock.advance(300)

    assert (await asked(house.client_at(OFFENDER)))[0] == 404


@pytest.mark.parametrize(
    ("variables", "times"),
    [({"BAN_INTERVAL": "3"}, 3), ({"LOGIN_VIOLATION_SCORE": "10"}, 2), ({"LOGIN_VIOLATION_SCORE": "7", "BAN_INTERVAL": "10"}, 2)],
)
async def test_the_operator_chooses_how_many(make_house: MakeHouse, variables: dict[str, str], times: int) -> None:
    house = await make_house(**ON, **variables)
    await offended(house, times - 1)
    house.clock.advance(300)
    before = (await asked(house.client_at(OFFENDER)))[0]
    await offended(house, 1)
    house.clock.advance(300)

    assert before == 404
    assert await asked(house.client_at(OFFENDER)) == BANNED


async def test_a_score_of_nothing_never_bans(make_house: MakeHouse) -> None:
    house = await make_house(**ON, LOGIN_VIOLATION_SCORE="0")
    await offended(house, 60)
    house.clock.advance(300)

    assert (await asked(house.client_at(OFFENDER)))[0] == 404


async def test_the_operator_chooses_how_long(make_house: MakeHouse) -> None:
    house = await make_house(**ON, BAN_DURATION="1000 * 60 * 10")
    await offended(house)
    house.clock.advance(599)
    before = await asked(house.client_at(OFFENDER))
    house.clock.advance(301)

    assert before == BANNED
    assert (await asked(house.client_at(OFFENDER)))[0] == 404


@pytest.mark.parametrize(
    "path",
    [
        "/api/auth/login",
        "/api/auth/register",
        "/api/auth/requestPasswordReset",
        "/api/auth/resetPassword",
        "/api/auth/2fa/verify-temp",
        "/api/admin/login/local",
    ],
)
async def test_a_banned_address_is_refused_where_the_wire_looks(house: House, path: str) -> None:
    await ban(house, bans.ADDRESS, OFFENDER)

    assert await asked(house.client_at(OFFENDER), path) == BANNED
    assert (await asked(house.client_at("192.0.2.1"), path))[0] != 403


async def test_a_banned_account_is_told_so_with_its_password_alone(house: House) -> None:
    """Otherwise the answer would tell a stranger of the account (W-2)."""
    someone = await signed_in(house)
    await ban(house, bans.ACCOUNT, (await someone.get("/api/user")).json()["id"])

    assert await asked(house.client, email=EMAIL, password=PASSWORD) == BANNED
    assert (await asked(house.client, email=EMAIL, password="wrong password"))[0] == 404


async def test_a_ban_reaches_live_sessions_at_once(house: House) -> None:
    someone, other = await signed_in(house), await signed_in(house, "other@example.com")
    await ban(house, bans.ACCOUNT, (await someone.get("/api/user")).json()["id"])

    assert (await someone.get("/api/user")).status_code == 401
    assert (await someone.refresh()).status_code == 401
    assert (await other.refresh()).status_code == 200


async def test_a_banned_account_does_not_get_past_its_factor(house: House) -> None:
    someone = await signed_in(house)
    app = await enrolled(house, someone)
    fresh, pending = await owing(house)
    await ban(house, bans.ACCOUNT, (await someone.get("/api/user")).json()["id"])

    assert (await fresh.prove(pending, token=app.code())).status_code in (401, 403)


async def test_a_lifted_ban_lets_in_again(house: House) -> None:
    someone = await signed_in(house)
    account = (await someone.get("/api/user")).json()["id"]
    await ban(house, bans.ACCOUNT, account)
    async with house.begin() as ctx:
        assert await bans.lift(ctx, bans.ACCOUNT, account)
        assert not await bans.lift(ctx, bans.ACCOUNT, account)

    assert (await asked(house.client, email=EMAIL, password=PASSWORD))[0] == 200


async def test_a_ban_expires_exactly(house: House) -> None:
    await browser(house).register()
    async with house.begin() as ctx:
        account = await accounts.named(ctx, EMAIL)
    await ban(house, bans.ACCOUNT, account.id, house.clock.now + HOUR * 1_000_000)
    house.clock.advance(HOUR - 0.000001)
    before = await asked(house.client, email=EMAIL, password=PASSWORD)
    house.clock.advance(0.000001)

    assert before == BANNED
    assert (await asked(house.client, email=EMAIL, password=PASSWORD))[0] == 200


async def test_a_ban_survives_a_restart_and_the_sweep(make_house: MakeHouse) -> None:
    before = await make_house()
    await ban(before, bans.ADDRESS, OFFENDER)
    await before.jobs.sweep()

    after = await make_house()

    assert await asked(after.client_at(OFFENDER)) == BANNED


async def test_what_strangers_earn_for_an_address_does_not_shut_out_the_devices_of_owners_behind_it(
    make_house: MakeHouse,
) -> None:
    house = await make_house(**ON | {"LOGIN_MAX": "4", "BAN_INTERVAL": "1"})
    someone = browser(house, OFFENDER)
    await someone.register()
    await someone.login()
    app = await enrolled(house, someone)
    house.clock.advance(300)
    await offended(house, 4)
    house.clock.advance(300)

    elsewhere = [await asked(house.client_at(OFFENDER), email=EMAIL, password=PASSWORD) for _ in range(2)]
    others = await asked(someone.client, email="other@example.org", password=PASSWORD)
    pending = (await someone.login()).json()["tempToken"]
    stolen = await browser(house, OFFENDER).prove(pending, token=app.code())
    back = await someone.prove(pending, token=app.code())
    house.clock.advance(300)
    found = [(await someone.login(EMAIL, "wrong password")).status_code for _ in range(4)]

    assert elsewhere == [BANNED] * 2
    assert others == BANNED
    assert stolen.status_code == 403
    assert back.status_code == 200
    assert found == [404, 404, 404, 403]


async def test_an_operators_ban_is_for_known_devices_too(make_house: MakeHouse) -> None:
    house = await make_house(**ON | {"LOGIN_MAX": "4", "BAN_INTERVAL": "1"})
    someone = await signed_in(house, address=OFFENDER)
    await ban(house, bans.ADDRESS, OFFENDER)
    await offended(house, 4)
    house.clock.advance(300)

    refused = await asked(someone.client, email=EMAIL, password=PASSWORD)
    async with house.begin() as ctx:
        assert await bans.lift(ctx, bans.ADDRESS, OFFENDER)

    assert refused == BANNED
    assert (await asked(house.client_at(OFFENDER), email=EMAIL, password=PASSWORD))[0] == 200


@pytest.mark.parametrize("hours", [None, 3])
async def test_whoever_knocks_on_does_not_shorten_an_operators_ban(make_house: MakeHouse, hours: int | None) -> None:
    house = await make_house(**ON)
    await ban(house, bans.ADDRESS, OFFENDER, None if hours is None else house.clock.now + hours * HOUR * 1_000_000)
    await offended(house)
    house.clock.advance(2 * HOUR + 300)

    assert await asked(house.client_at(OFFENDER)) == BANNED


async def test_a_ban_of_an_ipv6_address_is_for_its_network(house: House) -> None:
    async with house.begin() as ctx:
        await bans.add(ctx, *await bans.subject_of(ctx, "2001:db8:1:2::1"), "test", None)

    assert await asked(house.client_at("2001:db8:1:2:ffff::9")) == BANNED
    assert (await asked(house.client_at("2001:db8:1:3::1")))[0] == 404


async def test_banning_again_replaces_the_ban(house: House) -> None:
    await ban(house, bans.ADDRESS, OFFENDER)
    await ban(house, bans.ADDRESS, OFFENDER, house.clock.now + 1_000_000)
    house.clock.advance(1)

    assert (await asked(house.client_at(OFFENDER)))[0] == 404
    async with house.begin() as ctx:
        assert await bans.in_force(ctx) == []
