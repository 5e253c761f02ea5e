"""Bad input: every endpoint against bodies and queries that make no sense. Never a 5xx, always what clients can read."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from tests.dialects.librepass.owner import Owner, refused, shared_hex, signed_in
from tests.house import House

ID = "7d8f4a3e-0000-4000-8000-000000000000"
BODIES: dict[str, tuple[str, dict[str, Any]]] = {
    "/api/auth/register": (
        "POST",
        {
            "email": "x@example.com",
            "sharedKey": "00" * 32,
            "publicKey": "00" * 32,
            "parallelism": 3,
            "memory": 65536,
            "iterations": 4,
        },
    ),
    "/api/auth/oauth?grantType=login": ("POST", {"email": "x@example.com", "sharedKey": "00" * 32}),
    "/api/auth/oauth?grantType=2fa": ("POST", {"apiKey": "lp_x", "code": "000000"}),
    "/api/user/email": (
        "PATCH",
        {
            "newEmail": "x@example.com",
            "oldSharedKey": "00" * 32,
            "newPublicKey": "00" * 32,
            "newSharedKey": "00" * 32,
            "ciphers": [],
        },
    ),
    "/api/user/password": (
        "PATCH",
        {
            "oldSharedKey": "00" * 32,
            "newPublicKey": "00" * 32,
            "newSharedKey": "00" * 32,
            "parallelism": 3,
            "memory": 65536,
            "iterations": 4,
            "ciphers": [],
        },
    ),
    "/api/user/setup/2fa": ("POST", {"sharedKey": "00" * 32, "secret": "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP", "code": "000000"}),
    "/api/user/disable/2fa": ("POST", {"sharedKey": "00" * 32, "code": "000000"}),
    "/api/user/delete": ("DELETE", {"sharedKey": "00" * 32}),
    "/api/cipher": ("PUT", {"id": ID, "owner": ID, "type": 0, "protectedData": "00"}),
    f"/api/cipher/{ID}": ("PATCH", {"id": ID, "owner": ID, "type": 0, "protectedData": "00"}),
    "/api/cipher/sync": ("POST", {"lastSyncTimestamp": 0, "updated": [], "deleted": []}),
    "/api/collection": ("PUT", {"name": "x", "id": ID}),
}
GARBAGE: list[bytes] = [
    b"",
    b"null",
    b"[]",
    b'"x"',
    b"1",
    b"true",
    b"NaN",
    b"1e999",
    b"{",
    b'{"a":',
    b"{}",
    b"{} {}",
    b"{'email':'x'}",
    b"[" * 100_000,
    b'{"a":' * 10_000,
    b"\xef\xbb\xbf{}",
    '{"email":"x"}'.encode("utf-16"),
    b'{"email":"\xff"}',
    b'{"email":"\\ud800"}',
    b"\x00",
    b"{" + b" " * 60_000,
]
WRONG: list[Any] = [
    None,
    5,
    -1,
    1.5,
    True,
    "",
    "x",
    "\0",
    "\U0001f510" * 40,
    "A" * 60_000,
    [],
    ["x"],
    {},
    {"$ne": ""},
    2**31,
    2**63,
    2**70,
]
EXPECTED = {400, 401, 403, 404, 413, 415}


async def somebody(house: House) -> Owner:
    return await signed_in(house)


@pytest.mark.parametrize("target", BODIES)
async def test_a_body_that_is_no_such_object_is_refused(house: House, target: str) -> None:
    method, _ = BODIES[target]
    someone = await somebody(house)
    headers = {"authorization": f"Bearer {someone.token}", "content-type": "application/json", "x-api": "1"}

    for body in GARBAGE:
        answer = await house.client.request(method, target, content=body, headers=headers)
        assert refused(answer)[0] in EXPECTED, body[:50]
    assert (await someone.sync()).status_code == 200


@pytest.mark.parametrize("target", BODIES)
async def test_a_member_of_any_wrong_type_or_none_is_refused_or_harmless(house: House, target: str) -> None:
    method, members = BODIES[target]
    someone = await somebody(house)

    for name in members:
        missing = {other: value for other, value in members.items() if other != name}
        answers = [await someone.call(method, target, missing)]
        for wrong in WRONG:
            text = json.dumps({**members, name: wrong})
            bearer = {"authorization": f"Bearer {someone.token}", "content-type": "application/json", "x-api": "1"}
            answers.append(await house.client.request(method, target, content=text, headers=bearer))
        for answer in answers:
            if answer.status_code >= 400:
                assert refused(answer)[0] in EXPECTED, answer.request.content[:200]
    assert (await someone.get("/api/auth/sessions")).status_code == 200


@pytest.mark.parametrize("target", BODIES)
async def test_ten_megabytes_are_too_large(house: House, target: str) -> None:
    method, members = BODIES[target]
    someone = await somebody(house)
    name = next(iter(members))
    body = json.dumps({**members, name: "x" * 10_000_000})

    answer = await house.client.request(
        method, target, content=body, headers={"authorization": f"Bearer {someone.token}", "content-type": "application/json"}
    )

    assert refused(answer) == (413, "LP-Invalid-Body")


@pytest.mark.parametrize("target", [target for target in BODIES if "oauth" not in target])
async def test_a_body_that_does_not_claim_to_be_json_is_refused(house: House, target: str) -> None:
    method, members = BODIES[target]
    someone = await somebody(house)

    for media_type in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "application/xml", "json"):
        headers = {"authorization": f"Bearer {someone.token}", "content-type": media_type}
        answer = await house.client.request(method, target, content=json.dumps(members), headers=headers)
        assert refused(answer) == (415, "LP-Invalid-Body"), media_type


async def test_json_is_json_however_it_is_called(house: House) -> None:
    someone = await somebody(house)
    body = json.dumps({"lastSyncTimestamp": 0, "updated": [], "deleted": []})

    for media_type in ("application/json", "application/json; charset=utf-8", "APPLICATION/JSON", "application/problem+json"):
        headers = {"authorization": f"Bearer {someone.token}", "content-type": media_type}
        assert (await house.client.post("/api/cipher/sync", content=body, headers=headers)).status_code == 200


async def test_the_last_of_two_equal_members_counts(house: House) -> None:
    someone = await somebody(house)
    proof = await someone.shared_key()
    text = f'{{"email":"nobody@example.com","email":"{someone.email}","sharedKey":"{proof}"}}'

    assert (await house.client.post("/api/auth/oauth?grantType=login", content=text)).status_code == 200


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("", "missing parameter"),
        ("grantType=", "invalid grant_type"),
        ("grantType=password", "invalid grant_type"),
        ("grantType=LOGIN", "invalid grant_type"),
        ("granttype=login", "missing parameter"),
    ],
)
async def test_a_grant_is_one_of_two_words(house: House, query: str, message: str) -> None:
    answer = await house.client.post(f"/api/auth/oauth?{query}", json={"email": "x@example.com", "sharedKey": "00" * 32})

    assert refused(answer) == (400, "LP-Invalid-Body")
    assert answer.json()["message"] == message


async def test_an_empty_login_is_not_readable(house: House) -> None:
    answer = await house.client.post("/api/auth/oauth?grantType=login")

    assert refused(answer) == (400, "LP-Invalid-Body")
    assert answer.json()["message"] == "not readable"


ODD_QUERIES = [
    "%00",
    "%",
    "%zz",
    "%ff",
    "a%40b%00",
    "x" * 10_000,
    "%F0%9F%94%90@x.com",
    "'%20OR%201=1--",
    "a@b.co&email=c@d.co",
    "[]",
    "%0d%0aX:1",
]


@pytest.mark.parametrize("odd", ODD_QUERIES, ids=range(len(ODD_QUERIES)))
async def test_an_odd_query_is_refused_or_harmless(house: House, odd: str) -> None:
    targets = [
        f"/api/auth/preLogin?email={odd}",
        f"/api/auth/passwordHint?email={odd}",
        f"/api/auth/resendVerificationEmail?email={odd}",
        f"/api/auth/verifyEmail?user={odd}&code={odd}",
        f"/api/auth/verifyEmail?user={ID}&code={odd}",
        f"/api/user/verifyNewEmail?user={ID}&code={odd}",
        f"/api/auth/endSession?user={ID}&code={odd}",
        f"/api/auth/oauth?grantType={odd}",
    ]

    for target in targets:
        answer = await house.client.request(
            "POST" if "oauth" in target else "GET", target, content=b"{}" if "oauth" in target else None
        )
        assert answer.status_code < 500
        if answer.status_code >= 400:
            assert refused(answer)[0] in {400, 414}


async def test_raw_bytes_in_a_query_are_read_as_utf_8(house: House) -> None:
    """No client encodes the address; one that sends it raw is understood."""
    someone = Owner(house.client, "użytkownik@example.com")
    server_key = await someone.server_key()
    body = {
        "email": someone.email,
        "sharedKey": shared_hex(someone.key, server_key),
        "publicKey": someone.key.public_key().public_bytes_raw().hex(),
        "parallelism": 2,
        "memory": 20480,
        "iterations": 2,
    }
    assert (await someone.post("/api/auth/register", body)).status_code == 201

    async def raw(scope: Any, receive: Any, send: Any) -> None:
        scope = {**scope, "query_string": f"email={someone.email}".encode()}
        await house.application(scope, receive, send)

    answer = await someone_at(raw).get("/api/auth/preLogin")
    assert answer.json()["parallelism"] == 2


def someone_at(application: Any) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=application), base_url="http://127.0.0.1:3080")


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", "/api/auth/oauth"),
        ("DELETE", "/api/auth/preLogin"),
        ("POST", "/api/user/password"),
        ("PUT", "/api/user/email"),
        ("GET", "/api/user/setup/2fa"),
        ("POST", "/api/cipher"),
        ("PUT", f"/api/cipher/{ID}"),
        ("PATCH", "/api/collection"),
        ("POST", "/actuator/info"),
        ("PATCH", "/api/cipher/sync"),
        ("DELETE", "/api/cipher/icon"),
        ("TRACE", "/api/cipher"),
    ],
)
async def test_a_known_path_under_another_method_says_which_are_allowed(house: House, method: str, target: str) -> None:
    answer = await house.client.request(method, target, headers={"X-API": "1"})

    assert refused(answer) == (405, "LP-Invalid-Body")
    assert answer.json()["message"] == "method not allowed"
    assert method not in answer.headers["allow"].split(", ")


@pytest.mark.parametrize(
    "target", ["/api/user/nothing", "/api/auth/preLogin/", "/API/auth/preLogin", "/api/cipher/", "/api/cipherx", "/api//cipher"]
)
async def test_an_unknown_path_is_answered_in_this_wires_words(house: House, target: str) -> None:
    answer = await house.client.get(target, headers={"X-API": "1"})

    assert refused(answer) == (404, "LP-404")


@pytest.mark.parametrize("path", ["/api/cipher", "/api/collection", "/api/auth/sessions"])
async def test_an_id_that_is_no_uuid_names_nothing(house: House, path: str) -> None:
    someone = await somebody(house)

    for identifier in ("x", "%00", "7d8f4a3e", ID + "0", "٣" * 36, "..%2f"):
        for method in ("GET", "DELETE"):
            answer = await someone.call(method, f"{path}/{identifier}")
            assert refused(answer)[0] in {400, 404, 405}, identifier


async def test_a_storage_that_is_gone_is_said_in_this_wires_words(house: House) -> None:
    """The database does not answer: 503 with Retry-After, and still JSON."""
    someone = await somebody(house)
    await house.services.database.close()

    answers = [await someone.get("/api/cipher"), await someone.sync(), await house.client.get("/api/auth/preLogin?email=a@b.co")]

    for answer in answers:
        assert refused(answer)[1] == "LP-Database-Error"
    assert (await house.client.get("/actuator/health")).json() == {"status": "DOWN"}


async def test_health_says_up(house: House) -> None:
    answer = await house.client.get("/actuator/health")

    assert (answer.status_code, answer.content) == (200, b'{"status":"UP"}')
