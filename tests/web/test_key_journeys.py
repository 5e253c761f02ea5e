"""A person with a key account, in a real Chromium: what they see, what works without scripts, and what leaves their browser."""

from __future__ import annotations

import asyncio
import json
import time
from base64 import b64encode, urlsafe_b64encode
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any
from urllib.parse import quote, quote_plus, unquote_to_bytes
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio
from argon2.low_level import Type, hash_secret_raw
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from playwright.async_api import Browser, BrowserContext, Page, Request

from ostiary.crypto import otp
from tests.dialects.librepass.owner import SECRET, public_hex, shared_hex
from tests.served import Served, free_port, served
from tests.services.browser import barriers, somebody
from tests.services.relay import Relay
from tests.web.visitor import PASSWORD

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

FIRST, SECOND = "Gänse & Füße 100%=5+5", "Zwölf <Boxkämpfer> jagen 'Viktor'"
PHONE = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}


@dataclass
class Traffic:
    """What left the browser, as the browser tells it, and the relay that everything goes through."""

    relay: Relay
    urls: list[str] = field(default_factory=list)
    parts: list[bytes] = field(default_factory=list)

    async def note(self, request: Request) -> None:
        headers = await request.all_headers()
        self.urls.append(request.url)
        self.parts += [request.url.encode(), json.dumps(headers, ensure_ascii=False).encode(), request.post_data_buffer or b""]

    def holds(self, secret: bytes) -> list[str]:
        """The spellings of a secret that left the browser."""
        everything = b"\0".join([*self.parts, self.relay.sent])
        seen = [everything, unquote_to_bytes(everything.replace(b"+", b" "))]
        lowered = [each.lower() for each in seen]
        return [
            name for name, text in spellings(secret) if any(text in each or text.lower() in each for each in (*seen, *lowered))
        ]


def spellings(secret: bytes) -> Iterator[tuple[str, bytes]]:
    """The ways in which a secret could be written, by name."""
    forms = {"plain": secret, "reversed": secret[::-1], "sha256": sha256(secret).digest()}
    try:
        text = secret.decode()
        forms |= {
            "utf-16le": text.encode("utf-16-le"),
            "utf-16be": text.encode("utf-16-be"),
            "latin-1": text.encode("latin-1", "replace"),
        }
        yield "percent", quote(text, safe="").encode()
        yield "form", quote_plus(text).encode()
        yield "json", json.dumps(text)[1:-1].encode()
    except UnicodeDecodeError:
        pass
    for name, form in forms.items():
        yield name, form
        yield f"{name} in hex", form.hex().encode()
        for shift in range(3):
            # What stands before it moves the letters of Base64: three places, their shared ends cut off.
            for encode in (b64encode, urlsafe_b64encode):
                yield f"{name} in Base64, {shift}", encode(bytes(shift) + form)[4 if shift else 0 : -4]


def private_key(email: str, password: str) -> bytes:
    """What every client derives (librepass-wire 5.1)."""
    return hash_secret_raw(password.encode(), email.encode(), 4, 65536, 3, 32, Type.ID)


def vault_key(key: bytes) -> bytes:
    """The vault's key (librepass-wire 5.1)."""
    owner = X25519PrivateKey.from_private_bytes(key)
    return owner.exchange(owner.public_key())


@dataclass
class Wire:
    """The same account through LibrePass's own wire."""

    url: str
    email: str
    token: str = ""
    id: str = ""

    def call(self, method: str, path: str, body: object = None) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        return httpx.request(method, f"{self.url}{path}", json=body, headers=headers, timeout=30)

    def proof(self, password: str) -> tuple[X25519PrivateKey, str]:
        key = X25519PrivateKey.from_private_bytes(private_key(self.email, password))
        there = self.call("GET", f"/api/auth/preLogin?email={quote(self.email)}").json()["serverPublicKey"]
        return key, shared_hex(key, there)

    def register(self, password: str) -> None:
        key, shared = self.proof(password)
        parameters = {"parallelism": 3, "memory": 65536, "iterations": 4}
        body = {"email": self.email, "publicKey": public_hex(key), "sharedKey": shared, **parameters}
        assert self.call("POST", "/api/auth/register", body).status_code == 201

    def login(self, password: str) -> httpx.Response:
        answer = self.call("POST", "/api/auth/oauth?grantType=login", {"email": self.email, "sharedKey": self.proof(password)[1]})
        if answer.status_code == 200:
            self.token, self.id = answer.json()["apiKey"], answer.json()["userId"]
        return answer


