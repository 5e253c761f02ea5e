"""Registering and verifying: links that work, squatters who gain nothing, and what a stranger may learn."""

from __future__ import annotations

import pytest

from ostiary.identity import accounts
from tests.conftest import MakeHouse
from tests.dialects.librepass.owner import (
    DUPLICATED,
    EMAIL,
    INVALID_BODY,
    INVALID_CODE,
    SHARED_SECRET,
    SMTP,
    link_of,
    owner,
    refused,
    registered,
    signed_in,
)
from tests.house import House, text_of

DAY = 24 * 3600
VERIFYING = {"EMAIL_VERIFICATION_REQUIRED": "true"}
NOBODY = "7d8f4a3e-0000-4000-8000-000000000000"


async def test_every_registration_is_mailed_a_link_of_the_api(make_house: MakeHouse) -> None:
    house = await make_house(API_DOMAIN="api.example.org", DOMAIN_CLIENT="https://app.example.org")
    someone = await registered(house, "Bob@Example.com")
    mail = await house.last_mail("Activate your")
    link = next(word for word in text_of(mail).split() if word.startswith("http"))

    answer = await house.client.get(await link_of(house, "Activate"))

    assert link.startswith("https://api.example.org/api/auth/verifyEmail?user=")
    assert mail["To"] == "bob@example.com"
    assert answer.headers["location"] == "https://app.example.org/verification/email"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert (await someone.login()).status_code == 200


async def test_the_same_link_goes_on_succeeding_until_it_expires(make_house: MakeHouse) -> None:
    house = await make_house(**VERIFYING)
    someone = await registered(house)
    link = await link_of(house, "Activate")

    assert [(await house.client.get(link)).status_code for _ in range(3)] == [302, 302, 302]
    assert (await someone.login()).status_code == 200
    house.clock.advance(DAY)
    assert refused(await house.client.get(link)) == INVALID_CODE


@pytest.mark.parametrize("headers", [{"sec-purpose": "prefetch;prerender"}, {"purpose": "prefetch"}, {"x-moz": "prefetch"}])
async def test_fetching_ahead_verifies_nobody(make_house: MakeHouse, headers: dict[str, str]) -> None:
    house = await make_house(**VERIFYING)
    someone = await registered(house)
    link = await link_of(house, "Activate")

    assert refused(await house.client.get(link, headers=headers)) == (403, "LP-Forbidden")
    assert (await house.client.head(link)).status_code == 200
    assert refused(await someone.login()) == (401, "LP-Email-Not-Verified")
    assert refused(await house.client.get(f"/api/auth/passwordHint?email={EMAIL}", headers=headers)) == (403, "LP-Forbidden")


async def test_a_wrong_link_tells_nothing_about_the_account(house: House) -> None:
    someone = await signed_in(house)
    verified = await link_of(house, "Activate")
    assert (await house.client.get(verified)).status_code == 302
    unverified = await signed_in(house, "other@example.com")

    users = [someone.id, unverified.id, NOBODY]
    answers = [await house.client.get(f"/api/auth/verifyEmail?user={user}&code={NOBODY}") for user in users]

    assert {refused(answer) for answer in answers} == {INVALID_CODE}
    assert len({answer.content for answer in answers}) == 1


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("", "missing parameter"),
        (f"user={NOBODY}", "missing parameter"),
        ("code=x", "missing parameter"),
        ("user=x&code=x", "argument type mismatch"),
        (f"user={NOBODY}&code=", "validation error"),
        (f"user={NOBODY}&code=%20", "validation error"),
    ],
)
@pytest.mark.parametrize("path", ["/api/auth/verifyEmail", "/api/user/verifyNewEmail"])
async def test_a_mail_link_needs_both_parameters(house: House, path: str, query: str, message: str) -> None:
    answer = await house.client.get(f"{path}?{query}")

    assert refused(answer) == INVALID_BODY
    assert answer.json()["message"] == message


@pytest.mark.parametrize("call", ["passwordHint", "resendVerificationEmail"])
@pytest.mark.parametrize(
    ("query", "message"), [("", "missing parameter"), ("email=", "validation error"), ("email=x", "validation error")]
)
async def test_a_mail_call_needs_an_address(house: House, call: str, query: str, message: str) -> None:
    answer = await house.client.get(f"/api/auth/{call}?{query}")

    assert refused(answer) == INVALID_BODY
    assert answer.json()["message"] == message


