"""RST: password reset, verification, invitations, mail (catalogue 4.6)."""

from __future__ import annotations

import json
from email.message import EmailMessage
from html.parser import HTMLParser
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import update

from ostiary.identity import accounts, invitations
from ostiary.storage import tables
from ostiary.storage.statements import Statement
from tests.attack.harness import Reply, fresh_email, raw, somewhere, status_of
from tests.attack.people import (
    MAIL_SECONDS,
    OTHER_PASSWORD,
    PASSWORD,
    WRONG_PASSWORD,
    KeyOwner,
    Person,
    enrolled,
    key_owner,
    link_in,
    owing,
    signed_in,
)
from tests.conftest import MakeHouse
from tests.dialects.librechat import browser as librechat
from tests.dialects.librepass import owner as librepass
from tests.house import House, text_of
from tests.served import Served
from tests.services.smtp import MailServer

RESET = "Password Reset Request"


def reset_link(person: Person, mails: MailServer) -> dict[str, str]:
    """Ask for a reset and read the mail."""
    assert person.post("/api/auth/requestPasswordReset", {"email": person.email}).status == 200
    return librechat.parameters_of(link_in(mails, person.email, RESET))


def reset(person: Person, link: dict[str, Any], password: str = OTHER_PASSWORD) -> Reply:
    return person.post("/api/auth/resetPassword", {**link, "password": password})


async def test_rst_02_a_reset_link_expires_exactly(house: House) -> None:
    someone = await librechat.signed_in(house)
    links = []
    for _ in range(2):
        await someone.post("/api/auth/requestPasswordReset", {"email": librechat.EMAIL})
        links.append(librechat.parameters_of(await librechat.link_of(house, RESET)))
        house.clock.advance(15 * 60)
        answer = await someone.post("/api/auth/resetPassword", {**links[-1], "password": OTHER_PASSWORD})
        assert answer.status_code == 400

    assert (await librechat.browser(house).login()).status_code == 200


@pytest.mark.parametrize("user_id", ["of another", "omitted", "", None, [], {}, "A,B", "upper", 5, "nul\0"], ids=repr)
def test_rst_03_a_reset_token_is_for_its_account(site: Served, mails: MailServer, user_id: object) -> None:
    person, other = signed_in(site.url), signed_in(site.url)
    link: dict[str, Any] = reset_link(person, mails)
    own, theirs = link["userId"], other.me().json()["id"]
    presented = {"of another": theirs, "A,B": f"{own},{theirs}", "upper": own.upper()}.get(str(user_id), user_id)
    if user_id == "omitted":
        del link["userId"]
    else:
        link["userId"] = presented

    assert reset(person, link).status in (400, 404)

    assert person.elsewhere().login().status == 200
    assert other.elsewhere().login().status == 200


def test_rst_05_a_reset_ends_whatever_was_pending(site: Served, mails: MailServer) -> None:
    person = signed_in(site.url)
    app = enrolled(person)
    bearer, cookie = person.bearer, person.refresh_token
    there, pending = owing(person)
    older = reset_link(person, mails)
    newer = reset_link(person, mails)

    assert reset(person, older).status == 400
    assert reset(person, newer).status == 200

    assert reset(person, newer, "third-Password-88-x").status == 400
    assert person.me(bearer).status == 401
    assert person.refresh(cookie).status in (401, 403)
    assert there.prove(pending, backupCode=app.codes[0]).status == 401


def test_rst_06_a_reset_keeps_the_factor_and_signs_nobody_in(site: Served, mails: MailServer) -> None:
    person = signed_in(site.url)
    enrolled(person)

    done = reset(person.elsewhere(), reset_link(person, mails))

    assert (done.status, done.all("set-cookie"), b"token" in done.body) == (200, [], False)
    assert person.elsewhere().login(OTHER_PASSWORD).json()["twoFAPending"] is True


