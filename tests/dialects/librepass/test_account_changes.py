"""Changes to an account: another password, another address; whole or not at all, and told to the owner."""

from __future__ import annotations

import string
from typing import Any
from urllib.parse import quote

import pytest

from ostiary.dialects.librepass.schemas import is_email
from ostiary.identity import accounts
from ostiary.mail import outbox
from tests.conftest import MakeHouse
from tests.dialects.librepass.owner import (
    DEFAULTS,
    DUPLICATED,
    EMAIL,
    INVALID_BODY,
    INVALID_CIPHER,
    INVALID_CODE,
    MISSING_CIPHER,
    SHARED_SECRET,
    SMTP,
    TOKEN,
    Authenticator,
    Owner,
    link_of,
    owing,
    owner,
    public_hex,
    refused,
    registered,
    shared_hex,
    signed_in,
)
from tests.house import House, text_of

NEW = "newemail@example.com"
DAY = 24 * 3600
VERIFYING = {"EMAIL_VERIFICATION_REQUIRED": "true", "WEB_URL": "https://pass.example.org/"}


async def verified(house: House, email: str = EMAIL) -> Owner:
    """Somebody signed in, in a house that asks for verification."""
    someone = await registered(house, email)
    assert (await house.client.get(await link_of(house, "Activate"))).status_code == 302
    assert (await someone.login()).status_code == 200
    return someone


async def with_rows(someone: Owner, how_many: int = 2) -> list[dict[str, Any]]:
    """Rows of this owner's vault."""
    rows = [someone.row() for _ in range(how_many)]
    assert (await someone.sync(updated=rows)).status_code == 200
    return rows


def rewritten(rows: list[dict[str, Any]], data: str = "beef") -> list[dict[str, str]]:
    return [{"id": row["id"], "data": data} for row in rows]


async def contents(someone: Owner) -> set[str]:
    return {row["protectedData"] for row in (await someone.get("/api/cipher")).json()}


