"""A person with a key account, in a real Chromium: what they see, what works without scripts, and what leaves their browser."""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode, urlsafe_b64encode
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from urllib.parse import quote, quote_plus, unquote_to_bytes
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio
from argon2.low_level import Type, hash_secret_raw
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from playwright.async_api import Browser, BrowserContext, Page, Request

from tests.dialects.librepass.owner import DEFAULTS, public_hex, shared_hex
from tests.house import text_of
from tests.served import free_port
from tests.services.browser import barriers, somebody
from tests.services.relay import Relay
from tests.web.tab import BUTTON, PHONE, Place, come, enrol, fill, fits, follow, heading, open_place, seen, send
from tests.web.visitor import PASSWORD

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

FIRST, SECOND, MISTYPED = "Gänse & Füße 100%=5+5", "Zwölf <Boxkämpfer> jagen 'Viktor'", "Gänse & Füße, mistyped"
CHEAPEST = {"parallelism": 1, "memory": 20480, "iterations": 1}
"""How keys are made for who signs up by the wire here: the least that a browser agrees to, where the cost is not the point."""


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


def private_key(email: str, password: str, parameters: dict[str, int] = DEFAULTS) -> bytes:
    """What every client derives (librepass-wire 5.1)."""
    passes, memory, lanes = (parameters[name] for name in ("iterations", "memory", "parallelism"))
    return hash_secret_raw(password.encode(), email.encode(), passes, memory, lanes, 32, Type.ID)


def vault_key(key: bytes) -> bytes:
    """The vault's key (librepass-wire 5.1)."""
    owner = X25519PrivateKey.from_private_bytes(key)
    return owner.exchange(owner.public_key())


@dataclass
class Wire:
    """The same account through LibrePass's own wire."""

    place: Place
    email: str
    token: str = ""
    id: str = ""
    parameters: dict[str, int] = field(default_factory=lambda: CHEAPEST)

    def call(self, method: str, path: str, body: object = None) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        # Not by the relay: that one lives in this thread, which waits here.
        return httpx.request(method, f"{self.place.served.url}{path}", json=body, headers=headers, timeout=60)

    def key(self, password: str) -> X25519PrivateKey:
        return X25519PrivateKey.from_private_bytes(private_key(self.email, password, self.parameters))

    def proof(self, password: str) -> str:
        there = self.call("GET", f"/api/auth/preLogin?email={quote(self.email)}").json()["serverPublicKey"]
        return shared_hex(self.key(password), there)

    async def register(self, password: str) -> None:
        """And open the link in the mail, as its reader does."""
        body = {"email": self.email, "publicKey": public_hex(self.key(password)), "sharedKey": self.proof(password)}
        assert self.call("POST", "/api/auth/register", {**body, **self.parameters}).status_code == 201
        link = httpx.URL(await self.place.link(self.email, "Activate"))
        assert self.call("GET", link.raw_path.decode()).status_code == 302

    def login(self, password: str) -> httpx.Response:
        answer = self.call("POST", "/api/auth/oauth?grantType=login", {"email": self.email, "sharedKey": self.proof(password)})
        if answer.status_code == 200:
            self.token, self.id = answer.json()["apiKey"], answer.json()["userId"]
        return answer

    def keep(self, data: str) -> None:
        """An entry of the vault."""
        row = {"id": str(uuid4()), "owner": self.id, "type": 0, "protectedData": data, "favorite": False, "rePrompt": False}
        assert self.call("PUT", "/api/cipher", row).status_code == 201

    def kept(self) -> str:
        """What the one entry holds now."""
        return str(self.call("GET", "/api/cipher").json()[0]["protectedData"])


def fresh() -> str:
    return f"grace.{uuid4().hex[:8]}@example.org"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def relay() -> AsyncIterator[Relay]:
    """What browsers come by: it keeps every byte that they send."""
    async with Relay(free_port()) as started:
        yield started


