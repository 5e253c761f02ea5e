"""Key accounts' pages, asked by a program that computes what the pages' script would; the script itself is in test_key_browser.py."""

from __future__ import annotations

import json
import re
from uuid import uuid4

import pytest

from ostiary.identity import credentials, kinds
from ostiary.web.key_sign_in import MARK_COOKIE, USED_COOKIE
from tests.conftest import MakeHouse
from tests.dialects.librepass.owner import DEFAULTS, PASSWORD, SMTP, Authenticator, Owner, private_key, public_hex, shared_hex
from tests.house import ORIGIN, House, text_of
from tests.web.visitor import Shown, Visitor, register, sign_in

GRACE = "Grace@example.org"
SAME_SITE = {"Origin": ORIGIN, "Sec-Fetch-Site": "same-origin"}
JSON_BODY = dict[str, str]


async def asked(visitor: Visitor, path: str, **fields: str) -> tuple[int, dict[str, object]]:
    """What the page's script hears."""
    token = visitor.shown.forms[-1]["form_token"]
    answer = await visitor.client.post(path, data={"form_token": token, **fields}, headers=SAME_SITE)
    return answer.status_code, answer.json()


async def server_key(visitor: Visitor, email: str = "") -> str:
    status, found = await asked(visitor, "/login/derivation", email=email)
    assert status == 200, found
    return str(found["serverPublicKey"])


async def sign_up(visitor: Visitor, email: str = GRACE, password: str = PASSWORD, **fields: str) -> Shown:
    """Through the page, with what its script would send."""
    await visitor.open("/register/key")
    key = private_key(email, password)
    proof = shared_hex(key, await server_key(visitor))
    derived = {name: str(value) for name, value in DEFAULTS.items()}
    made = {"public_key": public_hex(key), "shared_key": proof, **derived}
    return await visitor.send(email=email, **made, **fields)


async def key_sign_in(visitor: Visitor, email: str = GRACE, password: str = PASSWORD) -> Shown:
    """Through the page of key accounts."""
    await visitor.open("/login/key")
    return await visitor.send(email=email, shared_key=shared_hex(private_key(email, password), await server_key(visitor, email)))


async def signed_in(house: House) -> Visitor:
    """Grace, at her browser."""
    visitor = Visitor(house)
    await sign_up(visitor)
    page = await key_sign_in(visitor)
    assert page.title.startswith("Your account"), page.words
    return visitor


async def nobodys(house: House, kind: str) -> str:
    """An address without an account, of this kind."""
    async with house.begin() as ctx:
        for number in range(64):
            email = f"nobody{number}@example.com"
            if (await kinds.of_address(ctx, email)).kind == kind:
                return email
    raise AssertionError(kind)


def alike(page: str, email: str) -> str:
    """A page without what differs in every one."""
    return re.sub(r'name="form_token" value="[^"]*"', "", page).replace(email, "…")


async def test_a_key_account_is_made_and_entered_by_address_and_then_password(house: House) -> None:
    visitor = Visitor(house)

    made = await sign_up(visitor, hint="a horse")
    await visitor.open("/login")
    second = await visitor.send(email=GRACE)
    proof = shared_hex(private_key(GRACE), await server_key(visitor, GRACE))
    inside = await visitor.send(shared_key=proof)

    assert "your account is ready" in made.words
    assert second.forms[0]["email"] == GRACE
    assert "never leaves this browser" in second.words
    assert GRACE.lower() in inside.words
    assert inside.title == "Your account · Ostiary"


async def test_a_password_account_is_entered_by_address_and_then_password(house: House) -> None:
    await register(house)
    visitor = Visitor(house)

    first = await visitor.open("/login?redirect_to=/account")
    second = await visitor.send(email="ada@example.org")
    inside = await visitor.send(password="correct horse battery")

    assert "password" not in first.forms[0]
    assert "The server checks it" in second.words
    assert inside.title == "Your account · Ostiary"


async def test_no_page_of_key_accounts_has_a_field_that_would_carry_the_password(house: House) -> None:
    visitor = await signed_in(house)

    for path, secrets in (("/login/key", 0), ("/register/key", 2), ("/account/key", 3)):
        await (Visitor(house) if secrets == 0 else visitor).open(path)
        answer = await (visitor.client if secrets else house.client).get(path)
        fields = re.findall(r"<input[^>]*type=\"password\"[^>]*>", answer.text)

        assert len(fields) == max(1, secrets)
        assert not any("name=" in field for field in fields)


