"""What an operator rules, met in a real Chromium: invitations, terms, a door that locks, and what others may vouch for."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page

from tests.served import free_port
from tests.services.browser import somebody
from tests.services.openid import SECRET, OpenIDServer
from tests.web.tab import DESK, PHONE, Place, come, enter, follow, heading, open_place, seen, send

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

EMAIL, PASSWORD = "ada@example.org", "three quiet lighthouses"
LOOKS = """() => {
  const [body, card, field] = ["body", ".card", "#email"].map((name) => getComputedStyle(document.querySelector(name)));
  return [body.backgroundColor, body.fontFamily, card.borderRadius, field.borderRadius];
}"""
CONTINUE = "text=Continue with Harbour"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Open to the invited, and to whom one provider knows; who fails once from a strange device may be locked out."""
    port = free_port()
    back = f"http://127.0.0.1:{port}/oauth/openid/callback"
    client = {"client_id": "ostiary", "client_secret": SECRET, "redirect_uris": [back]}
    # By another name than ours: to a browser it is another site.
    with OpenIDServer([client], host="localhost", pages=True) as provider:
        environment = {
            "ALLOW_REGISTRATION": "false",
            "ALLOW_SOCIAL_LOGIN": "true",
            "ALLOW_SOCIAL_REGISTRATION": "true",
            "OPENID_ISSUER": provider.issuer,
            "OPENID_CLIENT_ID": "ostiary",
            "OPENID_CLIENT_SECRET": SECRET,
            "OSTIARY_OPENID_NAME": "Harbour",
            "OSTIARY_TERMS_VERSION": "2026-11",
            "OSTIARY_LOCKOUT_MAX": "1",
            "OSTIARY_GROUND_COLOR": "#f3e6dc",
            "OSTIARY_CORNER_RADIUS": "0",
            "OSTIARY_FONT_FAMILY": "Northlight Sans, serif",
        }
        with open_place(tmp_path_factory.mktemp("rules"), environment, port=port) as opened:
            yield opened


@pytest_asyncio.fixture(loop_scope="session")
async def tab(browser: Browser) -> AsyncIterator[Page]:
    """A tab on a desk."""
    async with somebody(browser, **DESK) as context:
        yield await context.new_page()


async def agree_there(page: Page, name: str) -> None:
    """Sign in at the provider, and let it tell who came."""
    await page.fill("input[name=login]", name)
    await page.fill("input[name=password]", "whatever")
    await page.click("form:has(input[value=login]) button")
    await page.click("form:has(input[value=consent]) button")


async def test_the_invited_sign_up_connect_a_provider_and_come_in_by_either_until_a_stranger_locks_the_door(
    browser: Browser, tab: Page, place: Place
) -> None:
    await tab.goto(f"{place.url}/register")
    await seen(tab, "Nobody can register here now")
    await place.operate("invite", "create", EMAIL)
    await tab.goto(await place.link(EMAIL, "Invite"))
    await seen(tab, "Create an account")
    assert await tab.evaluate(LOOKS) == ["rgb(243, 230, 220)", '"Northlight Sans", serif', "0px", "0px"]
    assert await tab.input_value("#email") == EMAIL
    await tab.check("#terms")
    await send(tab, name="Ada Lovelace", password=PASSWORD)
    assert tab.url == f"{place.url}/login?notice=registered"
    await enter(tab, EMAIL, PASSWORD)
    assert tab.url == f"{place.url}/account"

    # Known there by another address than here: it is the connection alone that tells.
    await follow(tab, "Connect Harbour")
    await seen(tab, "Connect Harbour")
    await tab.click(CONTINUE)
    await agree_there(tab, "countess")
    await tab.wait_for_url(f"{place.url}/account")
    assert "countess@example.org" in await tab.inner_text("[aria-labelledby=identities]")
    await follow(tab, "Sign out")
    await tab.click(CONTINUE)
    await tab.wait_for_url(f"{place.url}/account")
    assert EMAIL in await tab.inner_text("[aria-labelledby=profile]")
    await follow(tab, "Remove")
    assert "has been removed" in await tab.inner_text("[role=status]")
    assert "No other account is connected." in await tab.inner_text("[aria-labelledby=identities]")
    await follow(tab, "Sign out")

    async with somebody(browser, **PHONE) as context:
        stranger = await context.new_page()
        await come(stranger, place.url, EMAIL, "not the password")
        assert "That does not match." in await stranger.inner_text("[role=alert]")
        # The owner has been in from this network: it has a try of its own.
        await send(stranger, password="nor this")
        assert "That does not match." in await stranger.inner_text("[role=alert]")
        await send(stranger, password=PASSWORD)
        await seen(stranger, "Locked for a while")
        await locked(stranger)
        await stranger.goto(f"{place.url}/login/key")
        await send(stranger, email=EMAIL, password=PASSWORD)
        await locked(stranger)
    await enter(tab, EMAIL, PASSWORD)
    assert tab.url == f"{place.url}/account"


async def locked(page: Page) -> None:
    """The door is closed for a while, and says for how long."""
    assert heading(await page.title()) == "Locked for a while"
    left = re.search(r"Please try again in (\d+) minutes?\.", await page.inner_text("main"))
    assert left is not None
    assert 0 < int(left[1]) <= 15


async def test_whoever_comes_by_a_provider_accepts_the_terms_before_anything_else(tab: Page, place: Place) -> None:
    await tab.goto(f"{place.url}/login")
    await tab.click(CONTINUE)
    await agree_there(tab, "grace")
    await tab.wait_for_url(f"{place.url}/terms")
    await seen(tab, "Terms of service")
    await tab.goto(f"{place.url}/account")
    assert tab.url == f"{place.url}/terms"
    await send(tab)
    assert "grace@example.org" in await tab.inner_text("[aria-labelledby=profile]")
    await follow(tab, "Sign out")
    await tab.click(CONTINUE)
    await tab.wait_for_url(f"{place.url}/account")
