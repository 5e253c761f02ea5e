"""Services (built once), Context (one unit of work), and `begin`, which says what commits and what rolls back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from uuid import uuid4

import msgspec

from ostiary.crypto.handshake import Handshake
from ostiary.crypto.keys import Keys
from ostiary.crypto.passwords import PasswordHasher
from ostiary.crypto.rotating import RotatingSigner
from ostiary.crypto.sealing import Sealer
from ostiary.crypto.tokens import Digester
from ostiary.identity.blocklist import Blocklist
from ostiary.identity.refusals import Refusal
from ostiary.limits.store import LimitStore
from ostiary.observability.logging import log
from ostiary.observability.metrics import Metrics
from ostiary.settings import Settings
from ostiary.storage.database import Database, Unit

if TYPE_CHECKING:
    from ostiary.identity.federated import Directory
    from ostiary.identity.methods import Method
    from ostiary.identity.passwords import Breaches
    from ostiary.identity.rules import Rules

MICROSECONDS = 1_000_000
_MICROSECOND = timedelta(microseconds=1)


def micros(duration: timedelta) -> int:
    """A duration in microseconds, the unit of every stored time."""
    return duration // _MICROSECOND


def new_id() -> str:
    """A fresh id: UUID v4 text."""
    return str(uuid4())


class Client(msgspec.Struct, frozen=True):
    """Who asks, as far as the network can tell.

    `device` is the signed mark of an earlier sign-in, if one was presented; who `is_gone` waits for no answer any more.
    """

    address: str
    user_agent: str = ""
    request_id: str = ""
    device: str = ""
    is_gone: Callable[[], bool] = lambda: False


class Services(msgspec.Struct):
    """Everything that lives as long as the process. Nothing else is global."""

    settings: Settings
    database: Database
    keys: Keys
    digester: Digester
    sealer: Sealer
    hasher: PasswordHasher
    blocklist: Blocklist
    access_tokens: RotatingSigner
    refresh_tokens: RotatingSigner
    handshake: Handshake
    limits: LimitStore
    rules: Rules
    metrics: Metrics
    clock: Callable[[], int]
    """Microseconds, UTC. Tests own it."""
    methods: dict[type, Method] = msgspec.field(default_factory=dict)
    directory: Directory | None = None
    """What checks names and passwords in place of our own, if anything does."""
    breaches: Breaches | None = None
    """What knows the passwords of breaches, if anything is asked."""
    redirect_providers: Mapping[str, Any] = msgspec.field(default_factory=dict)
    """Providers that a browser is sent to, by name; what they are is `federation.providers.RedirectProvider`."""
    answers: dict[str, Callable[[Context, str], Awaitable[None]]] = msgspec.field(default_factory=dict)
    """What is done about a stranger's request for mail, by what was asked (`identity.asks`)."""
    wake_outbox: Callable[[], None] = lambda: None
    noted_places: dict[bytes, int] = msgspec.field(default_factory=dict)
    """Digests of places whose rows this process has written lately, the oldest first, and when (`identity.places`)."""


class Outcome(msgspec.Struct, frozen=True):
    """One line of the log, written once its unit of work is durable."""

    event: str
    account_id: str | None
    reason: str | None
    is_warning: bool


class Context:
    """What a use case works with: the unit of work, the client, the time, the services; and whether limits count here.

    Its block commits on success and on a Refusal, and rolls back on anything else. A refused sign-in must still count, still be
    audited, still end a reused family; so a use case writes only traces before it refuses. The commit is durable before the block
    is left, so no answer leaves before its rows.
    """

    __slots__ = ("afterwards", "client", "db", "has_mail", "is_limited", "now", "outcomes", "services", "settings")

    def __init__(self, services: Services, client: Client, unit: Unit, now: int, *, is_limited: bool = True) -> None:
        self.services = services
        self.settings = services.settings
        self.client = client
        self.db = unit
        self.now = now
        self.outcomes: list[Outcome] = []
        self.afterwards: list[Callable[[], Awaitable[None]]] = []
        """What others are told once the unit is durable: nobody else may be waited for while it holds the only writer."""
        self.has_mail = False
        self.is_limited = is_limited and self.settings.limits.rate_limits

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is not None and not isinstance(error, Refusal):
            await self.db.rollback()
            return
        await self.db.commit()
        if isinstance(error, Refusal):
            self.services.metrics.refusals.labels(error.code).inc()
        for outcome in self.outcomes:
            _write_log(self, outcome)
        for told in self.afterwards:
            await told()
        if self.has_mail:
            self.services.wake_outbox()


def begin(services: Services, client: Client, *, is_limited: bool = True) -> Context:
    """One unit of work, to be had by `async with`."""
    return Context(services, client, services.database.unit(), services.clock(), is_limited=is_limited)


def _write_log(ctx: Context, outcome: Outcome) -> None:
    ctx.services.metrics.count(outcome.event)
    keys: dict[str, Any] = {"account": outcome.account_id, "address": ctx.client.address}
    if outcome.reason:
        keys["reason"] = outcome.reason
    if ctx.client.request_id:
        keys["request_id"] = ctx.client.request_id
    (log.warning if outcome.is_warning else log.info)(outcome.event, **keys)
