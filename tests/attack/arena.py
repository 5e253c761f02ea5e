"""Where races are run: a server in processes of its own, on SQLite alone or as several workers on PostgreSQL and Redis.

Whoever is needed for a race is put into the database by the nouns themselves, many in one unit: what takes time is the race.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar
from urllib.parse import parse_qs, urlsplit

from sqlalchemy import text

from ostiary.app import open_services
from ostiary.crypto import otp
from ostiary.crypto.tokens import new_key, random_hex
from ostiary.dialects.librechat import tokens
from ostiary.identity import accounts, backup_codes, challenges, credentials, invitations, passwords, recovery, sessions, totp
from ostiary.identity.context import Client, Context, Services, begin
from ostiary.identity.sessions import BROWSER, KEY, SessionRequest
from ostiary.settings import Settings
from ostiary.storage.statements import Query, Statement
from tests.attack.harness import fresh_email
from tests.attack.people import PASSWORD, Authenticator
from tests.attack.volley import Volley
from tests.federation.hostile import Provider, provider
from tests.house import Clock
from tests.served import DEFAULTS as SERVED
from tests.served import Served

RACE_ROUNDS = int(os.environ.get("RACE_ROUNDS", "1"))
"""How often each race is run: once inside the suite, 1,000 times by `make races`."""
CALLERS = 16
BATCH = min(RACE_ROUNDS, 20)
"""For so many rounds is made ready at once: what waits for a second factor waits five minutes, and no longer."""
Made = TypeVar("Made")


@dataclass(frozen=True, slots=True)
class Guest:
    """Somebody who is signed in, and what else they have."""

    email: str
    id: str = ""
    bearer: str = ""
    refresh_token: str = ""
    link: Mapping[str, str] = field(default_factory=dict)
    """What the address of their reset link says."""
    app: Authenticator = field(default_factory=lambda: Authenticator(""))
    waiting: tuple[str, ...] = ()
    """Tokens of sign-ins that owe a factor."""


@dataclass(frozen=True, slots=True)
class Arena:
    """A running server, its callers, its rows, and the provider that it trusts."""

    name: str
    place: Served
    op: Provider
    fire: Volley
    services: Services
    _runner: asyncio.Runner
    _counts: dict[str, Query[int]] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """Where it answers."""
        return self.place.url

    def count(self, query: str, **values: str) -> int:
        """The one number that a query finds; `:name` in it is a value."""
        counting = self._counts.setdefault(query, Query(int, text(query)))

        async def counted(ctx: Context) -> int | None:
            return await ctx.db.one(counting, **values)

        return self._within(counted) or 0

    def empty(self) -> None:
        """No account has ever been here."""

        async def emptied(ctx: Context) -> None:
            for statement in _EMPTYING:
                await ctx.db.run(statement)

        self._within(emptied)

    def invited(self) -> Iterator[tuple[str, str]]:
        """One address after another, and the token of its invitation."""

        async def some(ctx: Context) -> list[tuple[str, str]]:
            emails = [fresh_email("invited") for _ in range(BATCH)]
            links = [await invitations.create(ctx, email, mail=False) for email in emails]
            return [(email, parse_qs(urlsplit(link).query)["token"][0]) for email, link in zip(emails, links, strict=True)]

        while True:
            yield from self._within(some)

    def guests(self, *, resets: bool = False, has_factor: bool = False, waiting: int = 0) -> Iterator[Guest]:
        """One after another. `resets`: with a reset link; `waiting`: with so many sign-ins that owe the factor they then have."""

        async def some(ctx: Context) -> list[Guest]:
            config = await passwords.hashed(ctx, PASSWORD)
            return [await _guest(ctx, config, resets, has_factor or bool(waiting), waiting) for _ in range(BATCH)]

        while True:
            yield from self._within(some)

    def key_owners(self, waiting: int) -> Iterator[Guest]:
        """The same with key accounts; the one backup code is the recovery code."""

        async def some(ctx: Context) -> list[Guest]:
            return [await _key_owner(ctx, waiting) for _ in range(BATCH)]

        while True:
            yield from self._within(some)

    def _within(self, made: Callable[[Context], Awaitable[Made]]) -> Made:
        async def run() -> Made:
            async with begin(self.services, HERE) as ctx:
                return await made(ctx)

        return self._runner.run(run())


HERE = Client("127.0.0.1")
"""No user agent, as the callers have none: what one began another may go on with."""
_EMPTYING = [Statement(text("DELETE FROM accounts")), Statement(text("DELETE FROM markers WHERE name = 'first_admin'"))]


@contextmanager
def running_arena(name: str, place: Served, settings: Mapping[str, str], op: Provider) -> Iterator[Arena]:
    """An arena on a running server with these settings."""
    port = str(urlsplit(place.url).port)
    variables = {**SERVED, "PORT": port, "OSTIARY_DATA": str(place.data), **settings}
    opened = open_services(Settings.load(variables))
    fire = Volley(place.url)
    with asyncio.Runner() as runner:
        services = runner.run(opened.__aenter__())
        try:
            yield Arena(name, place, op, fire, services, runner)
        finally:
            fire.close()
            runner.run(opened.__aexit__(None, None, None))


async def _guest(ctx: Context, config: str, resets: bool, has_factor: bool, waiting: int) -> Guest:
    account = accounts.fresh(ctx, fresh_email(), "Test User", verified_at=ctx.now)
    await accounts.insert_account(ctx, account)
    await credentials.add(ctx, account.id, credentials.PASSWORD, config)
    session = await sessions.open_session(ctx, account, SessionRequest(kind=BROWSER), ("pwd",))
    link = await recovery.link_for_operator(ctx, account) if resets else ""
    app = Authenticator("")
    if has_factor:
        app = Authenticator(otp.new_secret(), backup_codes.new_short_codes())
        # Confirmed with a code of long ago: the present one is good.
        await totp.enroll(ctx, account, app.secret, app.codes, 1)
    secrets = [random_hex() for _ in range(waiting)]
    for secret in secrets:
        hashed = challenges.browser_hash(ctx.services, ctx.client, secret)
        await challenges.open_challenge(ctx, account, hashed, ("pwd",), SessionRequest(kind=BROWSER))
    return Guest(
        account.email,
        account.id,
        tokens.access_token(ctx.services, account, session, ctx.now),
        tokens.refresh_token(ctx.services, session, ctx.now),
        {name: value for name, (value,) in parse_qs(urlsplit(link).query).items()},
        app,
        tuple(tokens.temporary_token(ctx.services, account, secret, ctx.now) for secret in secrets),
    )


async def _key_owner(ctx: Context, waiting: int) -> Guest:
    account = accounts.fresh(ctx, fresh_email(), "", provider="key", verified_at=ctx.now)
    await accounts.insert_account(ctx, account)
    app = Authenticator(otp.new_secret(), backup_codes.new_recovery_code())
    await totp.enroll(ctx, account, app.secret, app.codes, 1)
    keys = [new_key() for _ in range(waiting)]
    for key in keys:
        hashed = sessions.key_hash(ctx.services, key)
        await challenges.open_challenge(ctx, account, hashed, ("key",), SessionRequest(kind=KEY, token_hash=hashed))
    return Guest(account.email, account.id, app=app, waiting=tuple(keys))


class _MachineClock(Clock):
    """The machine's, which a server in a process of its own goes by too."""

    def __call__(self) -> int:
        return time.time_ns() // 1000


@contextmanager
def running_provider() -> Iterator[Provider]:
    """The OpenID provider of the federation tests, in a thread of its own."""
    ready: Future[tuple[Provider, asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def serve() -> None:
        async with provider(_MachineClock()) as served:
            done = asyncio.Event()
            ready.set_result((served, asyncio.get_running_loop(), done))
            await done.wait()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    served, loop, done = ready.result(30)
    # One question for each sign-in, not two: what is raced for is here.
    served.discovery = {"userinfo_endpoint": None}
    try:
        yield served
    finally:
        loop.call_soon_threadsafe(done.set)
        thread.join(30)
