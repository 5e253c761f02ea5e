"""Access tokens: their claims, and the texts of librechat-wire 1.3 for whatever is no access token."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from typing import Any

import pytest

from ostiary.identity import accounts
from tests.conftest import MakeHouse
from tests.dialects.librechat.browser import EMAIL, Browser, browser, claims_of, enrolled, owing, signed_in
from tests.dialects.librechat.forging import HS256, part, signed
from tests.house import ORIGIN, House

BEARER_ROUTES = [
    ("GET", "/api/user"),
    ("GET", "/api/user/terms"),
    ("POST", "/api/user/terms/accept"),
    ("DELETE", "/api/user/delete"),
    ("POST", "/api/auth/logout"),
    ("POST", "/api/auth/2fa/enable"),
    ("POST", "/api/auth/2fa/verify"),
    ("POST", "/api/auth/2fa/confirm"),
    ("POST", "/api/auth/2fa/disable"),
    ("POST", "/api/auth/2fa/backup/regenerate"),
    ("GET", "/api/auth/graph-token"),
    ("GET", "/api/roles/USER"),
    ("GET", "/api/admin/verify"),
]


async def answer_to(house: House, authorization: str) -> tuple[int, Any]:
    """Status and body of `GET /api/user`."""
    answer = await house.client.get("/api/user", headers={"Authorization": authorization})
    return answer.status_code, answer.json()


async def test_an_access_token_has_the_originals_claims_and_its_session(house: House) -> None:
    someone = await signed_in(house)

    claims = claims_of(someone.token)

    now = house.clock.now // 1_000_000
    user = (await someone.get("/api/user")).json()
    expected = {
        "id": user["id"],
        "username": "",
        "provider": "local",
        "email": EMAIL,
        "iat": now,
        "exp": now + 900,
        "iss": ORIGIN,
    }
    assert {name: value for name, value in claims.items() if name not in ("sid", "jti")} == expected
    assert claims["sid"] != claims["jti"]


async def test_two_tokens_of_one_second_differ(house: House) -> None:
    someone = await signed_in(house)
    first, session = someone.token, claims_of(someone.token)["sid"]

    await someone.refresh()

    assert someone.token != first
    assert claims_of(someone.token)["sid"] == session


async def test_the_life_of_a_token_is_the_operators_choice(make_house: MakeHouse) -> None:
    house = await make_house(SESSION_EXPIRY="1000 * 60 * 2")
    someone = await signed_in(house)
    house.clock.advance(119)
    before = await someone.get("/api/user")
    house.clock.advance(1)

    after = await someone.get("/api/user")

    assert (before.status_code, after.status_code) == (200, 401)


@pytest.mark.parametrize("engine", ["sqlite"])
@pytest.mark.parametrize(("method", "path"), BEARER_ROUTES)
async def test_every_protected_route_asks_for_a_bearer(house: House, method: str, path: str) -> None:
    answer = await house.client.request(method, path)

    assert (answer.status_code, answer.json()) == (401, {"message": "No auth token"})
    assert "www-authenticate" not in answer.headers


@pytest.mark.parametrize("engine", ["sqlite"])
@pytest.mark.parametrize(
    ("authorization", "text"),
    [
        ("", "No auth token"),
        ("Bearer", "No auth token"),
        ("Bearer ", "No auth token"),
        ("Basic dXNlcjpwYXNz", "No auth token"),
        ("Token abc", "No auth token"),
        ("abc", "No auth token"),
        ("Bearer abc", "jwt malformed"),
        ("Bearer a.b", "jwt malformed"),
        ("Bearer a.b.c.d", "jwt malformed"),
        ("Bearer a.b.c.d.e", "jwt malformed"),
        ("Bearer a.b.", "jwt signature is required"),
        ("Bearer a..c", "invalid token"),
        ("Bearer a.b.c", "invalid token"),
        ("Bearer é.é.é", "jwt malformed"),
        ("Bearer " + "a" * 20_000, "jwt malformed"),
        ("Bearer null", "jwt malformed"),
        ("Bearer undefined", "jwt malformed"),
    ],
)
async def test_what_is_no_token_is_answered_with_the_originals_text(house: House, authorization: str, text: str) -> None:
    headers = {b"Authorization": authorization.encode("latin-1")}

    answer = await house.client.get("/api/user", headers=headers)

    assert (answer.status_code, answer.json()) == (401, {"message": text})


@pytest.mark.parametrize("engine", ["sqlite"])
@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_the_scheme_is_compared_in_any_case(house: House, scheme: str) -> None:
    someone = await signed_in(house)

    assert (await answer_to(house, f"{scheme} {someone.token}"))[0] == 200


@pytest.mark.parametrize("engine", ["sqlite"])
@pytest.mark.parametrize("between", ["  ", "\t", ", "])
async def test_only_one_blank_stands_between_scheme_and_token(house: House, between: str) -> None:
    someone = await signed_in(house)

    assert await answer_to(house, f"Bearer{between}{someone.token}") == (401, {"message": "No auth token"})


@pytest.mark.parametrize("engine", ["sqlite"])
async def test_a_token_elsewhere_than_in_the_header_is_not_read(house: House) -> None:
    someone = await signed_in(house)

    answer = await house.client.get(f"/api/user?access_token={someone.token}", headers={"Cookie": f"token={someone.token}"})

    assert (answer.status_code, answer.json()) == (401, {"message": "No auth token"})


@pytest.mark.parametrize("engine", ["sqlite"])
async def test_two_authorization_headers_are_refused(house: House) -> None:
    someone = await signed_in(house)
    line = (b"Authorization", f"Bearer {someone.token}".encode())

    answer = await house.client.request("GET", "/api/user", headers=[line, line])

    assert (answer.status_code, answer.json()) == (400, {"message": "A header that may stand once is there twice"})


@pytest.mark.parametrize("engine", ["sqlite"])
async def test_a_wrong_signature_is_called_so(house: House) -> None:
    someone = await signed_in(house)
    claims = claims_of(someone.token)

    for secret in (b"x" * 64, house.services.keys.jwt_refresh_secret):
        found = await answer_to(house, f"Bearer {signed(claims, secret)}")
        assert found == (401, {"message": "invalid signature"})


@pytest.mark.parametrize("engine", ["sqlite"])
async def test_changed_claims_do_not_fit_the_signature(house: House) -> None:
    someone = await signed_in(house)
    head, _, mac = someone.token.split(".")
    changed = part({**claims_of(someone.token), "id": "somebody else"})

    assert await answer_to(house, f"Bearer {head}.{changed}.{mac}") == (401, {"message": "invalid signature"})


@pytest.mark.parametrize("engine", ["sqlite"])
@pytest.mark.parametrize(
    ("header", "digest"),
    [
        ({"alg": "none", "typ": "JWT"}, "sha256"),
        ({"alg": "None", "typ": "JWT"}, "sha256"),
        ({"alg": "HS384", "typ": "JWT"}, "sha384"),
        ({"alg": "HS512", "typ": "JWT"}, "sha512"),
        ({"alg": "RS256", "typ": "JWT"}, "sha256"),
        ({"alg": "", "typ": "JWT"}, "sha256"),
        ({"alg": None, "typ": "JWT"}, "sha256"),
        ({"alg": ["HS256"], "typ": "JWT"}, "sha256"),
        ({"typ": "JWT"}, "sha256"),
        ({"alg": "HS256", "crit": ["bork"], "bork": True}, "sha256"),
        ({"alg": "HS256", "crit": []}, "sha256"),
        ({"alg": "HS256", "crit": "x"}, "sha256"),
        ({"alg": "HS256", "crit": ["b64"], "b64": False}, "sha256"),
    ],
)
async def test_only_hs256_without_conditions_is_accepted(house: House, header: dict[str, Any], digest: str) -> None:
    someone = await signed_in(house)
    forged = signed(claims_of(someone.token), house.services.keys.jwt_secret, header, digest)

    status, body = await answer_to(house, f"Bearer {forged}")

    assert status == 401
    assert body["message"] in ("invalid algorithm", "invalid token")


@pytest.mark.parametrize("engine", ["sqlite"])
async def test_an_unsigned_token_is_refused(house: House) -> None:
    someone = await signed_in(house)
    text = f"{part({'alg': 'none', 'typ': 'JWT'})}.{part(claims_of(someone.token))}."

    assert await answer_to(house, f"Bearer {text}") == (401, {"message": "jwt signature is required"})


@pytest.mark.parametrize("engine", ["sqlite"])
async def test_keys_in_the_header_are_not_used(house: House) -> None:
    someone = await signed_in(house)
    key = b"k" * 32
    jwk = {"kty": "oct", "k": urlsafe_b64encode(key).rstrip(b"=").decode()}
    forged = signed(claims_of(someone.token), key, {**HS256, "jwk": jwk, "jku": "http://127.0.0.1:9/keys", "kid": "x"})

    assert (await answer_to(house, f"Bearer {forged}"))[0] == 401


@pytest.mark.parametrize("engine", ["sqlite"])
@pytest.mark.parametrize(
    "change",
    [
        {"exp": None},
        {"exp": "never"},
        {"exp": True},
        {"exp": [9e9]},
        {"iss": "http://elsewhere.example"},
        {"iss": None},
        {"sid": None},
        {"sid": "no such session"},
        {"sid": 5},
        {"sid": "nul\0"},
        {"jti": None},
    ],
)
async def test_a_rightly_signed_token_of_another_kind_is_refused(house: House, change: dict[str, Any]) -> None:
    """Other services share the secret; only what was issued here, for a session here, opens this door."""
    someone = await signed_in(house)
    claims = {name: value for name, value in {**claims_of(someone.token), **change}.items() if value is not None}

    status, body = await answer_to(house, f"Bearer {signed(claims, house.services.keys.jwt_secret)}")

    assert status == 401
    assert set(body) == {"message"}


@pytest.mark.parametrize("payload", [[], "text", 5, None, {}])
async def test_a_signed_token_without_claims_is_refused(house: House, payload: object) -> None:
    assert (await answer_to(house, f"Bearer {signed(payload, house.services.keys.jwt_secret)}"))[0] == 401


async def test_no_token_passes_for_another_kind(house: House) -> None:
    """JWT-07: access, refresh and temporary tokens, and the CSRF token, each in the others' places."""
    someone = await signed_in(house)
    app = await enrolled(house, someone)
    other, pending = await owing(house)
    await other.prove(pending, token=app.code())
    _, pending = await owing(house)
    device = other.client.cookies["ostiary_device"]
    kinds = {"access": other.token, "refresh": other.refresh_cookie, "temporary": pending, "device": device}

    for kind, token in kinds.items():
        stranger = browser(house)
        bearer = await Browser(house.client_at("127.0.0.1"), token).get("/api/user")
        refreshed = await stranger.client.post("/api/auth/refresh", headers={"Cookie": f"refreshToken={token}"})
        answered = await stranger.prove(token, token=app.code(1))
        assert (bearer.status_code == 200) == (kind == "access"), kind
        assert (refreshed.status_code == 200) == (kind == "refresh"), kind
        assert (answered.status_code == 200) == (kind == "temporary"), kind


