"""The journeys of a password account, as people make them: a real Chromium, a served Ostiary, mail from a real SMTP server.

`OSTIARY_PICTURES=<folder>` keeps what the browser saw on the way (`make pictures`).
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page

from ostiary.crypto import otp
from tests.house import text_of
from tests.served import Served, served
from tests.services.browser import barriers, somebody
from tests.services.smtp import MailServer

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

FIRST, SECOND = "three quiet lighthouses", "four quiet lighthouses"
PICTURES = os.environ.get("OSTIARY_PICTURES")
DESK = {"viewport": {"width": 1080, "height": 760}}
PHONE = {
    "viewport": {"width": 390, "height": 844},
    "is_mobile": True,
    "has_touch": True,
    "color_scheme": "dark",
    "locale": "de-DE",
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where Ostiary answers, and where its mail goes."""

    served: Served
    mail: MailServer

    @property
    def url(self) -> str:
        return self.served.url

    async def link(self, recipient: str, about: str) -> str:
        """The link in the mail."""
        mail = await self.mail.wait_for(recipient, about, 20)
        return str(re.findall(r"https?://\S+", text_of(mail))[0])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with MailServer() as mail:
        environment = {
            "EMAIL_HOST": "127.0.0.1",
            "EMAIL_PORT": str(mail.port),
            "EMAIL_ENCRYPTION": "none",
            "EMAIL_FROM": "ostiary@example.org",
            "APP_TITLE": "Northlight",
            "ALLOW_SOCIAL_LOGIN": "true",
            "GITHUB_CLIENT_ID": "northlight",
            "GITHUB_CLIENT_SECRET": "not asked for in these journeys",
        }
        with served(tmp_path_factory.mktemp("journeys"), environment) as started:
            yield Place(started, mail)


@pytest_asyncio.fixture(loop_scope="session")
async def tab(browser: Browser) -> AsyncIterator[Page]:
    """A tab on a desk."""
    async with somebody(browser, **DESK) as context:
        yield await context.new_page()


async def seen(page: Page, title: str, picture: str = "") -> None:
    """This page is here, nothing keeps anybody out of it, and it fits the screen."""
    await page.wait_for_load_state()
    assert (await page.title()).partition(" · ")[0] == title
    assert await barriers(page) == []
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    if PICTURES and picture:
        await page.screenshot(path=Path(PICTURES) / f"{picture}.png", animations="disabled", caret="hide")


async def send(page: Page, **fields: str) -> None:
    """Fill in the form and press its button."""
    for name, value in fields.items():
        await page.fill(f"#{name}", value)
    await page.click("main form button:not([type=button])")


async def enter(page: Page, email: str, password: str) -> None:
    """From the sign-in page: the address first, then the password."""
    await send(page, email=email)
    await page.wait_for_url("**/login/password")
    await send(page, password=password)


async def sign_up(page: Page, place: Place, email: str, titles: tuple[str, str, str, str], picture: str = "") -> None:
    """From the form over the mail to the sign-in page."""
    await page.goto(f"{place.url}/register")
    await seen(page, titles[0], picture if picture.endswith("register") else "")
    await send(page, name="Ada Lovelace", email=email, password=FIRST)
    await page.wait_for_url("**/check-mail")
    await seen(page, titles[1])
    await page.goto(await place.link(email, "Verify"))
    await page.wait_for_url("**/verify")
    await seen(page, titles[2])
    await send(page)
    await page.wait_for_url("**/login?notice=verified")
    await seen(page, titles[3], picture if picture.endswith("login") else "")


async def ask(page: Page, url: str, body: Any = None, token: str = "") -> Any:
    """What a client hears of the wire, with this browser's cookies."""
    answer = await page.context.request.post(url, data=body, headers={"authorization": f"Bearer {token}"} if token else {})
    text = await answer.text()
    assert answer.status < 300, text
    return json.loads(text) if text else None


