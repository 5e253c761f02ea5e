"""Requests that a page of another site makes a browser send, and pages that may read answers (librechat-wire 15, row 29)."""

from __future__ import annotations

import httpx
import pytest

from tests.conftest import MakeHouse
from tests.dialects.librechat.browser import EMAIL, PASSWORD, Browser, browser, cookies_of, signed_in
from tests.house import ORIGIN, House

pytestmark = pytest.mark.parametrize("engine", ["sqlite"])
REFUSED = (403, {"message": "Requests from other sites are not accepted."})
FORM = "application/x-www-form-urlencoded"
OWN = {"DOMAIN_CLIENT": "https://chat.example.org", "DOMAIN_SERVER": "https://id.example.org"}
FOREIGN_ORIGINS = [
    "https://evil.example",
    "null",
    "https://chat.example.org.evil.example",
    "https://evil.example/https://chat.example.org",
    "http://chat.example.org",
    "https://chat.example.org:8443",
    "https://CHAT.example.org",
    "https://xchat.example.org",
    "",
]


async def refreshed(someone: Browser, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await someone.client.post("/api/auth/refresh", headers=named)


@pytest.mark.parametrize("origin", FOREIGN_ORIGINS)
async def test_a_foreign_origin_cannot_use_the_cookie(make_house: MakeHouse, origin: str) -> None:
    house = await make_house(**OWN)
    someone = await signed_in(house)
    cookie = someone.refresh_cookie

    refresh = await refreshed(someone, Origin=origin)
    logout = await someone.client.post("/api/auth/logout", headers={"Origin": origin})

    assert (refresh.status_code, refresh.json()) == REFUSED
    assert (logout.status_code, logout.json()) == REFUSED
    assert cookies_of(refresh) == cookies_of(logout) == []
    assert someone.refresh_cookie == cookie
    assert (await refreshed(someone)).status_code == 200


@pytest.mark.parametrize("origin", OWN.values())
async def test_the_own_origins_can(make_house: MakeHouse, origin: str) -> None:
    house = await make_house(**OWN)
    someone = await signed_in(house)

    assert (await refreshed(someone, Origin=origin)).status_code == 200


async def test_a_further_origin_can_where_the_operator_says_so(make_house: MakeHouse) -> None:
    house = await make_house(**OWN, CORS_ALLOWED_ORIGINS="https://other.example.org")
    someone = await signed_in(house)

    assert (await refreshed(someone, Origin="https://other.example.org")).status_code == 200
    assert (await refreshed(someone, Origin="https://another.example.org")).status_code == 403


@pytest.mark.parametrize(("site", "status"), [("cross-site", 403), ("same-origin", 200), ("none", 200)])
async def test_without_an_origin_sec_fetch_site_decides(house: House, site: str, status: int) -> None:
    someone = await signed_in(house)

    assert (await refreshed(someone, Sec_Fetch_Site=site)).status_code == status


async def test_a_foreign_page_without_the_cookie_learns_nothing(house: House) -> None:
    answer = await house.client.post("/api/auth/refresh", headers={"Origin": "https://evil.example"})

    assert (answer.status_code, answer.text) == (200, "Refresh token not provided")
    assert "access-control-allow-origin" not in answer.headers


async def test_a_form_signs_in_as_the_original_reads_it(house: House) -> None:
    await browser(house).register()

    answer = await house.client.post("/api/auth/login", data={"email": EMAIL, "password": PASSWORD}, headers={"Origin": ORIGIN})

    assert answer.status_code == 200
    assert answer.json()["user"]["email"] == EMAIL


@pytest.mark.parametrize("headers", [{"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}])
async def test_a_form_of_another_site_signs_nobody_in(house: House, headers: dict[str, str]) -> None:
    await browser(house).register()

    answer = await house.client.post("/api/auth/login", data={"email": EMAIL, "password": PASSWORD}, headers=headers)

    assert (answer.status_code, answer.json()) == REFUSED
    assert cookies_of(answer) == []


@pytest.mark.parametrize("media_type", ["text/plain", "multipart/form-data; boundary=x", "application/xml", ""])
async def test_a_body_of_another_type_is_no_body(house: House, media_type: str) -> None:
    """What a foreign page could send without asking is not read at all."""
    await browser(house).register()
    body = f'{{"email": "{EMAIL}", "password": "{PASSWORD}"}}'
    headers = {"Content-Type": media_type, "Origin": "https://evil.example"}

    answer = await house.client.post("/api/auth/login", content=body, headers=headers)

    assert (answer.status_code, answer.json()) == (404, {"message": "Missing credentials"})


@pytest.mark.parametrize(
    "path",
    [
        "/api/auth/register",
        "/api/auth/requestPasswordReset",
        "/api/auth/resetPassword",
        "/api/user/verify",
        "/api/auth/2fa/verify-temp",
    ],
)
async def test_every_form_is_for_the_own_site_alone(house: House, path: str) -> None:
    headers = {"Content-Type": FORM, "Origin": "https://evil.example"}

    answer = await house.client.post(path, content="email=u%40example.com", headers=headers)

    assert (answer.status_code, answer.json()) == REFUSED


async def test_a_form_of_the_own_site_registers_and_resets(house: House) -> None:
    form = {"name": "Test User", "email": EMAIL, "password": PASSWORD, "confirm_password": PASSWORD}

    registered = await house.client.post("/api/auth/register", data=form, headers={"Origin": ORIGIN})
    asked = await house.client.post("/api/auth/requestPasswordReset", data={"email": EMAIL}, headers={"Origin": ORIGIN})

    assert (registered.status_code, asked.status_code) == (200, 200)
    assert await house.last_mail("Password Reset Request")


async def test_the_csrf_token_is_checked_when_it_is_sent(house: House) -> None:
    someone = await signed_in(house)
    token = (await someone.client.get("/api/auth/csrf")).json()["csrfToken"]
    other = await signed_in(house, "other@example.com")
    of_other = (await other.client.get("/api/auth/csrf")).json()["csrfToken"]
    of_nobody = (await house.client_at("127.0.0.1").get("/api/auth/csrf")).json()["csrfToken"]

    for wrong in (of_other, of_nobody, "", "x", ".", f"{token}x", token.partition(".")[0]):
        answer = await refreshed(someone, X_CSRF_Token=wrong)
        assert (answer.status_code, answer.json()) == REFUSED, wrong
    assert (await refreshed(someone, X_CSRF_Token=token)).status_code == 200


async def test_the_csrf_token_outlives_a_rotation(house: House) -> None:
    someone = await signed_in(house)
    token = (await someone.client.get("/api/auth/csrf")).json()["csrfToken"]
    await someone.refresh()

    assert (await refreshed(someone, X_CSRF_Token=token)).status_code == 200


async def test_the_csrf_token_can_be_required(make_house: MakeHouse) -> None:
    house = await make_house(OSTIARY_CSRF_TOKEN_REQUIRED="true")
    someone = await signed_in(house)
    token = (await someone.client.get("/api/auth/csrf")).json()["csrfToken"]

    without = await refreshed(someone)
    with_token = await refreshed(someone, X_CSRF_Token=token)

    assert (without.status_code, without.json()) == REFUSED
    assert with_token.status_code == 200


@pytest.mark.parametrize("origin", ["https://chat.example.org", "https://id.example.org"])
async def test_an_own_page_may_read_the_answer(make_house: MakeHouse, origin: str) -> None:
    house = await make_house(**OWN)

    answer = await house.client.get("/api/config", headers={"Origin": origin})

    assert answer.headers["access-control-allow-origin"] == origin
    assert answer.headers["access-control-allow-credentials"] == "true"
    assert answer.headers["vary"] == "Origin"


@pytest.mark.parametrize("origin", FOREIGN_ORIGINS)
async def test_a_foreign_page_may_not(make_house: MakeHouse, origin: str) -> None:
    house = await make_house(**OWN)

    answer = await house.client.get("/api/config", headers={"Origin": origin})

    assert answer.status_code == 200
    assert not [name for name in answer.headers if name.startswith("access-control")]
    assert answer.headers["vary"] == "Origin"


async def test_a_preflight_of_an_own_page_is_answered(make_house: MakeHouse) -> None:
    house = await make_house(**OWN)
    asked = {
        "Origin": "https://chat.example.org",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type",
    }

    answer = await house.client.options("/api/auth/login", headers=asked)

    assert answer.status_code == 204
    assert answer.headers["access-control-allow-origin"] == "https://chat.example.org"
    assert answer.headers["access-control-allow-credentials"] == "true"
    assert answer.headers["access-control-allow-headers"] == "authorization,content-type"
    assert "POST" in answer.headers["access-control-allow-methods"]


async def test_a_preflight_of_a_foreign_page_is_refused(make_house: MakeHouse) -> None:
    house = await make_house(**OWN)

    answer = await house.client.options("/api/auth/login", headers={"Origin": "https://evil.example"})

    assert answer.status_code == 403
    assert not [name for name in answer.headers if name.startswith("access-control")]


async def test_options_without_an_origin_names_the_methods(house: House) -> None:
    answer = await house.client.options("/api/auth/login")

    assert (answer.status_code, answer.headers["allow"]) == (204, "POST")
