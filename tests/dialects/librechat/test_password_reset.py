"""Password reset (librechat-wire 5.5, 5.6): a link by mail, bound to its account, spent once."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from sqlalchemy import select

from ostiary.identity import accounts, audit, factors
from ostiary.storage import tables
from ostiary.storage.statements import Query
from tests.conftest import MakeHouse
from tests.dialects.librechat.browser import (
    EMAIL,
    PASSWORD,
    Browser,
    browser,
    cookies_of,
    enrolled,
    link_of,
    owing,
    parameters_of,
    signed_in,
)
from tests.dialects.librechat.test_refresh import with_cookie
from tests.house import House, text_of

ASKED = {"message": "If an account with that email exists, a password reset link has been sent to it."}
DONE = (200, {"message": "Password reset was successful"})
REFUSED = (400, {"message": "Invalid or expired password reset token"})
NEW = "a new password"
SUBJECT = "Password Reset Request"


async def asked(house: House, email: str = EMAIL, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await house.client.post("/api/auth/requestPasswordReset", json={"email": email}, headers=named)


async def reset_link(house: House, email: str = EMAIL) -> dict[str, str]:
    """What the page behind the newest link would post."""
    answer = await asked(house, email)
    assert (answer.status_code, answer.json()) == (200, ASKED)
    return parameters_of(await link_of(house, SUBJECT))


async def submitted(house: House, body: dict[str, object], password: str = NEW) -> tuple[int, object]:
    answer = await house.client.post("/api/auth/resetPassword", json={"password": password, **body})
    return answer.status_code, answer.json()


async def test_a_reset_sets_the_password_and_signs_nobody_in(house: House) -> None:
    someone = await signed_in(house)
    body = await reset_link(house)

    answer = await house.client.post("/api/auth/resetPassword", json={**body, "password": NEW, "confirm_password": NEW})

    assert (answer.status_code, answer.json()) == DONE
    assert cookies_of(answer) == []
    assert (await someone.login()).status_code == 404
    assert (await someone.login(password=NEW)).status_code == 200


async def test_a_link_works_once(house: House) -> None:
    await browser(house).register()
    body = await reset_link(house)
    await submitted(house, {**body})

    again = await submitted(house, {**body}, "yet another one")

    assert again == REFUSED
    assert (await browser(house).login(password=NEW)).status_code == 200


async def test_of_32_submissions_at_once_one_wins(house: House) -> None:
    await browser(house).register()
    body = await reset_link(house)
    passwords = [f"password of racer {number:02d}" for number in range(32)]

    answers = await asyncio.gather(*(submitted(house, {**body}, password) for password in passwords))

    assert sorted(status for status, _ in answers) == [200] + [400] * 31
    winner = passwords[[status for status, _ in answers].index(200)]
    assert (await browser(house).login(password=winner)).status_code == 200


async def test_a_link_expires_after_exactly_fifteen_minutes(house: House) -> None:
    await browser(house).register()
    first = await reset_link(house)
    house.clock.advance(15 * 60)
    late = await submitted(house, {**first})
    second = await reset_link(house)
    house.clock.advance(15 * 60 - 0.000001)

    in_time = await submitted(house, {**second})

    assert (late, in_time) == (REFUSED, DONE)


async def test_a_newer_link_makes_the_older_useless(house: House) -> None:
    await browser(house).register()
    older = await reset_link(house)
    newer = await reset_link(house)

    assert await submitted(house, {**older}) == REFUSED
    assert await submitted(house, {**newer}) == DONE


@pytest.mark.parametrize(
    "user_id", ["of another", "", None, [], {}, "A,B", "upper", "00000000-0000-4000-8000-000000000000", "nul\0"]
)
async def test_a_link_is_bound_to_its_account(house: House, user_id: object) -> None:
    await browser(house).register()
    other = await signed_in(house, "other@example.com")
    body: dict[str, object] = {**await reset_link(house)}
    own = str(body["userId"])
    match user_id:
        case "of another":
            body["userId"] = (await other.get("/api/user")).json()["id"]
        case "upper":
            body["userId"] = own.upper()
        case "A,B":
            body["userId"] = f"{own},{own}"
        case None:
            del body["userId"]
        case _:
            body["userId"] = user_id

    answer = await submitted(house, body)

    assert answer == REFUSED
    assert (await browser(house).login()).status_code == 200
    assert (await other.login("other@example.com")).status_code == 200


async def test_a_reset_ends_every_session_and_pending_sign_in(house: House) -> None:
    first, second = await signed_in(house), await signed_in(house)
    cookie = first.refresh_cookie
    app = await enrolled(house, second)
    third, pending = await owing(house)
    _, other_pending = await owing(house)
    await third.prove(pending, token=app.code())
    body = await reset_link(house)

    await submitted(house, {**body})

    for someone in (first, second, third):
        assert (await someone.get("/api/user")).status_code == 401
        assert (await someone.refresh()).status_code == 401
    assert (await with_cookie(house, cookie)).status_code == 401
    assert (await third.prove(other_pending, token=app.code(1))).status_code == 401


async def test_refreshes_that_race_a_reset_leave_no_session(house: House) -> None:
    """RAC-05: no token issued before the reset works after it, nor one issued at the same moment."""
    someone = await signed_in(house)
    cookie = someone.refresh_cookie
    body = await reset_link(house)

    answers = await asyncio.gather(
        *(with_cookie(house, cookie) for _ in range(8)),
        house.client.post("/api/auth/resetPassword", json={**body, "password": NEW}),
        *(with_cookie(house, cookie) for _ in range(8)),
    )

    tokens = [answer.json()["token"] for answer in answers if answer.status_code == 200 and "token" in answer.json()]
    issued = {cookies_of(answer)[0].partition(";")[0] for answer in answers if cookies_of(answer)}
    assert answers[8].status_code == 200
    for token in tokens:
        assert (await Browser(house.client_at("127.0.0.1"), token).get("/api/user")).status_code == 401
    for header in {f"refreshToken={cookie}", *issued}:
        assert (await with_cookie(house, header.partition("=")[2])).status_code == 401


async def test_a_reset_keeps_the_second_factor(house: House) -> None:
    app = await enrolled(house, await signed_in(house))
    await submitted(house, {**await reset_link(house)})

    answer = await browser(house).login(password=NEW)

    assert answer.json()["twoFAPending"] is True
    assert (await browser(house).prove(answer.json()["tempToken"], token=app.code())).status_code == 200


async def test_a_reset_opens_a_factor_that_wrong_codes_had_closed(make_house: MakeHouse) -> None:
    """Whoever knew the password and guessed codes is shut out by the new one; the owner is let in again."""
    house = await make_house(LOCKOUT="off", TWO_FACTOR_TEMP_MAX="1000")
    app = await enrolled(house, await signed_in(house))
    for _ in range(factors.MOST_CONSECUTIVE_FAILURES // 5):
        someone, pending = await owing(house)
        for _ in range(5):
            assert (await someone.prove(pending, token=app.wrong_code())).status_code == 401
    someone, pending = await owing(house)
    closed = await someone.prove(pending, token=app.code())

    await submitted(house, {**await reset_link(house)})

    expected = {"message": "Too many verification attempts. Use a password reset or ask your administrator."}
    assert (closed.status_code, closed.json()) == (429, expected)
    pending = (await someone.login(password=NEW)).json()["tempToken"]
    assert (await someone.prove(pending, token=app.code())).status_code == 200


async def test_the_owner_is_told_without_any_secret(house: House) -> None:
    await browser(house).register()
    await submitted(house, {**await reset_link(house)})

    mail = await house.last_mail("Password Reset Successfully")

    assert mail["To"] == f"Test User <{EMAIL}>"
    assert NEW not in text_of(mail)
    assert "token=" not in text_of(mail)


async def test_a_stranger_cannot_tell_a_known_address_from_an_unknown_one(house: House) -> None:
    await browser(house).register()

    known, unknown, none = (
        await asked(house),
        await asked(house, "nobody@example.com"),
        await house.client.post("/api/auth/requestPasswordReset"),
    )

    assert known.content == unknown.content == none.content
    assert known.status_code == unknown.status_code == none.status_code == 200
    assert set(known.headers) == set(unknown.headers)
    assert [mail["To"] for mail in await house.mails() if SUBJECT in mail["Subject"]] == [f"Test User <{EMAIL}>"]


async def test_the_address_may_be_typed_in_any_case(house: House) -> None:
    await browser(house).register()

    await asked(house, "  U@EXAMPLE.COM ")

    assert [mail["To"] for mail in await house.mails() if SUBJECT in mail["Subject"]] == [f"Test User <{EMAIL}>"]


@pytest.mark.parametrize(
    "email",
    [
        ["u@example.com", "evil@example.com"],
        "u@example.com,evil@example.com",
        "u@example.com;evil@example.com",
        "u@example.com\r\nBcc: evil@example.com",
        {"email": EMAIL},
    ],
)
async def test_one_request_mails_nobody_else(house: House, email: object) -> None:
    await browser(house).register()

    answer = await house.client.post("/api/auth/requestPasswordReset", json={"email": email})

    assert (answer.status_code, answer.json()) == (200, ASKED)
    assert [mail for mail in await house.mails() if SUBJECT in mail["Subject"]] == []


@pytest.mark.parametrize("provider", ["google", "ldap", "saml"])
async def test_who_signs_in_elsewhere_gets_no_password_by_mail(house: House, provider: str) -> None:
    async with house.begin() as ctx:
        await accounts.insert_account(ctx, accounts.fresh(ctx, EMAIL, "Ada", provider=provider, verified_at=ctx.now))

    answer = await asked(house)

    assert (answer.status_code, answer.json()) == (200, ASKED)
    assert await house.mails() == []


@pytest.mark.parametrize("engine", ["sqlite"])
async def test_the_link_starts_with_what_the_operator_set(make_house: MakeHouse) -> None:
    """RST-08: nothing that the request says about hosts gets into a mail."""
    house = await make_house(DOMAIN_CLIENT="https://chat.example.org/", DOMAIN_SERVER="https://id.example.org")
    await browser(house).register()

    await asked(
        house,
        X_Forwarded_Host="evil.example",
        X_Forwarded_Proto="gopher",
        Forwarded="host=evil.example",
    )

    assert (await link_of(house, SUBJECT)).startswith("https://chat.example.org/reset-password?token=")
    assert all("evil" not in mail.as_string() for mail in await house.mails())


async def test_reset_can_be_switched_off(make_house: MakeHouse) -> None:
    house = await make_house(ALLOW_PASSWORD_RESET="false")
    await browser(house).register()

    request = await asked(house)
    submission = await house.client.post("/api/auth/resetPassword", json={})

    for answer in (request, submission):
        assert (answer.status_code, answer.text) == (403, "Password reset is not allowed.")
        assert answer.headers["content-type"] == "text/html; charset=utf-8"


async def test_a_recipient_gets_at_most_three_such_mails_in_a_quarter_of_an_hour(make_house: MakeHouse) -> None:
    house = await make_house(RATE_LIMITS="on")
    await browser(house).register()
    for number in range(6):
        client = house.client_at(f"192.0.2.{number}")
        answer = await client.post("/api/auth/requestPasswordReset", json={"email": EMAIL})
        assert (answer.status_code, answer.json()) == (200, ASKED)

    assert len([mail for mail in await house.mails() if SUBJECT in mail["Subject"]]) == 3
    house.clock.advance(15 * 60)
    await house.client_at("192.0.2.9").post("/api/auth/requestPasswordReset", json={"email": EMAIL})
    assert len([mail for mail in await house.mails() if SUBJECT in mail["Subject"]]) == 4


async def test_a_reset_is_audited(house: House) -> None:
    await browser(house).register()
    body = await reset_link(house)
    await submitted(house, {**body, "token": "0" * 64})
    await submitted(house, {**body})

    async with house.begin() as ctx:
        found = [event.event for event in await audit.latest(ctx, event="account:reset:%")]

    assert sorted(found) == ["account:reset:asked", "account:reset:refused", "account:reset:succeeded"]


async def test_a_link_is_not_kept_in_the_clear(house: House) -> None:
    await browser(house).register()
    body = await reset_link(house)

    async with house.begin() as ctx:
        row = await ctx.db.one(Query(lambda *columns: columns, select(tables.links)))

    assert row is not None
    assert all(body["token"] not in str(column) and bytes.fromhex(body["token"]) != column for column in row)
    assert PASSWORD not in str(row)
