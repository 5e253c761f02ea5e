"""An OpenID provider of our own on loopback that does as it is told: right by default, wrong in whatever way a test asks."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

import httpx
from joserfc import jws
from joserfc.jwk import OKPKey, RSAKey

from ostiary.identity import audit
from tests.house import ORIGIN, Clock, House

CLIENT_ID = "ostiary"
CLIENT_SECRET = "the secret of the client"
Answer = tuple[int, dict[str, str], bytes]
Claims = dict[str, Any]


@lru_cache
def rsa_key(number: int) -> RSAKey:
    """Making one takes a while: the tests share these."""
    return RSAKey.generate_key(2048, {"kid": f"key-{number}", "use": "sig", "alg": "RS256"}, private=True)


def signed(claims: Claims, key: RSAKey, *, kid: str | None = "", alg: str = "RS256") -> str:
    """A JWT. `kid` is the key's own unless given; None leaves it out."""
    header: dict[str, Any] = {"alg": alg, "typ": "JWT"}
    if kid is not None:
        header["kid"] = kid or key.kid
    return jws.serialize_compact(header, json.dumps(claims).encode(), key, algorithms=[alg])


@dataclass(frozen=True, slots=True)
class Asked:
    """One request as it came in."""

    method: str
    path: str
    parameters: dict[str, str]
    headers: dict[str, str]