def fresh() -> str:
    return f"grace.{uuid4().hex[:8]}@example.org"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server as it comes, with the local mailbox."""
    with served(tmp_path_factory.mktemp("journeys")) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="session")
async def somebodys(browser: Browser) -> AsyncIterator[BrowserContext]:
    """Somebody's browser."""
    async with somebody(browser, locale="en-GB") as context:
        yield context


def register_password(url: str, email: str, password: str) -> None:
    """A password account."""
    fields = {"name": "Ada Lovelace", "email": email, "password": password, "confirm_password": password}
    assert httpx.post(f"{url}/api/auth/register", json=fields, timeout=30).status_code == 200


async def fill(page: Page, **fields: str) -> None:
    """Type into the fields with these ids (`_` for `-`), and send the form."""
    for name, value in fields.items():
        await page.fill(f"#{name.replace('_', '-')}", value)
    await page.click("button.primary")


async def sign_up(page: Page, url: str, email: str, password: str, hint: str = "") -> None:
    await page.goto(f"{url}/register/key")
    await fill(page, email=email, new_password=password, new_password_again=password, hint=hint)
    await page.wait_for_url("**/login?notice=registered")


async def sign_in(page: Page, url: str, email: str, password: str) -> None:
    await page.goto(f"{url}/login")
    await fill(page, email=email)
    await page.wait_for_url("**/login/password")
    await fill(page, password=password)


async def change(page: Page, url: str, old: str, new: str) -> None:
    await page.goto(f"{url}/account/key")
    await fill(page, password=old, new_password=new, new_password_again=new)
    await page.wait_for_url("**/login?notice=password_changed")


async def seen(page: Page) -> None:
    """Nothing on this page keeps anybody out, and it fits the screen."""
    assert not await barriers(page)
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")


