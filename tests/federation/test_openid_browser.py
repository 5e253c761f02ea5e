"""`/oauth/openid` as a person walks it: a real Chromium, a certified provider's own pages, and Ostiary in a process of its own."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from playwright.async_api import Page

from ostiary.crypto import otp
from tests.served import Served, free_port, served
from tests.services.browser import turned
from tests.services.openid import OpenIDServer

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

SECRET = "a secret of thirty-two characters or more"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Ostiary, and the one provider that it trusts."""
    port = free_port()
    ours = f"http://127.0.0.1:{port}"
    client = {
        "client_id": "ostiary",
        "client_secret": SECRET,
        "redirect_uris": [f"{ours}/oauth/openid/callback"],
        "post_logout_redirect_uris": [f"{ours}/login"],
    }
    with OpenIDServer([client], host="localhost", pages=True) as provider:
        environment = {
            "ALLOW_SOCIAL_LOGIN": "true",
            "OPENID_ISSUER": provider.issuer,
            "OPENID_CLIENT_ID": "ostiary",
            "OPENID_CLIENT_SECRET": SECRET,
            "OPENID_USE_END_SESSION_ENDPOINT": "true",
        }
        with served(tmp_path_factory.mktemp("browser"), environment, port=port) as started:
            yield started


async def sign_in(page: Page, place: Served, name: str) -> None:
    """From our start, through the provider's sign-in and consent, and back."""
    await page.goto(f"{place.url}/oauth/openid")
    await page.fill("input[name=login]", name)
    await page.fill("input[name=password]", "whatever")
    await page.click("form:has(input[value=login]) button")
    await page.click("form:has(input[value=consent]) button")
    await page.wait_for_url(f"{place.url}/**")


async def ask(page: Page, url: str, body: Any = None, token: str = "") -> Any:
    """What our own client hears, with this browser's cookies: nothing, unless it is JSON."""
    headers = {"authorization": f"Bearer {token}"} if token else {}
    answer = await page.context.request.post(url, data=body, headers=headers)
    assert answer.status < 300, await answer.text()
    text = await answer.text()
    return json.loads(text) if text.startswith("{") else None


async def whose(page: Page, place: Served) -> Any:
    """The refresh's answer: nothing for a browser that nobody is signed in at."""
    return await ask(page, f"{place.url}/api/auth/refresh")


async def enrolled(page: Page, place: Served, name: str) -> Any:
    """Somebody of the provider's who switched a second factor on here."""
    await sign_in(page, place, name)
    token = (await whose(page, place))["token"]
    enrolment = await ask(page, f"{place.url}/api/auth/2fa/enable", token=token)
    raw = otp.decode_secret(dict(parse_qsl(urlsplit(enrolment["otpauthUrl"]).query))["secret"])
    assert raw is not None
    code = otp.code_at(raw, int(time.time()) // 30)
    await ask(page, f"{place.url}/api/auth/2fa/confirm", {"token": code}, token=token)
    return enrolment


async def test_a_person_signs_in_at_the_provider_and_is_in_here(page: Page, place: Served) -> None:
    await sign_in(page, place, "ada")
    await page.wait_for_url(f"{place.url}/account")

    assert "ada@example.org" in await page.inner_text("main")
    user = (await whose(page, place))["user"]
    assert (user["email"], user["provider"]) == ("ada@example.org", "openid")
    held = {cookie["name"]: cookie for cookie in await page.context.cookies(place.url)}
    assert held["refreshToken"]["httpOnly"]
    assert "ostiary_flow" not in held
    assert "code=" not in page.url
    assert "state=" not in page.url


async def test_a_person_who_says_no_there_is_back_at_the_sign_in_page_and_not_in(page: Page, place: Served) -> None:
    await page.goto(f"{place.url}/oauth/openid")

    await page.click("text=Cancel")
    await page.wait_for_url(f"{place.url}/**")

    assert page.url == f"{place.url}/login?redirect=false&error=auth_failed"
    assert await whose(page, place) is None
    # The sign-in page has a form, and the form its cookie; nothing else is there.
    assert {cookie["name"] for cookie in await page.context.cookies(place.url)} == {"ostiary_form"}


async def test_signing_out_here_signs_out_there_and_the_next_sign_in_asks_again(page: Page, place: Served) -> None:
    await sign_in(page, place, "grace")
    token = (await whose(page, place))["token"]

    answer = await ask(page, f"{place.url}/api/auth/logout", token=token)
    await page.goto(answer["redirect"])
    await page.click("button[value=yes]")
    await page.wait_for_url(f"{place.url}/login*")

    assert await whose(page, place) is None
    await page.goto(f"{place.url}/oauth/openid")
    assert await page.is_visible("input[name=password]")


async def test_a_second_factor_is_asked_for_after_the_provider_has_spoken(page: Page, place: Served) -> None:
    enrolment = await enrolled(page, place, "hedy")
    await page.context.clear_cookies()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))

    await sign_in(page, place, "hedy")

    # The page takes the token out of the address; who has pages elsewhere reads it there.
    assert page.url == f"{place.url}/login/2fa"
    address = next(url for url in map(urlsplit, asked) if url.path == "/login/2fa")
    assert await whose(page, place) is None
    proof = {"tempToken": dict(parse_qsl(address.query))["tempToken"], "backupCode": enrolment["backupCodes"][0]}
    await ask(page, f"{place.url}/api/auth/2fa/verify-temp", proof)
    assert (await whose(page, place))["user"]["email"] == "hedy@example.org"


async def test_the_page_asks_for_that_factor_and_signing_out_there_is_offered(page: Page, place: Served) -> None:
    enrolment = await enrolled(page, place, "joan")
    await page.context.clear_cookies()
    await sign_in(page, place, "joan")
    await page.wait_for_url(f"{place.url}/login/2fa")
    await page.fill("#code", enrolment["backupCodes"][0])
    await page.click("main form button")
    await page.wait_for_url(f"{place.url}/account")

    async with turned(page):
        await page.click("header button")

    assert await page.title() == "You are signed out · Ostiary"
    await page.click("main .button")
    await page.click("button[value=yes]")
    await page.wait_for_url(f"{place.url}/login*")
    await page.goto(f"{place.url}/account")
    assert page.url.startswith(f"{place.url}/login")
