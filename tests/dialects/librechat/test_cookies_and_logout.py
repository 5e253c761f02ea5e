"""Cookies to the letter (librechat-wire 1.5, 1.6), and signing out by the contract's rules (5.2)."""

from __future__ import annotations

from email.utils import formatdate

import pytest

from tests.conftest import MakeHouse
from tests.dialects.librechat.browser import Browser, browser, claims_of, cookies_of, enrolled, owing, signed_in
from tests.dialects.librechat.test_refresh import with_cookie
from tests.house import House

WEEK = 7 * 24 * 3600
YEAR = 365 * 24 * 3600
EPOCH = "Thu, 01 Jan 1970 00:00:00 GMT"
NAMES = ["refreshToken", "openid_access_token", "openid_id_token", "openid_user_id", "token_provider"]


async def test_a_sign_in_sets_three_cookies_to_the_letter(house: House) -> None:
    someone = browser(house)
    await someone.register()
    now = house.clock.now // 1_000_000

    found = cookies_of(await someone.login())

    end, year = formatdate(now + WEEK, usegmt=True), formatdate(now + YEAR, usegmt=True)
    token, device = someone.refresh_cookie, someone.client.cookies["ostiary_device"]
    assert found == [
        f"refreshToken={token}; Path=/; Expires={end}; HttpOnly; SameSite=Strict",
        f"token_provider=librechat; Path=/; Expires={end}; HttpOnly; SameSite=Strict",
        f"ostiary_device={device}; Path=/; Expires={year}; HttpOnly; SameSite=Strict",
    ]


async def test_answering_a_factor_sets_the_same_cookies(house: House) -> None:
    app = await enrolled(house, await signed_in(house))
    someone, pending = await owing(house)

    found = cookies_of(await someone.prove(pending, token=app.code()))

    assert [header.partition("=")[0] for header in found] == ["refreshToken", "token_provider", "ostiary_device"]


@pytest.mark.parametrize("engine", ["sqlite"])
@pytest.mark.parametrize(
    ("settings", "is_secure"),
    [
        ({}, False),
        ({"NODE_ENV": "production"}, True),
        ({"NODE_ENV": "production", "DOMAIN_SERVER": "https://id.example.org"}, True),
        ({"NODE_ENV": "production", "DOMAIN_SERVER": "http://id.example.org"}, True),
        ({"NODE_ENV": "production", "DOMAIN_SERVER": "http://localhost:3080"}, False),
        ({"NODE_ENV": "production", "DOMAIN_SERVER": "http://127.0.0.1:3080"}, False),
        ({"NODE_ENV": "production", "DOMAIN_SERVER": "http://[::1]:3080"}, False),
        ({"NODE_ENV": "production", "DOMAIN_SERVER": "http://app.localhost:3080"}, False),
        ({"NODE_ENV": "development", "DOMAIN_SERVER": "https://id.example.org"}, False),
        ({"SESSION_COOKIE_SECURE": " TRUE "}, True),
        ({"NODE_ENV": "production", "SESSION_COOKIE_SECURE": "false"}, False),
    ],
)
async def test_the_secure_attribute_follows_the_original(
    make_house: MakeHouse, settings: dict[str, str], is_secure: bool
) -> None:
    house = await make_house(**settings)
    someone = browser(house)
    await someone.register()

    signed = cookies_of(await someone.login())
    cleared = cookies_of(await someone.post("/api/auth/logout"))

    expected = "; HttpOnly; Secure; SameSite=Strict" if is_secure else "; HttpOnly; SameSite=Strict"
    assert all(header.endswith(f"GMT{expected}") for header in (*signed, *cleared))


async def test_signing_out_clears_five_cookies_with_their_attributes(house: House) -> None:
    someone = await signed_in(house)

    found = cookies_of(await someone.post("/api/auth/logout"))

    assert found == [f"{name}=; Path=/; Expires={EPOCH}; HttpOnly; SameSite=Strict" for name in NAMES]
    assert not someone.refresh_cookie


async def test_signing_out_ends_the_access_token_too(house: House) -> None:
    someone = await signed_in(house)

    await someone.post("/api/auth/logout")

    assert (await someone.get("/api/user")).json() == {"message": "Unauthorized"}
    again = await someone.post("/api/auth/logout")
    assert (again.status_code, again.json()) == (401, {"message": "Unauthorized"})