@pytest.fixture(scope="module")
def place(relay: Relay, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A server behind the relay, whose mail goes to a mail server."""
    url = f"http://127.0.0.1:{relay.port}"
    with open_place(tmp_path_factory.mktemp("keys"), url=url, port=relay.target) as opened:
        yield opened


@pytest_asyncio.fixture(loop_scope="session")
async def page(browser: Browser) -> AsyncIterator[Page]:
    """A tab of somebody's browser."""
    async with somebody(browser, locale="en-GB") as context:
        yield await context.new_page()


@asynccontextmanager
async def watched(context: BrowserContext, relay: Relay) -> AsyncIterator[Traffic]:
    """Everything that leaves this browser, until the end of the block."""
    relay.sent = b""
    traffic, noted = Traffic(relay), list[asyncio.Future[None]]()
    context.on("request", lambda request: noted.append(asyncio.ensure_future(traffic.note(request))))
    yield traffic
    await asyncio.gather(*noted, return_exceptions=True)


async def change(page: Page, place: Place, old: str, new: str) -> None:
    await page.goto(f"{place.url}/account/key")
    await send(page, password=old, new_password=new, new_password_again=new)
    assert page.url.endswith("/login?notice=password_changed")


async def test_a_key_accounts_life_in_which_neither_password_nor_key_leaves_the_browser(
    page: Page, place: Place, relay: Relay
) -> None:
    email = fresh()
    async with watched(page.context, relay) as traffic:
        await sign_up_with_hint(page, place, email)
        await read_the_hint(page, place, email)
        await come(page, place.url, email, MISTYPED)
        assert await page.is_visible("[role=alert]")
        await send(page, password=FIRST)
        assert page.url.endswith("/account")
        app, codes = await enrol(page)
        await change(page, place, FIRST, SECOND)
        await come(page, place.url, email, SECOND)
        assert page.url.endswith("/login/2fa")
        await send(page, code=app.code())
        assert page.url.endswith("/account")
        await page.context.clear_cookies()
        await come(page, place.url, email, SECOND)
        await follow(page, "Use a backup code")
        await send(page, code=codes[0])
        assert page.url.endswith("/account")

    left: dict[str, list[str]] = {}
    for name, password in {"first": FIRST, "second": SECOND, "mistyped": MISTYPED}.items():
        key = private_key(email, password)
        secrets = {"password": password.encode(), "private key": key, "vault key": vault_key(key)}
        left |= {f"{name} {what}": traffic.holds(secret) for what, secret in secrets.items()}
    assert not any(left.values()), left
    assert all(each.startswith(f"{place.url}/") for each in traffic.urls)
    # What did leave is found: the address, and the key that was registered.
    public = X25519PrivateKey.from_private_bytes(private_key(email, FIRST)).public_key().public_bytes_raw()
    assert "plain" in traffic.holds(email.encode())
    assert "plain in hex" in traffic.holds(public)


async def sign_up_with_hint(page: Page, place: Place, email: str) -> None:
    """From the form over the mail to the sign-in page."""
    await page.goto(f"{place.url}/register/key")
    await seen(page, "A password that stays with you", "desk-key-register")
    await send(page, email=email, new_password=FIRST, new_password_again=FIRST, hint="a pangram")
    await seen(page, "Check your mail")
    await page.goto(await place.link(email, "Activate"))
    await seen(page, "Confirm your address")
    await send(page)
    assert page.url.endswith("/login?notice=verified")


async def read_the_hint(page: Page, place: Place, email: str) -> None:
    """By the page where it is asked for."""
    await page.goto(f"{place.url}/login/key")
    await follow(page, "Forgot your password?")
    await seen(page, "Password hint")
    await send(page, email=email)
    await seen(page, "Check your mail")
    assert "a pangram" in text_of(await place.mail.wait_for(email, "hint"))


async def test_a_password_that_does_leave_is_found(page: Page, place: Place, relay: Relay) -> None:
    email = fresh()
    await place.register(email, FIRST)
    async with watched(page.context, relay) as traffic:
        await come(page, place.url, email, FIRST)
        assert page.url.endswith("/account")

    assert "form" in traffic.holds(FIRST.encode())


async def test_a_vault_is_read_with_the_new_password_after_it_was_changed_in_the_browser(page: Page, place: Place) -> None:
    wire = Wire(place, fresh())
    await wire.register(FIRST)
    wire.login(FIRST)
    nonce, contents = b"twelve bytes", b"ein Geheimnis"
    sealing = AESGCM(vault_key(private_key(wire.email, FIRST, CHEAPEST)))
    wire.keep((nonce + sealing.encrypt(nonce, contents, None)).hex())

    await come(page, place.url, wire.email, FIRST)
    await change(page, place, FIRST, SECOND)

    assert wire.call("GET", "/api/cipher").status_code == 401
    assert wire.login(FIRST).status_code == 400
    wire.parameters = DEFAULTS
    wire.login(SECOND)
    stored = bytes.fromhex(wire.kept())
    assert AESGCM(vault_key(private_key(wire.email, SECOND))).decrypt(stored[:12], stored[12:], None) == contents


async def test_a_vault_that_another_password_sealed_is_left_as_it_is(page: Page, place: Place) -> None:
    wire = Wire(place, fresh())
    await wire.register(FIRST)
    wire.login(FIRST)
    wire.keep("00" * 40)
    await come(page, place.url, wire.email, FIRST)

    await page.goto(f"{place.url}/account/key")
    await fill(page, password=FIRST, new_password=SECOND, new_password_again=SECOND)
    await page.click(BUTTON)
    await page.wait_for_selector("#key-note.bad")

    assert "cannot be opened" in await page.inner_text("#key-note")
    assert wire.kept() == "00" * 40
    await seen(page, "Change your password")


async def test_a_wrong_password_and_an_address_of_nobody_read_alike(page: Page, place: Place) -> None:
    wire, shown = Wire(place, fresh()), list[str]()
    await wire.register(FIRST)

    for who in (wire.email, fresh()):
        await page.goto(f"{place.url}/login/key")
        await send(page, email=who, password=SECOND)
        shown.append((await page.inner_text("main")).replace(who, ""))

    assert shown[0] == shown[1]
    assert "That does not match." in shown[0]
    assert await page.input_value("#password") == ""


async def test_what_cannot_be_right_is_said_before_anything_is_sent(page: Page, place: Place) -> None:
    await page.goto(f"{place.url}/register/key")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.method))
    giving_it_away = f"it is {FIRST.replace('Gänse', 'GÄNSE')}!"

    for again, hint, text in (
        (SECOND, "", "The two passwords are not the same."),
        (FIRST, giving_it_away, "The hint contains the password."),
    ):
        await fill(page, email=fresh(), new_password=FIRST, new_password_again=again, hint=hint)
        await page.click(BUTTON)
        await page.wait_for_selector(f"#key-note.bad:has-text('{text}')")
        await seen(page, "A password that stays with you")

    assert "POST" not in asked


