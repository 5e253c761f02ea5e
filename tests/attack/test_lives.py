"""Lives of accounts against a model, on both wires: whatever happens in whatever order, the invariants of the catalogue (4.0.4) hold.

I1 one row for an address; I2 what is spent never works again; I3 what has ended opens nothing; I4 a first factor alone opens nothing;
I5 guesses are bounded; I6 known and unknown look alike; I7 no secret in the database; I9 no role out of a body; I10 links lead home.
A few short lives in the suite, thousands by `make soak`.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import tempfile
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ostiary.identity import accounts, bans
from ostiary.storage.migrate import migrate
from tests.dialects.drivers import DRIVERS, Answer, Authenticator, LibreChatDriver, LibrePassDriver, Outcome
from tests.dialects.librechat import browser as librechat
from tests.house import ORIGIN, House, open_house, text_of

LIVES = int(os.environ.get("SOAKED_LIVES", "0"))
"""How many lives are lived; 0: the few of the suite, the same in every run."""
STEP = 30
DAY = 24 * 3600
LIFE = {"librechat": 7 * DAY, "librepass": 30 * DAY}
EMAIL = "hero@example.org"
OTHER = "bystander@example.org"
Found = TypeVar("Found")
Driver = LibreChatDriver | LibrePassDriver

SOAKED = settings(
    max_examples=LIVES or 6,
    stateful_step_count=40 if LIVES else 20,
    deadline=None,
    derandomize=not LIVES,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


@lru_cache
def _tables() -> bytes:
    """A SQLite file with all tables and no rows: to migrate anew would cost more than a life."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "template.db"
        asyncio.run(migrate(f"sqlite:///{file}"))
        return file.read_bytes()


class InAHouse(RuleBasedStateMachine):
    """A running Ostiary for one life."""

    variables: dict[str, str]

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = Path(tempfile.mkdtemp())
        (self.folder / "ostiary.db").write_bytes(_tables())
        self.stack = AsyncExitStack()
        self.house = self.run(self._open())

    def run(self, deed: Coroutine[Any, Any, Found]) -> Found:
        """Await in the life's own loop."""
        return self.loop.run_until_complete(deed)

    async def _open(self) -> House:
        url = f"sqlite:///{self.folder / 'ostiary.db'}"
        return await self.stack.enter_async_context(open_house(url, self.folder, self.variables))

    def teardown(self) -> None:
        try:
            self.at_the_end()
        finally:
            self.run(self.stack.aclose())
            self.loop.close()
            shutil.rmtree(self.folder)

    def at_the_end(self) -> None:
        """What is looked at once."""

    @property
    def seconds(self) -> int:
        """The clock."""
        return self.house.clock.now // 1_000_000


@dataclass
class Client:
    """A client of the hero, and what the model says of it."""

    driver: Driver
    state: str = "out"
    since: int = 0


