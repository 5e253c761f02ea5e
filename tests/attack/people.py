"""The two originals' clients in the hands of an attacker, or of the owner beside them: the macros of the catalogue."""

from __future__ import annotations

import json
import time
from base64 import urlsafe_b64decode
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from ostiary.crypto import otp
from tests.attack.harness import Caller, Reply, fresh_email, somewhere
from tests.dialects.librepass.owner import DEFAULTS, private_key, public_hex, shared_hex
from tests.services.smtp import MailServer

PASSWORD = "quiet-Harbour-41-lantern"
OTHER_PASSWORD = "another-Meadow-77-bridge"
WRONG_PASSWORD = "certainly-Not-it-99-x"
MAIL_SECONDS = 30
STEP = 30


@dataclass
class Person(Caller):
    """LibreChat's wire (LC of the catalogue)."""

    email: str = field(default_factory=fresh_email)
    password: str = PASSWORD

    def form(self, **fields: Any) -> dict[str, Any]:
        """A registration that nobody can find fault with."""
        own = {"name": "Test User", "email": self.email, "password": self.password, "confirm_password": self.password}
        return {**own, **fields}

    def register(self, **fields: Any) -> Reply:
        return self.post("/api/auth/register", self.form(**fields))

    def login(self, password: str = "", email: str = "") -> Reply:
        """Sign in, and keep the token."""
        self.bearer = ""
        body = {"email": email or self.email, "password": password or self.password}
        reply = self.post("/api/auth/login", body)
        if reply.status == 200:
            self.bearer = reply.json().get("token", "")
        return reply

    def refresh(self, token: str = "") -> Reply:
        """Refresh by the jar, or by this token; keep the access token."""
        cookies = self.cookies | ({"refreshToken": token} if token else {})
        line = "; ".join(f"{name}={value}" for name, value in cookies.items())
        reply = self.send("POST", "/api/auth/refresh", None, {"Cookie": line} if line else {})
        if reply.status == 200 and reply.body.startswith(b"{"):
            self.bearer = reply.json()["token"]
        return reply

    def me(self, bearer: str = "") -> Reply:
        return self.get("/api/user", **({"authorization": f"Bearer {bearer}"} if bearer else {}))

    def prove(self, pending: str, **proof: Any) -> Reply:
        """Answer a pending sign-in, and keep the token."""
        reply = self.post("/api/auth/2fa/verify-temp", {"tempToken": pending, **proof})
        if reply.status == 200:
            self.bearer = reply.json()["token"]
        return reply

    def elsewhere(self) -> Person:
        """The same account at a client and an address that have never been used."""
        return Person(self.url, somewhere(), email=self.email, password=self.password)

    @property
    def refresh_token(self) -> str:
        """What the jar holds."""
        return self.cookies.get("refreshToken", "")


