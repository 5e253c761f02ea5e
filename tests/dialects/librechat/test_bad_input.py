"""Whatever is sent, no route fails: the answer is the wire's own, and never a 5xx."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import httpx
import pytest

from tests.conftest import MakeHouse
from tests.dialects.librechat.browser import EMAIL, PASSWORD, application, enrolled, owing, signed_in
from tests.house import House

MALFORMED = (400, {"error": "Invalid JSON format", "message": "The request body contains malformed JSON"})
JSON = {"Content-Type": "application/json"}
FIELDS = {
    "/api/auth/login": ["email", "password"],
    "/api/auth/register": ["name", "username", "email", "password", "confirm_password", "token"],
    "/api/auth/requestPasswordReset": ["email"],
    "/api/auth/resetPassword": ["userId", "token", "password", "confirm_password"],
    "/api/auth/2fa/enable": ["token", "backupCode"],
    "/api/auth/2fa/verify": ["token", "backupCode"],
    "/api/auth/2fa/confirm": ["token"],
    "/api/auth/2fa/disable": ["token", "backupCode"],
    "/api/auth/2fa/backup/regenerate": ["token", "backupCode"],
    "/api/auth/2fa/verify-temp": ["tempToken", "token", "backupCode"],
    "/api/user/verify": ["email", "token", "userId"],
    "/api/user/verify/resend": ["email"],
    "/api/admin/login/local": ["email", "password"],
    "/api/admin/oauth/exchange": ["code", "code_verifier"],
    "/api/admin/oauth/refresh": ["refresh_token", "user_id", "provider"],
}
GARBAGE = [
    b"{",
    b'{"email":',
    b'{"email": "a"',
    b"{'email': 'a'}",
    b'{"email": "a",}',
    b"nonsense",
    b"NaN",
    b'{"email": NaN}',
    b'{"email": 1e999999}x',
    b'"text"',
    b"1",
    b"null",
    b"true",
    b"[" * 100_00,
    b'{"a":' * 10_000,
    b"\xff\xfe{}",
    b"\xef\xbb\xbf{}x",
    b'{"email": "\xff"}',
    b'{"email": "\\ud800"}',
    b'{"email": "\\udc00\\ud800"}',
    b'{"email": "\xed\xa0\x80"}',
    b'{"email": "a\x00b"}',
    b"\x00",
    b"{}{}",
    "{}".encode("utf-16"),
]
ODD: list[object] = [
    None,
    True,
    False,
    0,
    -1,
    2**31,
    2**63,
    2**64,
    10**300,
    1.5,
    1e308,
    [],
    ["a"],
    [[[]]],
    {},
    {"$ne": None},
    {"a": {"b": {"c": []}}},
    "",
    " ",
    "\0",
    "nul\0nul",
    "\x1b[2J",
    "\u202e\u200b\ufeff",
    "x" * 20_000,
    "é" * 5_000,
    "' OR 1=1--",
    "'; SELECT pg_sleep(5)--",
    "%00",
    "%",
    "%zz%ff",
    "u%40example.com",
    "a@b.cd\r\nBcc: x@y.zz",
    "{{7*7}}${7*7}%s%n",
    "undefined",
    "null",
    "a." * 2_000 + "@" + "a." * 2_000,
]


async def routes(house: House) -> list[tuple[str, str]]:
    """Every route of this wire, from the document that the server publishes."""
    document = (await house.client.get("/openapi.json")).json()
    found = [
        (method.upper(), path.replace("{name}", "USER"))
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        if "librechat" in operation["tags"]
    ]
    assert len(found) > 50
    return found


def check(answer: httpx.Response, context: object) -> None:
    """No fault, and an answer that a client of this wire can read."""
    is_declared = answer.status_code == 503 and answer.json().get("error_code") == "OPENID_NOT_CONFIGURED"
    assert answer.status_code < 500 or is_declared, (context, answer.text)
    kind = answer.headers.get("content-type", "")
    if answer.status_code == 302:
        return
    if kind.startswith("text/html"):
        assert answer.text in ("Refresh token not provided", "Invalid refresh token"), context
        return
    assert kind == "application/json; charset=utf-8", (context, kind)
    if answer.status_code >= 400:
        body = answer.json()
        assert isinstance(body, dict), context
        assert isinstance(body.get("message") or body.get("error"), str), context


@pytest.fixture
async def lenient(make_house: MakeHouse) -> House:
    """A house where neither limits nor lockout hide what comes after them."""
    return await make_house(LOCKOUT="off")


@pytest.mark.parametrize("path", list(FIELDS))
async def test_a_malformed_body_is_answered_in_the_wires_words(lenient: House, path: str) -> None:
    someone = await signed_in(lenient)

    for body in GARBAGE:
        answer = await someone.client.post(path, content=body, headers={**JSON, "Authorization": f"Bearer {someone.token}"})
        assert (answer.status_code, answer.json()) == MALFORMED, body[:40]


async def test_every_route_takes_no_body_at_all(lenient: House) -> None:
    """Librechat-wire 20: the client's POSTs have neither body nor content type when there is nothing to say."""
    for method, path in await routes(lenient):
        answer = await lenient.client_at("127.0.0.1").request(method, path)
        check(answer, (method, path))
        assert answer.status_code != 500


