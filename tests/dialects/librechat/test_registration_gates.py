"""Who may register (librechat-wire 5.3, contract): invitations, domains, the first administrator, signing in at once."""

from __future__ import annotations

import asyncio

import pytest

from ostiary.identity import accounts, audit, invitations
from ostiary.identity.refusals import AddressTaken
from tests.conftest import MakeHouse
from tests.dialects.librechat.browser import EMAIL, REGISTERED, Browser, browser, cookies_of, parameters_of
from tests.house import House, text_of

INVALID = (400, {"message": "Invalid invite token"})
CLOSED = (403, {"message": "Registration is not allowed."})
DOMAIN = (403, {"message": "The email address provided cannot be used. Please use a different email address."})
WEEK = 7 * 24 * 3600
SMTP = {"EMAIL_HOST": "127.0.0.1", "EMAIL_FROM": "ostiary@example.org", "EMAIL_ENCRYPTION": "none"}


async def invited(house: House, email: str = EMAIL) -> str:
    """The token of a fresh invitation."""
    async with house.begin() as ctx:
        return parameters_of(await invitations.create(ctx, email))["token"]


async def registered(house: House, email: str = EMAIL, **fields: object) -> tuple[int, object]:
    answer = await browser(house).register(email, **fields)
    return answer.status_code, answer.json()


async def how_many(house: House) -> int:
    async with house.begin() as ctx:
        return len(await accounts.page(ctx))


@pytest.fixture
async def closed(make_house: MakeHouse) -> House:
    return await make_house(ALLOW_REGISTRATION="false")


async def test_a_closed_registration_takes_nobody(closed: House) -> None:
    assert await registered(closed) == CLOSED
    assert await registered(closed, token="undefined") == CLOSED
    assert await registered(closed, token="") == CLOSED
    assert await registered(closed, token=None) == CLOSED
    assert await registered(closed, name="", email="no address") == CLOSED
    assert await how_many(closed) == 0


@pytest.mark.parametrize("token", ["0" * 64, "x", [], {}, 5, True, "nul\0", ["undefined"]])
async def test_a_made_up_invitation_is_refused(closed: House, token: object) -> None:
    assert await registered(closed, token=token) == INVALID
    assert await how_many(closed) == 0


async def test_an_invitation_is_for_its_address(closed: House) -> None:
    token = await invited(closed)

    assert await registered(closed, "other@example.com", token=token) == INVALID
    assert await registered(closed, token=token.upper()) == INVALID
    assert await registered(closed, EMAIL.upper(), token=token) == (200, REGISTERED)


async def test_an_invitation_without_an_address_is_not_taken(closed: House) -> None:
    """The original matches it on the token alone, and burns it (W-18)."""
    token = await invited(closed)
    answer = await closed.client.post("/api/auth/register", json={"token": token})

    assert (answer.status_code, answer.json()) == INVALID
    assert await registered(closed, token=token) == (200, REGISTERED)


async def test_an_invitation_is_spent_by_success_alone(closed: House) -> None:
    token = await invited(closed)
    for flaw in ({"name": "x"}, {"password": "short"}, {"confirm_password": "something else"}, {"username": "a;b"}):
        assert (await registered(closed, token=token, **flaw))[0] == 404

    assert await registered(closed, token=token) == (200, REGISTERED)
    assert await registered(closed, token=token) == INVALID
    async with closed.begin() as ctx:
        assert await invitations.listed(ctx) == []


async def test_an_invitation_expires_after_exactly_seven_days(closed: House) -> None:
    in_time, late = await invited(closed), await invited(closed, "late@example.com")
    closed.clock.advance(WEEK - 0.000001)
    first = await registered(closed, token=in_time)
    closed.clock.advance(0.000001)

    assert first == (200, REGISTERED)
    assert await registered(closed, "late@example.com", token=late) == INVALID


async def test_a_newer_invitation_replaces_the_older(closed: House) -> None:
    older, newer = await invited(closed), await invited(closed)

    assert await registered(closed, token=older) == INVALID
    assert await registered(closed, token=newer) == (200, REGISTERED)


