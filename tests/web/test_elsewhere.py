"""Signing in with what others know, walked in a real Chromium: a directory (OpenLDAP), and an identity provider by SAML."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page

from tests.federation.saml_desk import variables
from tests.federation.saml_forge import AUDIENCE, signer
from tests.federation.test_saml_sign_in import NAMES
from tests.services.browser import somebody
from tests.services.saml import SamlIdp
from tests.services.slapd import SlapdServer
from tests.web.tab import DESK, Place, enrol, follow, open_place, seen, send

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

RIGHT, WRONG = "right horse", "wrong horse"


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """Ostiary, and those whom it believes."""

    place: Place
    directory: SlapdServer
    provider: SamlIdp

    @property
    def url(self) -> str:
        return self.place.url

    async def ban(self, email: str) -> None:
        """As an operator does."""
        await self.place.operate("ban", "add", email, "--for", "2h", "--reason", "test")


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Elsewhere]:
    with SlapdServer() as directory, SamlIdp(signer().key_pem, signer().pem) as provider:
        # By another name than ours: what it sends back comes from another site.
        saml = variables(SAML_ENTRY_POINT=f"http://localhost:{provider.port}/sso", **NAMES)
        with open_place(tmp_path_factory.mktemp("elsewhere"), {**directory.settings(), **saml}) as place:
            yield Elsewhere(place, directory, provider)


@pytest_asyncio.fixture(loop_scope="session")
async def tab(browser: Browser, elsewhere: Elsewhere) -> AsyncIterator[Page]:
    """A tab that shows the sign-in page."""
    async with somebody(browser, **DESK) as context:
        page = await context.new_page()
        await page.goto(f"{elsewhere.url}/login")
        yield page


async def test_a_directorys_name_and_password_let_somebody_in_and_a_code_is_asked_for_behind_them(
    tab: Page, elsewhere: Elsewhere
) -> None:
    name = elsewhere.directory.add_person()

    await seen(tab, "Sign in", "desk-elsewhere")
    assert "User name or email" in await tab.inner_text("main")
    await send(tab, email=name, password=WRONG)
    assert "That does not match." in await tab.inner_text("[role=alert]")
    await send(tab, email=name, password=RIGHT)
    await seen(tab, "Your account")
    assert f"{name}@example.org" in await tab.inner_text("main")
    assert not await tab.is_visible("text=Change password")
    app, _ = await enrol(tab)
    await follow(tab, "I have kept them")
    await follow(tab, "Sign out")
    await send(tab, email=name, password=RIGHT)
    await seen(tab, "One more step")
    await send(tab, code=app.wrong())
    assert "does not fit" in await tab.inner_text("[role=alert]")
    await send(tab, code=app.code())
    assert tab.url.endswith("/account")

    await elsewhere.ban(f"{name}@example.org")
    await tab.goto(f"{elsewhere.url}/login")
    await send(tab, email=name, password=RIGHT)
    await seen(tab, "This account is shut out for now")
    assert "in 120 minutes" in await tab.inner_text("main")


async def test_a_provider_lets_somebody_in_by_saml_and_a_code_is_asked_for_behind_it(tab: Page, elsewhere: Elsewhere) -> None:
    # The provider's own page posts itself here: two documents, of which the second counts.
    await tab.click("text=Continue with SAML")
    await tab.wait_for_url(f"{elsewhere.url}/account")
    await seen(tab, "Your account")
    assert "ada@example.org" in await tab.inner_text("main")
    _, codes = await enrol(tab)
    await follow(tab, "I have kept them")
    await follow(tab, "Sign out")
    await tab.click("text=Continue with SAML")
    await tab.wait_for_url(f"{elsewhere.url}/login/2fa")
    await follow(tab, "Use a backup code")
    await send(tab, code=codes[0])
    assert tab.url.endswith("/account")

    await elsewhere.ban("ada@example.org")
    await tab.goto(f"{elsewhere.url}/login")
    await tab.click("text=Continue with SAML")
    await tab.wait_for_url(f"{elsewhere.url}/oauth/saml/callback")
    await seen(tab, "This account is shut out for now")
    assert "in 120 minutes" in await tab.inner_text("main")


async def test_what_a_provider_sends_unasked_is_refused_in_words(tab: Page, elsewhere: Elsewhere) -> None:
    there = f"{elsewhere.provider.url}/unsolicited?to={elsewhere.url}/oauth/saml/callback&audience={AUDIENCE}"

    async with tab.expect_navigation(url="**/login?redirect=false&error=auth_failed"):
        await tab.goto(there, wait_until="commit")

    await seen(tab, "Sign in")
    assert "Nothing has changed" in await tab.inner_text("[role=alert]")
