"""Account lockout, as the page promises it, built so that a stranger cannot lock an owner out."""

from __future__ import annotations

import asyncio

import pytest

from ostiary.identity import accounts, operators
from tests.conftest import MakeHouse
from tests.dialects.librechat.browser import EMAIL, PASSWORD, Browser, browser, link_of, parameters_of, signed_in
from tests.house import House

LOCKED = (429, {"message": "Too many login attempts, please try again after 15 minutes."})
WRONG = (404, {"message": "Invalid credentials"})
WINDOW = 15 * 60


async def tried(someone: Browser, email: str = EMAIL, password: str = "wrong password") -> tuple[int, object]:
    answer = await someone.login(email, password)
    return answer.status_code, answer.json()


async def attacked(house: House, email: str = EMAIL, times: int = 10) -> None:
    """Wrong proofs from as many addresses."""
    for number in range(times):
        assert await tried(browser(house, f"198.51.100.{number}"), email) == WRONG


@pytest.fixture
async def owner(house: House) -> Browser:
    """Somebody who signed in at home a while ago."""
    return await signed_in(house, address="192.0.2.1")


async def test_ten_failures_from_unknown_devices_close_the_door_to_them(house: House, owner: Browser) -> None:
    await attacked(house)

    assert await tried(browser(house, "198.51.100.200")) == LOCKED
    assert await tried(browser(house, "198.51.100.201"), password=PASSWORD) == LOCKED


async def test_a_stranger_at_one_address_does_not_close_the_door_to_the_owner_at_a_new_one(house: House, owner: Browser) -> None:
    stranger = browser(house, "198.51.100.7")
    answers = [await tried(stranger) for _ in range(11)]

    assert answers == [WRONG] * 10 + [LOCKED]
    assert (await tried(browser(house, "203.0.113.5"), password=PASSWORD))[0] == 200


async def test_the_owners_known_device_still_gets_in_from_anywhere(house: House, owner: Browser) -> None:
    await attacked(house)
    owner.client.cookies.delete("refreshToken")
    device = owner.client.cookies["ostiary_device"]
    elsewhere = browser(house, "203.0.113.5", cookie=f"ostiary_device={device}")

    assert (await tried(elsewhere, password=PASSWORD))[0] == 200


async def test_the_owners_known_address_still_gets_in(house: House, owner: Browser) -> None:
    await attacked(house)

    assert (await tried(browser(house, "192.0.2.1"), password=PASSWORD))[0] == 200


async def test_an_owner_whose_ipv6_address_changes_by_the_day_is_known_by_the_household(house: House) -> None:
    await signed_in(house, address="2001:db8:1:2::7")
    await attacked(house)

    assert await tried(browser(house, "2001:db8:1:3::8"), password=PASSWORD) == LOCKED
    assert (await tried(browser(house, "2001:db8:1:2:ffff::8"), password=PASSWORD))[0] == 200


async def test_a_known_device_has_a_budget_of_its_own(house: House, owner: Browser) -> None:
    for _ in range(10):
        assert await tried(owner) == WRONG

    assert await tried(owner, password=PASSWORD) == LOCKED
    assert (await tried(browser(house, "203.0.113.5"), password=PASSWORD))[0] == 200


async def test_a_known_device_forgets_failures_with_the_right_proof(house: House, owner: Browser) -> None:
    for _ in range(3):
        for _ in range(9):
            assert await tried(owner) == WRONG
        assert (await tried(owner, password=PASSWORD))[0] == 200


async def test_a_right_proof_of_a_stranger_device_does_not_clear_the_counter(house: House, owner: Browser) -> None:
    await attacked(house, times=9)

    assert (await tried(browser(house, "203.0.113.5"), password=PASSWORD))[0] == 200
    assert await tried(browser(house, "198.51.100.100")) == WRONG
    assert await tried(browser(house, "198.51.100.101")) == LOCKED


async def test_the_door_opens_again_after_a_quarter_of_an_hour(house: House, owner: Browser) -> None:
    await attacked(house)
    house.clock.advance(WINDOW - 0.000001)
    before = await tried(browser(house, "203.0.113.5"), password=PASSWORD)
    house.clock.advance(0.000001)

    assert before == LOCKED
    assert (await tried(browser(house, "203.0.113.5"), password=PASSWORD))[0] == 200


async def test_an_unknown_address_is_locked_alike(house: House) -> None:
    """Otherwise the lockout would tell who has an account."""
    await attacked(house, "nobody@example.com")

    assert await tried(browser(house, "203.0.113.5"), "nobody@example.com") == LOCKED


