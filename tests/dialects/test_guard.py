"""What never reaches a wire: requests that could be read in two ways, that name another host, or that are too large or too slow."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from ostiary.dialects.guard import MOST_HEADERS, Guard
from ostiary.settings import Settings
from tests.conftest import MakeHouse
from tests.house import House

OURS = (b"host", b"127.0.0.1:3080")


def judged(
    *headers: tuple[bytes, bytes], path: str = "/api/config", query: bytes = b"", environment: dict[str, str] | None = None
) -> int | None:
    guard = Guard(Settings.load(environment or {}))
    fault = guard(
        {
            "headers": list(headers),
            "http_version": "1.1",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query,
        }
    )
    return fault.status if fault else None


@pytest.mark.parametrize(
    "name", [b"host", b"content-length", b"transfer-encoding", b"content-type", b"authorization", b"origin", b"content-encoding"]
)
def test_a_header_that_may_stand_once_is_refused_twice(name: bytes) -> None:
    value = {b"host": b"127.0.0.1", b"content-length": b"0", b"transfer-encoding": b"chunked"}.get(name, b"identity")

    assert judged(*([OURS] if name != b"host" else []), (name, value), (name, value)) == 400


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([(b"content-length", b"5"), (b"transfer-encoding", b"chunked")], 400),
        ([(b"content-length", b"+5")], 400),
        ([(b"content-length", b"5, 5")], 400),
        ([(b"transfer-encoding", b"xchunked")], 400),
        ([(b"transfer-encoding", b"identity, chunked")], 400),
        ([(b"transfer-encoding", b"Chunked")], None),
        ([(b"content-encoding", b"gzip")], 415),
        ([(b"content-encoding", b"identity")], None),
        ([(b"x-filler", b"x" * 40_000)], 431),
        ([(b"x", b"y")] * MOST_HEADERS, 431),
        ([(b"cookie", b"a=b"), (b"cookie", b"c=d")], None),
    ],
)
def test_a_head_that_could_be_read_in_two_ways_or_is_too_large_is_refused(
    headers: list[tuple[bytes, bytes]], expected: int | None
) -> None:
    assert judged(OURS, *headers) == expected


def test_an_address_that_is_too_long_is_refused() -> None:
    assert judged(OURS, query=b"q" * 9000) == 414


@pytest.mark.parametrize(
    "host", [b"evil.test/abc?x=", b"a b", b"", b"user@127.0.0.1", b"127.0.0.1:port", b"[::1", b"caf\xc3\xa9.test"]
)
def test_a_malformed_host_is_refused_whatever_is_allowed(host: bytes) -> None:
    assert judged((b"host", host), environment={"HOST": "0.0.0.0"}) == 400


def test_a_missing_host_is_refused() -> None:
    assert judged() == 400


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        (b"id.example.org", None),
        (b"ID.example.org:443", None),
        (b"app.example.org", None),
        (b"vault.example.org", None),
        (b"ostiary.internal:3080", None),
        (b"localhost:3080", None),
        (b"[::1]:3080", None),
        (b"evil.test", 400),
        (b"id.example.org.evil.test", 400),
        (b"203.0.113.9", 400),
    ],
)
def test_the_hosts_of_the_domains_are_ours_and_no_others(host: bytes, expected: int | None) -> None:
    settings = {
        "DOMAIN_SERVER": "https://id.example.org",
        "DOMAIN_CLIENT": "https://app.example.org",
        "OSTIARY_LIBREPASS_HOST": "vault.example.org",
        "OSTIARY_ALLOWED_HOSTS": "ostiary.internal",
    }

    assert judged((b"host", host), environment=settings) == expected


def test_listening_everywhere_its_addresses_are_ours_too() -> None:
    named = {"HOST": "0.0.0.0", "DOMAIN_SERVER": "https://id.example.org", "DOMAIN_CLIENT": "https://id.example.org"}

    assert judged((b"host", b"203.0.113.9:3080"), environment=named) is None
    assert judged((b"host", b"evil.test"), environment=named) == 400
    assert judged((b"host", b"any.name"), environment={"HOST": "0.0.0.0"}) is None


def test_probes_are_answered_under_any_name() -> None:
    assert judged((b"host", b"10.1.2.3:3080"), path="/health") is None
    assert judged((b"host", b"10.1.2.3:3080"), path="/api/config") == 400


@pytest.mark.parametrize(("path", "member"), [("/api/auth/login", "message"), ("/api/auth/preLogin", "error")])
async def test_who_is_turned_away_hears_it_in_the_wires_words_and_the_connection_ends(
    house: House, path: str, member: str
) -> None:
    answer = await house.client.get(path, headers={"Host": "evil.test"})

    assert answer.status_code == 400
    assert member in answer.json()
    assert answer.headers["connection"] == "close"
    assert "evil.test" not in answer.text
    assert 'ostiary_turned_away_total{reason="host_unknown"} 1.0' in (await house.client.get("/metrics")).text


async def test_a_body_counts_while_it_comes_without_a_length(house: House) -> None:
    sent = 0

    async def far_too_much() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(64):
            sent += 1
            yield b"x" * 16_384

    answer = await house.client.post("/api/auth/login", content=far_too_much(), headers={"Content-Type": "application/json"})

    assert answer.status_code == 413
    assert sent <= 6


async def test_half_a_body_and_then_silence_is_answered_in_time(make_house: MakeHouse) -> None:
    house = await make_house(OSTIARY_BODY_TIME="1")

    async def halting() -> AsyncIterator[bytes]:
        yield b'{"email":'
        await asyncio.sleep(20)
        yield b'"ada@example.org"}'

    answer = await house.client.post("/api/auth/login", content=halting(), headers={"Content-Type": "application/json"})

    assert (answer.status_code, answer.json()) == (408, {"message": "The body took too long"})


async def test_a_slash_more_is_another_path_and_no_redirect(house: House) -> None:
    for path in ("/api/auth/login/", "//api/auth/login", "/api/./auth/login"):
        answer = await _raw(house, path)
        assert (answer.status_code, "location" in answer.headers) == (404, False)


async def _raw(house: House, path: str) -> httpx.Response:
    request = house.client.build_request("POST", "/api/auth/login", json={"email": "a@example.org", "password": "password"})
    request.url = request.url.copy_with(raw_path=path.encode())
    return await house.client.send(request)


async def test_what_is_not_a_page_may_load_nothing(house: House) -> None:
    answer = await house.client.get("/api/config")

    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"
