"""A whole sign-in at a certified OpenID provider, the browser's steps and ours, with nothing played."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest

from tests.conftest import MakeHouse
from tests.federation.hostile import is_in, me
from tests.house import ORIGIN, House
from tests.services.openid import SECRET, OpenIDServer, agree

CLIENTS = [
    {
        "client_id": "ostiary",
        "client_secret": SECRET,
        "redirect_uris": [f"{ORIGIN}/oauth/openid/callback"],
        "post_logout_redirect_uris": [f"{ORIGIN}/login"],
    },
    {
        "client_id": "public",
        "token_endpoint_auth_method": "none",
        "redirect_uris": [f"{ORIGIN}/oauth/openid/callback"],
    },
]


@pytest.fixture
def engine() -> str:
    """Nothing here depends on the engine."""
    return "sqlite"


@pytest.fixture(scope="module")
def server() -> Iterator[OpenIDServer]:
    with OpenIDServer(CLIENTS) as started:
        yield started


@pytest.fixture
async def person() -> AsyncIterator[httpx.AsyncClient]:
    """Somebody's browser, as the provider sees it."""
    async with httpx.AsyncClient(trust_env=False) as client:
        yield client


async def open_for(make_house: MakeHouse, server: OpenIDServer, **more: str) -> House:
    house = await make_house(ALLOW_SOCIAL_LOGIN="true", OPENID_ISSUER=server.issuer, **more)
    # The provider lives in the machine's own time.
    house.clock.now = time.time_ns() // 1000
    return house


@pytest.mark.parametrize(
    "client",
    [
        {"OPENID_CLIENT_ID": "ostiary", "OPENID_CLIENT_SECRET": SECRET},
        {"OPENID_CLIENT_ID": "public", "OPENID_USE_PKCE": "true"},
    ],
)
async def test_a_certified_provider_lets_its_people_in_here(
    make_house: MakeHouse, server: OpenIDServer, person: httpx.AsyncClient, client: dict[str, str]
) -> None:
    house = await open_for(make_house, server, **client)

    started = await house.client.get("/oauth/openid")
    assert is_in(await house.client.get(await agree(person, started.headers["location"], "ada", ORIGIN)))

    user = await me(house.client)
    assert (user["email"], user["name"], user["emailVerified"]) == ("ada@example.org", "ada Certified", True)


async def test_signing_out_leads_to_the_certified_providers_own_page(
    make_house: MakeHouse, server: OpenIDServer, person: httpx.AsyncClient
) -> None:
    house = await open_for(
        make_house,
        server,
        OPENID_CLIENT_ID="ostiary",
        OPENID_CLIENT_SECRET=SECRET,
        OPENID_USE_END_SESSION_ENDPOINT="true",
    )
    started = await house.client.get("/oauth/openid")
    await house.client.get(await agree(person, started.headers["location"], "grace", ORIGIN))

    answer = await house.client.post("/api/auth/logout", headers={"authorization": f"Bearer {(await me(house.client))['token']}"})

    url = answer.json()["redirect"]
    assert "id_token_hint" in dict(parse_qsl(urlsplit(url).query))
    assert (await person.get(url)).status_code == 200
