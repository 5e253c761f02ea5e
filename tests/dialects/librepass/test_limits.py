"""The limits of librepass-wire 10: token buckets, by address and by e-mail, that no stranger can turn against an owner."""

from __future__ import annotations

import httpx
import pytest

from tests.conftest import MakeHouse
from tests.dialects.librepass.owner import (
    EMAIL,
    SHARED_SECRET,
    Owner,
    enrolled,
    flipped,
    owner,
    refused,
    registered,
    signed_in,
)
from tests.house import House

LIMITED = (429, "LP-RateLimit")


async def on(make_house: MakeHouse, **settings: str) -> House:
    return await make_house(RATE_LIMITS="on", LOCKOUT="off", EMAIL_NEW_LOGIN="false", **settings)


def slow_down(house: House, answer: httpx.Response) -> None:
    """Let the time pass that a refusal asks for."""
    assert refused(answer) == LIMITED
    house.clock.advance(int(answer.headers["retry-after"]))


async def test_a_bucket_fills_by_ten_a_minute_up_to_twenty(make_house: MakeHouse) -> None:
    house = await on(make_house)
    target = "/api/auth/preLogin?email="
    for _ in range(20):
        assert (await house.client.get(target)).status_code == 200

    house.clock.advance(60)
    assert [(await house.client.get(target)).status_code for _ in range(11)] == [200] * 10 + [429]
    house.clock.advance(3600)
    assert [(await house.client.get(target)).status_code for _ in range(21)] == [200] * 20 + [429]


async def test_refused_tries_do_not_push_the_next_one_away(make_house: MakeHouse) -> None:
    house = await on(make_house)
    answers = [await house.client.get("/api/auth/preLogin?email=") for _ in range(120)]

    slow_down(house, answers[-1])

    assert (await house.client.get("/api/auth/preLogin?email=")).status_code == 200


async def test_addresses_have_buckets_of_their_own(make_house: MakeHouse) -> None:
    house = await on(make_house)
    for _ in range(21):
        await house.client.get("/api/auth/preLogin?email=")

    assert (await house.client_at("10.0.0.7").get("/api/auth/preLogin?email=")).status_code == 200


async def test_one_household_is_one_address(make_house: MakeHouse) -> None:
    """An IPv6 household has a /64; it must not have 2**64 buckets."""
    house = await on(make_house)
    for n in range(20):
        assert (await house.client_at(f"2001:db8::{n:x}").get("/api/auth/preLogin?email=")).status_code == 200

    assert (await house.client_at("2001:db8::ffff").get("/api/auth/preLogin?email=")).status_code == 429
    assert (await house.client_at("2001:db8:0:1::1").get("/api/auth/preLogin?email=")).status_code == 200


async def test_malformed_requests_cost_nothing(make_house: MakeHouse) -> None:
    house = await on(make_house)
    for _ in range(30):
        assert (await house.client.post("/api/auth/register", content=b"{", headers={"X-API": "1"})).status_code == 400
        assert (await house.client.get("/api/auth/preLogin?email=x")).status_code == 400

    assert (await house.client.get("/api/auth/preLogin?email=")).status_code == 200


@pytest.mark.parametrize("lockout", ["on", "off"])
async def test_a_stranger_at_one_address_blocks_nobody_at_another(make_house: MakeHouse, lockout: str) -> None:
    """In the original ten requests a minute from anywhere kept an owner out (librepass-wire 20, W12)."""
    house = await make_house(RATE_LIMITS="on", LOCKOUT=lockout, EMAIL_NEW_LOGIN="false")
    someone = await registered(house)
    wrong = {"email": EMAIL, "sharedKey": flipped(await someone.shared_key())}
    stranger = owner(house, address="10.0.0.1")
    answers = [refused(await stranger.post("/api/auth/oauth?grantType=login", wrong)) for _ in range(60)]
    assert answers[-1] == LIMITED

    anywhere = Owner(house.client_at("192.0.2.1"))
    assert (await anywhere.login()).status_code == 200


async def test_right_sign_ins_do_not_use_up_the_e_mails_bucket(make_house: MakeHouse) -> None:
    house = await on(make_house)
    someone = await registered(house)
    for _ in range(25):
        answer = await someone.login()
        assert answer.status_code == 200, answer.text
        house.clock.advance(12)

    assert (await someone.sync()).status_code == 200


async def test_one_e_mail_cannot_be_tried_without_end_from_one_address(make_house: MakeHouse) -> None:
    house = await on(make_house)
    someone = await registered(house)
    wrong = flipped(await someone.shared_key())
    house.clock.advance(3600)

    answers = [await someone.post("/api/auth/oauth?grantType=login", {"email": EMAIL, "sharedKey": wrong}) for _ in range(25)]

    assert [refused(answer) for answer in answers].count(SHARED_SECRET) == 20
    assert refused(answers[-1]) == LIMITED


@pytest.mark.parametrize("call", ["passwordHint", "resendVerificationEmail"])
async def test_two_mails_then_one_every_five_minutes(make_house: MakeHouse, call: str) -> None:
    house = await on(make_house)
    await registered(house)
    target = f"/api/auth/{call}?email={EMAIL}"

    answers = [await house.client.get(target) for _ in range(3)]

    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert answers[2].headers["retry-after"] == "300"
    slow_down(house, answers[2])
    assert [(await house.client.get(target)).status_code for _ in range(2)] == [200, 429]


async def test_a_recipient_is_not_flooded_from_many_addresses(make_house: MakeHouse) -> None:
    """Three mails in a quarter of an hour, over hint and resend together; the answers stay the same."""
    house = await on(make_house)
    await registered(house)
    before = len(await house.mails())
    for n in range(20):
        call = ("passwordHint", "resendVerificationEmail")[n % 2]
        answer = await house.client_at(f"10.0.0.{n}").get(f"/api/auth/{call}?email={EMAIL}")
        assert (answer.status_code, answer.content) == (200, b"{}")

    assert len(await house.mails()) - before == 3


