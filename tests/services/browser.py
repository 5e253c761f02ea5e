"""Debian's Chromium, driven by Playwright: a browser that reaches this machine and nothing else."""

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
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        text = "chromium is missing: `make test` installs it"
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


@lru_cache
def _axe() -> str:
    return (NODE_MODULES / "axe-core" / "axe.min.js").read_text()


async def barriers(page: Page) -> list[str]:
    """What keeps people out of this page, in axe's words, each with the elements it means: nothing, if all is well."""
    # Run by the debugger's protocol, so that the page's own content policy need not allow it.
    await page.evaluate(f"() => {{ {_axe()} }}")
    found = await page.evaluate("() => axe.run()")
    return [f"{each['id']}: {each['help']} {[node['target'] for node in each['nodes']]}" for each in found["violations"]]
