"""The account page without scripts: what it shows, what it changes, what it asks for first."""

from __future__ import annotations

import re
from html import unescape

import pytest

from ostiary.crypto import otp
from ostiary.identity import accounts, audit
from ostiary.identity.audit import Event
from ostiary.web import agents
from ostiary.web.messages import catalogue
from tests.conftest import MakeHouse
from tests.house import House, text_of
from tests.web.visitor import PASSWORD, Visitor, register, sign_in

NEW_PASSWORD = "seven quiet harbours"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"


@pytest.fixture
async def ada(house: House) -> Visitor:
    """Somebody signed in."""
    await register(house)
    visitor = Visitor(house, **{"User-Agent": FIREFOX})
    await sign_in(visitor)
    return visitor


def form_of(visitor: Visitor, action: str) -> int:
    """The number of the form that goes there."""
    return visitor.shown.actions.index(action)


async def set_up(house: House, visitor: Visitor) -> tuple[bytes, list[str]]:
    """Switch the second factor on: the secret, and the codes that the page showed."""
    await visitor.open("/account")
    await visitor.send(form_of(visitor, "/account/two-factor"))
    shown = re.search(r"<code[^>]*>([A-Z2-7 ]+)</code>", visitor.answer.text)
    assert shown is not None
    secret = otp.decode_secret(shown[1])
    assert secret is not None
    page = await visitor.send(code=code_of(house, secret))
    assert page.title == "Your backup codes · Ostiary"
    codes = re.findall(r"<code>([0-9a-f]{8})</code>", visitor.answer.text)
    house.clock.advance(60)
    return secret, codes


