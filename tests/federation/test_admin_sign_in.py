"""The administration panel's sign-in through a provider (librechat-wire 12)."""

from __future__ import annotations

from hashlib import sha256
from urllib.parse import parse_qsl, urlsplit

import pytest

from ostiary.identity import accounts
from tests.conftest import MakeHouse
from tests.federation.hostile import Provider, me, walk
from tests.house import House

PANEL = "http://localhost:3000"
VERIFIER = "what only the panel knows"


@pytest.fixture
async def house(make_house: MakeHouse, op: Provider) -> House:
    opened = await make_house(**op.settings)
    op.clock = opened.clock
    return opened


async def become(house: House, op: Provider, role: str) -> None:
    await walk(house, op)
    account_id = (await me(house.client))["id"]
    async with house.begin() as ctx:
        await accounts.change(ctx, account_id, "role", role)


async def code_for(house: House, op: Provider) -> str:
    """The code that the panel's page is called with; empty when it is called with an error."""
    challenge = sha256(VERIFIER.encode()).hexdigest()
    started = await house.client.get(f"/api/admin/oauth/openid?code_challenge={challenge}")
    answer = await house.client.get(op.authorize(started.headers["location"]))
    assert answer.headers["location"].startswith(f"{PANEL}/auth/openid/callback?")
    assert "refreshToken" not in answer.cookies
    return dict(parse_qsl(urlsplit(answer.headers["location"]).query)).get("code", "")


async def test_an_administrator_gets_a_code_that_works_once(house: House, op: Provider) -> None:
    await become(house, op, accounts.ADMIN)
    code = await code_for(house, op)
    body = {"code": code, "code_verifier": VERIFIER}

    first = await house.client.post("/api/admin/oauth/exchange", json=body)
    second = await house.client.post("/api/admin/oauth/exchange", json=body)

    bearer = {"authorization": f"Bearer {first.json()['token']}"}
    assert (await house.client.get("/api/admin/verify", headers=bearer)).status_code == 200
    assert (second.status_code, second.json()["error_code"]) == (401, "INVALID_OR_EXPIRED_CODE")


async def test_others_get_no_code_and_nobody_gets_an_account(house: House, op: Provider) -> None:
    assert await code_for(house, op) == ""
    await become(house, op, accounts.USER)

    assert await code_for(house, op) == ""


@pytest.mark.parametrize(
    ("body", "origin", "expected"),
    [
        ({"code_verifier": "wrong"}, PANEL, (400, "INVALID_VERIFIER")),
        ({}, PANEL, (400, "INVALID_VERIFIER")),
        ({"code_verifier": VERIFIER}, "https://evil.example", (401, "INVALID_OR_EXPIRED_CODE")),
    ],
)
async def test_a_code_is_for_the_panel_that_asked(
    house: House, op: Provider, body: dict[str, str], origin: str, expected: tuple[int, str]
) -> None:
    await become(house, op, accounts.ADMIN)
    code = await code_for(house, op)

    answer = await house.client.post("/api/admin/oauth/exchange", json={"code": code, **body}, headers={"origin": origin})

    assert (answer.status_code, answer.json()["error_code"]) == expected


async def test_a_code_is_over_after_half_a_minute(house: House, op: Provider) -> None:
    await become(house, op, accounts.ADMIN)
    code = await code_for(house, op)
    house.clock.advance(31)

    answer = await house.client.post("/api/admin/oauth/exchange", json={"code": code, "code_verifier": VERIFIER})

    assert answer.json()["error_code"] == "INVALID_OR_EXPIRED_CODE"


async def test_a_code_of_who_is_no_administrator_any_more_is_worth_nothing(house: House, op: Provider) -> None:
    await become(house, op, accounts.ADMIN)
    code = await code_for(house, op)
    async with house.begin() as ctx:
        await accounts.change(ctx, (await accounts.named(ctx, "ada@example.org")).id, "role", accounts.USER)

    answer = await house.client.post("/api/admin/oauth/exchange", json={"code": code, "code_verifier": VERIFIER})

    assert (answer.status_code, answer.json()["error_code"]) == (401, "INVALID_OR_EXPIRED_CODE")


