"""Somebody at a browser, speaking LibreChat's wire as its client does: cookies by themselves, the bearer in memory."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode
from dataclasses import dataclass, field
from typing import Any

import httpx

from ostiary.crypto import otp
from tests.house import Clock, House, text_of

EMAIL = "u@example.com"
PASSWORD = "lamp-at-noon"
REGISTERED = {"message": "Please check your email to verify your email address."}
STEP = 30


def application(email: str = EMAIL, **fields: Any) -> dict[str, Any]:
    """The body of a registration that nobody can find fault with."""
    return {"name": "Test User", "email": email, "password": PASSWORD, "confirm_password": PASSWORD, **fields}


@dataclass
class Browser:
    """One client with its cookie jar, and the access token that it holds."""

    client: httpx.AsyncClient
    token: str = ""

    async def get(self, path: str, **headers: str) -> httpx.Response:
        return await self.client.get(path, headers=self._with_bearer(headers))

    async def post(self, path: str, body: Any = None, **headers: str) -> httpx.Response:
        """POST; without a body there is no content type either, as the client sends it (librechat-wire 20)."""
        if body is None:
            return await self.client.post(path, headers=self._with_bearer(headers))
        return await self.client.post(path, json=body, headers=self._with_bearer(headers))

    async def delete(self, path: str, body: Any = None) -> httpx.Response:
        return await self.client.request("DELETE", path, json=body, headers=self._with_bearer({}))

    async def register(self, email: str = EMAIL, **fields: Any) -> httpx.Response:
        return await self.post("/api/auth/register", application(email, **fields))

    async def login(self, email: str = EMAIL, password: str = PASSWORD) -> httpx.Response:
        """Sign in, without the bearer of before, and keep the token."""
        answer = await self.client.post("/api/auth/login", json={"email": email, "password": password})
        if answer.status_code == 200:
            self.token = answer.json().get("token", "")
        return answer

    async def prove(self, pending: str, **proof: Any) -> httpx.Response:
        """Answer a pending sign-in, and keep the token."""
        answer = await self.client.post("/api/auth/2fa/verify-temp", json={"tempToken": pending, **proof})
        if answer.status_code == 200:
            self.token = answer.json()["token"]
        return answer

    async def refresh(self, query: str = "") -> httpx.Response:
        """Refresh by the cookie, and keep the token."""
        answer = await self.client.post(f"/api/auth/refresh{query}")
        if answer.status_code == 200 and answer.headers["content-type"].startswith("application/json"):
            self.token = answer.json()["token"]
        return answer

    @property
    def refresh_cookie(self) -> str:
        """The refresh token in the jar; empty without one."""
        return self.client.cookies.get("refreshToken") or ""

    def _with_bearer(self, headers: dict[str, str]) -> dict[str, str]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return {"Authorization": f"Bearer {self.token}", **named} if self.token else named


@dataclass
class Authenticator:
    """An app with the secret of an enrolment, and the backup codes on paper."""

    clock: Clock
    secret: str
    codes: list[str] = field(default_factory=list)

    def code(self, steps: int = 0) -> str:
        """The code of the present time step, or of one that many steps away."""
        raw = otp.decode_secret(self.secret)
        assert raw is not None
        return otp.code_at(raw, self.clock.now // 1_000_000 // STEP + steps)

    def wrong_code(self) -> str:
        """Six digits that are no code now."""
        near = {self.code(step) for step in range(-2, 3)}
        return next(code for number in range(10) if (code := f"{number:06d}") not in near)


def browser(house: House, address: str = "127.0.0.1", **headers: str) -> Browser:
    """A fresh browser at this address."""
    return Browser(house.client_at(address, **{name.replace("_", "-"): value for name, value in headers.items()}))


async def signed_in(house: House, email: str = EMAIL, address: str = "127.0.0.1") -> Browser:
    """Somebody who has registered and signed in."""
    someone = browser(house, address)
    assert (await someone.register(email)).status_code == 200
    answer = await someone.login(email)
    assert answer.status_code == 200, answer.text
    return someone


async def enrolled(house: House, someone: Browser) -> Authenticator:
    """Switch the second factor on; the codes of the present step and before are spent then, so the clock moves on."""
    answer = (await someone.post("/api/auth/2fa/enable")).json()
    app = Authenticator(house.clock, answer["secret"], answer["backupCodes"])
    for path in ("/api/auth/2fa/verify", "/api/auth/2fa/confirm"):
        done = await someone.post(path, {"token": app.code()})
        assert done.status_code == 200, done.text
    house.clock.advance(2 * STEP)
    return app


async def owing(house: House, email: str = EMAIL, address: str = "127.0.0.1") -> tuple[Browser, str]:
    """A fresh browser whose sign-in owes a factor, and the temporary token."""
    someone = browser(house, address)
    answer = (await someone.login(email)).json()
    assert answer["twoFAPending"] is True
    return someone, answer["tempToken"]


async def link_of(house: House, subject_part: str) -> str:
    """The address in the newest mail about this."""
    text = text_of(await house.last_mail(subject_part))
    return next(word for word in text.split() if word.startswith("http"))


def parameters_of(link: str) -> dict[str, str]:
    """A link's query."""
    return dict(httpx.URL(link).params.items())


def claims_of(token: str) -> dict[str, Any]:
    """What a JWT says, its signature aside."""
    payload = token.split(".")[1]
    found: dict[str, Any] = json.loads(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return found


def cookies_of(answer: httpx.Response) -> list[str]:
    """Every Set-Cookie header, in order."""
    return answer.headers.get_list("set-cookie")
