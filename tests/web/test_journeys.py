"""The journeys of a password account, as people make them: a real Chromium, a served Ostiary, mail from a real SMTP server."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page

from tests.services.browser import somebody, turned
from tests.web.tab import DESK, PHONE, Place, come, enrol, enter, follow, open_place, seen, send

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

FIRST, SECOND = "three quiet lighthouses", "four quiet lighthouses"
GERMAN_NIGHT: dict[str, Any] = {**PHONE, "viewport": {"width": 390, "height": 844}, "color_scheme": "dark", "locale": "de-DE"}
ENGLISH = ("Create an account", "Check your mail", "Confirm your address", "Sign in")
GERMAN = ("Konto anlegen", "Sehen Sie in Ihre Mails", "Adresse bestätigen", "Anmelden")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    environment = {
        "ALLOW_SOCIAL_LOGIN": "true",
        "GITHUB_CLIENT_ID": "northlight",
        "GITHUB_CLIENT_SECRET": "not asked for in these journeys",
    }
    with open_place(tmp_path_factory.mktemp("journeys"), environment) as opened:
        yield opened


@pytest_asyncio.fixture(loop_scope="session")
async def tab(browser: Browser) -> AsyncIterator[Page]:
    """A tab on a desk."""
    async with somebody(browser, **DESK) as context:
        yield await context.new_page()


async def sign_up(page: Page, place: Place, email: str, titles: tuple[str, str, str, str], picture: str = "") -> None:
    """From the form over the mail to the sign-in page."""
    await page.goto(f"{place.url}/register")
    await seen(page, titles[0], picture if picture.endswith("register") else "")
    await send(page, name="Ada Lovelace", email=email, password=FIRST)
    await seen(page, titles[1])
    await page.goto(await place.link(email, "Verify"))
    assert page.url.endswith("/verify")
    await seen(page, titles[2])
    await send(page)
    assert page.url.endswith("/login?notice=verified")
    await seen(page, titles[3], picture if picture.endswith("login") else "")


async def test_somebody_signs_up_confirms_the_address_signs_in_and_out(tab: Page, place: Place) -> None:
    await sign_up(tab, place, "ada@example.org", ENGLISH, "desk-login")

    await enter(tab, "ada@example.org", FIRST)
    await seen(tab, "Your account")
    await follow(tab, "Sign out")
    await seen(tab, "Sign in")

    names = {cookie["name"] for cookie in await tab.context.cookies()}
    assert "ostiary_session" not in names
    assert "ostiary_device" in names


async def test_without_scripts_the_same_journey_works(browser: Browser, place: Place) -> None:
    async with somebody(browser, **DESK, java_script_enabled=False) as context:
        page = await context.new_page()
        email = "grace@example.org"

        await page.goto(f"{place.url}/register")
        await send(page, name="Grace Hopper", email=email, password=FIRST)
        assert page.url.endswith("/check-mail")
        await page.goto(await place.link(email, "Verify"))
        await send(page)
        assert page.url.endswith("/login?notice=verified")
        await send(page, email=email)
        await follow(page, "Forgot your password?")
        await send(page, email=email)
        assert page.url.endswith("/check-mail")
        await page.goto(await place.link(email, "Password Reset Request"))
        await send(page, password=SECOND)
        assert page.url.endswith("/login?notice=reset_done")
        await enter(page, email, SECOND)

        assert await page.title() == "Your account · Northlight"


async def test_on_a_phone_in_german_at_night_it_fits_and_works(browser: Browser, place: Place) -> None:
    async with somebody(browser, **GERMAN_NIGHT) as context:
        page = await context.new_page()
        await sign_up(page, place, "hedy@example.org", GERMAN, "phone-register")

        await enter(page, "hedy@example.org", "not the password")
        await seen(page, "Anmelden")
        assert await page.is_visible("[role=alert]")
        await send(page, password=FIRST)
        await seen(page, "Ihr Konto", "phone-account")


async def test_a_forgotten_password_is_chosen_anew(tab: Page, place: Place) -> None:
    email = "mary@example.org"
    await place.register(email, FIRST)
    await tab.goto(f"{place.url}/login")

    await send(tab, email=email)
    await follow(tab, "Forgot your password?")
    await seen(tab, "Reset your password")
    await send(tab, email=email)
    await tab.goto(await place.link(email, "Password Reset Request"))
    assert tab.url.endswith("/reset-password")
    await seen(tab, "Choose a new password")
    await send(tab, password="password1")
    await seen(tab, "Choose a new password")
    await send(tab, password=SECOND)
    await seen(tab, "Sign in")
    await enter(tab, email, SECOND)
    assert tab.url.endswith("/account")
    await tab.goto(f"{place.url}/reset-password")

    await seen(tab, "This link is no longer good")


async def test_a_password_can_be_looked_at_and_hidden_again(tab: Page, place: Place) -> None:
    await tab.goto(f"{place.url}/register")
    await tab.fill("#password", "what I typed")

    await tab.click(".secret button")
    shown = await tab.get_attribute("#password", "type")
    await tab.keyboard.press("Tab")
    await tab.click(".secret button")

    assert (shown, await tab.get_attribute("#password", "type")) == ("text", "password")
    assert await tab.input_value("#password") == "what I typed"


async def test_by_keyboard_alone_somebody_signs_in(tab: Page, place: Place) -> None:
    email = "keys@example.org"
    await place.register(email, FIRST)
    await tab.goto(f"{place.url}/login")
    reached = []
    for _ in range(12):
        await tab.keyboard.press("Tab")
        reached.append(await tab.evaluate("document.activeElement.id || document.activeElement.textContent.trim()"))

    await tab.goto(f"{place.url}/login")
    for _ in range(reached.index("email") + 1):
        await tab.keyboard.press("Tab")
    await tab.keyboard.type(email)
    async with turned(tab):
        await tab.keyboard.press("Enter")
    # The password's field has the focus as soon as the page is there.
    await tab.wait_for_selector("#password:focus")
    await tab.keyboard.type(FIRST)
    async with turned(tab):
        await tab.keyboard.press("Enter")

    assert reached[0] == "Skip to the content"
    places = [reached.index(name) for name in ("email", "Continue", "Continue with GitHub", "Create one")]
    assert places == sorted(places)
    assert tab.url.endswith("/account")


async def test_what_went_wrong_is_explained(tab: Page, place: Place) -> None:
    await tab.goto(f"{place.url}/nowhere")
    await seen(tab, "Nothing here")

    await tab.goto(f"{place.url}/oauth/error")
    await seen(tab, "Sign in")
    assert "Nothing has changed" in await tab.inner_text("[role=alert]")
    assert await tab.is_visible("text=Continue with GitHub")


async def test_an_owner_looks_after_the_account_and_comes_back_by_code(tab: Page, place: Place) -> None:
    """Password, second factor with the picture to scan and codes to keep, signing in with both, deletion: all from the account page."""
    email = "owner@example.org"
    await place.register(email, FIRST)
    await come(tab, place.url, email, FIRST)
    await seen(tab, "Your account", "desk-account")

    await follow(tab, "Change password")
    await seen(tab, "Change your password")
    await send(tab, present=FIRST, password=SECOND)
    assert tab.url.endswith("/account?notice=password_changed")
    app, codes = await enrol(tab, "desk-set-up", "desk-codes")
    assert len(codes) == 10
    assert await kept(tab) == [codes] * 3
    await follow(tab, "I have kept them")
    await follow(tab, "Sign out")
    await enter(tab, email, SECOND)
    await seen(tab, "One more step", "desk-second-factor")
    await send(tab, code=app.wrong())
    await seen(tab, "One more step")
    assert await tab.is_visible("[role=alert]")
    code = app.code()
    await send(tab, code=f"{code[:3]} {code[3:]}")
    assert tab.url.endswith("/account")

    for expected in ("/account", "/login/2fa?way=backup"):
        await tab.context.clear_cookies()
        await come(tab, place.url, email, SECOND)
        await follow(tab, "Use a backup code")
        await send(tab, code=codes[0])
        assert tab.url.endswith(expected)

    await send(tab, code=codes[1])
    await follow(tab, "Sign out everywhere else")
    assert "Every other device has been signed out." in await tab.inner_text("[role=status]")
    assert not await tab.is_visible("text=Sign out everywhere else")
    await follow(tab, "Delete account")
    await seen(tab, "Delete your account")
    await send(tab, password=SECOND, code=codes[2])
    assert tab.url.endswith("/login?notice=deleted")


async def kept(tab: Page) -> list[list[str]]:
    """What the buttons beneath the codes give: the clipboard, the file below the name of the place, and what is printed."""
    await tab.context.grant_permissions(["clipboard-read", "clipboard-write"])
    await tab.click("text=Copy")
    await tab.wait_for_selector("text=Copied")
    copied = str(await tab.evaluate("navigator.clipboard.readText()"))
    async with tab.expect_download() as download:
        await tab.click("text=Download")
    written = Path(await (await download.value).path()).read_text()  # noqa: ASYNC240 - the loop has nothing else to do
    # A browser without a window prints nothing: the page asks it to, and shows paper the codes alone.
    await tab.evaluate("window.print = () => document.body.classList.add('printed')")
    await tab.click("text=Print")
    await tab.wait_for_selector("body.printed")
    await tab.emulate_media(media="print")
    printed = await tab.inner_text("body")
    await tab.emulate_media(media="screen")
    assert "Download" not in printed
    return [copied.splitlines(), [line for line in written.splitlines()[2:] if line], re.findall(r"\b[0-9a-f]{8}\b", printed)]
