"""The composition root: `create_app(settings)` builds everything; nothing else builds."""

from __future__ import annotations

import gc
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from starlette.types import Receive, Scope, Send

from ostiary.crypto.desks import fair_threads
from ostiary.crypto.handshake import Handshake
from ostiary.crypto.keys import Keys, load_or_create
from ostiary.crypto.passwords import PasswordHasher
from ostiary.crypto.rotating import RotatingSigner
from ostiary.crypto.sealing import Sealer
from ostiary.crypto.tokens import Digester
from ostiary.dialects.front_desk import FrontDesk
from ostiary.dialects.librechat import LibreChat, identities
from ostiary.dialects.librepass import LibrePass
from ostiary.dialects.operations import Operations
from ostiary.federation.providers import build_federation
from ostiary.http.wire import Wire
from ostiary.identity import key_ring, rules
from ostiary.identity.blocklist import Blocklist
from ostiary.identity.context import Services, micros
from ostiary.identity.counting_again import count_again
from ostiary.identity.passwords import Password, PasswordMethod
from ostiary.identity.public_keys import PublicKeyMethod, SharedKey
from ostiary.identity.rules import Rules
from ostiary.jobs import Jobs
from ostiary.limits.memory import MemoryLimits
from ostiary.limits.store import LimitStore
from ostiary.observability.logging import log, set_up
from ostiary.observability.metrics import Metrics
from ostiary.parts import Part
from ostiary.settings import Secrets, Settings, SettingsError
from ostiary.storage.database import open_database
from ostiary.storage.migrate import migrate
from ostiary.web import Pages

if TYPE_CHECKING:
    from ostiary.limits import redis
else:
    redis = Part("ostiary.limits.redis")

GENERATED = ("JWT_SECRET", "JWT_REFRESH_SECRET", "CREDS_KEY", "OSTIARY_ROOT_KEY")


def now() -> int:
    """Microseconds, UTC."""
    return time.time_ns() // 1000


def keys_of(settings: Settings) -> Keys:
    """The secrets given, and for those not given the ones generated once under OSTIARY_DATA. Raises SettingsError."""
    given = {names[0]: getattr(settings.secrets, field).get_secret_value() for field, names in Secrets.variables().items()}
    missing = tuple(name for name in GENERATED if not given[name])
    try:
        kept = load_or_create(settings.server.data, missing) if missing else {}
    except OSError as error:
        text = f"OSTIARY_DATA={settings.server.data} cannot be written ({error.strerror}). Make it writable, or give the secrets"
        raise SettingsError(text) from error
    secret = {name: given[name] or kept[name] for name in GENERATED}
    return Keys(
        jwt_secret=secret["JWT_SECRET"].encode(),
        jwt_refresh_secret=secret["JWT_REFRESH_SECRET"].encode(),
        creds_key=bytes.fromhex(secret["CREDS_KEY"]),
        root=secret["OSTIARY_ROOT_KEY"].encode(),
    )


@asynccontextmanager
async def open_services(settings: Settings, clock: Callable[[], int] = now) -> AsyncIterator[Services]:
    """Everything that lives as long as the process, on a database with this version's tables."""
    keys = keys_of(settings)
    blocklist = Blocklist(settings.passwords.blocklist)
    await migrate(settings.database_url)
    database = await open_database(settings.database_url, settings.storage.pool_size)
    passwords = settings.passwords
    hasher = PasswordHasher(
        passwords.bcrypt_cost,
        passwords.hashing_threads or fair_threads(settings.server.workers),
        passwords.hashing_queue,
        passwords.hashing_wait.total_seconds(),
        passwords.hashing_memory << 20,
    )
    limits = _limits(settings, keys)
    federation = build_federation(settings, clock)
    try:
        services = Services(
            settings=settings,
            database=database,
            keys=keys,
            digester=Digester(keys.derive("digests")),
            sealer=Sealer(keys.derive("sealing")),
            hasher=hasher,
            blocklist=blocklist,
            access_tokens=RotatingSigner(keys.jwt_secret),
            refresh_tokens=RotatingSigner(keys.jwt_refresh_secret),
            handshake=Handshake(keys.derive, micros(settings.sessions.handshake_period)),
            limits=limits,
            rules=Rules.of(settings),
            metrics=Metrics(),
            clock=clock,
            methods={Password: PasswordMethod(), SharedKey: PublicKeyMethod()},
            directory=federation.directory,
            breaches=federation.breaches,
            redirect_providers=federation.redirect,
        )
        await rules.fit(services)
        await key_ring.refresh(services)
        yield services
    finally:
        await federation.close()
        hasher.close()
        await limits.close()
        await database.close()


def _limits(settings: Settings, keys: Keys) -> LimitStore:
    url = settings.storage.redis_url
    return redis.RedisLimits(url, keys.derive("limits")) if url else MemoryLimits()


class Application:
    """The ASGI application. Its services open with the lifespan, or with `running` where there is none."""

    def __init__(self, settings: Settings, clock: Callable[[], int] = now) -> None:
        self.settings = settings
        self._clock = clock
        self._desk: FrontDesk | None = None

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """ASGI."""
        if scope["type"] == "http" and self._desk is not None:
            return self._desk(scope, receive, send)
        return self._beside_requests(scope, receive, send)

    async def _beside_requests(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})

    @asynccontextmanager
    async def running(self, *, with_jobs: bool = True) -> AsyncIterator[tuple[Services, Jobs]]:
        """Open the services, serve, and close them again."""
        async with open_services(self.settings, self._clock) as services:
            if not self.settings.storage.redis_url:
                await count_again(services)
            jobs = Jobs(services)
            self._desk = front_desk(services)
            if with_jobs:
                jobs.start()
            try:
                yield services, jobs
            finally:
                await jobs.stop()
                self._desk = None

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        # What lives as long as the process is not looked through again and again for garbage: what was imported, not even once.
        gc.freeze()
        try:
            async with self.running():
                gc.collect()
                gc.freeze()
                # Full collections wait until a quarter as much is new as the last one left: counted anew, that is little.
                gc.collect()
                await send({"type": "lifespan.startup.complete"})
                await receive()
        except SettingsError as error:
            # What an operator can put right needs no trace.
            log.error("start:failed", error=str(error))  # noqa: TRY400
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        except Exception as error:
            log.exception("start:failed")
            await send({"type": "lifespan.startup.failed", "message": f"{type(error).__name__}: {error}"})
            return
        await send({"type": "lifespan.shutdown.complete"})


def front_desk(services: Services) -> FrontDesk:
    """The wires and the pages, mounted."""
    dialects = services.settings.server.dialects
    password_wire: Wire | None = LibreChat(tuple(services.settings.openid_others)) if "librechat" in dialects else None
    key_wire: Wire | None = LibrePass() if "librepass" in dialects else None
    pages = Pages(services.settings, identities.departure if password_wire else None) if services.settings.page_origins else None
    operations = Operations([wire for wire in (password_wire, key_wire) if wire is not None])
    for wire in (pages, password_wire, key_wire):
        if wire is not None:
            services.answers.update(wire.answers)
    return FrontDesk(services, operations, password_wire, key_wire, pages)


def documented() -> dict[str, Any]:
    """The OpenAPI document of both wires and the operators' paths."""
    return Operations([LibreChat(), LibrePass()]).document("/")


def create_app(settings: Settings | None = None, clock: Callable[[], int] = now) -> Application:
    """The application; without settings, from the process's environment. Raises SettingsError."""
    settings = settings or Settings.load()
    set_up(settings.server.log_format, settings.server.log_level)
    return Application(settings, clock)