@pytest.mark.parametrize(
    "headers",
    [
        [("Host", "evil.test")],
        [("X-Forwarded-Host", "evil.test")],
        [("X-Forwarded-Proto", "gopher"), ("X-Forwarded-Server", "evil.test")],
        [("Forwarded", "host=evil.test;proto=https")],
        [("Host", "127.0.0.1"), ("Host", "evil.test")],
        [("Origin", "https://evil.test"), ("Referer", "https://evil.test/")],
    ],
    ids=lambda headers: headers[-1][0],
)
def test_rst_08_a_link_never_names_the_requests_host(site: Served, mails: MailServer, headers: list[tuple[str, str]]) -> None:
    person = signed_in(site.url)
    body = json.dumps({"email": person.email}).encode()

    asked = person.send("POST", "/api/auth/requestPasswordReset", body, [("Content-Type", "application/json"), *headers])

    assert asked.status in (200, 400, 403, 421)
    if asked.status == 200:
        assert link_in(mails, person.email, RESET).startswith(f"{site.url}/reset-password?")


def test_rst_08_an_absolute_request_target_changes_no_link(site: Served, mails: MailServer) -> None:
    person = signed_in(site.url)
    body = json.dumps({"email": person.email}).encode()
    head = f"POST http://evil.test/api/auth/requestPasswordReset HTTP/1.1\r\nHost: evil.test\r\nContent-Length: {len(body)}\r\n"

    answer = raw(site, f"{head}Content-Type: application/json\r\nConnection: close\r\n\r\n".encode() + body)

    assert status_of(answer) < 500
    assert b"evil.test" not in answer
    if status_of(answer) == 200:
        assert link_in(mails, person.email, RESET).startswith(f"{site.url}/")


async def test_rst_09_no_link_is_handed_to_a_stranger(house: House) -> None:
    """Without SMTP too: the operator prints one, nobody gets one by asking."""
    await librechat.signed_in(house)

    answer = await house.client.post("/api/auth/requestPasswordReset", json={"email": librechat.EMAIL})

    assert answer.status_code == 200
    assert set(answer.json()) == {"message"}
    assert "http" not in answer.text


INJECTIONS = [
    "a@t.test\r\nBcc:x@t.test",
    "a@t.test>\r\nRCPT TO:<x@t.test",
    "a@t.test\nBcc: x@t.test",
    "a@t.test%0d%0aBcc:x@t.test",
    "=?utf-8?q?=0d=0aBcc:x@t.test?=@t.test",
    "a@t.test,x@t.test",
    "<a@t.test>",
    "a@t.test\0",
    "a@t.test\u2028Bcc:x@t.test",
]


@pytest.mark.parametrize("address", INJECTIONS, ids=repr)
def test_rst_11_an_address_cannot_break_a_header(site: Served, mails: MailServer, address: str) -> None:
    before = len(mails.deliveries)
    person = Person(site.url, somewhere(), email=address)

    assert person.register().status == 404
    assert KeyOwner(site.url, somewhere(), email=address).post("/api/auth/register", key_form(address)).status == 400
    person.post("/api/auth/requestPasswordReset", {"email": address})
    person.post("/api/user/verify/resend", {"email": address})

    marker = signed_in(site.url)
    assert mails.wait(marker.email, "Verify your email", MAIL_SECONDS)
    sent = [recipient for delivery in mails.deliveries[before:] for recipient in delivery.recipients]
    assert not [recipient for recipient in sent if "t.test" in recipient]


def key_form(address: str) -> dict[str, Any]:
    """A key account's registration with an address that is checked before the key."""
    return {"email": address, "sharedKey": "ab" * 32, "publicKey": "ab" * 32, "parallelism": 3, "memory": 65536, "iterations": 4}


@pytest.mark.parametrize(
    "name", ["N\r\nBcc: x@t.test", "=?utf-8?q?=0d=0aBcc:x@t.test?=", "N\nX-Evil: 1", "a\u2028b", '"\\"', "x" * 80]
)
def test_rst_11_a_name_cannot_break_a_header(site: Served, mails: MailServer, name: str) -> None:
    person = Person(site.url, somewhere())
    assert person.register(name=name).status == 200

    mail = mails.wait(person.email, "Verify your email", MAIL_SECONDS)

    (delivery,) = [delivery for delivery in mails.deliveries if delivery.message is mail]
    assert delivery.recipients == (person.email,)
    assert mail["Bcc"] is None
    assert mail["X-Evil"] is None
    assert "\n" not in mail["Subject"]


