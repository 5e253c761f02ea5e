"""Whole stories with Google, Facebook, GitHub, Discord and Entra as they are configured in production, each played by `oidc-provider`."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest

from ostiary.identity import accounts, bans
from tests.conftest import MakeHouse
from tests.dialects.librechat.browser import Browser, enrolled
from tests.federation.hostile import is_in, me, reasons
from tests.house import ORIGIN, House
from tests.services.openid import PlayedProviders, agree

PROVIDERS = ("google", "facebook", "github", "discord", "openid")
GROUPS = {
    "OPENID_REQUIRED_ROLE": "group-299",
    "OPENID_REQUIRED_ROLE_PARAMETER_PATH": "groups",
    "OPENID_REQUIRED_ROLE_TOKEN_KIND": "id",
}


@pytest.fixture
def engine() -> str:
    """Nothing here depends on the engine."""
    return "sqlite"


@pytest.fixture(scope="module")
def played() -> Iterator[PlayedProviders]:
    with PlayedProviders(ORIGIN) as started:
        yield started


@pytest.fixture
async def person(played: PlayedProviders) -> AsyncIterator[httpx.AsyncClient]:
    async with played.browser() as client:
        yield client


@pytest.fixture
async def house(make_house: MakeHouse, played: PlayedProviders) -> House:
    return await open_for(make_house, played)


async def open_for(make_house: MakeHouse, played: PlayedProviders, **more: str) -> House:
    house = await make_house(**{**played.settings, **more})
    # The providers live in the machine's own time.
    house.clock.now = time.time_ns() // 1000
    return house


async def come(
    house: House, person: httpx.AsyncClient, name: str, subject: str, client: httpx.AsyncClient | None = None
) -> httpx.Response:
    """Somebody's way through, in their own browser here and there."""
    browser = client or house.client
    started = await browser.get(f"/oauth/{name}")
    return await browser.get(await agree(person, started.headers["location"], subject, ORIGIN))


@pytest.mark.parametrize("name", PROVIDERS)
async def test_the_first_sign_in_makes_the_account_and_the_second_finds_it(
    house: House, person: httpx.AsyncClient, name: str
) -> None:
    assert is_in(await come(house, person, name, "ada"))
    first = await me(house.client)

    assert is_in(await come(house, person, name, "ada", house.client_at("127.0.0.1")))

    async with house.begin() as ctx:
        assert len(await accounts.page(ctx)) == 1
    assert (first["email"], first["provider"]) == ("ada@example.org", name)
    assert first["name"] == "ada Played"
    assert first["emailVerified"] is (name != "facebook")


@pytest.mark.parametrize("name", PROVIDERS)
async def test_who_says_no_there_is_not_in_here(house: House, person: httpx.AsyncClient, name: str) -> None:
    answer = await come(house, person, name, "nobody")

    assert not is_in(answer)
    assert await reasons(house) == ["declined"]


@pytest.mark.parametrize("name", PROVIDERS)
async def test_an_address_that_somebody_here_has_is_refused(house: House, person: httpx.AsyncClient, name: str) -> None:
    owner = Browser(house.client_at("127.0.0.1"))
    await owner.register("ada@example.org")

    assert not is_in(await come(house, person, name, "ada"))
    assert await reasons(house) == ["address_of_another_account"]


@pytest.mark.parametrize("name", PROVIDERS)
async def test_a_second_factor_is_owed_here_whoever_vouches(house: House, person: httpx.AsyncClient, name: str) -> None:
    await come(house, person, name, "ada")
    app = await enrolled(house, Browser(house.client, (await me(house.client))["token"]))

    browser = house.client_at("127.0.0.1")
    answer = await come(house, person, name, "ada", browser)

    assert answer.headers["location"].startswith(f"{ORIGIN}/login/2fa?tempToken=")
    assert "refreshToken" not in answer.cookies
    pending = dict(parse_qsl(urlsplit(answer.headers["location"]).query))["tempToken"]
    proof = {"tempToken": pending, "token": app.code()}
    assert (await browser.post("/api/auth/2fa/verify-temp", json=proof)).status_code == 200


@pytest.mark.parametrize("name", PROVIDERS)
async def test_who_is_banned_here_is_told_so_whoever_vouches(house: House, person: httpx.AsyncClient, name: str) -> None:
    await come(house, person, name, "ada")
    account: dict[str, Any] = await me(house.client)
    async with house.begin() as ctx:
        await bans.add(ctx, "account", account["id"], "a test", None)

    answer = await come(house, person, name, "ada", house.client_at("127.0.0.1"))

    assert answer.status_code == 403
    assert "refreshToken" not in answer.cookies


@pytest.mark.parametrize(
    ("subject", "reason"), [("ada-of-many", None), ("ada-of-few", "role_missing"), ("ada-of-many-unknown", "groups_unknown")]
)
async def test_groups_that_are_too_many_for_entras_token_are_asked_of_graph(
    make_house: MakeHouse, played: PlayedProviders, person: httpx.AsyncClient, subject: str, reason: str | None
) -> None:
    house = await open_for(make_house, played, **GROUPS)

    answer = await come(house, person, "openid", subject)

    assert is_in(answer) is (reason is None)
    assert await reasons(house) == ([reason] if reason else [])


@pytest.mark.parametrize(("subject", "expected"), [("ada-of-many", "group-1"), ("ada-of-few", "GUEST")])
async def test_a_role_follows_groups_that_graph_tells(
    make_house: MakeHouse, played: PlayedProviders, person: httpx.AsyncClient, subject: str, expected: str
) -> None:
    sync = {"OPENID_ROLE_SYNC_ENABLED": "true", "OPENID_ROLE_SYNC_CLAIM": "groups", "OPENID_ROLE_SYNC_FALLBACK_ROLE": "GUEST"}
    house = await open_for(make_house, played, **sync, OPENID_ROLE_SYNC_ROLE_PRIORITY="group-1")

    await come(house, person, "openid", subject)

    assert (await me(house.client))["role"] == expected


async def test_a_role_stays_when_graph_does_not_tell(
    make_house: MakeHouse, played: PlayedProviders, person: httpx.AsyncClient
) -> None:
    sync = {"OPENID_ROLE_SYNC_ENABLED": "true", "OPENID_ROLE_SYNC_CLAIM": "groups", "OPENID_ROLE_SYNC_FALLBACK_ROLE": "GUEST"}
    house = await open_for(make_house, played, **sync)
    await come(house, person, "openid", "ada-of-many-unknown")
    account = await me(house.client)
    async with house.begin() as ctx:
        await accounts.change(ctx, account["id"], "role", "EDITOR")

    await come(house, person, "openid", "ada-of-many-unknown")

    assert (account["role"], (await me(house.client))["role"]) == ("USER", "EDITOR")