@dataclass
class KeyOwner(Caller):
    """LibrePass's wire (LP of the catalogue)."""

    email: str = field(default_factory=fresh_email)
    password: str = PASSWORD
    id: str = ""

    def server_key(self) -> str:
        """What preLogin hands out."""
        return str(self.get(f"/api/auth/preLogin?email={quote(self.email)}").json()["serverPublicKey"])

    def shared_key(self, email: str = "", password: str = "") -> str:
        """A fresh proof."""
        return shared_hex(private_key(email or self.email, password or self.password), self.server_key())

    def form(self, **members: Any) -> dict[str, Any]:
        """A registration that nobody can find fault with."""
        key = private_key(self.email, self.password)
        body = {"email": self.email, "sharedKey": self.shared_key(), **DEFAULTS, "publicKey": public_hex(key)}
        return {**body, **members}

    def register(self, **members: Any) -> Reply:
        return self.post("/api/auth/register", self.form(**members))

    def login(self, **members: Any) -> Reply:
        """Sign in, and keep the key."""
        reply = self.post("/api/auth/oauth?grantType=login", {"email": self.email, "sharedKey": self.shared_key(), **members})
        if reply.status == 200:
            self.id, self.bearer = reply.json()["userId"], reply.json()["apiKey"]
        return reply

    def answer(self, code: str) -> Reply:
        return self.post("/api/auth/oauth?grantType=2fa", {"apiKey": self.bearer, "code": code})

    def change_form(self, password: str, **members: Any) -> dict[str, Any]:
        """A change of the password."""
        server_key = self.server_key()
        new = private_key(self.email, password)
        return {
            "oldSharedKey": shared_hex(private_key(self.email, self.password), server_key),
            "newPublicKey": public_hex(new),
            "newSharedKey": shared_hex(new, server_key),
            **DEFAULTS,
            "ciphers": [],
            **members,
        }

    def address_form(self, email: str, **members: Any) -> dict[str, Any]:
        """A change of the address."""
        server_key = self.server_key()
        new = private_key(email, self.password)
        return {
            "newEmail": email,
            "oldSharedKey": shared_hex(private_key(self.email, self.password), server_key),
            "newPublicKey": public_hex(new),
            "newSharedKey": shared_hex(new, server_key),
            "ciphers": [],
            **members,
        }

    def row(self, number: int = 0, data: str = "00ff") -> dict[str, Any]:
        """A vault row."""
        return {"id": f"00000000-0000-4000-8000-{number:012d}", "owner": self.id, "type": 0, "protectedData": data}

    def elsewhere(self) -> KeyOwner:
        """The same account at a client and an address that have never been used."""
        return KeyOwner(self.url, somewhere(), email=self.email, password=self.password, headers=dict(self.headers))


@dataclass
class Authenticator:
    """An app with the secret of an enrolment, and the backup codes. It reads the machine's clock, as the server does."""

    secret: str
    codes: list[str] = field(default_factory=list)

    def code(self, steps: int = 0) -> str:
        """The code of the present step, or of one that many steps away."""
        secret = otp.decode_secret(self.secret)
        assert secret is not None
        return otp.code_at(secret, int(time.time()) // STEP + steps)

    def wrong_code(self) -> str:
        """Six digits that are no code now, nor soon."""
        near = {self.code(step) for step in range(-3, 4)}
        return next(code for number in range(10) if (code := f"{number:06d}") not in near)


def signed_in(url: str, **traits: Any) -> Person:
    """Somebody who has registered and signed in."""
    person = Person(url, somewhere(), **traits)
    assert person.register().status == 200
    reply = person.login()
    assert reply.status == 200, reply
    return person


def enrolled(person: Person) -> Authenticator:
    """Switch the second factor on with the present code: `app.code(1)` is the one that is good now and unused."""
    reply = person.post("/api/auth/2fa/enable").json()
    app = Authenticator(reply["secret"], reply["backupCodes"])
    done = person.post("/api/auth/2fa/confirm", {"token": app.code()})
    assert done.status == 200, done
    return app


def owing(person: Person) -> tuple[Person, str]:
    """The same account elsewhere, where a factor is owed; and the temporary token."""
    there = person.elsewhere()
    reply = there.login().json()
    assert reply["twoFAPending"] is True
    return there, str(reply["tempToken"])


def key_owner(url: str, **traits: Any) -> KeyOwner:
    """Somebody with a key account who has signed in."""
    owner = KeyOwner(url, somewhere(), **traits)
    assert owner.register().status == 201
    reply = owner.login()
    assert reply.status == 200, reply
    return owner


def link_in(mails: MailServer, email: str, subject: str) -> str:
    """The link of the next mail about this to that address."""
    mail = mails.wait(email, subject, MAIL_SECONDS)
    body = mail.get_body(("plain",))
    assert body is not None
    return next(word for word in str(body.get_content()).split() if word.startswith("http"))


def claims_of(token: str) -> dict[str, Any]:
    """What a JWT says, its signature aside."""
    payload = token.split(".")[1]
    found: dict[str, Any] = json.loads(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return found
