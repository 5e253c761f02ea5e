"""uvicorn's connections with what it leaves out: time limits for a request's head, and how many may be open at once.

Closes what its parser leaves open when no proxy stands in front: silent sockets, heads that drip in, endless heads, bodies that
drip on after their answer, and one address that opens all there are.
"""

from __future__ import annotations

import asyncio
import ipaddress
import resource
import time
from asyncio import TimerHandle
from typing import Any

import msgspec

from ostiary.cli.connection import Connection
from ostiary.dialects.guard import MOST_HEADER_BYTES, MOST_TARGET
from ostiary.identity.throttle import network
from ostiary.observability.logging import log
from ostiary.settings import Settings

SPARE_FILES = 64
"""Descriptors kept for databases, logs and mail."""
MOST_FILES = 65536
QUIET_SECONDS = 60.0
_MOST_HEAD = MOST_HEADER_BYTES + MOST_TARGET
_TOO_SLOW = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
_TOO_LONG = b"HTTP/1.1 414 URI Too Long\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
_TOO_MANY = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 5\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class Desk(msgspec.Struct):
    """What the connections of one process share."""

    head_seconds: float
    most: int
    most_per_address: int
    trusted: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]
    is_behind_hops: bool
    silent: dict[GuardedProtocol, None] = msgspec.field(default_factory=dict)
    """Connections whose first head is not whole, the oldest first."""
    by_address: dict[str, int] = msgspec.field(default_factory=dict)
    said_at: float = -QUIET_SECONDS

    @classmethod
    def of(cls, settings: Settings) -> Desk:
        """As the settings say, and never more than the system lets this process open."""
        server = settings.server
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return cls(
            server.head_time.total_seconds(),
            max(16, min(server.connections, files - SPARE_FILES)),
            server.connections_per_address,
            tuple(ipaddress.ip_network(entry, strict=False) for entry in server.trusted_proxies),
            server.trusted_hops > 0,
        )

    def key_of(self, address: str) -> str:
        """What connections are counted by; empty for those that are not: this machine, and proxies that speak for many."""
        try:
            parsed = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return ""
        is_exempt = self.is_behind_hops or parsed.is_loopback or any(parsed in trusted for trusted in self.trusted)
        return "" if is_exempt else network(address)

    def say(self, reason: str, address: str) -> None:
        """One line a minute, however many are turned away."""
        if time.monotonic() - self.said_at >= QUIET_SECONDS:
            self.said_at = time.monotonic()
            log.warning("connections:limit_reached", reason=reason, address=address)


def raise_file_limit() -> None:
    """Let this process open as many files as the system allows it, within reason: each connection is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class GuardedProtocol(Connection):
    """One connection."""

    _desks: dict[int, Desk] = {}  # noqa: RUF012 - one for each application of the process, shared by all its connections

    def __init__(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401 - uvicorn's own
        super().__init__(*arguments, **options)
        application: Any = self.config.loaded_app
        self._desk = self._desks.get(id(application)) or self._desks.setdefault(id(application), Desk.of(application.settings))
        self._timer: TimerHandle | None = None
        self._key = ""
        self._is_head_open = True
        self._head_bytes = 0
        self.url = b""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        desk, address = self._desk, self.client[0] if self.client else ""
        self._key = desk.key_of(address)
        if self._key:
            count = desk.by_address[self._key] = desk.by_address.get(self._key, 0) + 1
            if count > desk.most_per_address:
                desk.say("address", address)
                self._end(_TOO_MANY)
                return
        if len(self.connections) > desk.most:
            desk.say("all", address)
            oldest = next(iter(desk.silent), None)
            if oldest is None:
                self._end(_TOO_MANY)
                return
            oldest._end(b"")  # noqa: SLF001 - of the same class
        desk.silent[self] = None
        self._timer = self.loop.call_later(desk.head_seconds, self._expire)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        self._desk.silent.pop(self, None)
        if self._key:
            left = self._desk.by_address.get(self._key, 1) - 1
            if left:
                self._desk.by_address[self._key] = left
            else:
                self._desk.by_address.pop(self._key, None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._is_parting or self.transport.is_closing():
            return
        if self._is_head_open:
            self._head_bytes += len(data)
            if self._head_bytes > _MOST_HEAD:
                self._end(_TOO_LONG if len(self.url) > MOST_TARGET else _TOO_LARGE)
                return
        is_answering = self._is_answering()
        if self._timer is None and self._idle_since is None and (self._is_head_open or not is_answering):
            # uvicorn stops its clock at any byte. Ours runs from the first byte to the end of a head, and not anew with each;
            # and where an answer has gone out already, what still comes of that request is thrown away, and not for long.
            self._timer = self.loop.call_later(self._desk.head_seconds, self._expire)

    def on_message_begin(self) -> None:
        self._is_head_open = True
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        # Enough of it to see that it is too long: the guard says so, and the parser would not take one of 64 KB apart.
        self.url = (self.url + url)[: MOST_TARGET + 2]

    def on_headers_complete(self) -> None:
        self._is_head_open = False
        self._head_bytes = 0
        self._stop_timer()
        self._desk.silent.pop(self, None)
        super().on_headers_complete()

    def _is_answering(self) -> bool:
        cycle: Any = self.cycle  # None before the first request, whatever uvicorn's annotation says
        return cycle is not None and not cycle.response_complete

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _expire(self) -> None:
        # Who has sent nothing gets nothing; who has begun a head hears why it ends.
        self._end(_TOO_SLOW if self._is_head_open and self._head_bytes else b"")

    def _end(self, answer: bytes) -> None:
        self._stop_timer()
        self._desk.silent.pop(self, None)
        if self.transport.is_closing():
            return
        # An answer under way is not interrupted by words of ours.
        if answer and not self._is_answering():
            self.transport.write(answer)
        self.transport.close()
