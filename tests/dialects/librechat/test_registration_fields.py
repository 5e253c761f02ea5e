"""The field rules of librechat-wire 5.3.1 with their texts, and those of sign-in and reset that follow from them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conftest import MakeHouse
from tests.dialects.librechat.browser import EMAIL, PASSWORD, REGISTERED, application, browser
from tests.house import House

pytestmark = pytest.mark.parametrize("engine", ["sqlite"])
MISSING = object()
ABC = "abcdefgh"
ASTRAL = "\N{GRINNING FACE}"
"""One character, two UTF-16 units."""
SCRIPTS = {
    "Latin": "Ångström",
    "Common": "a b-1, 2!",
    "emoji": f"{ASTRAL}{ASTRAL}",
    "Cyrillic": "Жанна",
    "Devanagari": "राम",
    "Han": "漢字",
    "Arabic": "علي",
    "Hiragana": "ひらがな",
    "Katakana": "カタカナ",
    "Hangul": "한글",
}
OTHER_SCRIPTS = {"Greek": "Ωμέγα", "Hebrew": "שלום", "Thai": "ไทย", "Armenian": "Հայ", "Georgian": "ქართ"}
INJECTIONS = ["'", "--", "$ne", "$GT", "$Lt", "$or", "{", "}", "*", ";", "<", ">", "/", "="]
GOOD_EMAILS = [
    "a@b.cd",
    "A.B@Example.COM",
    "o'brien@example.com",
    "o.'b@example.com",
    "x+tag@sub.example.com",
    "_@example.com",
    "-@example.com",
    "1@2.museum",
    "a@b-.cd",
    f"{'a' * 242}@example.com",
]
BAD_EMAILS = [
    "",
    "plain",
    ".a@example.com",
    "a..b@example.com",
    "a.@example.com",
    "a'@example.com",
    "a@example",
    "a@example.c",
    "a@.com",
    "a@-b.com",
    "a@example.c0m",
    "a@example.com.",
    " a@example.com",
    "a@example.com ",
    "a@example.com\n",
    "a b@example.com",
    "a@b@example.com",
    '"a"@example.com',
    "a@[127.0.0.1]",
    "ä@example.com",
    "a@exämple.com",
    "mi\u212ae@example.com",  # a Kelvin sign is no K
    "i\u017f@example.com",  # nor a long s an s
    "a@example.com\r\nBcc: x@example.com",
    "a\0@example.com",
    f"{'a' * 243}@example.com",
]


async def complaint(house: House, **fields: Any) -> str:
    """What the server says to this registration."""
    body = {name: value for name, value in application(**fields).items() if value is not MISSING}
    answer = await house.client.post("/api/auth/register", json=body)
    assert answer.status_code in (200, 404), answer.text
    assert set(answer.json()) == {"message"}
    message: str = answer.json()["message"]
    return "" if answer.json() == REGISTERED else message


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (MISSING, "name: Required"),
        (None, "name: Expected string, received null"),
        (7, "name: Expected string, received number"),
        (True, "name: Expected string, received boolean"),
        (["Ada"], "name: Expected string, received array"),
        ({"first": "Ada"}, "name: Expected string, received object"),
        ("", "name: String must contain at least 3 character(s)"),
        ("Al", "name: String must contain at least 3 character(s)"),
        ("Ada", ""),
        (ASTRAL, "name: String must contain at least 3 character(s)"),
        (ASTRAL * 2, ""),
        ("x" * 80, ""),
        ("x" * 81, "name: String must contain at most 80 character(s)"),
        (ASTRAL * 40, ""),
        (ASTRAL * 40 + "x", "name: String must contain at most 80 character(s)"),
        ("<script>alert(1)</script>", ""),
        ("Robert'); DROP TABLE users;--", ""),
    ],
)
async def test_a_name_has_3_to_80_utf16_units(house: House, name: object, expected: str) -> None:
    assert await complaint(house, name=name) == expected


@pytest.mark.parametrize(
    ("username", "expected"),
    [
        (MISSING, ""),
        (None, ""),
        ("", ""),
        ("x", "username: String must contain at least 2 character(s)"),
        (ASTRAL, ""),
        ("xy", ""),
        ("x" * 80, ""),
        ("x" * 81, "username: String must contain at most 80 character(s)"),
        (5, "username: Invalid input"),
        ([], "username: Invalid input"),
        ({}, "username: Invalid input"),
        (False, "username: Invalid input"),
        ("Ω", "username: String must contain at least 2 character(s) username: Invalid characters in username"),
        ("Ω;", "username: Invalid characters in username username: Potential injection attack detected"),
        (
            "Ω" * 80 + "=",
            "username: String must contain at most 80 character(s) username: Invalid characters in username username: Potential injection attack detected",
        ),
    ],
)
async def test_a_username_is_optional_and_has_2_to_80_utf16_units(house: House, username: object, expected: str) -> None:
    assert await complaint(house, username=username) == expected


@pytest.mark.parametrize("text", SCRIPTS.values(), ids=SCRIPTS)
async def test_a_username_may_be_written_in(house: House, text: str) -> None:
    assert await complaint(house, username=text) == ""


@pytest.mark.parametrize("text", OTHER_SCRIPTS.values(), ids=OTHER_SCRIPTS)
async def test_a_username_may_not_be_written_in(house: House, text: str) -> None:
    assert await complaint(house, username=text) == "username: Invalid characters in username"


@pytest.mark.parametrize("text", INJECTIONS)
async def test_a_username_with_what_an_injection_needs_is_refused(house: House, text: str) -> None:
    assert await complaint(house, username=f"ab{text}cd") == "username: Potential injection attack detected"


async def test_a_username_is_kept_in_lower_case(house: House) -> None:
    """Librechat-wire 4: the original's schema lower-cases it."""
    someone = browser(house)
    await someone.register(username="AdaLovelace")

    assert (await someone.login()).json()["user"]["username"] == "adalovelace"