async def test_a_revoked_invitation_opens_nothing(closed: House) -> None:
    token = await invited(closed)
    async with closed.begin() as ctx:
        assert await invitations.revoke(ctx, EMAIL)
        assert not await invitations.revoke(ctx, EMAIL)

    assert await registered(closed, token=token) == INVALID


async def test_nobody_is_invited_who_has_an_account(house: House) -> None:
    await browser(house).register()

    async with house.begin() as ctx:
        with pytest.raises(AddressTaken):
            await invitations.create(ctx, EMAIL)


async def test_the_invited_need_no_verification(make_house: MakeHouse) -> None:
    """They came by the link in their mail."""
    house = await make_house(**SMTP, ALLOW_REGISTRATION="false")
    someone = browser(house)
    await someone.register(token=await invited(house))

    answer = await someone.login()

    assert answer.status_code == 200
    assert answer.json()["user"]["emailVerified"] is True


async def test_an_invitation_does_not_open_the_domain_list(make_house: MakeHouse) -> None:
    house = await make_house(OSTIARY_ALLOWED_DOMAINS="corp.com")
    token = await invited(house)

    assert await registered(house, token=token) == DOMAIN


async def test_the_invitation_mail_links_to_the_registration_page(make_house: MakeHouse) -> None:
    house = await make_house(DOMAIN_CLIENT="https://chat.example.org")
    token = await invited(house)

    mail = await house.last_mail("Invite to join")

    assert mail["To"] == EMAIL
    assert f"https://chat.example.org/register?token={token}" in text_of(mail)


async def test_32_registrations_with_one_invitation_make_one_account(closed: House) -> None:
    token = await invited(closed)

    await asyncio.gather(*(registered(closed, token=token) for _ in range(32)))

    assert await how_many(closed) == 1


async def test_32_registrations_of_one_address_make_one_account(house: House) -> None:
    passwords = [f"password of racer {number:02d}" for number in range(32)]
    answers = await asyncio.gather(*(registered(house, password=p, confirm_password=p) for p in passwords))

    assert answers == [(200, REGISTERED)] * 32
    assert await how_many(house) == 1
    let_in = [
        p
        for p in passwords[:32]
        if (await Browser(house.client_at(f"192.0.2.{passwords.index(p)}")).login(password=p)).status_code == 200
    ]
    assert len(let_in) <= 1


async def test_of_32_first_registrations_one_makes_the_administrator(house: House) -> None:
    await asyncio.gather(*(registered(house, f"racer{number}@example.com") for number in range(32)))

    async with house.begin() as ctx:
        roles = [account.role for account in await accounts.page(ctx)]
    assert sorted(roles) == ["ADMIN"] + ["USER"] * 31


async def test_nobody_becomes_administrator_after_the_first_left(house: House) -> None:
    first = browser(house)
    await first.register()
    await first.login()
    await first.delete("/api/user/delete")

    second = browser(house)
    await second.register("second@example.com")

    assert (await second.login("second@example.com")).json()["user"]["role"] == "USER"


async def test_the_command_line_alone_can_make_the_administrator(make_house: MakeHouse) -> None:
    house = await make_house(OSTIARY_BOOTSTRAP="cli")
    someone = browser(house)
    await someone.register()

    assert (await someone.login()).json()["user"]["role"] == "USER"


@pytest.mark.parametrize("engine", ["sqlite"])
@pytest.mark.parametrize(
    ("email", "is_taken"),
    [
        ("a@ok.test", True),
        ("a@OK.test", True),
        ("A@Ok.Test", True),
        ("a@sub.ok.test", False),
        ("a@ok.test.evil.test", False),
        ("a@notok.test", False),
        ("a@xn--bcher-kva.example", True),
        ("a@XN--BCHER-KVA.example", True),
        ("a@bucher.example", False),
        ("a@xn--ok-xyz.test", False),
        ("a@xn--fa-hia.example", False),
        ("a@fass.example", False),
    ],
)
async def test_only_the_listed_domains_register(make_house: MakeHouse, email: str, is_taken: bool) -> None:
    house = await make_house(OSTIARY_ALLOWED_DOMAINS=" ok.test, B\u00dcCHER.example ,fa\u00df.example")

    assert await registered(house, email) == ((200, REGISTERED) if is_taken else DOMAIN)


