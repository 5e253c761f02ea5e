"""Where races are run: a server in processes of its own, on SQLite alone or as several workers on PostgreSQL and Redis."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

import asyncpg

from ostiary.app import open_services
from ostiary.identity import invitations
from ostiary.identity.context import Client, begin
from ostiary.settings import Settings
from tests.federation.hostile import Provider, provider
from tests.house import Clock
from tests.served import DEFAULTS as SERVED
from tests.served import Served

RACE_ROUNDS = int(os.environ.get("OSTIARY_RACE_ROUNDS", "1"))
"""How often each race is run: once inside the suite, 1,000 times by `make races`."""
CALLERS = 16


@dataclass(frozen=True, slots=True)
class Arena:
    """A running server, its rows, and the provider that it trusts."""

    name: str
    place: Served
    database_url: str
    """Empty: its own SQLite file."""
    settings: Mapping[str, str]
    op: Provider

    @property
    def url(self) -> str:
        """Where it answers."""
        return self.place.url

    def count(self, query: str, *values: str) -> int:
        """The one number that a query with `?` finds."""
        if not self.database_url:
            with sqlite3.connect(self.place.data / "ostiary.db", timeout=30) as connection:
                return int(connection.execute(query, values).fetchone()[0])
        return int(asyncio.run(self._fetch(_numbered(query), *values)))

    def empty(self) -> None:
        """No account has ever been here."""
        statements = ("DELETE FROM accounts", "DELETE FROM markers WHERE name = 'first_admin'")
        if not self.database_url:
            with sqlite3.connect(self.place.data / "ostiary.db", timeout=30) as connection:
                connection.execute("PRAGMA foreign_keys = ON")
                for statement in statements:
                    connection.execute(statement)
            return
        for statement in statements:
            asyncio.run(self._execute(statement))

    def invite(self, emails: Sequence[str]) -> list[str]:
        """As an operator beside the server: the token of an invitation for each."""
        return asyncio.run(self._invite(emails))

    async def _invite(self, emails: Sequence[str]) -> list[str]:
        variables = {**SERVED, "OSTIARY_DATA": str(self.place.data), **self.settings}
        tokens = []
        async with open_services(Settings.load(variables)) as services:
            for email in emails:
                async with begin(services, Client("127.0.0.1", "races")) as ctx:
                    link = await invitations.create(ctx, email, mail=False)
                tokens.append(parse_qs(urlsplit(link).query)["token"][0])
        return tokens

    async def _fetch(self, query: str, *values: str) -> Any:
        connection = await asyncpg.connect(self.database_url)
        try:
            return await connection.fetchval(query, *values)
        finally:
            await connection.close()

    async def _execute(self, statement: str) -> None:
        connection = await asyncpg.connect(self.database_url)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()


def _numbered(query: str) -> str:
    for number in range(1, query.count("?") + 1):
        query = query.replace("?", f"${number}", 1)
    return query


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
    try:
        yield served
    finally:
        loop.call_soon_threadsafe(done.set)
        thread.join(30)
