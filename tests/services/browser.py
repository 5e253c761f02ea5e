"""Debian's Chromium, driven by Playwright: a browser that reaches this machine and nothing else.

It is the build without windows (`chromium-headless-shell`): the same engine, at half the cost of a browser that draws its own bars.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.async_api import Browser, BrowserContext, Page, Request, Route, async_playwright

from tests.services import ServiceError

LOOPBACK = re.compile(r"127\.\d+\.\d+\.\d+|::1|([\w-]+\.)*localhost")
NODE_MODULES = Path(__file__).parent.parent / "node" / "node_modules"
# On a busy machine a page may take its time; one that never comes still ends the test.
PATIENCE_MILLISECONDS = 60_000
ARGUMENTS = [
    # The kernel's sandbox is not to be had for root, nor in most containers; only our own pages are opened.
    "--no-sandbox",
    "--disable-dev-shm-usage",
    # What the browser asks for on its own account passes no route of Playwright's: to it, the world has no names.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost, EXCLUDE *.localhost",
]


@asynccontextmanager
async def running_browser() -> AsyncIterator[Browser]:
    """One Chromium without a window."""
    program = shutil.which("chromium-headless-shell")
    if program is None:
        text = "chromium-headless-shell is missing: `make test` installs it"
        raise ServiceError(text)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=program,
            args=ARGUMENTS,
            env={"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), "LC_ALL": "C.UTF-8"},
            timeout=PATIENCE_MILLISECONDS,
        )
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def somebody(browser: Browser, **options: Any) -> AsyncIterator[BrowserContext]:
    """Somebody's browser: cookies of their own. At the end it fails if a page wanted anything from outside this machine.

    `options` are those of Playwright's `new_context`, such as `java_script_enabled=False`.
    """
    outside: list[str] = []

    def note(request: Request) -> None:
        # A redirect's next step is not offered to a route: the resolver's rules stop it, and it is noted here.
        if is_outside(request.url):
            outside.append(request.url)

    async def refuse(route: Route) -> None:
        await route.abort()

    context = await browser.new_context(**options)
    try:
        context.set_default_timeout(PATIENCE_MILLISECONDS)
        context.on("request", note)
        await context.route(is_outside, refuse)
        yield context
    finally:
        await context.close()
    assert not outside, f"the browser was sent outside: {outside}"


def is_outside(url: str) -> bool:
    """Whether asking for it would leave this machine."""
    parts = urlsplit(url)
    return parts.scheme in {"http", "https", "ws", "wss"} and not LOOPBACK.fullmatch(parts.hostname or "")


@asynccontextmanager
async def turned(page: Page) -> AsyncIterator[None]:
    """What is done inside leads to another document; at the end that one is there, and its scripts have run.

    An address does not tell: a form that comes back with a complaint has the address that it was sent from. The browser does: a
    document is loaded once its modules have run (HTML, "the end").
    """
    async with page.expect_navigation():
        yield


@lru_cache
def _axe() -> str:
    return (NODE_MODULES / "axe-core" / "axe.min.js").read_text()


async def barriers(page: Page) -> list[str]:
    """What keeps people out of this page, in axe's words, each with the elements it means: nothing, if all is well."""
    run = 'axe.run({ resultTypes: ["violations"] }).then(({ violations }) => violations)'
    # By the debugger's protocol itself: the page's own content policy need not allow it, and it is read but once.
    debugger = await page.context.new_cdp_session(page)
    wanted = {"expression": f"{_axe()};\n{run}", "awaitPromise": True, "returnByValue": True}
    told = await debugger.send("Runtime.evaluate", wanted)
    await debugger.detach()
    assert "exceptionDetails" not in told, told["exceptionDetails"]
    found: list[dict[str, Any]] = told["result"]["value"]
    return [f"{each['id']}: {each['help']} {[node['target'] for node in each['nodes']]}" for each in found]