@pytest.mark.parametrize(("username", "kept"), [(MISSING, ""), (None, None), ("", None)])
async def test_no_username_is_kept_as_the_original_keeps_it(house: House, username: object, kept: str | None) -> None:
    """Librechat-wire 4: the default is the empty text, an explicitly empty one is null."""
    body = {name: value for name, value in application(username=username).items() if value is not MISSING}
    await house.client.post("/api/auth/register", json=body)

    assert (await browser(house).login()).json()["user"]["username"] == kept


@pytest.mark.parametrize("email", GOOD_EMAILS)
async def test_an_address_of_the_wires_form_is_taken(house: House, email: str) -> None:
    assert await complaint(house, email=email) == ""


@pytest.mark.parametrize("email", BAD_EMAILS)
async def test_an_address_of_another_form_is_refused(house: House, email: str) -> None:
    assert await complaint(house, email=email) == "email: Invalid email"


@pytest.mark.parametrize(
    ("email", "expected"),
    [
        (MISSING, "email: Required"),
        (None, "email: Expected string, received null"),
        ([EMAIL], "email: Expected string, received array"),
    ],
)
async def test_an_address_must_be_a_text(house: House, email: object, expected: str) -> None:
    assert await complaint(house, email=email) == expected


@pytest.mark.parametrize(
    ("password", "expected"),
    [
        (ABC, ""),
        ("abcdefg", "{}: String must contain at least 8 character(s)"),
        ("", "{}: String must contain at least 8 character(s) {}: Password cannot be only spaces"),
        (" " * 7, "{}: String must contain at least 8 character(s) {}: Password cannot be only spaces"),
        (" " * 8, "{}: Password cannot be only spaces"),
        ("\t\n\v\f\r \u00a0\u2028\ufeff", "{}: Password cannot be only spaces"),
        (" " * 129, "{}: String must contain at most 128 character(s) {}: Password cannot be only spaces"),
        ("x" * 128, ""),
        ("x" * 129, "{}: String must contain at most 128 character(s)"),
        (ASTRAL * 4, ""),
        (ASTRAL * 64, ""),
        (ASTRAL * 64 + "x", "{}: String must contain at most 128 character(s)"),
    ],
)
async def test_a_password_has_8_to_128_utf16_units_and_is_not_blank(house: House, password: str, expected: str) -> None:
    both = " ".join(expected.format(*[field] * 2) for field in ("password", "confirm_password")) if expected else ""

    assert await complaint(house, password=password, confirm_password=password) == both


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (MISSING, "password: Required confirm_password: Required"),
        (
            12345678,
            "password: Expected string, received number confirm_password: Expected string, received number",
        ),
        (None, "password: Expected string, received null confirm_password: Expected string, received null"),
    ],
)
async def test_passwords_must_be_texts(house: House, value: object, expected: str) -> None:
    assert await complaint(house, password=value, confirm_password=value) == expected


async def test_the_confirmation_is_required(house: House) -> None:
    assert await complaint(house, confirm_password=MISSING) == "confirm_password: Required"


async def test_a_password_with_nul_is_refused(house: House) -> None:
    nul = "before\0after"

    assert "password: Invalid input" in await complaint(house, password=nul, confirm_password=nul)


async def test_every_field_is_complained_about_in_order(house: House) -> None:
    found = await complaint(house, name="x", username="y", email="z", password="a", confirm_password="b")

    assert found == (
        "name: String must contain at least 3 character(s) "
        "username: String must contain at least 2 character(s) "
        "email: Invalid email "
        "password: String must contain at least 8 character(s) "
        "confirm_password: String must contain at least 8 character(s)"
    )