class Lives(InAHouse):
    """One account with its clients, a bystander who is never touched, an operator, a clock."""

    variables = {"LOCKOUT": "off"}  # noqa: RUF012 - read only

    @initialize(wire=st.sampled_from(sorted(DRIVERS)))
    def begin(self, wire: str) -> None:
        self.wire = wire
        self.clients: list[Client] = []
        self.secrets: list[str] = []
        self.spent: list[str] = []
        self.passwords = ["the first password"]
        self.app: Authenticator | None = None
        self.recovery: list[str] = []
        self.last_step = 0
        self.is_banned = False
        self.exists = True
        self.bystander = DRIVERS[wire](self.house, OTHER, "192.0.2.7")
        self.run(self.bystander.register())
        assert self.run(self.bystander.sign_in()).outcome is Outcome.IN
        self._register()

    def _driver(self, address: str = "127.0.0.1", password: str = "") -> Driver:
        driver = DRIVERS[self.wire](self.house, EMAIL, address, password or self.passwords[-1])
        if isinstance(driver, LibrePassDriver):
            driver.owner.password = driver.password
        return driver

    def _register(self) -> None:
        driver = self._driver()
        if isinstance(driver, LibreChatDriver):
            extra = {"role": "ADMIN", "emailVerified": True, "provider": "openid", "twoFactorEnabled": True}
            password = {"password": driver.password, "confirm_password": driver.password}
            answer = self.run(driver.browser.register(EMAIL, **password, **extra))
            assert answer.status_code == 200
        else:
            assert self.run(driver.owner.register(role="ADMIN", emailVerified=True)).status_code == 201

    @precondition(lambda self: len(self.clients) < 6)
    @rule(is_right=st.booleans(), number=st.integers(1, 4))
    def sign_in(self, is_right: bool, number: int) -> None:
        driver = self._driver(f"127.0.0.{number}")
        answer = self.run(driver.sign_in(is_right=is_right))
        self._judge_sign_in(driver, answer, is_right=is_right)

    @precondition(lambda self: len(self.passwords) > 1)
    @rule()
    def sign_in_with_an_old_secret(self) -> None:
        assert self.run(self._driver(password=self.passwords[-2]).sign_in()).outcome is Outcome.REFUSED

    def _judge_sign_in(self, driver: Driver, answer: Answer, *, is_right: bool) -> None:
        if not is_right or not self.exists or self.is_banned:
            assert answer.outcome is Outcome.REFUSED
            return
        assert answer.outcome is (Outcome.FACTOR_OWED if self.app else Outcome.IN)
        self.clients.append(Client(driver, "owing" if self.app else "in", self.seconds))

    def _owing(self) -> Client | None:
        """One that owes a factor, and has for less than a challenge's life."""
        found = (client for client in self.clients if client.state == "owing" and self.seconds - client.since < 200)
        return next(found, None)

    @precondition(lambda self: self._owing() is not None and self.app is not None)
    @rule(how=st.sampled_from(["code", "recovery", "wrong", "spent"]))
    def answer(self, how: str) -> None:
        client = self._owing()
        assert client is not None
        assert self.app is not None
        if how == "recovery" and self.recovery:
            code = self.recovery.pop()
            answer = self.run(self._prove_recovery(client.driver, code))
            self.spent.append(code)
        elif how == "spent" and self.spent:
            answer = self.run(client.driver.answer(self.spent[-1]))
            assert answer.outcome is Outcome.REFUSED
            return
        elif how == "code":
            code = self._fresh_code()
            answer = self.run(client.driver.answer(code))
            self.spent.append(code)
        else:
            assert self.run(client.driver.answer(self.app.wrong_code())).outcome is Outcome.REFUSED
            return
        assert answer.outcome is Outcome.IN, answer
        client.state, client.since = "in", self.seconds

    async def _prove_recovery(self, driver: Driver, code: str) -> Answer:
        if isinstance(driver, LibrePassDriver):
            return await driver.answer(code)
        answer = await driver.browser.prove(driver.pending, backupCode=code)
        return Answer(Outcome.IN if answer.status_code == 200 else Outcome.REFUSED, answer.status_code, b"", frozenset())

    def _fresh_code(self) -> str:
        """A code of a step that none was taken from."""
        assert self.app is not None
        if self.seconds // STEP <= self.last_step:
            self.house.clock.advance(STEP * (self.last_step + 1 - self.seconds // STEP))
        self.last_step = self.seconds // STEP
        return self.app.code()

    @precondition(lambda self: any(client.state == "in" for client in self.clients))
    @rule()
    def sign_out(self) -> None:
        client = next(client for client in self.clients if client.state == "in")
        driver = client.driver
        if isinstance(driver, LibreChatDriver):
            self.secrets.append(driver.browser.refresh_cookie)
            assert self.run(driver.browser.post("/api/auth/logout")).status_code == 200
        else:
            sessions = self.run(driver.owner.get("/api/auth/sessions")).json()
            own = next(session["id"] for session in sessions if session["current"])
            assert self.run(driver.owner.call("DELETE", f"/api/auth/sessions/{own}")).status_code == 200
        client.state = "out"

    @precondition(lambda self: self.app is None and any(client.state == "in" for client in self.clients))
    @rule()
    def enroll(self) -> None:
        client = next(client for client in self.clients if client.state == "in")
        self.last_step = self.seconds // STEP
        self.app, code = self.run(client.driver.enroll())
        self.recovery = list(getattr(self.app, "codes", [])) or [code]
        self.spent, self.secrets = [], [*self.secrets, *self.recovery]
        self._drop("in", "owing", but=client)

    @precondition(lambda self: self.app is not None and any(client.state == "in" for client in self.clients))
    @rule(is_right=st.booleans())
    def switch_off(self, is_right: bool) -> None:
        client = next(client for client in self.clients if client.state == "in")
        assert self.app is not None
        code = self._fresh_code() if is_right else self.app.wrong_code()
        assert self.run(client.driver.switch_off(code)) is is_right
        if is_right:
            self.app = None
            self._drop("in", "owing", but=client)

    @precondition(lambda self: self.exists and not self.is_banned and any(client.state == "in" for client in self.clients))
    @rule()
    def change_secret(self) -> None:
        password = f"password number {len(self.passwords)}"
        driver = next(client for client in self.clients if client.state == "in").driver
        if isinstance(driver, LibrePassDriver):
            assert self.run(driver.owner.change_password(password)).status_code == 200
        else:
            self.run(driver.browser.post("/api/auth/requestPasswordReset", {"email": EMAIL}))
            link = librechat.parameters_of(self.run(librechat.link_of(self.house, "Password Reset Request")))
            for expected in (200, 400):
                answer = self.run(driver.browser.post("/api/auth/resetPassword", {**link, "password": password}))
                assert answer.status_code == expected
            self.secrets.append(link["token"])
        self.passwords.append(password)
        self._drop("in", "owing")

    @precondition(lambda self: self.is_banned or self.clients)
    @rule()
    def ban_or_lift(self) -> None:
        self.run(self._ban_or_lift())
        self.is_banned = not self.is_banned
        self._drop("in", "owing")

    async def _ban_or_lift(self) -> None:
        async with self.house.begin() as ctx:
            account = await accounts.named(ctx, EMAIL)
            if self.is_banned:
                await bans.lift(ctx, bans.ACCOUNT, account.id)
            else:
                await bans.add(ctx, bans.ACCOUNT, account.id, "test", None)

    @precondition(lambda self: any(client.state == "in" for client in self.clients))
    @rule()
    def delete_and_register_again(self) -> None:
        client = next(client for client in self.clients if client.state == "in")
        code = self._fresh_code() if self.app else None
        assert self.run(client.driver.delete(code))
        self._drop("in", "owing")
        assert self.run(self._driver().sign_in()).outcome is Outcome.REFUSED
        self.app, self.recovery, self.spent = None, [], []
        self.passwords.append(f"password number {len(self.passwords)}")
        self._register()

    @rule(seconds=st.sampled_from([1, 31, 600, 3600, 3 * DAY, 31 * DAY]))
    def wait(self, seconds: int) -> None:
        self.house.clock.advance(seconds)
        for client in self.clients:
            if client.state == "in" and self.seconds - client.since >= LIFE[self.wire]:
                # A key lives thirty days from its last use, and `owners_alone_get_in` uses it after each step.
                client.state = "out"
            if client.state == "owing" and seconds >= 600:
                client.state = "out"
            if client.state == "in" and self.wire == "librepass":
                client.since = self.seconds

    def _drop(self, *states: str, but: Client | None = None) -> None:
        for client in self.clients:
            if client.state in states and client is not but:
                client.state = "out"

    @invariant()
    def owners_alone_get_in(self) -> None:
        for client in getattr(self, "clients", []):
            driver = client.driver
            if isinstance(driver, LibreChatDriver):
                refreshed = self.run(driver.browser.refresh())
                # Whoever has no cookie is told so in words, with a 200 (librechat-wire 5.4): only JSON holds a token.
                assert (refreshed.status_code == 200 and '"token":' in refreshed.text) == (client.state == "in"), client
            assert self.run(driver.is_in()) == (client.state == "in"), client
        self.clients = [client for client in getattr(self, "clients", []) if client.state != "out"]

    @invariant()
    def the_address_has_one_account_that_is_nobodys_administrator(self) -> None:
        if hasattr(self, "wire"):
            self.run(self._look_at_accounts())

    async def _look_at_accounts(self) -> None:
        async with self.house.begin() as ctx:
            listed = await accounts.page(ctx)
        assert sorted(account.email for account in listed) == sorted([EMAIL, OTHER])
        assert all(account.role == "USER" for account in listed if account.email == EMAIL)

    def at_the_end(self) -> None:
        if not hasattr(self, "wire"):
            return
        stored = b"".join(file.read_bytes() for file in self.folder.glob("ostiary.db*"))
        for secret in (*self.passwords, *(secret for secret in self.secrets if secret)):
            assert secret.encode() not in stored
        for mail in self.run(self.house.mails()):
            links = re.findall(r"https?://[^\s\"'<>]+", text_of(mail))
            assert all(link.startswith(ORIGIN) for link in links), links


TestLives = Lives.TestCase
TestLives.settings = SOAKED


class Siege(InAHouse):
    """Strangers guess at two addresses, one of an account and one of nobody, while the owner comes and goes at a known device."""

    variables = {"RATE_LIMITS": "on"}  # noqa: RUF012 - read only

    @initialize(wire=st.sampled_from(sorted(DRIVERS)))
    def begin(self, wire: str) -> None:
        self.wire = wire
        self.owner = DRIVERS[wire](self.house, EMAIL, "203.0.113.5")
        self.run(self.owner.register())
        assert self.run(self.owner.sign_in()).outcome is Outcome.IN
        self.guessed_at: list[int] = []
        self.owner_at: list[int] = []

    @rule(network=st.integers(0, 3), host=st.integers(1, 2), times=st.integers(1, 4))
    def guess(self, network: int, host: int, times: int) -> None:
        """The same history at both addresses, from twin addresses that share nothing, gets the same answers."""
        for _ in range(times):
            before = self.house.services.hasher.done
            known = self.run(self._guess(EMAIL, f"10.{network}.1.{host}"))
            unknown = self.run(self._guess(OTHER, f"10.{network + 100}.1.{host}"))
            assert (known.status, known.body, known.headers) == (unknown.status, unknown.body, unknown.headers)
            assert known.outcome is Outcome.REFUSED
            if known.status != 429:
                self.guessed_at.append(self.seconds)
            if self.wire == "librechat":
                assert self.house.services.hasher.done - before == (0 if known.status == 429 else 2)

    async def _guess(self, email: str, address: str) -> Answer:
        driver = DRIVERS[self.wire](self.house, email, address)
        if isinstance(driver, LibreChatDriver):
            return await driver.sign_in(is_right=False)
        body = {"email": email, "sharedKey": "ab" * 32}
        answer = await driver.owner.post("/api/auth/oauth?grantType=login", body)
        return Answer(Outcome.REFUSED, answer.status_code, answer.content, frozenset(answer.headers))

    @rule()
    def come_home(self) -> None:
        recent = [moment for moment in self.owner_at if self.seconds - moment < 300]
        if len(recent) >= 6:
            return
        self.owner_at = [*recent, self.seconds]
        assert self.run(self.owner.sign_in()).outcome is Outcome.IN

    @rule(seconds=st.sampled_from([1, 60, 301, 901]))
    def wait(self, seconds: int) -> None:
        self.house.clock.advance(seconds)

    @invariant()
    def guesses_are_bounded(self) -> None:
        for moment in getattr(self, "guessed_at", []):
            # Two windows may touch: what fits into any quarter of an hour is twice the budget.
            assert sum(moment <= other < moment + 900 for other in self.guessed_at) <= 20


TestSiege = Siege.TestCase
TestSiege.settings = SOAKED