@pytest.mark.parametrize("engine", ["sqlite"])
@pytest.mark.parametrize(
    "email", ["a@ok.test@evil.test", "a@ok.test.", '"a@ok.test"@evil.test', "a@ok.test%00.evil.test", "a@evil.test#@ok.test"]
)
async def test_an_address_with_two_readings_is_no_address(make_house: MakeHouse, email: str) -> None:
    house = await make_house(OSTIARY_ALLOWED_DOMAINS="ok.test")

    assert await registered(house, email) == (404, {"message": "email: Invalid email"})


async def test_registration_can_sign_in_at_once(make_house: MakeHouse) -> None:
    house = await make_house(REGISTER_AUTO_LOGIN="true")
    someone = browser(house)

    answer = await someone.register()

    assert set(answer.json()) == {"message", "token", "user"}
    assert answer.json()["message"] == REGISTERED["message"]
    someone.token = answer.json()["token"]
    assert (await someone.get("/api/user")).json() == answer.json()["user"]
    assert (await someone.refresh()).status_code == 200


async def test_nobody_is_signed_in_at_once_before_the_address_is_verified(make_house: MakeHouse) -> None:
    house = await make_house(**SMTP, REGISTER_AUTO_LOGIN="true", ALLOW_UNVERIFIED_EMAIL_LOGIN="true")

    answer = await browser(house).register()

    assert answer.json() == REGISTERED
    assert cookies_of(answer) == []


async def test_signing_in_at_once_is_not_for_a_taken_address(make_house: MakeHouse) -> None:
    house = await make_house(REGISTER_AUTO_LOGIN="true")
    await browser(house).register()

    answer = await browser(house).register()

    assert answer.json() == REGISTERED
    assert cookies_of(answer) == []


async def test_the_owner_of_a_taken_address_is_told(house: House) -> None:
    await browser(house).register()
    await browser(house).register(name="Somebody Else")

    mail = await house.last_mail("You already have an account")

    assert mail["To"] == f"Test User <{EMAIL}>"
    assert "Somebody Else" not in mail.as_string()


async def test_a_body_with_both_kinds_of_credential_is_refused(house: House) -> None:
    answer = await browser(house).register(publicKey="0" * 64, sharedKey="0" * 64)

    assert answer.status_code == 400
    assert set(answer.json()) == {"message"}
    assert await how_many(house) == 0


async def test_terms_are_asked_anew_when_their_version_changes(make_house: MakeHouse) -> None:
    first = await make_house(OSTIARY_TERMS_VERSION="2030-01", OSTIARY_TERMS_URL="https://example.org/terms")
    someone = browser(first)
    await someone.register()
    await someone.login()
    await someone.post("/api/user/terms/accept")
    config = (await someone.get("/api/config")).json()["interface"]["termsOfService"]
    second = await make_house(OSTIARY_TERMS_VERSION="2030-02")
    again = browser(second)
    await again.login()

    before = (await again.get("/api/user")).json()["termsAccepted"]
    await again.post("/api/user/terms/accept")

    assert config["modalAcceptance"] is True
    assert config["externalUrl"] == "https://example.org/terms"
    assert before is False
    assert (await again.get("/api/user/terms")).json()["termsAccepted"] is True


async def test_registrations_are_audited_and_refusals_too(closed: House) -> None:
    await registered(closed)
    await registered(closed, token=await invited(closed))

    async with closed.begin() as ctx:
        found = [(event.event, event.reason) for event in await audit.latest(ctx, event="account:regist%")]
    assert sorted(found) == [("account:registered", None), ("account:registration:refused", "registration_closed")]