async def test_the_bearer_alone_ends_its_session_and_no_other(house: House) -> None:
    first, second = await signed_in(house), await signed_in(house)
    bearer_only = Browser(house.client_at("127.0.0.1"), first.token)

    answer = await bearer_only.post("/api/auth/logout")

    assert (answer.status_code, answer.json()) == (200, {"message": "Logout successful"})
    assert (await first.refresh()).status_code == 401
    assert (await second.refresh()).status_code == 200


@pytest.mark.parametrize("bearer", ["", "Bearer dead", "expired"])
async def test_the_cookie_alone_ends_its_session_with_the_originals_status(house: House, bearer: str) -> None:
    someone = await signed_in(house)
    cookie = someone.refresh_cookie
    if bearer == "expired":
        house.clock.advance(900)
        bearer = f"Bearer {someone.token}"

    answer = await someone.client.post("/api/auth/logout", headers={"Authorization": bearer} if bearer else {})

    assert answer.status_code == 401
    assert len(cookies_of(answer)) == 5
    assert (await with_cookie(house, cookie)).status_code == 401
    someone.client.cookies.set("refreshToken", cookie)


async def test_without_bearer_and_cookie_nothing_is_cleared(house: House) -> None:
    answer = await house.client.post("/api/auth/logout")

    assert (answer.status_code, answer.json()) == (401, {"message": "No auth token"})
    assert cookies_of(answer) == []


async def test_a_bearer_ends_nobody_elses_session(house: House) -> None:
    one, two = await signed_in(house), await signed_in(house, "two@example.com")
    cookie_of_two = two.refresh_cookie

    answer = await house.client_at("127.0.0.1").post(
        "/api/auth/logout",
        headers={"Authorization": f"Bearer {one.token}", "Cookie": f"refreshToken={cookie_of_two}"},
    )

    assert answer.status_code == 200
    assert (await one.get("/api/user")).status_code == 401
    assert (await two.refresh()).status_code == 200


async def test_a_bearer_and_the_cookie_of_another_own_session_end_both(house: House) -> None:
    one, two = await signed_in(house), await signed_in(house)

    await house.client_at("127.0.0.1").post(
        "/api/auth/logout",
        headers={"Authorization": f"Bearer {one.token}", "Cookie": f"refreshToken={two.refresh_cookie}"},
    )

    assert (await one.refresh()).status_code == 401
    assert (await two.refresh()).status_code == 401


async def test_a_junk_cookie_does_not_keep_a_bearer_from_signing_out(house: House) -> None:
    someone = await signed_in(house)

    answer = await house.client_at("127.0.0.1").post(
        "/api/auth/logout", headers={"Authorization": f"Bearer {someone.token}", "Cookie": "refreshToken=junk"}
    )

    assert answer.status_code == 200
    assert (await someone.refresh()).status_code == 401


async def test_after_signing_out_one_can_sign_in_again(house: House) -> None:
    someone = await signed_in(house)
    before = claims_of(someone.token)["sid"]
    await someone.post("/api/auth/logout")

    await someone.login()

    assert claims_of(someone.token)["sid"] != before
    assert (await someone.refresh()).status_code == 200


@pytest.mark.parametrize("engine", ["sqlite"])
async def test_every_answer_carries_what_keeps_it_private(house: House) -> None:
    for answer in (await house.client.get("/api/config"), await house.client.get("/api/nope"), await browser(house).login()):
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["x-robots-tag"] == "noindex"
        assert len(answer.headers["x-request-id"]) == 16


@pytest.mark.parametrize("engine", ["sqlite"])
@pytest.mark.parametrize(
    ("settings", "expected"), [({}, None), ({"DOMAIN_SERVER": "https://id.example.org"}, "max-age=31536000")]
)
async def test_hsts_is_sent_where_the_server_is_reached_by_tls(
    make_house: MakeHouse, settings: dict[str, str], expected: str | None
) -> None:
    house = await make_house(**settings)

    answer = await house.client.get("/api/config")

    assert answer.headers.get("strict-transport-security") == expected


@pytest.mark.parametrize("engine", ["sqlite"])
@pytest.mark.parametrize(
    "junk", ["; ".join(f"c{n}=v" for n in range(200)), "a" * 8000, "é=ü", "=", ";;;", "refreshToken", "ostiary_device=.."]
)
async def test_junk_cookies_are_passed_over(house: House, junk: str) -> None:
    for method, path in (
        ("GET", "/api/user"),
        ("POST", "/api/auth/refresh"),
        ("POST", "/api/auth/logout"),
        ("POST", "/api/auth/login"),
    ):
        answer = await house.client_at("127.0.0.1").request(method, path, headers={b"Cookie": junk.encode()})
        assert answer.status_code < 500