@pytest.mark.parametrize(
    ("fields", "is_compared"),
    [
        ({}, True),
        ({"name": "x"}, True),
        ({"email": "z"}, True),
        ({"password": "short"}, True),
        ({"name": MISSING}, False),
        ({"name": 3}, False),
        ({"email": None}, False),
        ({"username": "y"}, False),
    ],
)
async def test_the_passwords_are_compared_unless_a_field_is_missing_or_the_username_failed(
    house: House, fields: dict[str, Any], is_compared: bool
) -> None:
    found = await complaint(house, **{"confirm_password": "something else", **fields})

    assert found.endswith(": The passwords did not match") == is_compared


async def test_the_shortest_password_is_the_operators_choice(make_house: MakeHouse) -> None:
    house = await make_house(MIN_PASSWORD_LENGTH="12")

    found = await complaint(house, password="elevenchars", confirm_password="elevenchars")

    text = "String must contain at least 12 character(s)"
    assert found == f"password: {text} confirm_password: {text}"


async def test_a_longer_minimum_locks_nobody_out_who_registered_before(make_house: MakeHouse) -> None:
    before = await make_house()
    await browser(before).register()
    after = await make_house(MIN_PASSWORD_LENGTH="16")

    assert (await browser(after).login()).status_code == 200


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "Missing credentials"),
        ({"email": EMAIL}, "Missing credentials"),
        ({"password": PASSWORD}, "Missing credentials"),
        ({"email": "", "password": PASSWORD}, "Missing credentials"),
        ({"email": EMAIL, "password": ""}, "Missing credentials"),
        ({"email": None, "password": None}, "Missing credentials"),
        ({"email": "no address", "password": PASSWORD}, "email: Invalid email"),
        ({"email": EMAIL, "password": "seven77"}, "password: String must contain at least 8 character(s)"),
        ({"email": EMAIL, "password": "x" * 129}, "password: String must contain at most 128 character(s)"),
        ({"email": 5, "password": 5}, "email: Expected string, received number password: Expected string, received number"),
    ],
)
async def test_the_fields_of_a_sign_in(house: House, body: dict[str, Any], message: str) -> None:
    answer = await house.client.post("/api/auth/login", json=body)

    assert (answer.status_code, answer.json()) == (404, {"message": message})


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "password: Required"),
        ({"password": "short"}, "password: String must contain at least 8 character(s)"),
        ({"password": " " * 9}, "password: Password cannot be only spaces"),
        ({"password": PASSWORD, "confirm_password": "something else"}, ": The passwords did not match"),
        ({"password": 5}, "password: Expected string, received number"),
        ({"password": "nul\0nul\0nul"}, "password: Invalid input"),
    ],
)
async def test_a_reset_keeps_the_rules_of_registration(house: House, body: dict[str, Any], message: str) -> None:
    answer = await house.client.post("/api/auth/resetPassword", json={"userId": "x", "token": "y", **body})

    assert (answer.status_code, answer.json()) == (400, {"message": message})


@pytest.mark.parametrize(
    "password", [" leading and trailing ", "Tab\tinside the text", "LAMP AT NOON 12", "pass\u0301word1", "p\u00e4ssword"]
)
async def test_a_password_is_taken_exactly_as_sent(house: House, password: str) -> None:
    someone = browser(house)
    await someone.register(password=password, confirm_password=password)

    assert (await someone.login(password=password)).status_code == 200
    for other in (password.strip() + "x", password.swapcase(), password.replace("\u0301", "")):
        assert other == password or (await someone.login(password=other)).status_code == 404


@pytest.mark.parametrize("tail", ["X" * 56, "\N{LATIN SMALL LETTER E WITH ACUTE}" * 40])
async def test_the_whole_of_a_long_password_counts(house: House, tail: str) -> None:
    """Bcrypt alone would see 72 bytes."""
    password = "x" * 72 + tail
    someone = browser(house)
    await someone.register(password=password, confirm_password=password)

    assert (await someone.login(password=password)).status_code == 200
    assert (await someone.login(password=password[:-1] + "Y")).status_code == 404


@pytest.mark.parametrize("email", ["ada+1@example.com", "ada+2@example.com", "a.da@example.com"])
async def test_tags_and_dots_are_not_folded(house: House, email: str) -> None:
    await browser(house).register("ada@example.com")

    await browser(house).register(email, password="another password", confirm_password="another password")

    assert (await browser(house).login("ada@example.com")).status_code == 200
    assert (await browser(house).login(email, "another password")).status_code == 200