async def test_a_missing_body_is_an_empty_object(lenient: House) -> None:
    for path in FIELDS:
        someone = await signed_in(lenient, f"u{len(path)}@example.com")
        bodiless = await someone.post(path)
        again = await signed_in(lenient, f"v{len(path)}@example.com")
        empty = await again.post(path, {})
        assert bodiless.status_code == empty.status_code, path
        if empty.status_code >= 400:
            assert bodiless.json() == empty.json()


async def test_an_array_is_an_empty_object_too(lenient: House) -> None:
    answer = await lenient.client.post("/api/auth/login", json=[{"email": EMAIL}])

    assert (answer.status_code, answer.json()) == (404, {"message": "Missing credentials"})


@pytest.mark.parametrize("path", list(FIELDS))
async def test_fields_of_the_wrong_kind_are_never_a_fault(lenient: House, path: str) -> None:
    someone = await signed_in(lenient)
    good = {**application(), "userId": "x", "token": "123456", "tempToken": "x", "provider": "openid"}
    for field in FIELDS[path]:
        for value in ODD:
            body = {name: good[name] for name in FIELDS[path] if name in good} | {field: value}
            answer = await someone.client.post(
                path, content=json.dumps(body), headers={**JSON, "Authorization": f"Bearer {someone.token}"}
            )
            check(answer, (field, value))


async def test_the_account_survived_all_of_it(lenient: House) -> None:
    someone = await signed_in(lenient)
    for path, fields in FIELDS.items():
        if path.endswith("register"):
            continue
        for value in ODD:
            await someone.post(path, dict.fromkeys(fields, value) if _is_plain(value) else {fields[0]: None})

    assert (await someone.get("/api/user")).json()["twoFactorEnabled"] is False
    assert (await someone.login()).status_code == 200


async def test_odd_answers_to_a_pending_sign_in_open_nothing(lenient: House) -> None:
    await enrolled(lenient, await signed_in(lenient))

    for value in ODD:
        for field in ("token", "backupCode"):
            someone, pending = await owing(lenient)
            answer = await someone.post(
                "/api/auth/2fa/verify-temp", {"tempToken": pending, field: value} if _is_plain(value) else {}
            )
            assert answer.status_code in (400, 401), (field, value)
            assert not someone.refresh_cookie


@pytest.mark.parametrize("spelling", ["{}\n", " {}", "{}0", "1{}", "１２３４５６", "{} {}", "0{}"])
async def test_a_code_has_one_spelling(lenient: House, spelling: str) -> None:
    app = await enrolled(lenient, await signed_in(lenient))
    someone, pending = await owing(lenient)

    refused = await someone.prove(pending, token=spelling.format(app.code(), app.code()))
    as_number = await someone.prove(pending, token=int(app.code()))
    as_list = await someone.prove(pending, token=[app.code()])
    right = await someone.prove(pending, token=app.code())

    assert [answer.status_code for answer in (refused, as_number, as_list, right)] == [401, 401, 401, 200]