async def enrol(page: Page, place: Place, email: str) -> tuple[bytes, list[str]]:
    """Switch a second factor on: its secret and the backup codes."""
    token = (await ask(page, f"{place.url}/api/auth/login", {"email": email, "password": FIRST}))["token"]
    made = await ask(page, f"{place.url}/api/auth/2fa/enable", token=token)
    secret = otp.decode_secret(dict(parse_qsl(urlsplit(made["otpauthUrl"]).query))["secret"])
    assert secret is not None
    code = otp.code_at(secret, int(time.time()) // 30 - 1)
    await ask(page, f"{place.url}/api/auth/2fa/confirm", {"token": code}, token=token)
    await page.context.clear_cookies()
    return secret, made["backupCodes"]


ENGLISH = ("Create an account", "Check your mail", "Confirm your address", "Sign in")
GERMAN = ("Konto anlegen", "Sehen Sie in Ihre Mails", "Adresse bestätigen", "Anmelden")


async def test_somebody_signs_up_confirms_the_address_signs_in_and_out(tab: Page, place: Place) -> None:
    await sign_up(tab, place, "ada@example.org", ENGLISH, "desk-login")

    await enter(tab, "ada@example.org", FIRST)
    await tab.wait_for_url("**/account")
    await seen(tab, "Your account")
    await tab.click("text=Sign out")
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
        await page.wait_for_url("**/check-mail")
        await page.goto(await place.link(email, "Verify"))
        await send(page)
        await page.wait_for_url("**/login?notice=verified")
        await send(page, email=email)
        await page.click("text=Forgot your password?")
        await page.wait_for_url("**/forgot-password")
        await send(page, email=email)
        await page.wait_for_url("**/check-mail")
        await page.goto(await place.link(email, "Password Reset Request"))
        await send(page, password=SECOND)
        await page.wait_for_url("**/login?notice=reset_done")
        await enter(page, email, SECOND)
        await page.wait_for_url("**/account")

        assert await page.title() == "Your account · Northlight"


async def test_on_a_phone_in_german_at_night_it_fits_and_works(browser: Browser, place: Place) -> None:
    async with somebody(browser, **PHONE) as context:
        page = await context.new_page()
        await sign_up(page, place, "hedy@example.org", GERMAN, "phone-register")

        await enter(page, "hedy@example.org", "not the password")
        await seen(page, "Anmelden")
        assert await page.is_visible("[role=alert]")
        await send(page, password=FIRST)
        await page.wait_for_url("**/account")
        await seen(page, "Ihr Konto")


async def test_the_second_factor_is_asked_for_and_a_backup_code_serves_once(tab: Page, place: Place) -> None:
    email = "joan@example.org"
    await sign_up(tab, place, email, ENGLISH)
    secret, backup_codes = await enrol(tab, place, email)

    await tab.goto(f"{place.url}/login")
    await enter(tab, email, FIRST)
    await tab.wait_for_url("**/login/2fa")
    await seen(tab, "One more step", "desk-second-factor")
    await send(tab, code="000000")
    await seen(tab, "One more step")
    assert await tab.is_visible("[role=alert]")
    code = otp.code_at(secret, int(time.time()) // 30)
    await send(tab, code=f"{code[:3]} {code[3:]}")
    await tab.wait_for_url("**/account")

    for expected in ("Your account", "One more step"):
        await tab.context.clear_cookies()
        await tab.goto(f"{place.url}/login")
        await enter(tab, email, FIRST)
        await tab.wait_for_url("**/login/2fa")
        await tab.click("text=Use a backup code")
        await seen(tab, "One more step")
        await send(tab, code=backup_codes[0])
        await seen(tab, expected)


async def test_a_forgotten_password_is_chosen_anew(tab: Page, place: Place) -> None:
    email = "mary@example.org"
    await sign_up(tab, place, email, ENGLISH)

    await send(tab, email=email)
    await tab.click("text=Forgot your password?")
    await seen(tab, "Reset your password")
    await send(tab, email=email)
    await tab.wait_for_url("**/check-mail")
    await tab.goto(await place.link(email, "Password Reset Request"))
    await tab.wait_for_url("**/reset-password")
    await seen(tab, "Choose a new password")
    await send(tab, password="password1")
    await seen(tab, "Choose a new password")
    await send(tab, password=SECOND)
    await seen(tab, "Sign in")
    await enter(tab, email, SECOND)
    await tab.wait_for_url("**/account")
    await tab.goto(f"{place.url}/reset-password")

    await seen(tab, "This link is no longer good")


async def test_a_password_can_be_looked_at_and_the_form_is_sent_once(tab: Page, place: Place) -> None:
    await tab.goto(f"{place.url}/register")
    await tab.fill("#password", "what I typed")

    await tab.click(".secret button")
    shown = await tab.get_attribute("#password", "type")
    await tab.keyboard.press("Tab")
    await tab.click(".secret button")

    assert (shown, await tab.get_attribute("#password", "type")) == ("text", "password")
    assert await tab.input_value("#password") == "what I typed"


async def test_everything_can_be_reached_by_keyboard(tab: Page, place: Place) -> None:
    await tab.goto(f"{place.url}/login")
    reached = []
    for _ in range(12):
        await tab.keyboard.press("Tab")
        reached.append(await tab.evaluate("document.activeElement.id || document.activeElement.textContent.trim()"))

    assert reached[0] == "Skip to the content"
    places = [reached.index(name) for name in ("email", "Continue", "Continue with GitHub", "Create one")]
    assert places == sorted(places)


async def test_a_page_that_is_not_there_says_so(tab: Page, place: Place) -> None:
    await tab.goto(f"{place.url}/nowhere")

    await seen(tab, "Nothing here")


async def test_a_sign_in_elsewhere_that_failed_is_explained(tab: Page, place: Place) -> None:
    await tab.goto(f"{place.url}/oauth/error")

    await seen(tab, "Sign in")
    assert "Nothing has changed" in await tab.inner_text("[role=alert]")
    assert await tab.is_visible("text=Continue with GitHub")


async def test_an_owner_looks_after_the_account(tab: Page, place: Place) -> None:
    """Password, second factor with the picture to scan and codes to keep, sessions, deletion: all from the account page."""
    email = "owner@example.org"
    await sign_up(tab, place, email, ENGLISH)
    await enter(tab, email, FIRST)
    await tab.wait_for_url("**/account")
    await seen(tab, "Your account", "desk-account")

    await tab.click("text=Change password")
    await seen(tab, "Change your password")
    await send(tab, present=FIRST, password=SECOND)
    await tab.wait_for_url("**/account?notice=password_changed")
    await seen(tab, "Your account")

    await tab.click("text=Set up two-step sign-in")
    await tab.wait_for_url("**/two-factor/set-up")
    await seen(tab, "Set up two-step sign-in", "desk-set-up")
    secret = otp.decode_secret(await tab.inner_text("code"))
    assert secret is not None
    await send(tab, code=otp.code_at(secret, int(time.time()) // 30))
    await tab.wait_for_selector(".codes")
    await seen(tab, "Your backup codes", "desk-codes")
    codes = [await item.inner_text() for item in await tab.query_selector_all(".codes li")]
    assert len(set(codes)) == 10
    async with tab.expect_download() as download:
        await tab.click("text=Download")
    kept = Path(await (await download.value).path()).read_text()  # noqa: ASYNC240 - the loop has nothing else to do
    assert [line for line in kept.splitlines()[2:] if line] == codes

    await tab.click("text=I have kept them")
    await tab.wait_for_url("**/account")
    await tab.click("text=Delete account")
    await tab.wait_for_url("**/account/delete")
    await seen(tab, "Delete your account")
    await send(tab, password=SECOND, code=codes[0])
    await tab.wait_for_url("**/login?notice=deleted")
    await seen(tab, "Sign in")
