"""OPENID_REUSE_TOKENS (librechat-wire 1.3, 5.4, 8.6): a provider's tokens as ours, bound to a session that ends when ours end."""

from __future__ import annotations

import json
import secrets
from base64 import urlsafe_b64decode
from collections.abc import Awaitable, Callable
from urllib.parse import parse_qsl, unquote, urlsplit

import httpx
import pytest

from ostiary.crypto.jwt import Signer
from ostiary.identity import accounts, audit, bans, sessions
from tests.conftest import MakeHouse
from tests.dialects.librechat.browser import Browser, enrolled
from tests.federation.hostile import Claims, Provider, is_in, me, rsa_key, signed, walk
from tests.house import House

SPENT = (403, "Invalid OpenID refresh token")


@pytest.fixture
def op(op: Provider) -> Provider:
    op.refreshing = True
    return op


@pytest.fixture
async def house(make_house: MakeHouse, op: Provider) -> House:
    return await open_for(make_house, op)


async def open_for(make_house: MakeHouse, op: Provider, **environment: str) -> House:
    opened = await make_house(**{**op.settings, "OPENID_REUSE_TOKENS": "true", **environment})
    op.clock = opened.clock
    return opened


async def bearer(browser: httpx.AsyncClient) -> dict[str, str]:
    return {"authorization": f"Bearer {(await me(browser))['token']}"}