async def test_a_stranger_asking_for_hints_does_not_keep_the_owner_from_asking(make_house: MakeHouse) -> None:
    house = await on(make_house)
    await registered(house)
    for _ in range(5):
        await house.client_at("10.0.0.7").get(f"/api/auth/passwordHint?email={EMAIL}")
    before = len(await house.mails())

    assert (await house.client.get(f"/api/auth/passwordHint?email={EMAIL}")).status_code == 200
    assert len(await house.mails()) == before + 1


async def test_wrong_change_codes_are_limited(make_house: MakeHouse) -> None:
    """In the original this limit was inverted, and a parameter switched it (librepass-wire 7.2)."""
    house = await on(make_house)
    target = "/api/user/verifyNewEmail?user=7d8f4a3e-0000-4000-8000-000000000000&code=x&internalCall=true"

    statuses = [(await house.client.get(target)).status_code for _ in range(25)]

    assert statuses == [400] * 20 + [429] * 5


async def test_account_calls_are_limited_by_account(make_house: MakeHouse) -> None:
    house = await on(make_house)
    someone = await signed_in(house)
    proof = await someone.shared_key()
    wrong = {"sharedKey": flipped(proof)}

    statuses = [(await someone.call("DELETE", "/api/user/delete", wrong)).status_code for _ in range(25)]

    assert statuses == [400] * 20 + [429] * 5
    assert (await someone.sync()).status_code == 200


async def test_the_vault_has_two_hundred_calls_and_a_hundred_a_minute(make_house: MakeHouse) -> None:
    house = await on(make_house)
    someone, other = await signed_in(house), await signed_in(house, "other@example.com")

    statuses = [(await someone.get("/api/cipher")).status_code for _ in range(201)]

    assert statuses == [200] * 200 + [429]
    assert (await other.get("/api/cipher")).status_code == 200
    house.clock.advance(6)
    assert [(await someone.get("/api/cipher")).status_code for _ in range(11)] == [200] * 10 + [429]


async def test_one_pending_key_has_a_bucket_of_its_own(make_house: MakeHouse) -> None:
    house = await on(make_house)
    someone = owner(house)

    statuses = [(await Owner(house.client_at(f"10.0.0.{n}")).answer("000000", "lp_x")).status_code for n in range(25)]

    assert statuses == [401] * 20 + [429] * 5
    assert (await someone.answer("000000", "lp_y")).status_code == 401


@pytest.mark.parametrize("settings", [{"RATE_LIMITS": "off"}, {"RATE_LIMITS": "on", "RATE_LIMIT_ENABLED": "false"}])
async def test_limits_are_switched_off_with_the_mail_caps(make_house: MakeHouse, settings: dict[str, str]) -> None:
    house = await make_house(**settings)
    await registered(house)

    for _ in range(15):
        assert (await house.client.get(f"/api/auth/passwordHint?email={EMAIL}")).status_code == 200
    assert len([mail for mail in await house.mails() if "hint" in mail["Subject"]]) == 15


async def test_librepasss_switch_leaves_the_other_wires_limits_on(make_house: MakeHouse) -> None:
    house = await make_house(RATE_LIMITS="on", RATE_LIMIT_ENABLED="false")
    statuses = [
        (await house.client.post("/api/auth/login", json={"email": "a@b.co", "password": "lamp-at-noon"})).status_code
        for _ in range(8)
    ]

    assert statuses[-1] == 429


async def test_lockout_slows_guessing_from_many_addresses_and_spares_a_known_one(make_house: MakeHouse) -> None:
    house = await make_house(RATE_LIMITS="on", EMAIL_NEW_LOGIN="false")
    someone = await signed_in(house)
    wrong = flipped(await someone.shared_key())
    body = {"email": EMAIL, "sharedKey": wrong}
    for n in range(10):
        assert refused(await owner(house, address=f"10.0.1.{n}").post("/api/auth/oauth?grantType=login", body)) == SHARED_SECRET

    stranger = owner(house, address="10.0.2.1")
    refusal = await stranger.post("/api/auth/oauth?grantType=login", body)

    assert refused(refusal) == LIMITED
    assert int(refusal.headers["retry-after"]) == 15 * 60
    assert (await someone.login()).status_code == 200


async def test_a_limit_tells_nothing_about_whether_an_account_exists(make_house: MakeHouse) -> None:
    house = await make_house(RATE_LIMITS="on")
    someone = await registered(house)
    wrong = flipped(await someone.shared_key())

    async def tried(email: str, address: str) -> tuple[int, str]:
        body = {"email": email, "sharedKey": wrong}
        return refused(await owner(house, address=address).post("/api/auth/oauth?grantType=login", body))

    known = [await tried(EMAIL, f"10.1.0.{n}") for n in range(12)]
    unknown = [await tried("x@example.com", f"10.1.0.{n}") for n in range(12)]

    assert known == unknown
    assert known[-1] == LIMITED


async def test_a_second_factor_is_limited_whatever_the_switches(make_house: MakeHouse) -> None:
    """Lockout is not a rate limit: it stays on when those are off (contract)."""
    house = await make_house()
    someone, app, _ = await enrolled(house)
    proof = await someone.shared_key()
    wrong = {"sharedKey": proof, "code": app.wrong_code()}

    statuses = [(await someone.call("DELETE", "/api/user/delete", wrong)).status_code for _ in range(12)]

    assert statuses == [400] * 10 + [429] * 2
