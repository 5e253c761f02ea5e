"""The owner of a key account, speaking LibrePass's wire as its clients do. Its key comes from a quick hash: no server can tell."""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any
from uuid import uuid4

import httpx
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from ostiary.crypto import otp
from tests.house import Clock, House, text_of

EMAIL = "_test_user@example.com"
PASSWORD = "correct horse"
DEFAULTS = {"parallelism": 3, "memory": 65536, "iterations": 4}
SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
STEP = 30
SMTP = {"EMAIL_HOST": "127.0.0.1", "EMAIL_PORT": "9", "EMAIL_FROM": "ostiary@example.org", "EMAIL_ENCRYPTION": "none"}
"""Mail that goes to a server which is not there: what waits in the outbox is what matters."""


def private_key(email: str, password: str = PASSWORD) -> X25519PrivateKey:
    """A key that depends on the address as typed and on the password, as the real one does."""
    return X25519PrivateKey.from_private_bytes(sha256(f"{email}\n{password}".encode()).digest())


def public_hex(key: X25519PrivateKey) -> str:
    """Its public part."""
    return key.public_key().public_bytes_raw().hex()


def shared_hex(key: X25519PrivateKey, server_key: str) -> str:
    """The secret shared with the server."""
    return key.exchange(X25519PublicKey.from_public_bytes(bytes.fromhex(server_key))).hex()


def flipped(hex_digits: str) -> str:
    """The same with one bit flipped."""
    return f"{int(hex_digits[:2], 16) ^ 1:02x}{hex_digits[2:]}"