async def test_a_temporary_token_opens_no_protected_route(house: House) -> None:
    someone = await signed_in(house)
    await enrolled(house, someone)
    _, pending = await owing(house)

    for method, path in BEARER_ROUTES:
        answer = await house.client.request(method, path, headers={"Authorization": f"Bearer {pending}"})
        assert answer.status_code == 401, path


@pytest.mark.parametrize("engine", ["sqlite"])
async def test_a_signature_has_one_spelling(house: House) -> None:
    someone = await signed_in(house)
    text, _, mac = someone.token.rpartition(".")
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    # The last of 43 characters carries four bits: three others decode to the same bytes.
    value = alphabet.index(mac[-1])
    spellings = [mac[:-1] + alphabet[value ^ low] for low in (1, 2, 3)]

    for other in (*spellings, mac[:-1], mac + "A", mac + "=", mac.swapcase()):
        assert (await answer_to(house, f"Bearer {text}.{other}"))[0] == 401, other


async def test_the_role_is_read_anew_for_every_request(house: House) -> None:
    someone = await signed_in(house)
    from_start = (await someone.get("/api/user")).json()["role"]
    async with house.begin() as ctx:
        account = await accounts.named(ctx, EMAIL)
        await accounts.change(ctx, account.id, "role", "USER")

    assert (from_start, (await someone.get("/api/user")).json()["role"]) == ("ADMIN", "USER")