async def test_neither_password_nor_key_leaves_the_browser(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> None:
    port, email = free_port(), fresh()
    async with Relay(port) as relay, somebody(browser, locale="en-GB") as context:
        url, traffic, noted = f"http://127.0.0.1:{relay.port}", Traffic(relay), list[asyncio.Future[None]]()
        context.on("request", lambda request: noted.append(asyncio.ensure_future(traffic.note(request))))
        page = await context.new_page()
        with served(tmp_path_factory.mktemp("relayed"), {"DOMAIN_CLIENT": url, "DOMAIN_SERVER": url}, port=port):
            await sign_up(page, url, email, FIRST, "a pangram")
            await sign_in(page, url, email, "Gänse & Füße, mistyped")
            await page.wait_for_selector("[role=alert]")
            await fill(page, password=FIRST)
            await page.wait_for_url("**/account")
            await change(page, url, FIRST, SECOND)
            await sign_in(page, url, email, SECOND)
            await page.wait_for_url("**/account")
            await asyncio.gather(*noted)
    # What was asked for behind the last look.
    await asyncio.gather(*noted, return_exceptions=True)

    left: dict[str, list[str]] = {}
    for name, password in {"first": FIRST, "second": SECOND, "mistyped": "Gänse & Füße, mistyped"}.items():
        key = private_key(email, password)
        secrets = {"password": password.encode(), "private key": key, "vault key": vault_key(key)}
        left |= {f"{name} {what}": traffic.holds(secret) for what, secret in secrets.items()}
    assert not any(left.values()), left
    assert all(each.startswith(f"{url}/") for each in traffic.urls)
    # What did leave is found: the address, and the key that was registered.
    public = X25519PrivateKey.from_private_bytes(private_key(email, FIRST)).public_key().public_bytes_raw()
    assert "plain" in traffic.holds(email.encode())
    assert "plain in hex" in traffic.holds(public)


async def test_a_password_that_does_leave_is_found(browser: Browser, place: Served) -> None:
    email = fresh()
    register_password(place.url, email, FIRST)
    async with Relay(int(place.url.rpartition(":")[2])) as relay, somebody(browser) as context:
        traffic, noted = Traffic(relay), list[asyncio.Future[None]]()
        context.on("request", lambda request: noted.append(asyncio.ensure_future(traffic.note(request))))
        page = await context.new_page()

        await sign_in(page, place.url, email, FIRST)
        await page.wait_for_url("**/account")
        await asyncio.gather(*noted)
    await asyncio.gather(*noted, return_exceptions=True)

    assert "form" in traffic.holds(FIRST.encode())


async def test_a_vault_is_read_with_the_new_password_after_it_was_changed_in_the_browser(
    somebodys: BrowserContext, place: Served
) -> None:
    wire, page = Wire(place.url, fresh()), await somebodys.new_page()
    wire.register(FIRST)
    wire.login(FIRST)
    nonce, contents = b"twelve bytes", b"ein Geheimnis"
    sealed = nonce + AESGCM(vault_key(private_key(wire.email, FIRST))).encrypt(nonce, contents, None)
    row = {"id": str(uuid4()), "owner": wire.id, "type": 0, "protectedData": sealed.hex(), "favorite": False, "rePrompt": False}
    assert wire.call("PUT", "/api/cipher", row).status_code == 201

    await sign_in(page, place.url, wire.email, FIRST)
    await page.wait_for_url("**/account")
    await change(page, place.url, FIRST, SECOND)

    assert wire.call("GET", "/api/cipher").status_code == 401
    assert wire.login(FIRST).status_code == 400
    wire.login(SECOND)
    stored = bytes.fromhex(wire.call("GET", "/api/cipher").json()[0]["protectedData"])
    assert AESGCM(vault_key(private_key(wire.email, SECOND))).decrypt(stored[:12], stored[12:], None) == contents


async def test_a_vault_that_another_password_sealed_is_left_as_it_is(somebodys: BrowserContext, place: Served) -> None:
    wire, page = Wire(place.url, fresh()), await somebodys.new_page()
    wire.register(FIRST)
    wire.login(FIRST)
    row = {"id": str(uuid4()), "owner": wire.id, "type": 0, "protectedData": "00" * 40, "favorite": False, "rePrompt": False}
    assert wire.call("PUT", "/api/cipher", row).status_code == 201
    await sign_in(page, place.url, wire.email, FIRST)
    await page.wait_for_url("**/account")

    await page.goto(f"{place.url}/account/key")
    await fill(page, password=FIRST, new_password=SECOND, new_password_again=SECOND)
    await page.wait_for_selector("#key-note.bad")

    assert "cannot be opened" in await page.inner_text("#key-note")
    assert wire.call("GET", "/api/cipher").json()[0]["protectedData"] == "00" * 40
    await seen(page)


async def test_a_code_is_asked_for_behind_a_key(somebodys: BrowserContext, place: Served) -> None:
    wire, page = Wire(place.url, fresh()), await somebodys.new_page()
    wire.register(FIRST)
    wire.login(FIRST)
    secret, step = otp.decode_secret(SECRET), int(time.time()) // 30
    assert secret
    set_up = {"sharedKey": wire.proof(FIRST)[1], "secret": SECRET, "code": otp.code_at(secret, step - 1)}
    recovery = wire.call("POST", "/api/user/setup/2fa", set_up).json()["recoveryCode"]

    await sign_in(page, place.url, wire.email, FIRST)
    await page.wait_for_url("**/login/2fa")
    await fill(page, code=otp.code_at(secret, int(time.time()) // 30 + 1))
    await page.wait_for_url("**/account")
    await page.context.clear_cookies()
    await sign_in(page, place.url, wire.email, FIRST)
    await page.wait_for_url("**/login/2fa")
    await page.goto(f"{place.url}/login/2fa?way=backup")
    await fill(page, code=recovery)

    await page.wait_for_url("**/account")


async def test_a_wrong_password_and_an_address_of_nobody_read_alike(somebodys: BrowserContext, place: Served) -> None:
    page, email = await somebodys.new_page(), fresh()
    await sign_up(page, place.url, email, FIRST)
    shown = []

    for who in (email, fresh()):
        await page.goto(f"{place.url}/login/key")
        await fill(page, email=who, password=SECOND)
        await page.wait_for_selector("[role=alert]")
        await page.wait_for_selector("button[aria-pressed]")  # what the page's script adds is part of what is read
        shown.append((await page.inner_text("main")).replace(who, ""))

    assert shown[0] == shown[1]
    assert "That does not match." in shown[0]
    assert await page.input_value("#password") == ""


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"new_password": FIRST, "new_password_again": SECOND}, "The two passwords are not the same."),
        (
            {"new_password": FIRST, "new_password_again": FIRST, "hint": f"it is {FIRST.replace('Gänse', 'GÄNSE')}!"},
            "The hint contains the password.",
        ),
    ],
)
async def test_what_cannot_be_right_is_said_before_anything_is_sent(
    somebodys: BrowserContext, place: Served, fields: dict[str, str], text: str
) -> None:
    page = await somebodys.new_page()
    await page.goto(f"{place.url}/register/key")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.method))

    await fill(page, email=fresh(), **fields)
    await page.wait_for_selector("#key-note.bad")

    assert text in await page.inner_text("#key-note")
    assert "POST" not in asked
    await seen(page)