@pytest.mark.parametrize("kind", [credentials.PASSWORD, credentials.PUBLIC_KEY])
async def test_both_steps_look_alike_for_an_account_and_for_an_address_of_nobody(house: House, kind: str) -> None:
    await register(house)
    await sign_up(Visitor(house))
    theirs = {credentials.PASSWORD: "ada@example.org", credentials.PUBLIC_KEY: GRACE}[kind]
    proof = {credentials.PASSWORD: "password", credentials.PUBLIC_KEY: "shared_key"}[kind]
    seen = []

    for email in (theirs, await nobodys(house, kind)):
        visitor = Visitor(house)
        await visitor.open("/login")
        await visitor.send(email=email)
        steps = [(visitor.answer.status_code, alike(visitor.answer.text, email))]
        await visitor.send(**{proof: "ab" * 32})
        steps.append((visitor.answer.status_code, alike(visitor.answer.text, email)))
        seen.append(steps)

    assert seen[0] == seen[1]
    assert [status for status, _ in seen[0]] == [200, 422]


async def test_the_derivation_is_told_alike_for_everybody_and_to_our_own_pages_alone(house: House) -> None:
    await register(house)
    await sign_up(Visitor(house))
    visitor = Visitor(house)
    await visitor.open("/login")

    told = [
        await asked(visitor, "/login/derivation", email=email) for email in (GRACE, "ada@example.org", "nobody@example.org", "")
    ]
    elsewhere = await visitor.client.post("/login/derivation", data={"email": GRACE}, headers={"Origin": "https://evil.test"})

    assert all(each == told[0] for each in told)
    assert {name: told[0][1][name] for name in DEFAULTS} == DEFAULTS
    assert elsewhere.status_code == 403
    assert "problem" in elsewhere.json()


async def test_asking_too_often_is_told_to_the_script_with_the_time_left(make_house: MakeHouse) -> None:
    house = await make_house(RATE_LIMITS="on")
    visitor = Visitor(house)
    await visitor.open("/login")

    answers = [await asked(visitor, "/login/derivation", email=GRACE) for _ in range(21)]

    assert [status for status, _ in answers] == [200] * 20 + [429]
    assert "Please try again in 6 seconds." in str(answers[-1][1]["problem"])


async def test_the_kind_is_not_told_faster_than_pre_login_tells_its_answer(make_house: MakeHouse) -> None:
    house = await make_house(RATE_LIMITS="on")
    visitor = Visitor(house)
    await visitor.open("/login")
    token = visitor.shown.forms[0]["form_token"]

    for _ in range(20):
        await visitor.client.get("/api/auth/preLogin?email=a@example.org")
    answer = await visitor.client.post("/login", data={"form_token": token, "email": "b@example.org"}, headers=SAME_SITE)

    assert answer.status_code == 429


async def test_a_factor_is_owed_behind_a_key_too_and_its_recovery_code_works_once(house: House) -> None:
    await sign_up(Visitor(house))
    owner, app = Owner(house.client, GRACE), Authenticator(house.clock)
    await owner.login()
    recovery = (await owner.set_up(app)).json()["recoveryCode"]
    house.clock.advance(60)
    by_app, by_recovery, again = Visitor(house), Visitor(house), Visitor(house)

    asks = await key_sign_in(by_app)
    wrong = await by_app.send(code=app.wrong_code())
    inside = await by_app.send(code=app.code())
    await key_sign_in(by_recovery)
    await by_recovery.open("/login/2fa?way=backup")
    recovered = await by_recovery.send(code=recovery)
    await key_sign_in(again)
    refused = await again.send(code=recovery)

    assert asks.title == "One more step · Ostiary"
    assert "does not fit" in wrong.words
    assert inside.title == recovered.title == "Your account · Ostiary"
    assert "does not fit" in refused.words


async def test_without_a_script_nothing_is_tried_and_the_reason_is_said(house: House) -> None:
    await sign_up(Visitor(house))
    visitor = Visitor(house)

    for path in ("/login/key", "/register/key"):
        await visitor.open(path)
        page = await visitor.send(email=GRACE)

        assert visitor.answer.status_code == 422
        assert page.title == "JavaScript is needed for this · Ostiary"


async def test_where_keys_are_the_only_way_in_the_sign_in_page_is_theirs(make_house: MakeHouse) -> None:
    house = await make_house(OSTIARY_DIALECTS="librepass")

    page = await Visitor(house).open("/login?notice=registered")

    assert page.actions == ["/login/key"]
    assert "your account is ready" in page.words


async def test_where_there_are_no_key_accounts_there_are_no_pages_of_theirs(make_house: MakeHouse) -> None:
    house = await make_house(OSTIARY_DIALECTS="librechat")
    visitor = Visitor(house)

    page = await visitor.open("/login")

    assert "password" in page.forms[0]
    for path in ("/login/key", "/register/key", "/account/key", "/password-hint"):
        await visitor.open(path)
        assert visitor.answer.status_code == 404