async def test_where_key_accounts_were_used_a_password_is_sent_for_an_unknown_address_only_when_told_to(
    page: Page, place: Place
) -> None:
    wire, email = Wire(place, fresh()), fresh()
    await wire.register(FIRST)
    await place.register(email, PASSWORD)
    await come(page, place.url, wire.email, FIRST)
    await follow(page, "Sign out")

    await send(page, email=email)
    await fill(page, password=PASSWORD)
    await page.click(BUTTON)

    # The browser itself asks for the tick, and keeps the form.
    await page.wait_for_selector("#agree:focus:invalid")
    await seen(page, "Sign in")
    await page.check("#agree")
    await send(page)
    assert page.url.endswith("/account")


async def test_without_scripts_password_accounts_work_and_key_accounts_are_told_why_not(browser: Browser, place: Place) -> None:
    theirs, keys = fresh(), Wire(place, fresh())
    await place.register(theirs, PASSWORD)
    await keys.register(FIRST)
    async with somebody(browser, locale="en-GB", java_script_enabled=False) as context:
        page = await context.new_page()

        await come(page, place.url, theirs, PASSWORD)
        assert page.url.endswith("/account")
        await page.context.clear_cookies()
        await page.goto(f"{place.url}/login")
        await send(page, email=keys.email)
        told = await page.inner_text("noscript, main")
        sent: list[str] = []
        page.on("request", lambda request: sent.append(request.post_data or ""))
        await send(page, password=FIRST)
        title = heading(await page.title())

    assert "switch JavaScript on" in told
    assert title == "JavaScript is needed for this"
    assert [each.partition("&email=")[2] for each in sent if each] == [quote_plus(keys.email)]


async def test_every_page_of_key_accounts_is_open_to_everybody(browser: Browser, place: Place) -> None:
    """On a desk and on a phone at night, in both languages: each page is gone through once, and looked at four times."""
    wire = Wire(place, fresh())
    await wire.register(FIRST)
    async with somebody(browser, **PHONE) as context:
        page = await context.new_page()
        for path in ("/register/key", "/login", "/login/key", "/password-hint"):
            await looked_at(page, f"{place.url}{path}")
        await come(page, place.url, wire.email, SECOND)
        assert not await barriers(page)
        await send(page, password=FIRST)
        await looked_at(page, f"{place.url}/account/key")


async def looked_at(page: Page, url: str) -> None:
    """Nothing on this page keeps anybody out of it, by day or by night, and it fits every screen in every language."""
    for language, colours in (("en", "light"), ("de", "dark")):
        await page.emulate_media(color_scheme="dark" if colours == "dark" else "light")
        await page.goto(f"{url}?lang={language}")
        for width, height in ((1280, 720), (360, 740)):
            await page.set_viewport_size({"width": width, "height": height})
            assert await fits(page)
        assert not await barriers(page)