async def test_resending_answers_alike_for_everybody(make_house: MakeHouse) -> None:
    house = await make_house(**VERIFYING)
    await registered(house)
    await registered(house, "verified@example.com")
    assert (await house.client.get(await link_of(house, "Activate"))).status_code == 302

    emails = [EMAIL, "verified@example.com", "nobody@example.com"]
    answers = [await house.client.get(f"/api/auth/resendVerificationEmail?email={email}") for email in emails]

    assert [(answer.status_code, answer.content) for answer in answers] == [(200, b"{}")] * 3
    assert [mail["To"] for mail in await house.mails()] == [EMAIL, "verified@example.com", EMAIL]


async def test_an_unverified_account_gives_way_to_a_new_registration(make_house: MakeHouse) -> None:
    """A squatter cannot keep the owner out; the link in the owner's mailbox is the owner's (librepass-wire 20, W19)."""
    house = await make_house(**VERIFYING)
    squatter = owner(house)
    squatter.password = "squatter"
    assert (await squatter.register()).status_code == 201
    old = await link_of(house, "Activate")

    someone = await registered(house)

    assert refused(await house.client.get(old)) == INVALID_CODE
    assert (await house.client.get(await link_of(house, "Activate"))).status_code == 302
    assert (await someone.login()).status_code == 200
    assert refused(await squatter.login()) == SHARED_SECRET


async def test_a_verified_account_gives_way_to_nobody(make_house: MakeHouse) -> None:
    house = await make_house(**VERIFYING)
    someone = await registered(house)
    await house.client.get(await link_of(house, "Activate"))
    thief = owner(house, EMAIL.upper())
    thief.password = "thief"

    assert refused(await thief.register()) == DUPLICATED
    assert (await someone.login()).status_code == 200


async def test_an_account_that_its_owner_can_enter_gives_way_to_nobody(house: House) -> None:
    someone = await signed_in(house)
    thief = owner(house)
    thief.password = "thief"

    assert refused(await thief.register()) == DUPLICATED
    assert (await someone.sync()).status_code == 200


async def test_an_account_never_verified_is_swept_after_a_day_where_that_is_asked(make_house: MakeHouse) -> None:
    house = await make_house(**VERIFYING)
    await registered(house)

    house.clock.advance(DAY + 1)
    await house.jobs.sweep()

    async with house.begin() as ctx:
        assert await accounts.by_email(ctx, EMAIL) is None


async def test_asking_for_verification_later_sweeps_nobody_who_came_before(make_house: MakeHouse) -> None:
    """In the original that change deleted every account older than a day (librepass-wire 20, W20)."""
    await registered(await make_house())
    house = await make_house(**VERIFYING)
    house.clock.advance(30 * DAY)

    await house.jobs.sweep()

    async with house.begin() as ctx:
        assert await accounts.by_email(ctx, EMAIL) is not None


async def test_revealing_restores_what_the_original_told_strangers(make_house: MakeHouse) -> None:
    house = await make_house(**SMTP, EMAIL_VERIFICATION_REQUIRED="false", OSTIARY_REVEAL_ACCOUNTS="true")
    someone = await signed_in(house)
    async with house.begin() as ctx:
        await accounts.verify(ctx, someone.id)
    gone = (404, "LP-User-404")

    assert refused(await owner(house, "nobody@example.com").login()) == gone
    assert refused(await house.client.get("/api/auth/passwordHint?email=nobody@example.com")) == gone
    assert refused(await house.client.get("/api/auth/resendVerificationEmail?email=nobody@example.com")) == gone
    assert refused(await house.client.get(f"/api/auth/verifyEmail?user={NOBODY}&code=x")) == gone
    again = await house.client.get(f"/api/auth/resendVerificationEmail?email={EMAIL}")
    assert (refused(again), again.json()["message"]) == (INVALID_BODY, "email is already verified")
    assert (await house.client.get(f"/api/auth/verifyEmail?user={someone.id}&code=x")).status_code == 302
    assert refused(await owner(house).register()) == DUPLICATED
    someone.password = "wrong"
    assert refused(await someone.login()) == SHARED_SECRET


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"ALLOW_REGISTRATION": "false"}, "registration is closed"),
        ({"OSTIARY_ALLOWED_DOMAINS": "example.org"}, "addresses of that domain are not accepted"),
    ],
)
async def test_an_operator_may_close_the_door(make_house: MakeHouse, settings: dict[str, str], message: str) -> None:
    answer = await owner(await make_house(**settings)).register()

    assert refused(answer) == (403, "LP-Forbidden")
    assert answer.json()["message"] == message


async def test_unknown_members_are_passed_over(house: House) -> None:
    """Nothing that a registration adds gives rights."""
    someone = await signed_in(house, role="ADMIN", emailVerified=True, id=NOBODY, twoFactorEnabled=True)

    async with house.begin() as ctx:
        account = await accounts.by_email(ctx, EMAIL)
    assert account is not None
    assert (account.role, account.is_verified, account.id) == ("USER", False, someone.id)
    assert account.id != NOBODY