@dataclass
class Authenticator:
    """An app that knows the secret."""

    clock: Clock
    secret: str = SECRET

    def code(self, steps: int = 0) -> str:
        """The code of the present time step, or of one that many steps away."""
        raw = otp.decode_secret(self.secret)
        assert raw is not None
        return otp.code_at(raw, self.clock.now // 1_000_000 // STEP + steps)

    def wrong_code(self) -> str:
        """Six digits that are no code now."""
        near = {self.code(step) for step in range(-2, 3)}
        return next(code for number in range(10) if (code := f"{number:06d}") not in near)


@dataclass
class Owner:
    """One client of one account: it knows address and password, and after signing in a key."""

    client: httpx.AsyncClient
    email: str = EMAIL
    password: str = PASSWORD
    id: str = ""
    token: str = ""
    headers: dict[str, str] = field(default_factory=lambda: {"X-Client": "Java/1.5.0", "X-API": "1"})

    @property
    def key(self) -> X25519PrivateKey:
        """What the client derives from the password."""
        return private_key(self.email, self.password)

    async def server_key(self, email: str = "") -> str:
        """The key that preLogin hands out."""
        answer = await self.get(f"/api/auth/preLogin?email={email}")
        assert answer.status_code == 200, answer.text
        return str(answer.json()["serverPublicKey"])

    async def shared_key(self) -> str:
        """A fresh proof, as clients make one before every call."""
        return shared_hex(self.key, await self.server_key(self.email))

    async def register(self, **members: Any) -> httpx.Response:
        """Register; members replace those that the client would send, and None leaves one out."""
        server_key = await self.server_key()
        body = {
            "email": self.email,
            "sharedKey": shared_hex(self.key, server_key),
            **DEFAULTS,
            "publicKey": public_hex(self.key),
            **members,
        }
        return await self.post("/api/auth/register", {name: value for name, value in body.items() if value is not None})

    async def login(self, **members: Any) -> httpx.Response:
        """Sign in, and keep the key."""
        body = {"email": self.email, "sharedKey": await self.shared_key(), **members}
        answer = await self.post("/api/auth/oauth?grantType=login", body)
        if answer.status_code == 200:
            self.id, self.token = answer.json()["userId"], answer.json()["apiKey"]
        return answer

    async def answer(self, code: str, token: str = "") -> httpx.Response:
        """Answer with a second factor's code."""
        return await self.post("/api/auth/oauth?grantType=2fa", {"apiKey": token or self.token, "code": code})

    async def set_up(self, app: Authenticator, **members: Any) -> httpx.Response:
        """Set two-factor up with the app's secret."""
        body = {"sharedKey": await self.shared_key(), "secret": app.secret, "code": app.code(), **members}
        return await self.post("/api/user/setup/2fa", body)

    async def change_password(self, password: str, ciphers: list[dict[str, str]] | None = None, **members: Any) -> httpx.Response:
        """Take another password; the client knows it afterwards."""
        server_key = await self.server_key(self.email)
        new = private_key(self.email, password)
        body = {
            "oldSharedKey": shared_hex(self.key, server_key),
            "newPublicKey": public_hex(new),
            "newSharedKey": shared_hex(new, server_key),
            **DEFAULTS,
            "ciphers": ciphers or [],
            **members,
        }
        answer = await self.call("PATCH", "/api/user/password", body)
        if answer.status_code == 200:
            self.password = password
        return answer

    async def change_email(self, email: str, ciphers: list[dict[str, str]] | None = None, **members: Any) -> httpx.Response:
        """Ask for another address."""
        server_key = await self.server_key(self.email)
        new = private_key(email, self.password)
        body = {
            "newEmail": email,
            "oldSharedKey": shared_hex(self.key, server_key),
            "newPublicKey": public_hex(new),
            "newSharedKey": shared_hex(new, server_key),
            "ciphers": ciphers or [],
            **members,
        }
        return await self.call("PATCH", "/api/user/email", body)

    async def change(self, what: str, to: str, ciphers: list[dict[str, str]] | None = None, **members: Any) -> httpx.Response:
        """`change_email` or `change_password`."""
        if what == "change_email":
            return await self.change_email(to, ciphers, **members)
        return await self.change_password(to, ciphers, **members)

    async def delete(self, **members: Any) -> httpx.Response:
        """Delete the account."""
        return await self.call("DELETE", "/api/user/delete", {"sharedKey": await self.shared_key(), **members})

    async def sync(self, since: int = 0, updated: Any = (), deleted: Any = ()) -> httpx.Response:
        """Synchronise the vault."""
        body = {"lastSyncTimestamp": since, "updated": list(updated), "deleted": list(deleted)}
        return await self.post("/api/cipher/sync", body)

    def row(self, **members: Any) -> dict[str, Any]:
        """A row as the client would send it."""
        row = {
            "id": str(uuid4()),
            "owner": self.id,
            "type": 0,
            "protectedData": "00ff",
            "favorite": False,
            "rePrompt": False,
            "created": 1_700_000_000,
            "lastModified": 1_700_000_001,
            **members,
        }
        return {name: value for name, value in row.items() if value is not None}

    async def get(self, target: str) -> httpx.Response:
        return await self.call("GET", target)

    async def post(self, target: str, body: Any) -> httpx.Response:
        return await self.call("POST", target, body)

    async def call(self, method: str, target: str, body: Any = None, **headers: str) -> httpx.Response:
        """One call with the key, if there is one. The query is sent as it stands, as the real client does."""
        bearer = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        return await self.client.request(method, target, json=body, headers={**self.headers, **bearer, **headers})


def owner(house: House, email: str = EMAIL, address: str = "127.0.0.1") -> Owner:
    """Somebody at this address who has no account yet."""
    return Owner(house.client_at(address), email)


async def registered(house: House, email: str = EMAIL, **members: Any) -> Owner:
    """Somebody with an account."""
    someone = owner(house, email)
    answer = await someone.register(**members)
    assert answer.status_code == 201, answer.text
    return someone


async def signed_in(house: House, email: str = EMAIL, **members: Any) -> Owner:
    """Somebody who has registered and signed in."""
    someone = await registered(house, email, **members)
    answer = await someone.login()
    assert answer.status_code == 200, answer.text
    assert answer.json()["verified"] is True
    return someone


async def enrolled(house: House, email: str = EMAIL) -> tuple[Owner, Authenticator, str]:
    """Somebody signed in whose account has two-factor on, and the recovery code; the clock moves on to fresh codes."""
    someone = await signed_in(house, email)
    app = Authenticator(house.clock)
    answer = await someone.set_up(app)
    assert answer.status_code == 200, answer.text
    house.clock.advance(2 * STEP)
    return someone, app, str(answer.json()["recoveryCode"])


async def owing(house: House, email: str = EMAIL, address: str = "127.0.0.1") -> Owner:
    """A fresh client whose sign-in owes a factor."""
    someone = owner(house, email, address)
    answer = await someone.login()
    assert answer.status_code == 200, answer.text
    assert answer.json()["verified"] is False
    return someone


async def link_of(house: House, subject_part: str) -> str:
    """The link in the newest mail about this, without the host."""
    text = text_of(await house.last_mail(subject_part))
    link = httpx.URL(next(word for word in text.split() if word.startswith("http")))
    return link.raw_path.decode()


def refused(answer: httpx.Response) -> tuple[int, str]:
    """Status and code of a refusal; every one has the shape that real clients can read (librepass-wire 2)."""
    body = answer.json()
    assert isinstance(body["error"], str), answer.text
    assert body["status"] == answer.status_code, answer.text
    assert set(body) <= {"error", "status", "message"}, answer.text
    assert b'": ' not in answer.content
    return answer.status_code, body["error"]


SHARED_SECRET = (400, "LP-Invalid-Shared-Secret")
INVALID_BODY = (400, "LP-Invalid-Body")
TWO_FACTOR = (400, "LP-Invalid-Two-Factor")
TOKEN = (401, "LP-Invalid-Token")
MISSING_CIPHER = (400, "LP-Missing-Cipher")
INVALID_CIPHER = (400, "LP-Invalid-Cipher")
INVALID_CODE = (400, "LP-Email-Invalid-Code")
DUPLICATED = (400, "LP-Duplicated")