async def test_a_body_over_the_limit_is_refused(lenient: House) -> None:
    someone = await signed_in(lenient)
    body = json.dumps({"email": EMAIL, "password": "x" * 10_000_000})

    for path in FIELDS:
        answer = await someone.client.post(path, content=body, headers=JSON)
        assert (answer.status_code, answer.json()) == (413, {"message": "Request entity too large"})


async def test_a_body_that_grows_over_the_limit_is_refused(lenient: House) -> None:
    """Without a length declared the bytes are counted as they come."""

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(1000):
            yield b"x" * 10_000

    answer = await lenient.client.post("/api/auth/login", content=endless(), headers=JSON)

    assert (answer.status_code, answer.json()) == (413, {"message": "Request entity too large"})


async def test_very_many_members_and_parameters_are_no_fault(lenient: House) -> None:
    body = json.dumps({f"k{number}": 1 for number in range(5_000)})
    query = "&".join(f"retry={number}" for number in range(5_000))

    check(await lenient.client.post("/api/auth/login", content=body, headers=JSON), "members")
    check(await lenient.client.post(f"/api/auth/refresh?{query}"), "parameters")
    check(
        await lenient.client.post(
            "/api/auth/login",
            content="&".join(f"k{n}=1" for n in range(500)),
            headers={"Content-Type": "application/x-www-form-urlencoded"},
        ),
        "form",
    )


async def test_of_equal_members_the_last_one_counts(lenient: House) -> None:
    await signed_in(lenient)

    body = f'{{"email": "nobody@example.com", "email": "{EMAIL}", "password": "{PASSWORD}"}}'
    answer = await lenient.client.post("/api/auth/login", content=body, headers=JSON)

    assert answer.status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/api",
        "/api/",
        "/api/auth",
        "/api/auth/",
        "/api/auth/login/",
        "//api/auth/login",
        "/api//auth/login",
        "/api/auth/login;a=1",
        "/API/auth/login",
        "/api/auth/Login",
        "/api/./auth/../auth/login/x",
        "/api/user/x",
        "/api/roles",
        "/api/roles/USER/x",
        "/api/%00",
        "/api/auth/%2e%2e/login",
        "/.env",
        "/.git/HEAD",
        "/oauth/nope",
    ],
)
async def test_an_unknown_path_is_answered_in_the_wires_words(lenient: House, path: str) -> None:
    for method in ("GET", "POST", "DELETE", "PUT"):
        answer = await lenient.client.request(method, path)
        assert (answer.status_code, answer.json()) == (404, {"message": "Endpoint not found"})
        assert "location" not in answer.headers


async def test_a_known_path_under_another_method_names_the_right_ones(lenient: House) -> None:
    known: dict[str, set[str]] = {}
    for method, path in await routes(lenient):
        known.setdefault(path, set()).add(method)
    for path, methods in known.items():
        for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "TRACE", "PROPFIND", "X"} - methods:
            answer = await lenient.client.request(method, path)
            if path in ("/api/user/delete", "/api/auth/register", "/api/auth/endSession") and answer.status_code == 405:
                assert set(answer.headers["allow"].split(", ")) >= methods
                continue
            assert (answer.status_code, answer.json()) == (405, {"message": "Method not allowed"}), (method, path)
            assert set(answer.headers["allow"].split(", ")) == methods


async def test_the_method_cannot_be_overridden(lenient: House) -> None:
    someone = await signed_in(lenient)

    answer = await someone.client.post(
        "/api/user", headers={"X-HTTP-Method-Override": "GET", "Authorization": f"Bearer {someone.token}"}
    )

    assert answer.status_code == 405


async def test_head_is_get_without_consequences(lenient: House) -> None:
    someone = await signed_in(lenient)
    for method, path in await routes(lenient):
        head = await someone.client.head(path, headers={"Authorization": f"Bearer {someone.token}"})
        assert head.status_code < 500, path
        # A link that ends sessions has to name one.
        known = (400,) if path == "/api/auth/endSession" else (200, 302, 403, 404)
        assert head.status_code in known if method == "GET" else True


def _is_plain(value: object) -> bool:
    return not (isinstance(value, int) and abs(value) > 2**64)
