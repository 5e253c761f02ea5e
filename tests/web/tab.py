"""A tab of a real Chromium, and what people do in it. `PICTURES=<folder>` keeps what it shows on the way (`make pictures`).

Whoever sends a form with `send` has the next page in front of them, with its scripts run: nothing here waits for an address alone.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from playwright.async_api import Page

from ostiary.crypto import otp
from tests.house import text_of
from tests.served import Served, free_port, served
from tests.services.browser import barriers, turned
from tests.services.smtp import MailServer

PICTURES = os.environ.get("PICTURES")
DESK: dict[str, Any] = {"viewport": {"width": 1080, "height": 760}, "locale": "en-GB"}
PHONE: dict[str, Any] = {"viewport": {"width": 360, "height": 740}, "is_mobile": True, "has_touch": True}
BUTTON = "main form button:not([type=button])"
TALL = 1180


@dataclass(frozen=True, slots=True)
class Place:
    """Where Ostiary answers, and where its mail goes. `url` is what a browser knows it by."""

    served: Served
    mail: MailServer
    url: str
    variables: Mapping[str, str] = field(default_factory=dict)

    async def operate(self, *arguments: str) -> str:
        """What `ostiary` answers to the operator, on the same machine and with the same settings."""
        program = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "ostiary", *arguments),
            env={"PATH": os.environ["PATH"], **self.variables, "OSTIARY_DATA": str(self.served.data)},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said, _ = await program.communicate()
        assert program.returncode == 0, said
        return said.decode()

    async def link(self, recipient: str, about: str) -> str:
        """The link in the mail."""
        mail = await self.mail.wait_for(recipient, about)
        return str(re.findall(r"https?://\S+", text_of(mail))[0])

    async def register(self, email: str, password: str) -> None:
        """A password account with a confirmed address, by the wire."""
        fields = {"name": "Ada Lovelace", "email": email, "password": password, "confirm_password": password}
        async with httpx.AsyncClient(base_url=self.served.url, timeout=60) as client:
            assert (await client.post("/api/auth/register", json=fields)).status_code == 200
            query = httpx.URL(await self.link(email, "Verify")).params
            assert (await client.post("/api/user/verify", json=dict(query))).status_code == 200


@contextmanager
def open_place(folder: Path, environment: Mapping[str, str] | None = None, *, url: str = "", port: int = 0) -> Iterator[Place]:
    """A served Ostiary with a mail server. With `url` browsers come by another address than `port`."""
    port = port or free_port()
    own = {"DOMAIN_CLIENT": url, "DOMAIN_SERVER": url} if url else {}
    with MailServer() as mail:
        smtp = {"EMAIL_HOST": "127.0.0.1", "EMAIL_PORT": str(mail.port), "EMAIL_ENCRYPTION": "none"}
        variables = {**smtp, "EMAIL_FROM": "ostiary@example.org", "APP_TITLE": "Northlight", **own, **(environment or {})}
        with served(folder, variables, port=port) as started:
            yield Place(started, mail, url or started.url, {"PORT": str(port), **variables})


class App:
    """An authenticator app, by this machine's clock. Two codes can be had at once: the next step's is good as well."""

    def __init__(self, secret: str) -> None:
        raw = otp.decode_secret(secret)
        assert raw is not None
        self._raw = raw
        self._last = 0

    def code(self) -> str:
        """One that was not given out before."""
        self._last = max(int(time.time()) // otp.STEP_SECONDS, self._last + 1)
        return otp.code_at(self._raw, self._last)

    def wrong(self) -> str:
        """Six digits that are no code, now or soon."""
        now = int(time.time()) // otp.STEP_SECONDS
        near = {otp.code_at(self._raw, now + step) for step in range(-3, 20)}
        return next(code for number in range(30) if (code := f"{number:06d}") not in near)


def heading(title: str) -> str:
    """A title without the name of the place."""
    return title.partition(" · ")[0]


async def seen(page: Page, title: str, picture: str = "") -> None:
    """This page is here, nothing keeps anybody out of it, and it fits the screen."""
    assert heading(await page.title()) == title
    assert await barriers(page) == []
    assert await fits(page)
    if PICTURES and picture:
        await photographed(page, Path(PICTURES) / picture)


async def photographed(page: Page, path: Path) -> None:
    """By day and by night, as far down as a tall screen shows it: `<path>.png`, `<path>-dark.png`."""
    before = page.viewport_size
    assert before is not None
    height = int(await page.evaluate("document.documentElement.scrollHeight"))
    await page.set_viewport_size({"width": before["width"], "height": min(height, TALL)})
    is_night = await page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    for colours, name in (("light", f"{path.name}.png"), ("dark", f"{path.name}-dark.png")):
        await page.emulate_media(color_scheme="dark" if colours == "dark" else "light")
        await page.screenshot(path=path.with_name(name), animations="disabled", caret="hide")
    await page.emulate_media(color_scheme="dark" if is_night else "light")
    await page.set_viewport_size(before)


async def fits(page: Page) -> bool:
    """Whether nobody has to scroll sideways."""
    return bool(await page.evaluate("document.documentElement.scrollWidth <= innerWidth"))


async def fill(page: Page, **fields: str) -> None:
    """Type into the fields with these ids, `_` for `-`."""
    for name, value in fields.items():
        await page.fill(f"#{name.replace('_', '-')}", value)


async def send(page: Page, **fields: str) -> None:
    """Fill in the form, press its button, and have what comes of it."""
    await fill(page, **fields)
    async with turned(page):
        await page.click(BUTTON)


async def follow(page: Page, text: str) -> None:
    """Press the link or the button with this text, and have what is behind it."""
    async with turned(page):
        await page.click(f"text={text}")


async def enter(page: Page, email: str, password: str) -> None:
    """From the sign-in page: the address first, then the password."""
    await send(page, email=email)
    await send(page, password=password)


async def come(page: Page, url: str, email: str, password: str) -> None:
    """To the sign-in page, and through it."""
    await page.goto(f"{url}/login")
    await enter(page, email, password)


async def enrol(page: Page, *pictures: str) -> tuple[App, list[str]]:
    """Switch the second factor on from the account page: the app, and the codes that are shown once."""
    first, second = pictures or ("", "")
    await follow(page, "Set up two-step sign-in")
    await seen(page, "Set up two-step sign-in", first)
    app = App(await page.inner_text("code"))
    await send(page, code=app.code())
    await seen(page, "Your backup codes", second)
    codes = [await item.inner_text() for item in await page.query_selector_all(".codes li")]
    assert len(set(codes)) == len(codes) > 0
    return app, codes
