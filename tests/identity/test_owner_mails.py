"""Mails that warn owners: one for each change and each sign-in from somewhere new, with a link that ends every session."""

from __future__ import annotations

from email.message import EmailMessage

import pytest

from ostiary.crypto.tokens import TokenHash
from ostiary.identity import accounts, audit, federated, operators, sessions
from ostiary.identity.factors import MOST_CONSECUTIVE_FAILURES
from ostiary.identity.federated import Assertion
from ostiary.identity.sessions import BROWSER, Principal, SessionRequest
from ostiary.identity.sign_in import Ticket
from tests.conftest import MakeHouse
from tests.dialects.librechat import browser as librechat
from tests.dialects.librechat.browser import Browser, browser
from tests.dialects.librepass import owner as librepass
from tests.house import ORIGIN, House, text_of
from tests.services import free_port

NEW_PASSWORD = "another lamp at noon"
ELSEWHERE = "192.0.2.7"
TICKET = Ticket(SessionRequest(kind=BROWSER), TokenHash(b"of no challenge"))
LINKED = Assertion("google", "https://accounts.example", "42", None, is_email_verified=False, name="Ada")


def told(mails: list[EmailMessage]) -> list[tuple[str, str]]:
    """To whom, and about what."""
    return [(mail["To"].addresses[0].addr_spec, mail["Subject"]) for mail in mails]


async def since(house: House, before: int) -> list[EmailMessage]:
    return (await house.mails())[before:]


async def of_owner(house: House) -> tuple[Browser, int]:
    """Somebody with a password who has signed in, and how many mails there were then."""
    someone = await librechat.signed_in(house)
    return someone, len(await house.mails())


NO_PAGES = {"OSTIARY_PAGES": "false"}
"""Where the pages are somebody else's, warnings lead to the one that the API shows."""


def link_in(mail: EmailMessage) -> str:
    return next(word for word in text_of(mail).split() if "/api/auth/endSession" in word)


async def test_every_change_of_a_password_account_is_told_once(house: House) -> None:
    someone, before = await of_owner(house)
    secrets = [librechat.PASSWORD, NEW_PASSWORD, someone.token, someone.refresh_cookie]
    expected: list[str] = []

    app = await librechat.enrolled(house, someone)
    expected.append("Two-factor authentication was switched on")
    made = (await someone.post("/api/auth/2fa/backup/regenerate", {"token": app.code()})).json()["backupCodes"]
    expected.append("New backup codes for your Ostiary account")
    another, pending = await librechat.owing(house)
    await another.prove(pending, backupCode=made[0])
    expected.append("A backup code of your Ostiary account was used")
    house.clock.advance(60)
    await another.post("/api/auth/2fa/disable", {"token": app.code()})
    expected.append("Two-factor authentication was switched off")
    async with house.begin() as ctx:
        account = await accounts.named(ctx, librechat.EMAIL)
        session = await sessions.open_session(ctx, account, SessionRequest(kind=BROWSER), ("pwd",))
        await federated.link(ctx, Principal(session, account), LINKED, "Google")
    expected.append("Another way into your Ostiary account")
    async with house.begin() as ctx:
        [identity] = await federated.linked(ctx, account.id)
        await federated.unlink(ctx, Principal(session, account), identity.id)
    expected.append("A way into your Ostiary account was removed")
    mails = await since(house, before)

    assert sorted(told(mails)) == sorted((librechat.EMAIL, subject) for subject in expected)
    for mail in mails:
        assert not any(secret in mail.as_string() for secret in (*secrets, app.secret, *app.codes, *made))


async def test_a_password_that_an_operator_or_a_link_set_is_told_once(house: House) -> None:
    someone, before = await of_owner(house)
    async with house.begin("") as ctx:
        await operators.set_password(ctx, await accounts.named(ctx, librechat.EMAIL), NEW_PASSWORD)
    await someone.post("/api/auth/requestPasswordReset", {"email": librechat.EMAIL})
    link = librechat.parameters_of(await librechat.link_of(house, "Password Reset Request"))
    await someone.post("/api/auth/resetPassword", {**link, "password": NEW_PASSWORD})

    mails = await since(house, before)
    assert told(mails) == [
        (librechat.EMAIL, "Your Ostiary password was changed"),
        (librechat.EMAIL, "Password Reset Request"),
        (librechat.EMAIL, "Password Reset Successfully"),
    ]
    assert not any(NEW_PASSWORD in mail.as_string() for mail in mails)
    assert "Address:" not in text_of(mails[0])
    assert "Address: 127.0.0.1" in text_of(mails[2])


