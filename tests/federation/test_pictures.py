"""Pictures that a provider names: fetched within bounds, not from inside the network, and served from here."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest

from ostiary.federation.pictures import Pictures, is_public
from ostiary.identity import accounts
from ostiary.identity.refusals import FederationRefused
from ostiary.settings.providers import Federation
from tests.conftest import MakeHouse
from tests.federation.hostile import Answer, Provider, me
from tests.federation.test_played_providers import come, open_for
from tests.house import ORIGIN, House
from tests.services.openid import PlayedProviders

PNG = b"\x89PNG\r\n\x1a\n and so on"


@pytest.fixture(scope="module")
def played() -> Iterator[PlayedProviders]:
    with PlayedProviders(ORIGIN) as started:
        yield started


@pytest.fixture
async def person(played: PlayedProviders) -> AsyncIterator[httpx.AsyncClient]:
    async with played.browser() as client:
        yield client


def show(op: Provider, content: bytes, status: int, headers: dict[str, str]) -> None:
    """Answer at /picture."""

    async def answer() -> Answer:
        return status, headers, content

    op.respond["/picture"] = answer


async def refusal(pictures: Pictures, url: str, bearer: str = "", own: tuple[str, ...] = ()) -> str:
    with pytest.raises(FederationRefused) as refused:
        await pictures.reader(url, bearer, own)()
    return refused.value.reason


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("1.1.1.1", True),
        ("2606:4700:4700::1111", True),
        ("::ffff:1.1.1.1", True),
        ("64:ff9b::101:101", True),
        ("127.0.0.1", False),
        ("0.0.0.0", False),
        ("10.0.0.1", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("100.64.0.1", False),
        ("169.254.169.254", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("::", False),
        ("::1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:a9fe:a9fe", False),
        ("::127.0.0.1", False),
        ("64:ff9b::a9fe:a9fe", False),
        ("64:ff9b:1::1", False),
        ("2002:7f00:1::", False),
        ("2001:0:4136:e378:8000:63bf:3fff:fdd2", False),
        ("fc00::1", False),
        ("fe80::1%lo", False),
        ("fec0::1", False),
        ("ff02::1", False),
    ],
)
def test_which_addresses_are_public(address: str, expected: bool) -> None:
    assert is_public(address) is expected


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "x@127.0.0.1", "0"],
)
async def test_nothing_inside_is_asked_at_a_providers_word(host: str) -> None:
    with socket.socket() as inside:
        inside.bind(("127.0.0.1", 0))
        inside.listen()
        inside.setblocking(False)
        url = f"https://{host}:{inside.getsockname()[1]}/picture"

        reason = await refusal(Pictures(Federation()), url)

        with pytest.raises(BlockingIOError):
            inside.accept()
    assert reason == "picture_inside"


@pytest.mark.parametrize("url", ["http://1.1.1.1/a.png", "ftp://1.1.1.1/a.png", "https:///a.png", "file:///etc/passwd", ""])
async def test_other_kinds_of_addresses_are_not_asked(url: str) -> None:
    assert await refusal(Pictures(Federation()), url) == "picture_without_tls"


async def test_the_providers_own_origin_may_be_inside_and_gets_the_bearer(op: Provider) -> None:
    show(op, PNG, 200, {"content-type": "text/html"})

    picture = await Pictures(Federation(), allow_http=True).reader(f"{op.issuer}/picture", "theirs", (f"{op.issuer}/userinfo",))()

    assert (picture.media_type, picture.content) == ("image/png", PNG)
    assert op.asked[-1].headers["authorization"] == "Bearer theirs"


@pytest.mark.parametrize(
    ("content", "status", "headers", "reason"),
    [
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", 200, {"content-type": "image/png"}, "picture_of_no_kind"),
        (b"<html>", 200, {}, "picture_of_no_kind"),
        (b"", 200, {}, "picture_of_no_kind"),
        (PNG + b"x" * 512 * 1024, 200, {}, "picture_too_large"),
        (PNG, 404, {}, "picture_status_404"),
        (b"", 302, {"location": "http://127.0.0.1:1/"}, "picture_status_302"),
    ],
)
async def test_what_is_no_picture_within_bounds_is_not_kept(
    op: Provider, content: bytes, status: int, headers: dict[str, str], reason: str
) -> None:
    show(op, content, status, headers)
    pictures = Pictures(Federation(), [op.issuer], allow_http=True)

    assert await refusal(pictures, f"{op.issuer}/picture") == reason
    assert op.count("/picture") == len(op.asked) == 1


async def test_a_picture_that_does_not_come_is_waited_for_two_seconds(op: Provider) -> None:
    async def silent() -> None:
        await op.stall()

    op.respond["/picture"] = silent
    began_at = time.monotonic()

    reason = await refusal(Pictures(Federation(), [op.issuer], allow_http=True), f"{op.issuer}/picture")

    assert reason in {"picture_slow", "picture_unreachable"}
    assert time.monotonic() - began_at < 6


async def test_a_stranger_is_asked_at_the_address_looked_at_and_gets_no_bearer(played: PlayedProviders) -> None:
    settings = Federation.read(played.settings)

    picture = await Pictures(settings).reader("https://1.1.1.1/picture.png", "theirs", ("https://accounts.google.com",))()

    assert picture.media_type == "image/png"


async def test_entras_picture_needs_the_persons_token_and_is_served_from_here(
    make_house: MakeHouse, played: PlayedProviders, person: httpx.AsyncClient
) -> None:
    house = await open_for(make_house, played)
    await come(house, person, "openid", "ada")

    avatar = (await me(house.client))["avatar"]
    shown = await house.client_at("127.0.0.1").get(avatar)

    assert avatar.startswith("/api/user/pictures/")
    assert avatar.endswith(".png?manual=false")
    assert (shown.status_code, shown.headers["content-type"]) == (200, "image/png")
    assert shown.content.startswith(PNG[:8])
    assert shown.headers.get_list("cache-control") == ["private, max-age=31536000, immutable"]
    assert "sandbox" in shown.headers["content-security-policy"]
    assert (await house.client.get("/api/user/pictures/another.png")).status_code == 404


async def kept(house: House) -> list[Any]:
    account = await me(house.client)
    return [account["avatar"], account["id"]]


async def test_a_picture_that_the_owner_chose_stays(
    make_house: MakeHouse, played: PlayedProviders, person: httpx.AsyncClient
) -> None:
    house = await open_for(make_house, played)
    await come(house, person, "openid", "ada")
    _, account_id = await kept(house)
    async with house.begin() as ctx:
        await accounts.change(ctx, account_id, "avatar", "/images/mine.png?manual=true")

    await come(house, person, "openid", "ada")

    assert (await kept(house))[0] == "/images/mine.png?manual=true"


async def test_a_deleted_account_takes_its_picture_along(
    make_house: MakeHouse, played: PlayedProviders, person: httpx.AsyncClient
) -> None:
    house = await open_for(make_house, played)
    await come(house, person, "openid", "ada")
    user = await me(house.client)

    await house.client.delete("/api/user/delete", headers={"authorization": f"Bearer {user['token']}"})

    assert (await house.client.get(user["avatar"])).status_code == 404


async def test_of_many_sign_ins_at_once_each_gets_in_and_one_picture_is_kept(
    make_house: MakeHouse, played: PlayedProviders
) -> None:
    house = await open_for(make_house, played)
    browsers = [house.client_at("127.0.0.1") for _ in range(6)]

    async def one(browser: httpx.AsyncClient) -> httpx.Response:
        async with played.browser() as elsewhere:
            return await come(house, elsewhere, "openid", "ada", browser)

    answers = await asyncio.gather(*map(one, browsers))

    assert [answer.headers["location"] for answer in answers] == [ORIGIN] * 6
    avatar = (await me(browsers[0]))["avatar"]
    assert (await house.client.get(avatar)).status_code == 200