def code_of(house: House, secret: bytes) -> str:
    return otp.code_at(secret, house.clock.now // 1_000_000 // 30)


async def test_the_page_shows_who_is_here_and_what_happened(house: House, ada: Visitor) -> None:
    page = await ada.open("/account")

    assert "ada@example.org" in page.words
    assert "Firefox, Linux" in page.words
    assert "this device" in page.words
    assert "Signed in" in page.words


async def test_a_name_is_saved_and_shown_as_typed(house: House, ada: Visitor) -> None:
    await ada.open("/account")

    page = await ada.send(form_of(ada, "/account/profile"), name="Ada <b>King</b>")

    assert "Saved." in page.words
    assert "Ada <b>King</b>" in unescape(ada.answer.text)
    assert "<b>King" not in ada.answer.text


@pytest.mark.parametrize("name", ["", "x" * 81, "a\nb"])
async def test_a_name_that_is_none_changes_nothing(house: House, ada: Visitor, name: str) -> None:
    await ada.open("/account")

    await ada.send(form_of(ada, "/account/profile"), name=name)

    async with house.begin() as ctx:
        assert (await accounts.named(ctx, "ada@example.org")).name == "Ada Lovelace"


async def test_a_password_is_changed_by_whoever_shows_the_present_one(house: House, ada: Visitor) -> None:
    elsewhere = Visitor(house, "192.0.2.9")
    await sign_in(elsewhere)
    await ada.open("/account/password")

    wrong = await ada.send(present="not the password", password=NEW_PASSWORD)
    right = await ada.send(present=PASSWORD, password=NEW_PASSWORD)

    assert "That is not your present password." in wrong.words
    assert "Your password has been changed." in right.words
    assert (await ada.open("/account")).title == "Your account · Ostiary"
    assert (await elsewhere.open("/account")).title == "Sign in · Ostiary"
    assert (await sign_in(Visitor(house))).title == "Sign in · Ostiary"
    assert (await sign_in(Visitor(house), password=NEW_PASSWORD)).title == "Your account · Ostiary"
    assert (await house.last_mail("password"))["To"] == "Ada Lovelace <ada@example.org>"


async def test_a_new_password_meets_the_rules(house: House, ada: Visitor) -> None:
    await ada.open("/account/password")

    short = await ada.send(present=PASSWORD, password="short")
    common = await ada.send(present=PASSWORD, password="password123")
    own = await ada.send(present=PASSWORD, password="ada@example.org")

    assert "The password is too short" in short.words
    assert "first that attackers try" in common.words
    assert "made of your own name" in own.words


async def test_a_session_guesses_the_password_no_more_than_a_stranger(house: House, ada: Visitor) -> None:
    for _ in range(10):
        await ada.open("/account/password")
        await ada.send(present="not the password", password=NEW_PASSWORD)
    await ada.open("/account/password")
    await ada.send(present=PASSWORD, password=NEW_PASSWORD)

    assert ada.answer.status_code == 429
    assert int(ada.answer.headers["retry-after"]) > 0


async def test_a_second_factor_is_set_up_used_renewed_and_switched_off(house: House, ada: Visitor) -> None:
    secret, codes = await set_up(house, ada)

    assert len(codes) == 10
    there = Visitor(house, "192.0.2.9")
    asked = await sign_in(there)
    assert asked.title == "One more step · Ostiary"
    assert (await there.send(code=codes[0])).title == "Your account · Ostiary"
    assert "9 backup codes are left." in (await ada.open("/account")).words

    await ada.open("/account/two-factor/codes")
    refused = await ada.send(code="000000")
    assert "That code does not fit" in refused.words
    await ada.send(code=code_of(house, secret))
    fresh = re.findall(r"<code>([0-9a-f]{8})</code>", ada.answer.text)
    assert len(fresh) == 10
    assert not set(fresh) & set(codes)

    house.clock.advance(30)
    await ada.open("/account/two-factor/off")
    assert "Two-step sign-in is off." in (await ada.send(code=fresh[0])).words
    assert (await sign_in(Visitor(house))).title == "Your account · Ostiary"


async def test_another_authenticator_needs_a_code_of_the_present_one(house: House, ada: Visitor) -> None:
    secret, _ = await set_up(house, ada)
    await ada.open("/account/two-factor")

    refused = await ada.send(code="123456")
    granted = await ada.send(code=code_of(house, secret))

    assert "That code does not fit" in refused.words
    assert granted.title == "Set up two-step sign-in · Ostiary"


async def test_a_picture_for_the_app_holds_the_secret_and_comes_from_here(house: House, ada: Visitor) -> None:
    await ada.open("/account")

    await ada.send(form_of(ada, "/account/two-factor"))

    assert 'src="data:image/png;base64,' in ada.answer.text
    assert "otpauth://totp/Ostiary:ada@example.org?secret=" in ada.answer.text
    assert ada.answer.headers["cache-control"] == "no-store"


async def test_sessions_are_ended_one_by_one_and_all_at_once(house: House, ada: Visitor) -> None:
    others = [Visitor(house, f"192.0.2.{number}") for number in range(3)]
    for other in others:
        await sign_in(other)
    page = await ada.open("/account")
    ended = next(form for form, action in zip(page.forms, page.actions, strict=True) if action == "/account/sessions")

    one = await ada.send(page.forms.index(ended))
    all_others = await ada.send(form_of(ada, "/account/sessions") + 2)

    assert "That device has been signed out." in one.words
    assert "Every other device has been signed out." in all_others.words
    assert [(await other.open("/account")).title for other in others] == ["Sign in · Ostiary"] * 3
    assert (await ada.open("/account")).title == "Your account · Ostiary"


async def test_nobody_ends_anothers_session(house: House, ada: Visitor) -> None:
    await register(house, "eve@example.org")
    eve = Visitor(house)
    await sign_in(eve, "eve@example.org")
    page = await ada.open("/account")
    async with house.begin() as ctx:
        of_ada = (await audit.latest(ctx, event=Event.SIGNED_IN, account_id=(await accounts.named(ctx, "ada@example.org")).id))[0]
    session = re.search(r'"session":"([^"]+)"', of_ada.detail)
    assert session is not None

    await eve.open("/account")
    await eve.send(form_of(eve, "/account/profile"), name="Eve")
    token = eve.shown.forms[0]["form_token"]
    eve.answer = await eve.client.post("/account/sessions", data={"form_token": token, "session": session[1]})

    assert (await ada.open("/account")).title == page.title


async def test_an_account_is_deleted_by_its_password_and_a_code(house: House, ada: Visitor) -> None:
    secret, _ = await set_up(house, ada)
    await ada.open("/account/delete")

    without_code = await ada.send(password=PASSWORD)
    without_password = await ada.send(password="wrong", code=code_of(house, secret))
    gone = await ada.send(password=PASSWORD, code=code_of(house, secret))

    assert "That code does not fit" in without_code.words
    assert "That is not your present password." in without_password.words
    assert "Your account has been deleted." in gone.words
    assert (await sign_in(Visitor(house))).title == "Sign in · Ostiary"


async def test_deletion_is_offered_only_where_the_operator_lets_owners_leave(make_house: MakeHouse) -> None:
    house = await make_house(ALLOW_ACCOUNT_DELETION="false")
    await register(house, "admin@example.org")
    await register(house)
    visitor = Visitor(house)
    await sign_in(visitor)

    page = await visitor.open("/account")
    await visitor.open("/account/delete")

    assert "/account/delete" not in page.links
    assert visitor.answer.status_code == 403


async def test_nobody_sees_an_account_without_signing_in(house: House) -> None:
    for page in ("", "/password", "/delete", "/two-factor/codes", "/two-factor/set-up"):
        assert (await Visitor(house).open(f"/account{page}")).title == "Sign in · Ostiary", page


async def test_a_form_of_another_site_changes_nothing(house: House, ada: Visitor) -> None:
    fields, foreign = {"session": "others", "name": "Mallory"}, {"Origin": "https://evil.test"}
    forms = ["profile", "password", "delete", "sessions", "identities/link", "identities/unlink"]
    forms += [f"two-factor{form}" for form in ("", "/set-up", "/codes", "/off")]

    answers = {form: await ada.client.post(f"/account/{form}", data=fields, headers=foreign) for form in forms}

    assert {form: answer.status_code for form, answer in answers.items()} == dict.fromkeys(forms, 403)
    page = await ada.open("/account")
    assert page.title == "Your account · Ostiary"
    assert "Mallory" not in ada.answer.text


async def test_a_password_mail_is_in_plain_words(house: House, ada: Visitor) -> None:
    await ada.open("/account/password")
    await ada.send(present=PASSWORD, password=NEW_PASSWORD)

    mail = text_of(await house.last_mail("password"))

    assert NEW_PASSWORD not in mail
    assert PASSWORD not in mail


def test_every_event_of_an_account_has_a_text() -> None:
    unseen = {
        Event.REGISTRATION_REFUSED,
        Event.REGISTRATION_OF_TAKEN,
        Event.HINT_REFUSED,
        Event.DELETED,
        Event.EXPIRED,
        Event.GRANT_DEAD,
    }
    told = {event for event in Event if event.value.startswith("account:")} - unseen

    assert {event.value for event in told if f"event.{event.value}" not in catalogue("en").texts} == set()


@pytest.mark.parametrize(
    ("agent", "said"),
    [
        (FIREFOX, "Firefox, Linux"),
        ("Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/141.0 Safari/537.36 Edg/141.0", "Edge, Windows"),
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605 Version/18.0 Mobile Safari/604.1",
            "Safari, iPhone",
        ),
        ("LibrePass/1.0", "LibrePass/1.0"),
        ("", ""),
        ("\x1b[31m" + "a" * 900, "[31m" + "a" * 36),
    ],
)
def test_a_user_agent_is_said_in_a_few_words(agent: str, said: str) -> None:
    assert agents.described(agent) == said