@dataclass(slots=True)
class Provider:
    """Set a field to make it misbehave."""

    clock: Clock
    issuer: str = ""
    keys: list[RSAKey | OKPKey] = field(default_factory=lambda: [rsa_key(1)])
    person: Claims = field(
        default_factory=lambda: {
            "sub": "ada",
            "email": "ada@example.org",
            "email_verified": True,
            "given_name": "Ada",
            "family_name": "Lovelace",
            "preferred_username": "ada",
            # Nobody is asked for it: an address inside the network is refused unseen.
            "picture": "https://127.0.0.1:9/ada.png",
        }
    )
    discovery: Claims = field(default_factory=dict)
    """Laid over the discovery document; None as a value takes a member away."""
    twist: Callable[[Claims], None] = lambda _claims: None
    """Changes the claims of an ID token before it is signed."""
    sign: Callable[[Claims], str] | None = None
    """Signs in place of the first key."""
    digest: str = "sha256"
    """What `at_hash` is half of."""
    userinfo: Claims | None = None
    """Answered in place of the person."""
    token_extra: Claims = field(default_factory=dict)
    refreshing: bool = False
    """Whether it gives refresh tokens: each works once, and one that comes again ends its grant."""
    granted: dict[str, list[str]] = field(default_factory=dict)
    """Grant → its refresh tokens, the newest last."""
    respond: dict[str, Callable[[], Awaitable[Answer | None]]] = field(default_factory=dict)
    """Path → what to answer there; None closes the connection."""
    asked: list[Asked] = field(default_factory=list)
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    closing: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def settings(self) -> dict[str, str]:
        """What an operator would set for it."""
        return {
            "ALLOW_SOCIAL_LOGIN": "true",
            "ALLOW_SOCIAL_REGISTRATION": "true",
            "OPENID_ISSUER": self.issuer,
            "OPENID_CLIENT_ID": CLIENT_ID,
            "OPENID_CLIENT_SECRET": CLIENT_SECRET,
        }

    async def stall(self) -> None:
        """Take the request, and say nothing until the test is over."""
        await self.closing.wait()

    def count(self, path: str) -> int:
        """How often it was asked there."""
        return sum(each.path == path for each in self.asked)

    def authorize(self, url: str, **changes: str | None) -> str:
        """What the person's browser is sent back to, after they agreed. `changes` are laid over the answer."""
        asked = dict(parse_qsl(urlsplit(url).query))
        code = secrets.token_hex(8)
        self.codes[code] = asked
        answer = {"code": code, "state": asked["state"], "iss": self.issuer} | changes
        return f"{asked['redirect_uri']}?{urlencode({name: value for name, value in answer.items() if value is not None})}"

    def id_token(self, nonce: str, access_token: str) -> str:
        """An ID token for the person."""
        now = self.clock() // 1_000_000
        digest = hashlib.new(self.digest, access_token.encode()).digest()
        claims: Claims = {
            "iss": self.issuer,
            "aud": CLIENT_ID,
            "exp": now + 300,
            "iat": now,
            "nonce": nonce,
            "sid": "session-of-theirs",
            "at_hash": base64.urlsafe_b64encode(digest[: len(digest) // 2]).rstrip(b"=").decode(),
            **self.person,
        }
        self.twist(claims)
        if self.sign is not None:
            return self.sign(claims)
        key = self.keys[0]
        assert isinstance(key, RSAKey)
        return signed(claims, key)

    async def answer(self, asked: Asked) -> Answer | None:
        """Like a server."""
        self.asked.append(asked)
        if asked.path in self.respond:
            return await self.respond[asked.path]()
        match asked.path:
            case "/.well-known/openid-configuration":
                return _json(self._document())
            case "/jwks":
                return _json({"keys": [key.as_dict(private=False) for key in self.keys]})
            case "/token":
                return self._token(asked)
            case "/userinfo":
                return _json(self.person if self.userinfo is None else self.userinfo)
        return _json({"error": "not_found"}, 404)

    def _document(self) -> Claims:
        document = {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/jwks",
            "userinfo_endpoint": f"{self.issuer}/userinfo",
            "end_session_endpoint": f"{self.issuer}/logout",
            "id_token_signing_alg_values_supported": ["RS256"],
            "authorization_response_iss_parameter_supported": True,
        } | self.discovery
        return {name: value for name, value in document.items() if value is not None}

    def _token(self, asked: Asked) -> Answer:
        if not _knows_client(asked):
            return _json({"error": "invalid_client"}, 401)
        form = asked.parameters
        if form["grant_type"] == "refresh_token" and self.refreshing:
            return self._refreshed(form["refresh_token"])
        if form["grant_type"] != "authorization_code":
            return _json({"access_token": f"for {form.get('scope')}", "expires_in": 3600, **self.token_extra})
        begun = self.codes.pop(form.get("code", ""), None)
        if begun is None or begun["redirect_uri"] != form["redirect_uri"]:
            return _json({"error": "invalid_grant"}, 400)
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        if base64.urlsafe_b64encode(digest).rstrip(b"=").decode() != begun["code_challenge"]:
            return _json({"error": "invalid_grant"}, 400)
        return self._given(begun["nonce"], secrets.token_hex(4))

    def _refreshed(self, token: str) -> Answer:
        grant = token.partition(";")[0]
        if self.granted.get(grant, [""])[-1] != token:
            self.granted.pop(grant, None)
            return _json({"error": "invalid_grant"}, 400)
        return self._given("", grant)

    def _given(self, nonce: str, grant: str) -> Answer:
        access_token = secrets.token_hex(8)
        tokens: Claims = {"access_token": access_token, "token_type": "Bearer", "expires_in": 3600}
        if self.refreshing:
            # A text that would end a cookie, if nobody took care.
            self.granted.setdefault(grant, []).append(f"{grant}; Path=/{secrets.token_hex(8)}")
            tokens["refresh_token"] = self.granted[grant][-1]
        return _json({**tokens, "id_token": self.id_token(nonce, access_token), **self.token_extra})


@asynccontextmanager
async def provider(clock: Clock) -> AsyncIterator[Provider]:
    """Serve one on a free port."""
    served = Provider(clock)

    handlers: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        handlers.add(task)
        try:
            answer = await served.answer(await _read(reader))
            if answer is not None:
                status, headers, body = answer
                lines = {"content-length": str(len(body)), "connection": "close", **headers}
                head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
                writer.write(f"HTTP/1.1 {status} X\r\n{head}\r\n".encode() + body)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            handlers.discard(task)

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    served.issuer = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield served
    finally:
        served.closing.set()
        server.close()
        await server.wait_closed()
        await asyncio.gather(*handlers, return_exceptions=True)


async def walk(
    house: House,
    op: Provider,
    *,
    client: httpx.AsyncClient | None = None,
    name: str = "openid",
    **changes: str | None,
) -> httpx.Response:
    """A browser's way through: start, agree there, come back."""
    browser = client or house.client
    started = await browser.get(f"/oauth/{name}")
    assert started.status_code in (302, 303), started.text
    return await browser.get(op.authorize(started.headers["location"], **changes))


def is_in(answer: httpx.Response) -> bool:
    """Whether the callback let the browser in: home, with the cookies of a sign-in."""
    if answer.status_code != 302 or "refreshToken" not in answer.cookies:
        assert "refreshToken=" not in str(answer.headers.get_list("set-cookie"))
        assert answer.status_code != 302 or answer.headers["location"] == f"{ORIGIN}/login?redirect=false&error=auth_failed"
        return False
    assert answer.headers["location"] == ORIGIN
    return True


async def reasons(house: House) -> list[str | None]:
    """Why sign-ins were refused, the newest first: what the operator finds in the audit."""
    async with house.begin() as ctx:
        return [event.reason for event in await audit.latest(ctx, event=audit.Event.SIGN_IN_REFUSED, most=50)]


async def me(client: httpx.AsyncClient) -> Claims:
    """The account whose cookies these are."""
    answer = await client.post("/api/auth/refresh")
    assert answer.status_code == 200, answer.text
    user: Claims = answer.json()["user"]
    return user | {"token": answer.json()["token"]}


def _knows_client(asked: Asked) -> bool:
    scheme, _, text = asked.headers.get("authorization", "").partition(" ")
    if scheme == "Basic":
        name, _, password = base64.b64decode(text).decode().partition(":")
        return (unquote(name), unquote(password)) == (CLIENT_ID, CLIENT_SECRET)
    return (asked.parameters.get("client_id"), asked.parameters.get("client_secret")) == (CLIENT_ID, CLIENT_SECRET)


def _json(value: object, status: int = 200) -> Answer:
    return status, {"content-type": "application/json"}, json.dumps(value).encode()


async def _read(reader: asyncio.StreamReader) -> Asked:
    lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    method, target, _ = lines[0].split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:] if line)}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    parts = urlsplit(target)
    return Asked(method, parts.path, dict(parse_qsl(parts.query) + parse_qsl(body.decode())), headers)
