"""A running Ostiary inside the test: the production application, asked over ASGI, with a clock that does not move by itself."""

from __future__ import annotations

import email
import email.policy
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from email.message import EmailMessage
from pathlib import Path

import httpx

from ostiary.app import Application, create_app
from ostiary.identity.context import Client, Context, Services, begin
from ostiary.jobs import Jobs
from ostiary.settings import Settings

START = 1_900_000_000_000_000
"""March 2030: later than the machine's own clock, so that cookie jars keep what they are given."""
ORIGIN = "http://127.0.0.1:3080"
DEFAULTS = {"BCRYPT_COST": "4", "RATE_LIMITS": "off", "OSTIARY_LOG_LEVEL": "error", "OSTIARY_HASHING_THREADS": "2"}


class Clock:
    """Microseconds, UTC; moves when told to."""

    def __init__(self, now: int = START) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now += int(seconds * 1_000_000)


class House:
    """What a test holds: a client at 127.0.0.1, the services, the jobs, the clock, the mailbox."""

    def __init__(self, application: Application, services: Services, jobs: Jobs, clock: Clock) -> None:
        self.application = application
        self.services = services
        self.jobs = jobs
        self.clock = clock
        self.clients: list[httpx.AsyncClient] = []
        self.client = self.client_at("127.0.0.1")

    @property
    def settings(self) -> Settings:
        """The settings."""
        return self.services.settings

    def client_at(self, address: str, **headers: str) -> httpx.AsyncClient:
        """A fresh client (its own cookie jar) whose socket has this address."""
        transport = httpx.ASGITransport(app=self.application, client=(address, 40000))
        client = httpx.AsyncClient(transport=transport, base_url=ORIGIN, headers=headers)
        self.clients.append(client)
        return client

    def begin(self, address: str = "127.0.0.1") -> Context:
        """A unit of work, for tests of the core."""
        return begin(self.services, Client(address, "test"))

    async def mails(self) -> list[EmailMessage]:
        """Send what waits, and read the local mailbox, the oldest first."""
        await self.jobs.dispatch()
        folder = self.settings.server.data / "mailbox"
        files = sorted(folder.glob("*.eml")) if folder.exists() else []
        return [email.message_from_bytes(file.read_bytes(), policy=email.policy.default) for file in files]

    async def last_mail(self, subject_part: str) -> EmailMessage:
        """The newest mail whose subject holds this text."""
        found = [mail for mail in await self.mails() if subject_part in mail["Subject"]]
        assert found, f"no mail about {subject_part!r}"
        return found[-1]


def text_of(mail: EmailMessage) -> str:
    """The plain text of a mail."""
    body = mail.get_body(("plain",))
    assert body is not None
    return str(body.get_content())


@asynccontextmanager
async def open_house(database_url: str, folder: Path, environment: Mapping[str, str]) -> AsyncIterator[House]:
    """Build and open the production application on this database."""
    variables = {"DATABASE_URL": database_url, "OSTIARY_DATA": str(folder / "data"), **DEFAULTS, **environment}
    clock = Clock()
    application = create_app(Settings.load(variables), clock)
    async with AsyncExitStack() as stack:
        services, jobs = await stack.enter_async_context(application.running(with_jobs=False))
        house = House(application, services, jobs, clock)
        yield house
        for client in house.clients:
            await client.aclose()