async def test_a_factor_that_an_operator_takes_away_is_told_once(house: House) -> None:
    someone, _ = await of_owner(house)
    await librechat.enrolled(house, someone)
    before = len(await house.mails())
    async with house.begin() as ctx:
        assert await operators.reset_factors(ctx, await accounts.named(ctx, librechat.EMAIL))

    assert told(await since(house, before)) == [(librechat.EMAIL, "Two-factor authentication was switched off")]


async def test_every_change_of_a_key_account_is_told_once_at_the_old_address(house: House) -> None:
    owner, _, recovery = await librepass.enrolled(house)
    old = owner.email
    before = len(await house.mails())
    assert (await owner.change_password("another horse battery")).status_code == 200
    await owner.login()
    await owner.answer(recovery)
    assert (await owner.change_email("new@example.org")).status_code == 200

    mails = await since(house, before)
    assert told(mails) == [
        (old, "Your Ostiary password was changed"),
        (old, "A backup code of your Ostiary account was used"),
        (old, "Your Ostiary email address was changed"),
    ]
    assert not any(recovery in mail.as_string() for mail in mails)


async def test_an_address_that_the_provider_changed_is_told_at_the_old_one(house: House) -> None:
    async with house.begin() as ctx:
        account = accounts.fresh(ctx, "ada@example.org", "Ada", provider="google", verified_at=ctx.now)
        await accounts.insert_account(ctx, account)
        first = Assertion("google", LINKED.issuer, "42", "ada@example.org", is_email_verified=True, name="Ada")
        await federated.enter(ctx, first, TICKET, may_create=False)
    async with house.begin() as ctx:
        later = Assertion("google", LINKED.issuer, "42", "ada@new.example.org", is_email_verified=True, name="Ada")
        await federated.enter(ctx, later, TICKET, may_create=False)

    assert told(await house.mails()) == [
        ("ada@example.org", "Another way into your Ostiary account"),
        ("ada@example.org", "Your Ostiary email address was changed"),
    ]
    async with house.begin() as ctx:
        assert [event.reason for event in await audit.latest(ctx, event=audit.Event.EMAIL_CHANGED)] == ["google"]


async def test_bf_14_the_owner_hears_when_the_factor_is_locked(make_house: MakeHouse) -> None:
    house = await make_house(LOCKOUT="off")
    someone, _ = await of_owner(house)
    app = await librechat.enrolled(house, someone)
    before = len(await house.mails())
    for _ in range(MOST_CONSECUTIVE_FAILURES + 2):
        await someone.post("/api/auth/2fa/disable", {"token": app.wrong_code()})

    assert told(await since(house, before)) == [(librechat.EMAIL, "Second-factor codes of your Ostiary account are locked")]


async def test_a_browser_is_told_of_where_it_is_new_and_nowhere_else(house: House) -> None:
    someone, before = await of_owner(house)
    assert before == 0
    await someone.login()
    await browser(house).login()
    same_browser_elsewhere = browser(house, ELSEWHERE)
    same_browser_elsewhere.client.cookies = someone.client.cookies
    await same_browser_elsewhere.login()
    assert await house.mails() == []

    another = browser(house, "198.51.100.9", User_Agent="Another/1.0")
    await another.login()
    await another.refresh()
    await another.login()

    [mail] = await house.mails()
    assert told([mail]) == [(librechat.EMAIL, "New Login Detected - Ostiary")]
    assert "Address: 198.51.100.9\nDevice: Another/1.0\n" in text_of(mail)


