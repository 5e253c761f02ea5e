"""The Microsoft Graph token on behalf of the signed-in owner (librechat-wire 10; W-58)."""

from __future__ import annotations

import asyncio
import json
from urllib.parse import urlencode

import httpx
import pytest
from sqlalchemy import delete

from ostiary.storage.statements import Statement
from ostiary.storage.tables import provider_sessions
from tests.conftest import MakeHouse
from tests.dialects.librechat.browser import Browser
from tests.federation.hostile import Answer, Provider, walk
from tests.federation.test_oauth_stories import ALL_ROWS, bearer, open_for
from tests.house import House

FORGET_ALL = Statement(delete(provider_sessions))


@pytest.fixture
async def house(make_house: MakeHouse, op: Provider) -> House:
    return await open_for(make_house, op, OPENID_REUSE_TOKENS="true")


async def graph(house: House, scopes: str | None, headers: dict[str, str]) -> httpx.Response:
    query = f"?{urlencode({'scopes': scopes})}" if scopes is not None else ""
    return await house.client.get(f"/api/auth/graph-token{query}", headers=headers)


async def test_a_graph_token_is_had_on_behalf_of_the_owner_and_repeated_with_the_life_it_has_left(
    house: House, op: Provider
) -> None:
    await walk(house, op)
    headers = await bearer(house.client)

    first = await graph(house, "Files.Read.All https://graph.microsoft.com/User.Read", headers)

    scopes = "Files.Read.All https://graph.microsoft.com/User.Read"
    assert first.json() == {"access_token": f"for {scopes}", "token_type": "Bearer", "expires_in": 3600, "scope": scopes}
    form = op.asked[-1].parameters
    assert (form["grant_type"], form["requested_token_use"]) == ("urn:ietf:params:oauth:grant-type:jwt-bearer", "on_behalf_of")
    asked = op.count("/token")
    house.clock.advance(600)
    assert (await graph(house, scopes, headers)).json()["expires_in"] == 3000
    assert op.count("/token") == asked


async def test_the_checks_of_a_graph_token_come_in_their_order(house: House, op: Provider) -> None:
    local = Browser(house.client_at("127.0.0.1"))
    await local.register("eve@example.org")
    await local.login("eve@example.org")
    answer = await local.get("/api/auth/graph-token")
    assert (answer.status_code, answer.json()["message"]) == (403, "Microsoft Graph access requires Entra ID authentication")

    await walk(house, op)
    headers = await bearer(house.client)
    answers = [await graph(house, None, headers), await graph(house, "Mail.Send", headers)]
    op.token_extra = {"access_token": None}
    answers.append(await graph(house, "User.Read", headers))
    async with house.begin() as ctx:
        await ctx.db.run(FORGET_ALL)
    answers.append(await graph(house, "User.Read", headers))

    assert [(answer.status_code, answer.json()["message"]) for answer in answers] == [
        (400, "Graph API scopes are required as query parameter"),
        (403, "These Graph API scopes are not allowed here"),
        (500, "Failed to obtain Microsoft Graph token"),
        (401, "No federated access token available for token exchange"),
    ]


async def test_a_graph_token_needs_kept_tokens(make_house: MakeHouse, op: Provider) -> None:
    house = await open_for(make_house, op)
    await walk(house, op)

    answer = await graph(house, "User.Read", await bearer(house.client))

    assert answer.json() == {"message": "SharePoint integration requires OpenID token reuse to be enabled"}


async def test_an_access_token_that_is_over_is_renewed_in_passing(house: House, op: Provider) -> None:
    op.token_extra = {"refresh_token": "theirs"}
    await walk(house, op)
    house.clock.advance(3600)

    answer = await graph(house, "User.Read", await bearer(house.client))

    assert answer.status_code == 200
    assert [each.parameters["grant_type"] for each in op.asked if each.path == "/token"][1:] == [
        "refresh_token",
        "urn:ietf:params:oauth:grant-type:jwt-bearer",
    ]


def exchanges(op: Provider) -> int:
    return sum(each.parameters.get("requested_token_use") == "on_behalf_of" for each in op.asked)


async def test_who_asks_at_the_same_moment_shares_one_exchange(house: House, op: Provider) -> None:
    await walk(house, op)
    headers = await bearer(house.client)

    answers = await asyncio.gather(*(graph(house, "User.Read", headers) for _ in range(8)))

    assert {answer.json()["access_token"] for answer in answers} == {"for User.Read"}
    assert exchanges(op) == 1


async def test_a_token_about_to_end_is_not_repeated(house: House, op: Provider) -> None:
    op.token_extra = {"expires_in": 300}
    await walk(house, op)
    headers = await bearer(house.client)
    await graph(house, "User.Read", headers)

    house.clock.advance(241)
    answer = await graph(house, "User.Read", headers)

    assert answer.json()["expires_in"] == 300
    assert exchanges(op) == 2


async def test_a_graph_token_is_nobodys_after_the_sign_out(house: House, op: Provider) -> None:
    await walk(house, op)
    headers = await bearer(house.client)
    await graph(house, "User.Read", headers)
    async with house.begin() as ctx:
        (row,) = await ctx.db.all(ALL_ROWS)
    cache = house.services.redirect_providers["openid"].tokens
    assert cache.find(row.holder, "User.Read") is not None

    await house.client.post("/api/auth/logout", headers=headers)

    assert (await graph(house, "User.Read", headers)).status_code == 401
    assert cache.find(row.holder, "User.Read") is None


@pytest.mark.parametrize(("statuses", "expected"), [((503,), 200), ((429,), 200), ((503, 503), 500), ((400,), 500)])
async def test_trouble_that_passes_is_tried_once_more(
    house: House, op: Provider, statuses: tuple[int, ...], expected: int
) -> None:
    await walk(house, op)
    headers = await bearer(house.client)
    waiting = list(statuses)

    async def troubled() -> Answer:
        status = waiting.pop(0) if waiting else 200
        body = {"access_token": "theirs", "expires_in": 60 * 60} if status == 200 else {"error": "x"}
        return status, {"content-type": "application/json"}, json.dumps(body).encode()

    op.respond["/token"] = troubled

    assert (await graph(house, "User.Read", headers)).status_code == expected
    assert waiting == []
