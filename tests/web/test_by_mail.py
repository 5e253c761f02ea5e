"""The pages that mails lead to: what a link may do, what opening it may not, and what a stranger learns."""

from __future__ import annotations

import re
from email.message import EmailMessage
from urllib.parse import urlsplit

import pytest

from ostiary.identity import accounts, bans, invitations
from tests.conftest import MakeHouse
from tests.dialects.librepass.owner import Owner
from tests.dialects.librepass.owner import link_of as key_link_of
from tests.house import ORIGIN, House, text_of
from tests.web.visitor import PASSWORD, Visitor, register, sign_in

ADA = {"name": "Ada Lovelace", "email": "ada@example.org", "password": PASSWORD}
VERIFYING = {"EMAIL_VERIFICATION_REQUIRED": "true"}
SUBJECTS = {"verification": "Verify your email", "reset": "Password Reset Request"}


def path_in(mail: EmailMessage) -> str:
    """What the link in a mail asks for, here."""
    url = urlsplit(re.findall(r"https?://\S+", text_of(mail))[0])
    return f"{url.path}?{url.query}"


async def link_of(house: House, about: str) -> str:
    """The newest mail's link."""
    return path_in(await house.last_mail(SUBJECTS[about]))


async def test_whoever_registers_confirms_the_address_and_signs_in(make_house: MakeHouse) -> None:
    house = await make_house(**VERIFYING)
    visitor = Visitor(house)

    await visitor.open("/register")
    waiting = await visitor.send(**ADA)
    early = await sign_in(visitor)
    question = await visitor.open(await link_of(house, "verification"))
    done = await visitor.send()
    inside = await sign_in(visitor)

    assert waiting.title == early.title == "Check your mail · Ostiary"
    assert "has not been confirmed yet" in early.words
    assert "ada@example.org" in question.words
    assert "Your address is confirmed." in done.words
    assert inside.title == "Your account · Ostiary"


async def test_opening_a_link_does_nothing_and_leaves_no_secret_in_the_address(make_house: MakeHouse) -> None:
    house = await make_house(**VERIFYING)
    visitor = Visitor(house)
    await visitor.open("/register")
    await visitor.send(**ADA)
    link = await link_of(house, "verification")

    for _ in range(3):
        await visitor.open(link)
        assert visitor.path == "/verify"
    scanned = await Visitor(house).client.head(link)

    assert scanned.status_code == 303
    assert (await sign_in(visitor)).title == "Check your mail · Ostiary"


async def test_a_link_goes_on_confirming_until_it_expires(make_house: MakeHouse) -> None:
    house = await make_house(**VERIFYING)
    visitor = Visitor(house)
    await visitor.open("/register")
    await visitor.send(**ADA)
    link = await link_of(house, "verification")

    for _ in range(2):
        await visitor.open(link)
        assert "confirmed" in (await visitor.send()).words
    house.clock.advance(16 * 60)
    await visitor.open(link)
    late = await visitor.send()

    assert visitor.answer.status_code == 410
    assert "/check-mail" in late.links


async def test_another_mail_is_sent_to_whoever_got_none(make_house: MakeHouse) -> None:
    house = await make_house(**VERIFYING)
    visitor = Visitor(house)
    await visitor.open("/register")
    await visitor.send(**ADA)
    before = len(await house.mails())

    page = await visitor.send()

    assert "Another mail is on its way" in page.words
    assert len(await house.mails()) == before + 1


async def test_a_taken_address_looks_like_a_free_one(make_house: MakeHouse) -> None:
    house = await make_house(**VERIFYING)
    await register(house)
    owner = Visitor(house)
    await owner.open(await link_of(house, "verification"))
    await owner.send()

    answers = []
    for email in ("ada@example.org", "grace@example.org"):
        visitor = Visitor(house)
        await visitor.open("/register")
        page = await visitor.send(**{**ADA, "email": email})
        answers.append((visitor.answer.status_code, page.words.replace(email, "")))

    assert answers[0] == answers[1]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"email": "nowhere"}, "does not look like an email address"),
        ({"email": "ada@example.org\0"}, "does not look like an email address"),
        ({"name": "   "}, "Please enter a name"),
        ({"name": "x" * 81}, "Please enter a name"),
        ({"password": "short"}, "needs 8 characters or more"),
        ({"password": "password1"}, "first that attackers try"),
        ({"password": "ada lovelace"}, "made of your own name"),
        ({"password": " " * 9}, "blanks alone"),
    ],
)
async def test_a_form_that_does_not_hold_says_why_and_keeps_what_was_typed(
    house: House, change: dict[str, str], words: str
) -> None:
    visitor = Visitor(house)
    await visitor.open("/register")

    page = await visitor.send(**{**ADA, **change})

    assert visitor.answer.status_code == 422
    assert words in page.words
    assert page.forms[0]["password"] == ""
    assert page.forms[0]["name"] == {**ADA, **change}["name"].strip()