async def test_beside_a_directory_key_accounts_have_a_page_of_their_own(make_house: MakeHouse) -> None:
    directory = {"LDAP_URL": "ldaps://127.0.0.1:9", "LDAP_USER_SEARCH_BASE": "dc=example"}
    house = await make_house(**directory)
    visitor = Visitor(house)

    page = await visitor.open("/login")

    assert "password" in page.forms[0]
    assert "/login/key" in page.links


async def test_a_browser_that_knows_key_accounts_asks_before_it_sends_a_password_for_an_unknown_address(house: House) -> None:
    await register(house)
    mistyped = await nobodys(house, credentials.PASSWORD)
    visitor = await signed_in(house)
    await visitor.sign_out()

    async def agreement(email: str) -> bool:
        await visitor.open("/login")
        await visitor.send(email=email)
        return 'id="agree" required' in visitor.answer.text

    before = [await agreement(mistyped), await agreement("ada@example.org")]
    await visitor.send(password="correct horse battery")
    await visitor.sign_out()
    after = [await agreement(mistyped), await agreement("ada@example.org")]

    assert visitor.client.cookies[USED_COOKIE]
    assert before == [True, True]
    assert after == [True, False]


async def test_a_taken_address_is_answered_as_a_free_one_and_its_mark_is_the_browsers_alone(make_house: MakeHouse) -> None:
    house = await make_house(**SMTP)
    free, taken = await nobodys(house, credentials.PASSWORD), "ada@example.org"
    await register(house)
    answers = []

    for email in (free, taken):
        visitor = Visitor(house)
        await sign_up(visitor, email)
        made = visitor.answer.history[0] if visitor.answer.history else visitor.answer
        kind = [await second_step(visitor, email), await second_step(Visitor(house), email)]
        answers.append((made.status_code, sorted(visitor.client.cookies), kind[0]))

    assert answers[0] == answers[1]
    assert MARK_COOKIE in answers[0][1]
    assert answers[0][2] == credentials.PUBLIC_KEY
    assert await second_step(Visitor(house), free) == credentials.PASSWORD


async def second_step(visitor: Visitor, email: str) -> str:
    """The kind that the page asks for."""
    await visitor.open("/login")
    page = await visitor.send(email=email)
    return credentials.PUBLIC_KEY if page.actions == ["/login/key"] else credentials.PASSWORD


async def test_an_address_is_verified_by_the_mails_link_before_a_key_lets_anybody_in(make_house: MakeHouse) -> None:
    house = await make_house(EMAIL_VERIFICATION_REQUIRED="true")
    visitor = Visitor(house)

    waits = await sign_up(visitor)
    early = await key_sign_in(visitor)
    link = next(word for word in text_of(await house.last_mail("Activate")).split() if word.startswith("http"))
    await visitor.open(link.removeprefix(ORIGIN))
    await visitor.send()
    inside = await key_sign_in(visitor)

    assert waits.title == early.title == "Check your mail · Ostiary"
    assert "Your password is right" in early.words
    assert inside.title == "Your account · Ostiary"


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"email": "no address"}, "That does not look like an email address."),
        ({"email": ""}, "That does not look like an email address."),
        ({"hint": "h" * 257}, "The hint is too long."),
        ({"public_key": "00" * 32}, "That did not work"),
        ({"shared_key": "00" * 32}, "That did not work"),
        ({"shared_key": "zz"}, "That did not work"),
        ({"memory": "8"}, "That did not work"),
        ({"memory": "many"}, "That could not be read"),
        ({"memory": ""}, "That could not be read"),
    ],
)
async def test_a_sign_up_that_cannot_be_is_refused_in_words(house: House, fields: JSON_BODY, text: str) -> None:
    visitor = Visitor(house)
    await visitor.open("/register/key")
    key = private_key(GRACE)
    made = {"public_key": public_hex(key), "shared_key": shared_hex(key, await server_key(visitor)), "email": GRACE, "hint": ""}

    page = await visitor.send(**{**made, **{name: str(value) for name, value in DEFAULTS.items()}, **fields})

    assert 400 <= visitor.answer.status_code < 500
    assert text in page.words
    assert (await Owner(house.client, GRACE).login()).status_code == 400


async def test_where_it_may_be_told_a_taken_address_is(house: House) -> None:
    await sign_up(Visitor(house))

    page = await sign_up(Visitor(house), password="another one")

    assert "There is an account with this address already." in page.words


async def test_a_closed_registration_has_no_form(make_house: MakeHouse) -> None:
    house = await make_house(ALLOW_REGISTRATION="false")
    visitor = Visitor(house)

    await visitor.open("/register/key")

    assert visitor.answer.status_code == 403


