"""The browser of the tests is a real one, and cannot leave this machine."""

from __future__ import annotations

import pytest
from playwright.async_api import Browser, Page
from playwright.async_api import Error as BrowserError

from tests.services.browser import barriers, is_outside, somebody

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


async def test_it_runs_scripts_and_meets_axe(page: Page) -> None:
    await page.set_content("<html lang=en><title>t</title><main><h1>hi</h1><img src='data:,'></main>")

    assert [each.split(":")[0] for each in await barriers(page)] == ["image-alt"]


@pytest.mark.parametrize("url", ["https://example.org/", "http://93.184.216.34/", "http://127.0.0.1.example.org/"])
async def test_a_page_that_wants_something_from_outside_fails_the_test(browser: Browser, url: str) -> None:
    async def visit() -> None:
        async with somebody(browser) as context:
            opened = await context.new_page()
            with pytest.raises(BrowserError):
                await opened.goto(url)

    with pytest.raises(AssertionError, match="outside"):
        await visit()


async def test_only_loopback_is_inside() -> None:
    assert not any(
        map(is_outside, ["http://127.0.0.1:1/", "http://[::1]:2/", "https://id.localhost:3/", "data:,", "about:blank"])
    )
    assert all(map(is_outside, ["http://1.1.1.1:127/", "http://localhost.org", "ws://x.example/", "http://127.0.0.1@x.org/"]))