async def test_who_signed_out_everywhere_still_hears_of_a_stranger(house: House) -> None:
    someone, _ = await of_owner(house)
    await someone.post("/api/auth/logout")

    await browser(house, ELSEWHERE).login()

    assert told(await house.mails()) == [(librechat.EMAIL, "New Login Detected - Ostiary")]


async def test_a_key_is_told_of_at_first_and_where_it_is_new(house: House) -> None:
    first = await librepass.signed_in(house)
    await first.login()
    await librepass.owner(house).login()
    await librepass.owner(house, address=ELSEWHERE).login()

    logins = [mail for mail in await house.mails() if "New Login" in mail["Subject"]]
    assert [mail for mail in logins if f"Address: {ELSEWHERE}" in text_of(mail)] == logins[1:]
    assert len(logins) == 2


async def test_every_warning_leads_to_our_own_page_where_there_is_one(house: House) -> None:
    someone, _ = await of_owner(house)
    await browser(house, ELSEWHERE).login()
    await librechat.enrolled(house, someone)

    links = [word for mail in await house.mails() for word in text_of(mail).split() if word.startswith("http")]

    assert len(links) == 2
    assert all(link.startswith(f"{ORIGIN}/end-session?user=") for link in links)


async def test_the_link_ends_every_session_and_opening_it_none(make_house: MakeHouse) -> None:
    house = await make_house(**NO_PAGES)
    someone, _ = await of_owner(house)
    stranger = browser(house, ELSEWHERE)
    await stranger.login()
    [mail] = await house.mails()
    link = link_in(mail)

    page = await house.client.get(link)
    await house.client.head(link)

    assert page.status_code == 200
    assert "<form method=post>" in page.text
    assert "form-action 'self'" in page.headers["content-security-policy"]
    assert (await stranger.get("/api/user")).status_code == 200

    assert (await house.client.post(link)).status_code == 200

    assert (await stranger.get("/api/user")).status_code == 401
    assert (await someone.get("/api/user")).status_code == 401
    await stranger.login()
    assert (await house.client.post(link)).status_code == 200
    assert (await stranger.get("/api/user")).status_code == 401
    async with house.begin() as ctx:
        ended = await audit.latest(ctx, event=audit.Event.SESSIONS_ENDED)
    assert [event.reason for event in ended] == ["mail_link", "mail_link"]


@pytest.mark.parametrize("dialects", ["librechat", "librepass"])
async def test_the_link_works_where_one_wire_is_served_alone(make_house: MakeHouse, dialects: str) -> None:
    both = await make_house(**NO_PAGES)
    await librechat.signed_in(both)
    stranger = browser(both, ELSEWHERE)
    await stranger.login()
    [mail] = await both.mails()
    alone = await make_house(OSTIARY_DIALECTS=dialects, **NO_PAGES)
    made_up = link_in(mail)[:-4] + "0000"

    assert (await alone.client.get(link_in(mail))).status_code == 200
    assert (await alone.client.post(made_up)).status_code == 400
    assert (await stranger.get("/api/user")).status_code == 200
    assert (await alone.client.post(link_in(mail))).status_code == 200
    assert (await stranger.get("/api/user")).status_code == 401


async def test_a_link_ends_with_its_month(make_house: MakeHouse) -> None:
    house = await make_house(**NO_PAGES)
    await librechat.signed_in(house)
    await browser(house, ELSEWHERE).login()
    [mail] = await house.mails()
    house.clock.advance(30 * 24 * 3600 + 1)

    assert (await house.client.get(link_in(mail))).status_code == 400
    assert (await house.client.post(link_in(mail))).status_code == 400


async def test_ses_17_a_mail_server_that_is_away_keeps_nobody_out(make_house: MakeHouse) -> None:
    house = await make_house(
        EMAIL_HOST="127.0.0.1",
        EMAIL_PORT=str(free_port()),
        EMAIL_ENCRYPTION="none",
        EMAIL_FROM="ostiary@example.org",
        EMAIL_VERIFICATION_REQUIRED="false",
    )
    await librechat.signed_in(house)

    answer = await browser(house, ELSEWHERE).login()

    assert answer.status_code == 200
    assert await house.jobs.dispatch() == 0
    assert (await browser(house, "198.51.100.9").login()).status_code == 200
