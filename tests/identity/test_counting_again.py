"""Lockouts and limits on codes outlive the process that counted them."""

from __future__ import annotations

import pytest

from ostiary.identity import accounts, audit, operators
from tests.conftest import MakeHouse
from tests.dialects.librechat.browser import EMAIL, PASSWORD, Browser, browser, enrolled, link_of, owing, parameters_of, signed_in
from tests.dialects.librechat.test_lockout import LOCKED, attacked, tried
from tests.house import House


async def restarted(make_house: MakeHouse, house: House, **settings: str) -> House:
    """The same database in a fresh process, at the same time of day."""
    again = await make_house(**settings)
    again.clock.now = house.clock.now
    return again


@pytest.mark.parametrize("email", [EMAIL, "nobody@example.org"])
async def test_a_lockout_outlives_a_restart_whether_there_is_an_account_or_not(make_house: MakeHouse, email: str) -> None:
    house = await make_house()
    await signed_in(house, address="192.0.2.1")
    await attacked(house, email)

    again = await restarted(make_house, house)

    assert await tried(browser(again, "203.0.113.5"), email, PASSWORD) == LOCKED
    again.clock.advance(15 * 60)
    assert (await tried(browser(again, "203.0.113.5"), email, PASSWORD))[0] != 429


async def test_what_one_address_may_fail_outlives_a_restart(make_house: MakeHouse) -> None:
    house = await make_house()
    await signed_in(house, address="192.0.2.1")
    stranger = "198.51.100.1"
    for _ in range(10):
        await tried(browser(house, stranger))

    again = await restarted(make_house, house)

    assert await tried(browser(again, stranger), password=PASSWORD) == LOCKED
    assert (await tried(browser(again, "203.0.113.5"), password=PASSWORD))[0] == 200


async def test_a_known_device_keeps_its_own_budget_over_a_restart(make_house: MakeHouse) -> None:
    house = await make_house()
    owner = await signed_in(house, address="192.0.2.1")
    house.clock.advance(1)
    await attacked(house)
    device = f"ostiary_device={owner.client.cookies['ostiary_device']}"
    for _ in range(9):
        await tried(owner)
    first = await restarted(make_house, house)
    at_first = [await tried(browser(first, "203.0.113.5", cookie=device)) for _ in range(2)]

    again = await restarted(make_house, first)

    assert [status for status, _ in at_first] == [404, 429]
    assert await tried(browser(again, "203.0.113.6", cookie=device), password=PASSWORD) == LOCKED
    assert (await tried(browser(again, "192.0.2.1"), password=PASSWORD))[0] == 200


async def test_a_right_proof_of_a_known_device_is_remembered_too(make_house: MakeHouse) -> None:
    house = await make_house()
    owner = await signed_in(house, address="192.0.2.1")
    device = f"ostiary_device={owner.client.cookies['ostiary_device']}"
    for _ in range(9):
        await tried(owner)
    house.clock.advance(1)
    assert (await tried(owner, password=PASSWORD))[0] == 200
    house.clock.advance(1)

    again = await restarted(make_house, house)

    for _ in range(9):
        assert (await tried(browser(again, "192.0.2.1", cookie=device)))[0] == 404


@pytest.mark.parametrize("way", ["operator", "reset"])
async def test_an_opened_door_stays_open_over_a_restart(make_house: MakeHouse, way: str) -> None:
    house = await make_house()
    owner = await signed_in(house, address="192.0.2.1")
    await attacked(house)
    house.clock.advance(1)
    await _open_door(house, owner, way)
    house.clock.advance(1)

    again = await restarted(make_house, house)

    assert (await tried(browser(again, "203.0.113.5"), password="quite another one"))[0] in (200, 404)


async def _open_door(house: House, owner: Browser, way: str) -> None:
    if way == "reset":
        await owner.post("/api/auth/requestPasswordReset", {"email": EMAIL})
        link = parameters_of(await link_of(house, "Password Reset Request"))
        await owner.post("/api/auth/resetPassword", {**link, "password": "quite another one"})
        return
    async with house.begin() as ctx:
        await operators.unlock(ctx, await accounts.named(ctx, EMAIL))


async def test_tries_of_codes_outlive_a_restart(make_house: MakeHouse) -> None:
    """Ten in a quarter of an hour, in however many lives of the server."""
    house = await make_house()
    app = await enrolled(house, await signed_in(house))
    for _ in range(2):
        someone, pending = await owing(house)
        for _ in range(5):
            assert (await someone.prove(pending, token=app.wrong_code())).status_code == 401
    house.clock.advance(1)

    again = await restarted(make_house, house)
    someone, pending = await owing(again)
    found = await someone.prove(pending, backupCode=app.codes[0])
    again.clock.advance(15 * 60)
    someone, pending = await owing(again)

    assert found.status_code == 429
    assert (await someone.prove(pending, backupCode=app.codes[0])).status_code == 200


async def test_a_right_code_is_remembered_too(make_house: MakeHouse) -> None:
    house = await make_house()
    app = await enrolled(house, await signed_in(house))
    for _ in range(2):
        pressing, pending = await owing(house)
        for _ in range(4):
            await pressing.prove(pending, token=app.wrong_code())
    house.clock.advance(1)
    someone, pending = await owing(house)
    assert (await someone.prove(pending, backupCode=app.codes[0])).status_code == 200
    house.clock.advance(1)

    again = await restarted(make_house, house)
    someone, pending = await owing(again)

    for _ in range(5):
        assert (await someone.prove(pending, token=app.wrong_code())).status_code == 401


async def test_budgets_that_strangers_share_outlive_a_restart(make_house: MakeHouse) -> None:
    settings = {"RATE_LIMITS": "on", "OSTIARY_LOGIN_NETWORK_MAX": "3"}
    house = await make_house(**settings)
    for number in range(3):
        await tried(browser(house, f"198.51.100.{number}"), f"nobody{number}@example.org")

    again = await restarted(make_house, house, **settings)

    assert (await tried(browser(again, "198.51.100.9"), "nobody@example.org"))[0] == 429


async def test_no_line_of_the_audit_names_whom_a_stranger_tried_to_be(make_house: MakeHouse) -> None:
    house = await make_house()
    await tried(browser(house, "198.51.100.1"), "secret.name@example.org")

    async with house.begin() as ctx:
        rows = await audit.latest(ctx)

    assert [row for row in rows if "lockout.account" in row.detail]
    assert "secret" not in repr(rows)