class _Tags(HTMLParser):
    """Every tag with its attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def foreign(mail: EmailMessage, url: str) -> list[tuple[str, dict[str, str | None]]]:
    """Tags of the HTML part that load or lead elsewhere."""
    body = mail.get_body(("html",))
    assert body is not None
    tags = _Tags()
    tags.feed(body.get_content())
    assert tags.found
    return [
        (tag, attributes)
        for tag, attributes in tags.found
        if tag in ("img", "script", "iframe", "form", "object") or not (attributes.get("href") or url).startswith(url)
    ]


HTML = "<a href=//evil.test>x</a><img src=//evil.test>"


def test_rst_12_nothing_in_a_mail_is_anybodys_html(site: Served, mails: MailServer) -> None:
    person, owner = Person(site.url, somewhere()), KeyOwner(site.url, somewhere())
    assert person.register(name=HTML).status == 200
    assert owner.register(passwordHint=HTML).status == 201
    owner.get(f"/api/auth/passwordHint?email={owner.email}")

    for mail in (mails.wait(person.email, "", MAIL_SECONDS), mails.wait(owner.email, "hint", MAIL_SECONDS)):
        assert foreign(mail, site.url) == []


@pytest.mark.parametrize("path", ["/api/auth/requestPasswordReset", "/api/user/verify/resend"])
def test_rst_14_one_address_gets_one_mail(site: Served, mails: MailServer, path: str) -> None:
    person, evil = signed_in(site.url), fresh_email("evil")
    mails.wait(person.email, "Verify your email", MAIL_SECONDS)
    bodies = [
        json.dumps({"email": [person.email, evil]}),
        json.dumps({"email": f"{person.email},{evil}"}),
        json.dumps({"email": f"{person.email};{evil}"}),
        json.dumps({"email": f"{person.email} {evil}"}),
        json.dumps({"email": {"0": person.email}}),
        f'{{"email": "{person.email}", "email": "{evil}"}}',
    ]
    before = len(mails.deliveries)

    for body in bodies:
        assert person.send("POST", f"{path}?email={evil}", body.encode(), {"Content-Type": "application/json"}).status < 500

    marker = signed_in(site.url)
    mails.wait(marker.email, "Verify your email", MAIL_SECONDS)
    assert [d.recipients for d in mails.deliveries[before:] if {person.email, evil} & set(d.recipients)] == []


def test_rst_15_tags_and_dots_are_not_folded(site: Served) -> None:
    name = fresh_email().partition("@")[0]
    addresses = [f"{name}+{number}@example.org" for number in range(8)] + [f"{name[:3]}.{name[3:]}@example.org"]

    for address in addresses:
        person = Person(site.url, somewhere(), email=address, password=f"{PASSWORD}{address}")
        assert person.register().status == 200
        assert person.login().json()["user"]["email"] == address


async def test_rst_17_a_newer_link_makes_the_older_useless(make_house: MakeHouse) -> None:
    house = await make_house(EMAIL_VERIFICATION_REQUIRED="true")
    someone = librechat.browser(house)
    await someone.register()
    old = librechat.parameters_of(await librechat.link_of(house, "Verify your email"))
    await someone.post("/api/user/verify/resend", {"email": librechat.EMAIL})
    new = librechat.parameters_of(await librechat.link_of(house, "Verify your email"))

    late = await someone.post("/api/user/verify", old)
    done = await someone.post("/api/user/verify", new)

    assert (late.status_code, done.status_code) == (400, 200)


async def test_rst_17_a_link_that_went_to_another_address_verifies_nothing(make_house: MakeHouse) -> None:
    house = await make_house(EMAIL_VERIFICATION_REQUIRED="true")
    someone = librechat.browser(house)
    await someone.register()
    link = librechat.parameters_of(await librechat.link_of(house, "Verify your email"))
    async with house.begin() as ctx:
        account = await accounts.named(ctx, librechat.EMAIL)
        await ctx.db.run(
            Statement(update(tables.accounts).values(email="other@example.org").where(tables.accounts.c.id == account.id))
        )

    done = await someone.post("/api/user/verify", {**link, "email": "other@example.org"})

    assert done.status_code == 400


async def test_rst_18_an_unverified_address_is_told_so_with_its_proof_alone(make_house: MakeHouse) -> None:
    house = await make_house(**librepass.SMTP, ALLOW_UNVERIFIED_EMAIL_LOGIN="false")
    someone = librechat.browser(house)
    await someone.register()
    owner = librepass.owner(house)
    await owner.register()

    right, wrong = await someone.login(), await someone.login(password=WRONG_PASSWORD)
    ghost = await someone.login("ghost@example.org", WRONG_PASSWORD)
    right_key, wrong_key = await owner.login(), await owner.login(sharedKey="ab" * 32)

    assert right.status_code == 422
    assert (wrong.status_code, wrong.content) == (ghost.status_code, ghost.content)
    assert librepass.refused(right_key) == (401, "LP-Email-Not-Verified")
    assert librepass.refused(wrong_key) == librepass.SHARED_SECRET


def test_rst_20_codes_for_a_new_address_are_not_for_guessing(guarded: Served) -> None:
    owner = key_owner(guarded.url)
    assert owner.get("/api/user/verifyNewEmail?user=x&code=y").status == 400
    statuses = [owner.get(f"/api/user/verifyNewEmail?user={owner.id}&code={uuid4()}&internalCall=true").status for _ in range(40)]

    assert set(statuses) == {400, 429}
    assert statuses.index(429) <= 20


@pytest.mark.parametrize(
    "token", ["undefined", "", [], {}, None, "0" * 64, 5, "nul\0", "of another", "expired", "used"], ids=repr
)
async def test_rst_21_an_invitation_is_for_one_address_once(make_house: MakeHouse, token: object) -> None:
    house = await make_house(ALLOW_REGISTRATION="false")
    invited = "invited@example.org"
    async with house.begin() as ctx:
        good = librechat.parameters_of(await invitations.create(ctx, invited))["token"]
    target = "somebody@example.org" if token == "of another" else invited
    if token == "expired":
        house.clock.advance(7 * 24 * 3600)
    if token == "used":
        assert (await librechat.browser(house).register(invited, token=good)).status_code == 200
        target = "second@example.org"
    presented = good if token in ("of another", "expired", "used") else token

    refused = await librechat.browser(house).register(target, token=presented)

    assert refused.status_code in (400, 403)
    assert (await librechat.browser(house).login(target)).status_code == 404


@pytest.mark.parametrize(
    ("address", "is_allowed"),
    [
        ("a@ok.test", True),
        ("a@OK.test", True),
        ("a@ok.test@evil.test", False),
        ("a@ok.test.evil.test", False),
        ("a@ok.test.", False),
        ('"a@ok.test"@evil.test', False),
        ("a@xn--ok-test", False),
        ("a@evilok.test", False),
        ("a@sub.ok.test", False),
        ("a@ok.test%00.evil.test", False),
        ("a@ｏｋ.test", False),
    ],
)
async def test_rst_23_a_domain_is_compared_whole(make_house: MakeHouse, address: str, is_allowed: bool) -> None:
    house = await make_house(OSTIARY_ALLOWED_DOMAINS="ok.test")

    by_password = await librechat.browser(house).register(address)
    by_key = await librepass.owner(house, f"k{address}").register()

    assert (by_password.status_code == 200, by_key.status_code == 201) == (is_allowed, is_allowed)
    assert by_password.status_code < 500
    assert by_key.status_code < 500


async def test_rst_24_the_owner_hears_of_every_change_at_the_old_address(house: House) -> None:
    someone, owner = await librechat.signed_in(house), await librepass.signed_in(house)
    old, secret = owner.email, owner.token
    app = await librechat.enrolled(house, someone)
    await someone.post("/api/auth/2fa/disable", {"backupCode": app.codes[0]})
    await someone.post("/api/auth/requestPasswordReset", {"email": librechat.EMAIL})
    link = librechat.parameters_of(await librechat.link_of(house, RESET))
    await someone.post("/api/auth/resetPassword", {**link, "password": OTHER_PASSWORD})
    assert (await owner.change_password("another horse battery")).status_code == 200
    await owner.login()
    assert (await owner.change_email("new@example.org")).status_code == 200

    found = [(mail["To"].addresses[0].addr_spec, mail["Subject"]) for mail in await house.mails()]

    for subject in ("switched on", "switched off", "Password Reset Successfully"):
        assert [to for to, about in found if subject in about] == [librechat.EMAIL], subject
    for subject in ("password was changed", "email address was changed"):
        assert [to for to, about in found if subject in about] == [old], subject
    for mail in await house.mails():
        text = text_of(mail)
        for hidden in (secret, app.secret, *app.codes, OTHER_PASSWORD, "another horse battery"):
            assert hidden not in text