@pytest.mark.parametrize("spelling", ["U@example.com", "u@EXAMPLE.COM", "U@Example.Com"])
async def test_every_spelling_of_an_address_counts_as_one(house: House, owner: Browser, spelling: str) -> None:
    for number in range(10):
        assert await tried(browser(house, f"198.51.100.{number}"), (EMAIL, spelling)[number % 2]) == WRONG

    assert await tried(browser(house, "203.0.113.5"), spelling) == LOCKED


async def test_another_account_is_not_touched(house: House, owner: Browser) -> None:
    other = await signed_in(house, "other@example.com", "192.0.2.9")
    await attacked(house)

    assert (await tried(browser(house, "203.0.113.5"), "other@example.com", PASSWORD))[0] == 200
    assert (await other.refresh()).status_code == 200


async def test_a_lockout_ends_no_session(house: House, owner: Browser) -> None:
    await attacked(house)

    assert (await owner.refresh()).status_code == 200
    assert (await owner.get("/api/user")).status_code == 200


async def test_a_reset_opens_the_door(house: House, owner: Browser) -> None:
    await attacked(house)
    await owner.post("/api/auth/requestPasswordReset", {"email": EMAIL})
    link = parameters_of(await link_of(house, "Password Reset Request"))
    await owner.post("/api/auth/resetPassword", {**link, "password": "a new password"})

    assert (await tried(browser(house, "203.0.113.5"), password="a new password"))[0] == 200


async def test_an_operator_opens_the_door(house: House, owner: Browser) -> None:
    await attacked(house)
    async with house.begin() as ctx:
        await operators.unlock(ctx, await accounts.named(ctx, EMAIL))

    assert (await tried(browser(house, "203.0.113.5"), password=PASSWORD))[0] == 200


async def test_the_mark_of_another_account_is_no_mark(house: House, owner: Browser) -> None:
    other = await signed_in(house, "other@example.com", "192.0.2.9")
    await attacked(house)
    device = other.client.cookies["ostiary_device"]

    assert await tried(browser(house, "203.0.113.5", cookie=f"ostiary_device={device}"), password=PASSWORD) == LOCKED


@pytest.mark.parametrize("change", ["flip", "truncate", "other id", "junk"])
async def test_a_made_up_mark_is_no_mark(house: House, owner: Browser, change: str) -> None:
    await attacked(house)
    device, _, mark = owner.client.cookies["ostiary_device"].partition(".")
    made_up = {
        "flip": f"{device}.{'0' if mark[0] != '0' else '1'}{mark[1:]}",
        "truncate": f"{device}.{mark[:-1]}",
        "other id": f"{'0' * 32}.{mark}",
        "junk": "." * 500,
    }[change]

    assert await tried(browser(house, "203.0.113.5", cookie=f"ostiary_device={made_up}"), password=PASSWORD) == LOCKED


async def test_a_shared_browser_is_known_to_each_of_its_accounts(house: House, owner: Browser) -> None:
    await browser(house).register("other@example.com")
    await owner.login("other@example.com")
    for email in (EMAIL, "other@example.com"):
        await attacked(house, email)

    for email in (EMAIL, "other@example.com"):
        cookie = f"ostiary_device={owner.client.cookies['ostiary_device']}"
        assert (await tried(browser(house, "203.0.113.5", cookie=cookie), email, PASSWORD))[0] == 200


async def test_the_mark_names_nobody(house: House, owner: Browser) -> None:
    mark = owner.client.cookies["ostiary_device"]
    account = (await owner.get("/api/user")).json()

    assert account["id"] not in mark
    assert EMAIL not in mark


async def test_64_guesses_at_once_get_ten_checks(house: House, owner: Browser) -> None:
    answers = await asyncio.gather(*(tried(browser(house, f"198.51.100.{number}")) for number in range(64)))

    assert sorted(status for status, _ in answers) == [404] * 10 + [429] * 54


async def test_lockout_can_be_switched_off(make_house: MakeHouse) -> None:
    house = await make_house(LOCKOUT="off")
    await browser(house).register()
    await attacked(house, times=15)

    assert (await tried(browser(house), password=PASSWORD))[0] == 200


async def test_the_operator_chooses_how_many_and_how_long(make_house: MakeHouse) -> None:
    house = await make_house(OSTIARY_LOCKOUT_MAX="3", OSTIARY_LOCKOUT_WINDOW="1")
    await browser(house).register()
    await attacked(house, times=3)
    closed = await tried(browser(house), password=PASSWORD)
    house.clock.advance(60)

    assert closed == (429, {"message": "Too many login attempts, please try again after 1 minutes."})
    assert (await tried(browser(house), password=PASSWORD))[0] == 200