def claims_of(token: str) -> Claims:
    part = token.split(".")[1]
    claims: Claims = json.loads(urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return claims


def asked_to_refresh(op: Provider) -> int:
    return sum(each.parameters.get("grant_type") == "refresh_token" for each in op.asked)


async def refresh(browser: httpx.AsyncClient) -> tuple[int, str]:
    answer = await browser.post("/api/auth/refresh")
    return answer.status_code, answer.text


async def test_a_sign_in_gives_the_three_cookies_and_the_providers_id_token(house: House, op: Provider) -> None:
    answer = await walk(house, op)

    assert is_in(answer)
    ours = {"ostiary_device", "ostiary_session"}
    lines = {line.partition("=")[0]: line for line in answer.headers.get_list("set-cookie") if "Max-Age=0" not in line}
    cookies = {name: line for name, line in lines.items() if name not in ours}
    assert set(cookies) == {"refreshToken", "token_provider", "openid_user_id"}
    assert all("; Path=/; Expires=" in line and "HttpOnly; SameSite=Strict" in line for line in cookies.values())
    assert answer.cookies["token_provider"] == "openid"
    assert unquote(answer.cookies["refreshToken"]) == next(iter(op.granted.values()))[-1]
    user = await me(house.client)
    assert claims_of(answer.cookies["openid_user_id"])["id"] == user["id"]
    assert claims_of(user["token"])["iss"] == op.issuer
    assert (await house.client.get("/api/user", headers=await bearer(house.client))).json()["email"] == "ada@example.org"


async def test_without_a_refresh_token_a_sign_in_gives_ordinary_tokens(house: House, op: Provider) -> None:
    op.refreshing = False

    answer = await walk(house, op)

    assert answer.cookies["token_provider"] == "librechat"
    assert "openid_user_id" not in answer.cookies
    assert claims_of((await me(house.client))["token"])["provider"] == "openid"


async def test_a_young_token_is_repeated_and_an_old_one_renewed_there(house: House, op: Provider) -> None:
    await walk(house, op)
    first = await house.client.post("/api/auth/refresh")
    house.clock.advance(240)
    again = await house.client.post("/api/auth/refresh")
    assert (first.json()["token"], first.headers.get_list("set-cookie")) == (again.json()["token"], [])
    assert asked_to_refresh(op) == 0
    house.clock.advance(120)

    renewed = await house.client.post("/api/auth/refresh")

    assert asked_to_refresh(op) == 1
    assert claims_of(renewed.json()["token"])["iat"] == house.clock() // 1_000_000
    assert unquote(renewed.cookies["refreshToken"]) == next(iter(op.granted.values()))[-1]
    headers = {"authorization": f"Bearer {renewed.json()['token']}"}
    assert (await house.client.get("/api/user", headers=headers)).status_code == 200


async def test_past_the_age_of_the_setting_the_provider_is_asked_though_its_token_lasts(
    make_house: MakeHouse, op: Provider
) -> None:
    house = await open_for(make_house, op, OPENID_REUSE_MAX_SESSION_AGE_MS="60 * 1000", OPENID_REFRESH_AUDIENCE="api://ours")
    await walk(house, op)
    house.clock.advance(61)

    await me(house.client)

    form = [each.parameters for each in op.asked if each.path == "/token"][-1]
    assert (form["grant_type"], form["scope"], form["audience"]) == ("refresh_token", "openid profile email", "api://ours")


BAD: dict[str, Claims] = {
    "another person": {"sub": "eve"},
    "another issuer": {"iss": "https://evil.example"},
    "for somebody else": {"aud": "another-client"},
    "given to another client": {"azp": "another-client"},
    "over": {"exp": 1_900_000_000 - 1},
    "without an end": {"exp": None},
    "from the future": {"iat": 1_900_000_000 + 301},
    "a logout token": {"events": {}},
}


@pytest.mark.parametrize("changes", BAD.values(), ids=BAD.keys())
async def test_a_token_that_does_not_fit_opens_nothing(house: House, op: Provider, changes: Claims) -> None:
    await walk(house, op)
    claims = claims_of((await me(house.client))["token"])
    right = {"authorization": f"Bearer {signed(claims, rsa_key(1))}"}
    assert (await house.client.get("/api/user", headers=right)).status_code == 200

    wrong = signed({name: value for name, value in {**claims, **changes}.items() if value is not None}, rsa_key(1))

    assert (await house.client.get("/api/user", headers={"authorization": f"Bearer {wrong}"})).status_code == 401


async def test_a_token_under_another_key_opens_nothing(house: House, op: Provider) -> None:
    await walk(house, op)
    claims = claims_of((await me(house.client))["token"])

    headers = {"authorization": f"Bearer {signed(claims, rsa_key(2), kid='key-1')}"}

    assert (await house.client.get("/api/user", headers=headers)).status_code == 401


async def test_a_token_for_another_audience_of_ours_opens_the_door(make_house: MakeHouse, op: Provider) -> None:
    house = await open_for(make_house, op, OPENID_AUDIENCE="api://ours,api://others")
    await walk(house, op)
    claims = claims_of((await me(house.client))["token"])

    headers = {"authorization": f"Bearer {signed({**claims, 'aud': ['api://others', 'urn:userinfo']}, rsa_key(1))}"}

    assert (await house.client.get("/api/user", headers=headers)).status_code == 200


@pytest.mark.parametrize("cookies", [{}, {"token_provider": "openid"}, {"openid_user_id": "mine"}])
async def test_a_providers_token_without_the_browsers_session_opens_nothing(
    house: House, op: Provider, cookies: dict[str, str]
) -> None:
    await walk(house, op)
    headers = await bearer(house.client)
    stranger = house.client_at("203.0.113.9")
    for name, value in cookies.items():
        stranger.cookies.set(name, house.client.cookies["openid_user_id"] if value == "mine" else value)

    assert (await stranger.get("/api/user", headers=headers)).status_code == 401


async def test_a_forged_user_cookie_opens_nothing(house: House, op: Provider) -> None:
    """Signed by whoever else knows the shared secret: it names a session, but this server never issued it."""
    await walk(house, op)
    claims = claims_of(house.client.cookies["openid_user_id"])
    stranger = house.client_at("203.0.113.9")
    signer = Signer(house.services.keys.jwt_refresh_secret)
    stranger.cookies.set("token_provider", "openid")
    stranger.cookies.set("openid_user_id", signer.sign({**claims, "jti": f"0.{secrets.token_hex(16)}"}))

    assert await refresh(stranger) == SPENT
    assert (await stranger.get("/api/user", headers=await bearer(house.client))).status_code == 401


async def test_neither_cookie_passes_for_the_other(house: House, op: Provider) -> None:
    await walk(house, op)
    ours = house.client_at("203.0.113.9")
    ours.cookies.set("refreshToken", house.client.cookies["openid_user_id"])
    assert await refresh(ours) == (403, "Invalid refresh token")

    op.refreshing = False
    other = house.client_at("127.0.0.1")
    await walk(house, op, client=other)
    theirs = house.client_at("203.0.113.9")
    theirs.cookies.set("token_provider", "openid")
    theirs.cookies.set("openid_user_id", other.cookies["refreshToken"])
    assert await refresh(theirs) == SPENT


async def test_refreshing_without_cookies_is_no_error_and_with_half_of_them_is(house: House, op: Provider) -> None:
    browser = house.client_at("127.0.0.1")
    browser.cookies.set("token_provider", "openid")
    assert await refresh(browser) == (200, "Refresh token not provided")

    browser.cookies.set("refreshToken", "theirs")

    assert await refresh(browser) == SPENT
    assert op.count("/token") == 0


async def by_sign_out(house: House, headers: dict[str, str]) -> None:
    answer = await house.client.post("/api/auth/logout", headers=headers)
    assert answer.status_code == 200
    assert sum(line.startswith(("openid_user_id=;", "refreshToken=;")) for line in answer.headers.get_list("set-cookie")) == 2


async def by_ban(house: House, headers: dict[str, str]) -> None:
    account_id = (await house.client.get("/api/user", headers=headers)).json()["id"]
    async with house.begin() as ctx:
        await bans.add(ctx, bans.ACCOUNT, account_id, "test", None)


async def by_reset(house: House, headers: dict[str, str]) -> None:
    account_id = (await house.client.get("/api/user", headers=headers)).json()["id"]
    async with house.begin() as ctx:
        await sessions.end_all(ctx, account_id)


@pytest.mark.parametrize("end", [by_sign_out, by_ban, by_reset])
async def test_a_session_that_ended_here_takes_the_providers_tokens_with_it(
    house: House, op: Provider, end: Callable[[House, dict[str, str]], Awaitable[None]]
) -> None:
    await walk(house, op)
    headers = await bearer(house.client)
    kept = dict(house.client.cookies)

    await end(house, headers)

    thief = house.client_at("203.0.113.9")
    for name, value in kept.items():
        thief.cookies.set(name, value)
    assert (await thief.get("/api/user", headers=headers)).status_code == 401
    assert await refresh(thief) == SPENT
    assert (await thief.get("/api/auth/graph-token?scopes=User.Read", headers=headers)).status_code == 401


async def test_a_user_cookie_that_was_rotated_long_ago_ends_the_session(house: House, op: Provider) -> None:
    await walk(house, op)
    stolen = dict(house.client.cookies)
    house.clock.advance(1000)
    await me(house.client)
    house.clock.advance(60)
    thief = house.client_at("203.0.113.9")
    for name, value in stolen.items():
        thief.cookies.set(name, value)

    assert await refresh(thief) == SPENT

    assert await refresh(house.client) == SPENT
    async with house.begin() as ctx:
        assert [event.reason for event in await audit.latest(ctx, event=audit.Event.REFRESH_REUSED, most=5)] == [
            "generation_spent"
        ]


async def test_a_grant_that_the_provider_ended_ends_the_session(house: House, op: Provider) -> None:
    await walk(house, op)
    headers = await bearer(house.client)
    op.granted.clear()
    house.clock.advance(1000)

    answer = await house.client.post("/api/auth/refresh")

    assert (answer.status_code, answer.text) == SPENT
    assert any(line.startswith("openid_user_id=;") for line in answer.headers.get_list("set-cookie"))
    assert (await house.client.get("/api/user", headers=headers)).status_code == 401


async def test_a_provider_that_is_down_signs_nobody_out(house: House, op: Provider) -> None:
    op.twist = lambda claims: claims.update(exp=claims["iat"] + 3600)
    await walk(house, op)
    token = (await me(house.client))["token"]

    async def down() -> None:
        return None

    op.respond["/token"] = down
    house.clock.advance(1000)
    assert (await me(house.client))["token"] == token
    house.clock.advance(3600)
    assert await refresh(house.client) == SPENT

    op.respond.clear()

    assert (await me(house.client))["token"] != token


async def test_tokens_renewed_for_another_person_are_not_taken(house: House, op: Provider) -> None:
    await walk(house, op)
    house.clock.advance(1000)
    op.person = op.person | {"sub": "eve"}

    assert await refresh(house.client) == SPENT

    op.person = op.person | {"sub": "ada"}


@pytest.mark.parametrize("given", ["an opaque text", None])
async def test_where_the_provider_gives_no_bearer_ours_takes_its_place(house: House, op: Provider, given: str | None) -> None:
    """Else the client would send what nobody can check, be refused, and refresh for ever."""
    await walk(house, op)
    op.token_extra = {"id_token": given}
    house.clock.advance(1000)

    user = await me(house.client)

    assert claims_of(user["token"])["sid"]
    headers = {"authorization": f"Bearer {user['token']}"}
    assert (await house.client.get("/api/user", headers=headers)).status_code == 200


async def test_after_a_second_factor_the_providers_tokens_are_reused_too(house: House, op: Provider) -> None:
    await walk(house, op)
    app = await enrolled(house, Browser(house.client, (await me(house.client))["token"]))
    browser = house.client_at("127.0.0.1")
    location = (await walk(house, op, client=browser)).headers["location"]
    proof = {"tempToken": dict(parse_qsl(urlsplit(location).query))["tempToken"], "token": app.code()}

    assert (await browser.post("/api/auth/2fa/verify-temp", json=proof)).status_code == 200

    assert browser.cookies["token_provider"] == "openid"
    assert claims_of((await me(browser))["token"])["iss"] == op.issuer


async def test_a_csrf_token_is_bound_to_the_providers_session(house: House, op: Provider) -> None:
    await walk(house, op)
    token = (await house.client.get("/api/auth/csrf")).json()["csrfToken"]
    other = house.client_at("127.0.0.1")
    await walk(house, op, client=other)

    mine = await house.client.post("/api/auth/refresh", headers={"x-csrf-token": token})
    theirs = await other.post("/api/auth/refresh", headers={"x-csrf-token": token})

    assert (mine.status_code, theirs.status_code) == (200, 403)


async def test_another_site_cannot_make_a_browser_refresh(house: House, op: Provider) -> None:
    await walk(house, op)

    answer = await house.client.post("/api/auth/refresh", headers={"origin": "https://evil.example"})

    assert answer.status_code == 403


SYNC = {
    "OPENID_ROLE_SYNC_ENABLED": "true",
    "OPENID_ROLE_SYNC_CLAIM": "groups",
    "OPENID_ROLE_SYNC_ROLE_PRIORITY": "EDITOR,READER",
}


@pytest.mark.parametrize(
    ("switch", "claims", "expected"),
    [
        ("true", {"groups": ["EDITOR"]}, "EDITOR"),
        ("true", {"hasgroups": True}, "READER"),
        ("false", {"groups": ["EDITOR"]}, "READER"),
    ],
)
async def test_a_role_follows_the_bearers_claims_between_sign_ins_by_a_switch(
    make_house: MakeHouse, op: Provider, switch: str, claims: dict[str, object], expected: str
) -> None:
    house = await open_for(make_house, op, **SYNC, OPENID_ROLE_SYNC_API_ENABLED=switch)
    before = op.person
    op.person = before | {"groups": ["READER"]}
    await walk(house, op)
    op.person = before | claims
    house.clock.advance(1000)

    user = await me(house.client)
    answer = await house.client.get("/api/user", headers={"authorization": f"Bearer {user['token']}"})

    assert answer.json()["role"] == expected


async def test_an_administrator_stays_one_whatever_a_bearer_says(make_house: MakeHouse, op: Provider) -> None:
    house = await open_for(make_house, op, **SYNC, OPENID_ROLE_SYNC_API_ENABLED="true")
    op.person = op.person | {"groups": ["READER"]}
    await walk(house, op)
    user = await me(house.client)
    async with house.begin() as ctx:
        await accounts.change(ctx, user["id"], "role", accounts.ADMIN)

    answer = await house.client.get("/api/user", headers={"authorization": f"Bearer {user['token']}"})

    assert answer.json()["role"] == "ADMIN"
