"""One driver per wire: the same few deeds, so that a story is told once and holds on every wire."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

import httpx

from tests.dialects.librechat import browser as librechat
from tests.dialects.librepass import owner as librepass
from tests.house import House, text_of

OTHER_PASSWORD = "another password"


class Outcome(Enum):
    """What became of a sign-in."""

    IN = "in"
    FACTOR_OWED = "a factor is owed"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Answer:
    """An outcome, and the bytes that a stranger could tell it from others by."""

    outcome: Outcome
    status: int
    body: bytes
    headers: frozenset[str]


class Authenticator(Protocol):
    """Makes codes."""

    def code(self, steps: int = 0) -> str: ...

    def wrong_code(self) -> str: ...


class Driver(Protocol):
    """A client of one account on one wire."""

    email: str

    def elsewhere(self, address: str = "127.0.0.1") -> Driver:
        """The same person at a client that has never been used."""
        ...

    async def register(self) -> Answer: ...

    async def sign_in(self, *, is_right: bool = True) -> Answer: ...

    async def answer(self, code: str) -> Answer: ...

    async def is_in(self) -> bool:
        """Whether the client's session opens what is the owner's."""
        ...

    async def enroll(self) -> tuple[Authenticator, str]:
        """Switch the second factor on: the authenticator, and a code for its loss."""
        ...

    async def switch_off(self, code: str | None) -> bool: ...

    async def change_secret(self) -> None:
        """Choose another secret in the way that this wire offers; the driver knows it afterwards."""
        ...

    async def delete(self, code: str | None = None) -> bool: ...

    async def verify(self) -> None:
        """Follow the link in the verification mail."""
        ...


def _outcome(answer: httpx.Response, *, is_owing: bool) -> Answer:
    let_in = Outcome.FACTOR_OWED if is_owing else Outcome.IN
    outcome = Outcome.REFUSED if answer.status_code >= 400 else let_in
    return Answer(outcome, answer.status_code, answer.content, frozenset(answer.headers))


@dataclass
class LibreChatDriver:
    """See `Driver`."""

    house: House
    email: str
    address: str = "127.0.0.1"
    password: str = librechat.PASSWORD
    pending: str = ""
    browser: librechat.Browser = field(init=False)

    def __post_init__(self) -> None:
        self.browser = librechat.browser(self.house, self.address)

    def elsewhere(self, address: str = "127.0.0.1") -> Driver:
        return LibreChatDriver(self.house, self.email, address, self.password)

    async def register(self) -> Answer:
        return _outcome(await self.browser.register(self.email), is_owing=False)

    async def sign_in(self, *, is_right: bool = True) -> Answer:
        answer = await self.browser.login(self.email, self.password if is_right else "certainly not it")
        self.pending = answer.json().get("tempToken", "")
        return _outcome(answer, is_owing=bool(self.pending))

    async def answer(self, code: str) -> Answer:
        return _outcome(await self.browser.prove(self.pending, token=code), is_owing=False)

    async def is_in(self) -> bool:
        answer = await self.browser.get("/api/user")
        return answer.status_code == 200 and answer.json()["email"] == self.email

    async def enroll(self) -> tuple[Authenticator, str]:
        app = await librechat.enrolled(self.house, self.browser)
        return app, app.codes[0]

    async def switch_off(self, code: str | None) -> bool:
        answer = await self.browser.post("/api/auth/2fa/disable", {"token": code} if code else {})
        return answer.status_code == 200

    async def change_secret(self) -> None:
        await self.browser.post("/api/auth/requestPasswordReset", {"email": self.email})
        link = librechat.parameters_of(await librechat.link_of(self.house, "Password Reset Request"))
        answer = await self.browser.post("/api/auth/resetPassword", {**link, "password": OTHER_PASSWORD})
        assert answer.status_code == 200, answer.text
        self.password = OTHER_PASSWORD

    async def delete(self, code: str | None = None) -> bool:
        answer = await self.browser.delete("/api/user/delete", {"token": code} if code else None)
        return answer.status_code == 200

    async def verify(self) -> None:
        mail = text_of(await self.house.last_mail("Verify your email"))
        link = next(word for word in mail.split() if word.startswith("http"))
        answer = await self.browser.post("/api/user/verify", librechat.parameters_of(link))
        assert answer.status_code == 200, answer.text


@dataclass
class LibrePassDriver:
    """See `Driver`."""

    house: House
    email: str
    address: str = "127.0.0.1"
    password: str = librepass.PASSWORD
    owner: librepass.Owner = field(init=False)

    def __post_init__(self) -> None:
        self.owner = librepass.owner(self.house, self.email, self.address)
        self.owner.password = self.password

    def elsewhere(self, address: str = "127.0.0.1") -> Driver:
        return LibrePassDriver(self.house, self.email, address, self.owner.password)

    async def register(self) -> Answer:
        return _outcome(await self.owner.register(), is_owing=False)

    async def sign_in(self, *, is_right: bool = True) -> Answer:
        self.owner.token = ""
        members = {} if is_right else {"sharedKey": librepass.flipped(await self.owner.shared_key())}
        answer = await self.owner.login(**members)
        return _outcome(answer, is_owing=answer.json().get("verified") is False)

    async def answer(self, code: str) -> Answer:
        return _outcome(await self.owner.answer(code), is_owing=False)

    async def is_in(self) -> bool:
        return (await self.owner.sync()).status_code == 200

    async def enroll(self) -> tuple[Authenticator, str]:
        app = librepass.Authenticator(self.house.clock)
        answer = await self.owner.set_up(app)
        assert answer.status_code == 200, answer.text
        self.house.clock.advance(2 * librepass.STEP)
        return app, str(answer.json()["recoveryCode"])

    async def switch_off(self, code: str | None) -> bool:
        body = {"sharedKey": await self.owner.shared_key()} | ({"code": code} if code else {})
        return (await self.owner.post("/api/user/disable/2fa", body)).status_code == 200

    async def change_secret(self) -> None:
        answer = await self.owner.change_password(OTHER_PASSWORD)
        assert answer.status_code == 200, answer.text

    async def delete(self, code: str | None = None) -> bool:
        return (await self.owner.delete(**({"code": code} if code else {}))).status_code == 200

    async def verify(self) -> None:
        answer = await self.owner.get(await librepass.link_of(self.house, "Activate your"))
        assert answer.status_code < 400, answer.text


DRIVERS: dict[str, type[LibreChatDriver | LibrePassDriver]] = {"librechat": LibreChatDriver, "librepass": LibrePassDriver}