async def test_a_forgotten_password_is_chosen_anew_and_every_session_ends(house: House) -> None:
    await register(house)
    inside, visitor = Visitor(house), Visitor(house)
    await sign_in(inside)

    await visitor.open("/forgot-password")
    asked = await visitor.send(email="ada@example.org")
    link = await link_of(house, "reset")
    await visitor.open(link)
    done = await visitor.send(password="another quiet lighthouse")
    again = await visitor.open(link)

    assert asked.title == "Check your mail · Ostiary"
    assert "Your password has been changed" in done.words
    assert again.title == "This link is no longer good · Ostiary"
    assert (await inside.open("/account")).title == "Sign in · Ostiary"
    assert (await sign_in(visitor)).title == "Sign in · Ostiary"
    assert (await sign_in(visitor, password="another quiet lighthouse")).title == "Your account · Ostiary"


async def test_a_reset_is_promised_to_every_address_alike_and_a_bad_password_does_not_spend_the_link(house: House) -> None:
    await register(house)
    words = []
    for email in ("ada@example.org", "nobody@example.org"):
        visitor = Visitor(house)
        await visitor.open("/forgot-password")
        words.append((await visitor.send(email=email)).words.replace(email, ""))
    visitor = Visitor(house)
    await visitor.open(await link_of(house, "reset"))

    refused = await visitor.send(password="password1")
    done = await visitor.send(password="another quiet lighthouse")

    assert words[0] == words[1]
    assert "first that attackers try" in refused.words
    assert "Your password has been changed" in done.words


async def test_a_note_that_we_did_not_write_holds_nothing(house: House) -> None:
    for note in ("made-up", "AQ", "Ag", "AgAAAAA" + "A" * 80, "A" * 100, "%%", '"x"'):
        visitor = Visitor(house)
        visitor.client.cookies.set("ostiary_note_reset", note)

        await visitor.open("/reset-password")

        assert visitor.answer.status_code == 410, note


async def test_an_invitation_lets_its_address_in_where_nobody_else_may_register(make_house: MakeHouse) -> None:
    house = await make_house(ALLOW_REGISTRATION="false", **VERIFYING)
    stranger, guest = Visitor(house), Visitor(house)
    async with house.begin() as ctx:
        url = urlsplit(await invitations.create(ctx, "ada@example.org"))

    closed = await stranger.open("/register")
    form = await guest.open(f"{url.path}?{url.query}")
    other = await guest.send(**{**ADA, "email": "grace@example.org"})
    await guest.send(**ADA)
    inside = await sign_in(guest)
    spent = await stranger.open(f"{url.path}?{url.query}")

    assert closed.title == "Nobody can register here now · Ostiary"
    assert form.forms[0]["email"] == "ada@example.org"
    assert "for another address" in other.words
    assert inside.title == "Your account · Ostiary"
    assert spent.title == "This invitation is no longer good · Ostiary"


async def test_the_terms_are_asked_for_at_registration_and_once_more_when_they_change(make_house: MakeHouse) -> None:
    first = await make_house(OSTIARY_TERMS_VERSION="1")
    visitor = Visitor(first)
    await visitor.open("/register")
    refused = await visitor.send(**ADA)
    await visitor.send(**ADA, terms="accepted")
    inside = await sign_in(visitor)
    second = await make_house(OSTIARY_TERMS_VERSION="2")
    later = Visitor(second)

    asked = await sign_in(later)
    elsewhere = await later.open("/account")
    accepted = await later.send(1)

    assert "Please accept the terms" in refused.words
    assert inside.title == accepted.title == "Your account · Ostiary"
    assert asked.title == elsewhere.title == "Terms of service · Ostiary"


async def test_the_mail_about_a_sign_in_leads_to_a_page_that_signs_out_everywhere(house: House) -> None:
    await register(house)
    known, thief, owner = Visitor(house), Visitor(house, "203.0.113.9"), Visitor(house)
    await sign_in(known)
    await sign_in(thief)

    link = path_in(await house.last_mail("New Login"))
    question = await owner.open(link)
    still = await thief.open("/account")
    done = await owner.send()

    assert question.title == "Was that not you? · Ostiary"
    assert still.title == "Your account · Ostiary"
    assert done.title == "Every session has ended · Ostiary"
    assert (await thief.open("/account")).title == "Sign in · Ostiary"
    assert (await known.open("/account")).title == "Sign in · Ostiary"


async def test_a_link_of_a_key_account_that_is_no_longer_good_is_a_page_for_a_person_and_json_for_a_program(house: House) -> None:
    owner, visitor = Owner(house.client, "grace@example.org"), Visitor(house)
    await owner.register()
    link = await key_link_of(house, "Activate")
    house.clock.advance(25 * 3600)

    program = await house.client.get(link)
    page = await visitor.open(link)
    await visitor.open("/check-mail")
    await visitor.send(email="grace@example.org")
    await visitor.open(await link_of(house, "verification"))
    confirmed = await visitor.send()

    assert (program.status_code, program.json()) == (400, {"error": "LP-Email-Invalid-Code", "status": 400})
    assert page.title == "This link is no longer good · Ostiary"
    assert "/check-mail" in page.links
    assert "Your address is confirmed." in confirmed.words