async def test_a_password_change_rewrites_the_vault(house: House) -> None:
    someone = await signed_in(house)
    rows = await with_rows(someone)
    house.clock.advance(60)

    assert (await someone.change_password("another", rewritten(rows))).content == b"{}"

    assert (await someone.login()).status_code == 200
    assert await contents(someone) == {"beef"}
    since = (await someone.sync(since=house.clock.now // 1_000_000)).json()
    assert {row["id"] for row in since["ciphers"]} == {row["id"] for row in rows}
    assert any("password was changed" in mail["Subject"] for mail in await house.mails())


@pytest.mark.parametrize("call", ["change_password", "change_email"])
@pytest.mark.parametrize("which", ["none", "some", "twice", "more"])
async def test_a_change_must_carry_exactly_the_vault(house: House, call: str, which: str) -> None:
    """The original took a part of it, and what was left out could never be read again (librepass-wire 20, W18)."""
    someone = await signed_in(house)
    rows = await with_rows(someone)
    listed = {"none": [], "some": rows[:1], "twice": [*rows, rows[0]], "more": [*rows, someone.row()]}[which]

    assert refused(await someone.change(call, NEW, rewritten(listed))) == MISSING_CIPHER

    assert await contents(someone) == {"00ff"}
    assert (await owner(house).login()).status_code == 200


@pytest.mark.parametrize("call", ["change_password", "change_email"])
async def test_a_change_with_rows_that_are_no_hex_changes_nothing(house: House, call: str) -> None:
    someone = await signed_in(house)
    rows = await with_rows(someone)

    assert refused(await someone.change(call, NEW, rewritten(rows, "zz"))) == INVALID_CIPHER
    assert await contents(someone) == {"00ff"}


async def test_the_hint_is_kept_sealed_and_mailed_to_its_owner_alone(house: House) -> None:
    someone = await registered(house, passwordHint="<b>my</b> hint")

    answer = await someone.get(f"/api/auth/passwordHint?email={EMAIL.upper()}")

    mail = await house.last_mail("hint")
    assert (answer.status_code, answer.content) == (200, b"{}")
    assert mail["To"] == EMAIL
    assert "<b>my</b> hint" in text_of(mail)
    html = mail.get_body(("html",))
    assert html is not None
    assert "<b>my</b>" not in html.get_content()
    assert "&lt;b&gt;my&lt;/b&gt;" in html.get_content()


async def test_a_stranger_who_asks_for_a_hint_learns_nothing(house: House) -> None:
    await registered(house)

    known = await house.client.get(f"/api/auth/passwordHint?email={EMAIL}")
    unknown = await house.client.get("/api/auth/passwordHint?email=nobody@example.com")

    assert (known.status_code, known.content) == (unknown.status_code, unknown.content) == (200, b"{}")
    assert len([mail for mail in await house.mails() if "hint" in mail["Subject"]]) == 1
    assert "no hint" in text_of(await house.last_mail("hint"))


@pytest.mark.parametrize(
    ("members", "hint"),
    [
        ({"newPasswordHint": "new"}, "new"),
        ({"passwordHint": "ios"}, "ios"),
        ({"newPasswordHint": "new", "passwordHint": "ios"}, "new"),
        ({}, "no hint"),
        ({"newPasswordHint": None}, "no hint"),
    ],
)
async def test_a_password_change_sets_or_erases_the_hint(house: House, members: dict[str, Any], hint: str) -> None:
    """iOS calls the member `passwordHint`; the original took that for no hint (librepass-wire 7.3)."""
    someone = await signed_in(house, passwordHint="old")
    assert (await someone.change_password("another", **members)).status_code == 200

    await someone.get(f"/api/auth/passwordHint?email={EMAIL}")

    assert hint in text_of(await house.last_mail("hint"))
    assert "old" not in text_of(await house.last_mail("hint"))


@pytest.mark.parametrize("hint", ["x" * 257, "a\0b"])
async def test_a_hint_that_cannot_be_kept_is_refused(house: House, hint: str) -> None:
    assert refused(await owner(house).register(passwordHint=hint)) == INVALID_BODY
    someone = await signed_in(house, passwordHint="")
    assert refused(await someone.change_password("another", passwordHint=hint)) == INVALID_BODY
    assert (await someone.change_password("another", passwordHint="x" * 256)).status_code == 200


async def test_a_password_change_drops_a_waiting_change_of_address(make_house: MakeHouse) -> None:
    """The key that waits was derived from the old password."""
    house = await make_house(**VERIFYING)
    someone = await verified(house)
    assert (await someone.change_email(NEW)).status_code == 200
    link = await link_of(house, "Email Address Change")
    assert (await someone.change_password("another")).status_code == 200

    assert refused(await house.client.get(link)) == INVALID_CODE
    assert (await someone.login()).status_code == 200


async def test_a_change_of_address_waits_for_its_link(make_house: MakeHouse) -> None:
    house = await make_house(**VERIFYING)
    someone = await verified(house)
    other = owner(house)
    await other.login()
    rows = await with_rows(someone)

    asked = await someone.change_email("NewEmail@Example.com", rewritten(rows))
    mail = await house.last_mail("Email Address Change")

    assert (asked.status_code, asked.content) == (200, b"{}")
    assert mail["To"] == NEW
    assert EMAIL in text_of(mail)
    assert await contents(someone) == {"00ff"}
    assert (await owner(house).login()).status_code == 200

    link = await link_of(house, "Email Address Change")
    assert (await house.client.head(link)).status_code == 200
    assert await contents(someone) == {"00ff"}
    done = await house.client.get(link)

    assert (done.status_code, done.content) == (302, b"")
    assert done.headers["location"] == "https://pass.example.org/verification/email"
    assert await contents(someone) == {"beef"}
    assert refused(await other.sync()) == TOKEN
    assert refused(await owner(house).login()) == SHARED_SECRET
    moved = owner(house, "NewEmail@Example.com")
    assert (await moved.login()).status_code == 200
    told = await house.last_mail("address was changed")
    assert told["To"] == EMAIL


async def test_opening_the_link_twice_is_fine_until_it_expires(make_house: MakeHouse) -> None:
    house = await make_house(**VERIFYING)
    someone = await verified(house)
    rows = await with_rows(someone)
    assert (await someone.change_email(NEW, rewritten(rows))).status_code == 200
    link = await link_of(house, "Email Address Change")

    assert (await house.client.get(link)).status_code == 302
    someone.email = NEW
    assert (await someone.sync(updated=[{**rows[0], "protectedData": "0123"}])).status_code == 200
    assert (await house.client.get(link)).status_code == 302
    assert await contents(someone) == {"0123", "beef"}
    house.clock.advance(DAY)
    assert refused(await house.client.get(link)) == INVALID_CODE


async def test_a_link_is_good_for_a_day_and_for_its_account(make_house: MakeHouse) -> None:
    house = await make_house(**VERIFYING)
    someone, other = await verified(house), await verified(house, "other@example.com")
    assert (await someone.change_email(NEW)).status_code == 200
    link = await link_of(house, "Email Address Change")

    foreign = link.replace(someone.id, other.id)
    assert refused(await house.client.get(foreign)) == INVALID_CODE
    assert refused(await house.client.get(link.replace(someone.id, "7d8f4a3e-0000-4000-8000-000000000000"))) == INVALID_CODE
    assert refused(await house.client.get(link.replace(someone.id, "x"))) == INVALID_BODY
    house.clock.advance(DAY)
    assert refused(await house.client.get(link)) == INVALID_CODE


async def test_a_new_request_replaces_the_one_before(make_house: MakeHouse) -> None:
    house = await make_house(**VERIFYING)
    someone = await verified(house)
    assert (await someone.change_email("first@example.com")).status_code == 200
    first = await link_of(house, "Email Address Change")
    assert (await someone.change_email(NEW)).status_code == 200

    assert refused(await house.client.get(first)) == INVALID_CODE
    assert (await house.client.get(await link_of(house, "Email Address Change"))).status_code == 302


@pytest.mark.parametrize("edit", ["new row", "changed row", "deleted row"])
async def test_a_vault_that_changed_since_keeps_the_link_from_working(make_house: MakeHouse, edit: str) -> None:
    """Its copy of the vault would undo what was written meanwhile (librepass-wire 20, W17)."""
    house = await make_house(**VERIFYING)
    someone = await verified(house)
    rows = await with_rows(someone)
    assert (await someone.change_email(NEW, rewritten(rows))).status_code == 200
    link = await link_of(house, "Email Address Change")
    edits: dict[str, dict[str, Any]] = {
        "new row": {"updated": [someone.row()]},
        "changed row": {"updated": [{**rows[0], "protectedData": "0123"}]},
        "deleted row": {"deleted": [rows[0]["id"]]},
    }
    assert (await someone.sync(**edits[edit])).status_code == 200

    assert refused(await house.client.get(link)) == MISSING_CIPHER
    assert (await owner(house).login()).status_code == 200


async def test_nobody_blocks_an_address_by_asking_for_it(make_house: MakeHouse) -> None:
    """In the original a waiting change kept the address from everybody else for ever (librepass-wire 20, W17)."""
    house = await make_house(**VERIFYING)
    someone, other = await verified(house), await verified(house, "other@example.com")

    assert (await someone.change_email(NEW)).status_code == 200
    first = await link_of(house, "Email Address Change")
    assert (await other.change_email(NEW)).status_code == 200
    second = await link_of(house, "Email Address Change")

    assert (await house.client.get(second)).status_code == 302
    assert refused(await house.client.get(first)) == DUPLICATED
    assert (await owner(house).login()).status_code == 200


async def test_a_taken_address_is_refused_where_no_mail_could_tell(house: House) -> None:
    await registered(house, "taken@example.com")
    someone = await signed_in(house)

    assert refused(await someone.change_email("Taken@Example.com")) == DUPLICATED
    assert (await owner(house).login()).status_code == 200
    assert (await owner(house, "taken@example.com").login()).status_code == 200


async def test_no_address_moves_into_a_domain_that_may_not_register(make_house: MakeHouse) -> None:
    house = await make_house(OSTIARY_ALLOWED_DOMAINS="example.com")
    someone = await signed_in(house)

    answer = await someone.change_email("ada@elsewhere.example")

    assert (answer.status_code, answer.json()["error"]) == (403, "LP-Forbidden")
    assert (await owner(house).login()).status_code == 200


async def test_with_mail_the_owner_of_a_taken_address_is_told_and_not_the_asker(make_house: MakeHouse) -> None:
    house = await make_house(**SMTP)
    someone = await signed_in_through_verification(house, EMAIL)
    await signed_in_through_verification(house, "taken@example.com")

    answer = await someone.change_email("taken@example.com")

    assert (answer.status_code, answer.content) == (200, b"{}")
    async with house.begin() as ctx:
        kinds = [row.kind for row in await outbox.listed(ctx.db)]
    assert "already_registered" in kinds
    assert "email_change" not in kinds


async def signed_in_through_verification(house: House, email: str) -> Owner:
    """Where mail leaves by SMTP, the test verifies as an operator would."""
    someone = await registered(house, email)
    async with house.begin() as ctx:
        account = await accounts.by_email(ctx, email)
        assert account is not None
        await accounts.verify(ctx, account.id)
    assert (await someone.login()).status_code == 200
    return someone


@pytest.mark.parametrize(
    "email",
    [
        "",
        "x",
        "a@b@",
        "a b@example.com",
        "a@-x.com",
        "a@x..com",
        f"{'a' * 65}@x.com",
        f"a@{'x' * 254}.com",
        "a@x.com\n",
        "a\u2028@x.com",
    ],
)
async def test_an_address_that_is_none_is_refused_everywhere(house: House, email: str) -> None:
    someone = await signed_in(house)

    assert refused(await someone.change_email(email)) == INVALID_BODY
    assert refused(await owner(house, email).register()) == INVALID_BODY
    if email:
        answers = [await house.client.get(f"/api/auth/{call}?email={quote(email)}") for call in ("preLogin", "passwordHint")]
        assert [refused(answer) for answer in answers] == [INVALID_BODY, INVALID_BODY]


@pytest.mark.parametrize(
    "email",
    [
        "_test_user@example.com",
        "user@localhost",
        "a!#$%&'*+/=?^_`{|}~-b@x.com",
        '"a b"@x.com',
        "a@[127.0.0.1]",
        "a@[IPv6:::1]",
        "użytkownik@żółć.pl",
        "x@y.z",
    ],
)
async def test_an_unusual_address_registers_and_signs_in(house: House, email: str) -> None:
    someone = owner(house, email)
    made = await someone.post("/api/auth/register", await body_of(someone))

    assert made.status_code == 201, made.text
    proof = await house.client.get("/api/auth/preLogin", params={"email": email})
    login = {"email": email, "sharedKey": shared_hex(someone.key, proof.json()["serverPublicKey"])}
    assert (await someone.post("/api/auth/oauth?grantType=login", login)).status_code == 200
    await house.mails()


def test_of_ascii_an_address_has_what_the_original_lets_it_have() -> None:
    """Hibernate's validator: atoms, quoted text, labels; beyond ASCII nothing that can be printed is refused."""
    usual = set("!#$%&'*+/=?^_`{|}~" + string.ascii_letters + string.digits)
    quoted = usual | set("-.(),<>[]:; @")
    characters = [chr(code) for code in range(128)] + ["ż", "字", "\U0001f512"]

    local_part = {each for each in characters if is_email(f"a{each}b@example.org")}
    between_quotes = {each for each in characters if is_email(f'"{each}"@example.org')}
    domain = {each for each in characters if is_email(f"a@b{each}c.org")}

    assert local_part == usual | {"-", ".", *characters[128:]}
    assert between_quotes == quoted | set(characters[128:])
    assert domain == usual | {"-", ".", *characters[128:]}


async def body_of(someone: Owner) -> dict[str, Any]:
    server_key = await someone.server_key()
    key = {"publicKey": public_hex(someone.key), "sharedKey": shared_hex(someone.key, server_key)}
    return {"email": someone.email, **key, **DEFAULTS}


async def test_an_address_without_proof_is_unverified_whatever_the_one_before(make_house: MakeHouse) -> None:
    """Changed at once while no verification is needed; where it is needed later, the new address must be verified first."""
    house = await make_house()
    someone = await registered(house)
    assert (await house.client.get(await link_of(house, "Activate"))).status_code == 302
    await someone.login()
    assert (await someone.change_email(NEW)).status_code == 200

    strict = await make_house(EMAIL_VERIFICATION_REQUIRED="true")

    assert refused(await owner(strict, NEW).login()) == (401, "LP-Email-Not-Verified")


async def test_the_same_address_in_another_spelling_is_another_salt(house: House) -> None:
    someone = await signed_in(house, "Bob@Example.com")

    assert (await someone.change_email("bob@example.com")).status_code == 200

    assert refused(await owner(house, "Bob@Example.com").login()) == SHARED_SECRET
    assert (await owner(house, "bob@example.com").login()).status_code == 200


async def test_a_change_of_address_keeps_parameters_hint_and_second_factor(house: House) -> None:
    someone = await signed_in(house, passwordHint="my hint", parallelism=2, memory=32768, iterations=2)
    assert (await someone.set_up(Authenticator(house.clock))).status_code == 200
    assert (await someone.change_email(NEW)).status_code == 200

    found = (await someone.get(f"/api/auth/preLogin?email={NEW}")).json()
    await someone.get(f"/api/auth/passwordHint?email={NEW}")

    assert (found["parallelism"], found["memory"], found["iterations"]) == (2, 32768, 2)
    assert "my hint" in text_of(await house.last_mail("hint"))
    assert (await owing(house, NEW)).token


async def test_a_change_of_address_ends_every_other_key(house: House) -> None:
    someone = await signed_in(house)
    other = owner(house)
    await other.login()

    assert (await someone.change_email(NEW)).status_code == 200

    assert refused(await other.sync()) == TOKEN
    assert (await someone.sync()).status_code == 200


async def test_a_link_does_not_bring_an_ended_key_back(make_house: MakeHouse) -> None:
    """The key that asked for the change outlives it, but not if something ended it meanwhile."""
    house = await make_house(**VERIFYING)
    someone = await verified(house)
    assert (await someone.change_email(NEW)).status_code == 200
    link = await link_of(house, "Email Address Change")
    other = owner(house)
    await other.login()
    assert (await other.set_up(Authenticator(house.clock))).status_code == 200

    assert (await house.client.get(link)).status_code == 302

    assert refused(await someone.sync()) == TOKEN
    assert refused(await other.sync()) == TOKEN


async def test_an_operator_may_keep_owners_from_deleting(make_house: MakeHouse) -> None:
    someone = await signed_in(await make_house(ALLOW_ACCOUNT_DELETION="false"))

    assert refused(await someone.delete()) == (403, "LP-Forbidden")
    assert (await someone.sync()).status_code == 200


async def test_a_deleted_account_takes_its_waiting_change_along(make_house: MakeHouse) -> None:
    house = await make_house(**VERIFYING)
    someone = await verified(house)
    assert (await someone.change_email(NEW)).status_code == 200
    link = await link_of(house, "Email Address Change")
    assert (await someone.delete()).status_code == 200

    assert refused(await house.client.get(link)) == INVALID_CODE
    assert (await registered(house, NEW)).email == NEW