async def test_where_key_accounts_were_used_a_password_is_sent_for_an_unknown_address_only_when_told_to(
    somebodys: BrowserContext, place: Served
) -> None:
    page, email = await somebodys.new_page(), fresh()
    register_password(place.url, email, PASSWORD)
    await sign_up(page, place.url, fresh(), FIRST)

    await sign_in(page, place.url, email, PASSWORD)

    assert page.url.endswith("/login/password")
    assert await page.is_visible("#agree:invalid")
    await seen(page)
    await page.check("#agree")
    await page.click("button.primary")
    await page.wait_for_url("**/account")


async def test_without_scripts_password_accounts_work_and_key_accounts_are_told_why_not(browser: Browser, place: Served) -> None:
    theirs, keys = fresh(), Wire(place.url, fresh())
    register_password(place.url, theirs, PASSWORD)
    keys.register(FIRST)
    async with somebody(browser, locale="en-GB", java_script_enabled=False) as context:
        page = await context.new_page()

        await sign_in(page, place.url, theirs, PASSWORD)
        await page.wait_for_url("**/account")
        await page.context.clear_cookies()
        await page.goto(f"{place.url}/login")
        await fill(page, email=keys.email)
        told = await page.inner_text("noscript, main")
        sent: list[str] = []
        page.on("request", lambda request: sent.append(request.post_data or ""))
        await fill(page, password=FIRST)
        await page.wait_for_selector("h1:has-text('JavaScript')")

    assert "switch JavaScript on" in told
    assert [each.partition("&email=")[2] for each in sent if each] == [quote_plus(keys.email)]


@pytest.mark.parametrize("language", ["en-GB", "de-DE"])
@pytest.mark.parametrize("look", [{}, {**PHONE, "color_scheme": "dark"}], ids=["desk", "phone, dark"])
async def test_every_page_of_key_accounts_is_open_to_everybody(
    browser: Browser, place: Served, language: str, look: dict[str, Any]
) -> None:
    email = fresh()
    async with somebody(browser, locale=language, **look) as context:
        page = await context.new_page()

        await page.goto(f"{place.url}/register/key")
        await seen(page)
        await sign_up(page, place.url, email, FIRST)
        for path in ("/login", "/login/key", "/password-hint"):
            await page.goto(place.url + path)
            await seen(page)
        await sign_in(page, place.url, email, SECOND)
        await page.wait_for_selector("[role=alert]")
        await seen(page)
        await fill(page, password=FIRST)
        await page.wait_for_url("**/account")
        await page.goto(f"{place.url}/account/key")
        await seen(page)