@pytest.mark.parametrize("kind", [bans.ADDRESS, bans.ACCOUNT])
async def test_whoever_is_banned_sees_for_how_long(house: House, kind: str) -> None:
    await register(house)
    async with house.begin() as ctx:
        subject = "127.0.0.1" if kind == bans.ADDRESS else (await accounts.named(ctx, "ada@example.org")).id
        await bans.add(ctx, kind, subject, "test", ctx.now + 3600 * 1_000_000)
    visitor = Visitor(house)

    page = await sign_in(visitor)

    assert visitor.answer.status_code == 403
    who = {bans.ADDRESS: "Shut out for now", bans.ACCOUNT: "This account is shut out for now"}[kind]
    assert page.title == f"{who} · Ostiary"
    assert "in 60 minutes" in page.words


@pytest.mark.parametrize("path", ["/oauth/github", "/oauth/github/callback?code=1&state=2"])
async def test_whoever_is_banned_on_the_way_to_a_provider_or_back_sees_a_page(make_house: MakeHouse, path: str) -> None:
    house = await make_house(ALLOW_SOCIAL_LOGIN="true", GITHUB_CLIENT_ID="id", GITHUB_CLIENT_SECRET="secret")
    async with house.begin() as ctx:
        await bans.add(ctx, bans.ADDRESS, "127.0.0.1", "test", ctx.now + 3600 * 1_000_000)
    visitor = Visitor(house)

    page = await visitor.open(path)
    program = await house.client.get(path)

    assert (visitor.answer.status_code, page.title) == (403, "Shut out for now · Ostiary")
    assert "in 60 minutes" in page.words
    assert program.status_code == 403
    assert program.json() == {"message": "Your account has been temporarily banned due to violations of our service."}


async def test_whoever_is_locked_out_sees_for_how_long(make_house: MakeHouse) -> None:
    house = await make_house(OSTIARY_LOCKOUT_MAX="1", OSTIARY_LOCKOUT_WINDOW="15")
    visitor = Visitor(house)
    await sign_in(visitor, password="not the password")

    page = await sign_in(visitor, password="not the password")

    assert (visitor.answer.status_code, page.title) == (429, "Locked for a while · Ostiary")
    assert "in 15 minutes" in page.words


async def test_the_mailbox_shows_mails_and_follows_only_our_links(house: House) -> None:
    await register(house)
    await house.client.post("/api/auth/requestPasswordReset", json={"email": "ada@example.org"})
    mail = await house.last_mail(SUBJECTS["reset"])
    strangers = EmailMessage()
    strangers.set_content(f"Go to https://evil.example/win or to {ORIGIN}.evil.example/login\n")
    (house.settings.server.data / "mailbox" / "20200101T000000000000-00000000.eml").write_bytes(strangers.as_bytes())
    visitor = Visitor(house)

    page = await visitor.open("/mailbox")
    name = next(link for link in page.links if link.startswith("/mailbox?mail="))
    letter = await visitor.open(name)
    of_a_stranger = await visitor.open("/mailbox?mail=20200101T000000000000-00000000.eml")

    assert "https://evil.example/win" in of_a_stranger.words
    assert not any("evil.example" in link for link in of_a_stranger.links)
    assert "Password Reset Request" in page.words
    assert f"{ORIGIN}{path_in(mail)}" in letter.links


@pytest.mark.parametrize(
    ("address", "headers"),
    [
        ("203.0.113.9", {}),
        ("127.0.0.1", {"X-Forwarded-For": "127.0.0.1"}),
        ("127.0.0.1", {"Forwarded": "for=127.0.0.1"}),
        ("127.0.0.1", {"Host": "rebound.example.org"}),
        ("127.0.0.1", {"Sec-Fetch-Site": "cross-site"}),
        ("127.0.0.1", {"Sec-Fetch-Site": "same-site"}),
    ],
)
async def test_the_mailbox_is_for_this_machine_alone(make_house: MakeHouse, address: str, headers: dict[str, str]) -> None:
    house = await make_house(OSTIARY_ALLOWED_HOSTS="rebound.example.org")
    visitor = Visitor(house, address, **headers)

    await visitor.open("/mailbox")

    assert visitor.answer.status_code == 404


async def test_the_mailbox_is_gone_with_a_mail_server(make_house: MakeHouse) -> None:
    house = await make_house(EMAIL_HOST="127.0.0.1", EMAIL_FROM="ostiary@example.org")
    visitor = Visitor(house)

    await visitor.open("/mailbox")

    assert visitor.answer.status_code == 404


async def test_the_mailbox_opens_nothing_but_mails(house: House) -> None:
    visitor = Visitor(house)

    for name in ("../ostiary.db", "..%2Fkeys.json", "20261128T193256521801-9972fba8.eml", "", "/etc/passwd"):
        await visitor.open(f"/mailbox?mail={name}")
        assert visitor.answer.status_code == 404, name