async def test_an_administrators_flow_does_not_end_in_an_ordinary_sign_in(house: House, op: Provider) -> None:
    started = await house.client.get("/api/admin/oauth/openid")
    url = op.authorize(started.headers["location"]).replace("/api/admin/oauth/", "/oauth/")
    cookie = started.headers["set-cookie"].partition(";")[0]

    answer = await house.client.get(url, headers={"cookie": cookie})

    assert answer.headers["location"].endswith("error=auth_failed")


async def reusing(make_house: MakeHouse, op: Provider) -> tuple[House, dict[str, str]]:
    """An administrator with the panel's tokens, at a provider that renews its own."""
    op.refreshing = True
    house = await make_house(**op.settings, OPENID_REUSE_TOKENS="true")
    op.clock = house.clock
    await become(house, op, accounts.ADMIN)
    body = {"code": await code_for(house, op), "code_verifier": VERIFIER}
    given: dict[str, str] = (await house.client.post("/api/admin/oauth/exchange", json=body)).json()
    return house, {"refresh_token": given["refreshToken"]}


async def test_the_panel_gets_fresh_tokens_and_the_provider_is_asked(make_house: MakeHouse, op: Provider) -> None:
    house, body = await reusing(make_house, op)

    answer = await house.client.post("/api/admin/oauth/refresh", json=body)

    assert (answer.status_code, set(answer.json())) == (200, {"token", "refreshToken", "user", "expiresAt"})
    bearer = {"authorization": f"Bearer {answer.json()['token']}"}
    assert (await house.client.get("/api/admin/verify", headers=bearer)).status_code == 200
    assert [each.parameters["grant_type"] for each in op.asked if each.path == "/token"][-1] == "refresh_token"
    again = await house.client.post("/api/admin/oauth/refresh", json={"refresh_token": answer.json()["refreshToken"]})
    assert again.status_code == 200


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"refresh_token": ""}, (400, "MISSING_REFRESH_TOKEN")),
        ({"provider": "github"}, (400, "INVALID_PROVIDER")),
        ({"provider": "google"}, (503, "GOOGLE_NOT_CONFIGURED")),
        ({"refresh_token": "x"}, (401, "REFRESH_FAILED")),
        ({"user_id": "somebody-else"}, (401, "USER_ID_MISMATCH")),
    ],
)
async def test_a_refresh_that_does_not_fit_gets_nothing(
    make_house: MakeHouse, op: Provider, changes: dict[str, str], expected: tuple[int, str]
) -> None:
    house, body = await reusing(make_house, op)

    answer = await house.client.post("/api/admin/oauth/refresh", json=body | changes)

    assert (answer.status_code, answer.json()["error_code"]) == expected


async def test_who_is_no_administrator_any_more_gets_no_fresh_tokens(make_house: MakeHouse, op: Provider) -> None:
    house, body = await reusing(make_house, op)
    async with house.begin() as ctx:
        account = await accounts.by_email(ctx, "ada@example.org")
        assert account is not None
        await accounts.change(ctx, account.id, "role", accounts.USER)

    answer = await house.client.post("/api/admin/oauth/refresh", json=body)

    assert (answer.status_code, answer.json()["error_code"]) == (403, "FORBIDDEN")


async def test_whom_the_provider_renews_no_more_the_panel_loses(make_house: MakeHouse, op: Provider) -> None:
    house, body = await reusing(make_house, op)
    op.granted.clear()

    for _ in range(2):
        answer = await house.client.post("/api/admin/oauth/refresh", json=body)
        assert (answer.status_code, answer.json()["error_code"]) == (401, "REFRESH_FAILED")


async def test_without_token_reuse_the_panel_is_told_so(house: House) -> None:
    answer = await house.client.post("/api/admin/oauth/refresh", json={"refresh_token": "x"})

    assert (answer.status_code, answer.json()["error_code"]) == (403, "TOKEN_REUSE_DISABLED")