async def changed(visitor: Visitor, rows: object, old: str = PASSWORD, new: str = "another horse", **fields: str) -> Shown:
    """Another password, with what the page's script would send."""
    await visitor.open("/account/key")
    status, state = await asked(visitor, "/account/key/vault")
    assert status == 200, state
    there, after = str(state["serverPublicKey"]), private_key(GRACE, new)
    made = {
        "old_shared_key": shared_hex(private_key(GRACE, old), there),
        "public_key": public_hex(after),
        "shared_key": shared_hex(after, there),
        "rows": rows if isinstance(rows, str) else json.dumps(rows),
    }
    return await visitor.send(email=GRACE, **made, **{name: str(value) for name, value in DEFAULTS.items()}, **fields)


async def test_another_password_takes_the_vault_along_and_ends_every_session(house: House) -> None:
    visitor = await signed_in(house)
    owner = Owner(house.client, GRACE)
    await owner.login()
    row = owner.row(protectedData="00ff")
    await owner.sync(updated=[row])

    page = await changed(visitor, [{"id": row["id"], "data": "11ee"}], hint="another")

    assert "Your password has been changed" in page.words
    assert (await visitor.open("/account")).title == "Sign in · Ostiary"
    assert (await owner.sync()).status_code == 401
    assert (await owner.login()).status_code == 400
    owner.password = "another horse"
    await owner.login()
    assert [each["protectedData"] for each in (await owner.sync()).json()["ciphers"]] == ["11ee"]


async def test_a_vault_of_the_size_that_its_wire_takes_can_be_written_anew(house: House) -> None:
    visitor = await signed_in(house)
    owner = Owner(house.client, GRACE)
    await owner.login()
    rows = [owner.row(protectedData="ab" * 2000) for _ in range(40)]
    await owner.sync(updated=rows)

    page = await changed(visitor, [{"id": row["id"], "data": "cd" * 2000} for row in rows])

    assert "Your password has been changed" in page.words


async def test_the_script_is_told_every_row_and_how_the_keys_are_made(house: House) -> None:
    visitor = await signed_in(house)
    owner = Owner(house.client, GRACE)
    await owner.login()
    row = owner.row(protectedData="00ff")
    await owner.sync(updated=[row])
    await visitor.open("/account/key")

    _, state = await asked(visitor, "/account/key/vault")

    assert state["rows"] == [{"id": row["id"], "data": "00ff"}]
    assert state["parameters"] == state["newParameters"] == DEFAULTS


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        ([], "The vault was changed"),
        ([{"id": str(uuid4()), "data": "00"}], "The vault was changed"),
        ("", "That could not be read"),
        ("[", "That could not be read"),
        ("{}", "That could not be read"),
        ([{"id": "x"}], "That could not be read"),
        ([{"id": 7, "data": 8}], "That could not be read"),
        ([{"id": "x", "data": "not hex"}], "That did not work"),
        ([{"id": "x", "data": ""}], "That did not work"),
    ],
)
async def test_a_vault_that_does_not_fit_changes_nothing(house: House, rows: object, text: str) -> None:
    visitor = await signed_in(house)
    owner = Owner(house.client, GRACE)
    await owner.login()
    await owner.sync(updated=[owner.row()])

    page = await changed(visitor, rows)

    assert 400 <= visitor.answer.status_code < 500
    assert text in page.words
    assert (await owner.login()).status_code == 200


async def test_without_the_present_password_nothing_changes(house: House) -> None:
    visitor = await signed_in(house)

    page = await changed(visitor, [], old="a guess")

    assert "The present password does not match." in page.words
    assert (await Owner(house.client, GRACE).login()).status_code == 200


async def test_a_password_account_has_no_key_to_change_and_a_stranger_is_asked_to_sign_in(house: House) -> None:
    await register(house)
    visitor, stranger = Visitor(house), Visitor(house)
    await sign_in(visitor)

    await visitor.open("/account/key")
    asks = await stranger.open("/account/key")

    assert visitor.answer.status_code == 403
    assert asks.title == "Sign in · Ostiary"
    assert (await asked(stranger, "/account/key/vault"))[0] == 401


async def test_the_hint_goes_to_the_owner_and_the_page_says_the_same_to_everybody(house: House) -> None:
    await sign_up(Visitor(house), hint="a horse")
    answers = []

    for email in (GRACE.lower(), "nobody@example.org"):
        visitor = Visitor(house)
        await visitor.open("/password-hint")
        token = visitor.shown.forms[0]["form_token"]
        answer = await visitor.client.post("/password-hint", data={"form_token": token, "email": email}, headers=SAME_SITE)
        answers.append((answer.status_code, answer.headers["location"]))

    assert answers[0] == answers[1]
    assert "a horse" in text_of(await house.last_mail("hint"))
