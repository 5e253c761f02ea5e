"""Many requests at one moment: kept connections, each from an address of its own, and the last byte of all sent together.

Everything else of every request goes ahead, so that what is left to send takes microseconds and the server has them all in hand.
One thread does it: as many threads as callers would stand in one another's way for longer than the race takes.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Sequence
from urllib.parse import urlsplit

from bench.wire import HOST, parsed
from tests.attack.harness import SECONDS, Reply, somewhere, watched

IDLE_SECONDS = 2.0
"""A connection that was silent for longer is opened anew: the server ends one after five."""
MOST_USES = 40
"""Then a connection goes: several processes share them out anew, and somebody comes from elsewhere."""


class _Line:
    """A kept connection, and what has come over it since the last answer."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection((HOST, port), SECONDS, (somewhere(), 0))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.uses = 0
        self.used_at = time.monotonic()

    @property
    def is_worn(self) -> bool:
        return self.uses >= MOST_USES or time.monotonic() - self.used_at > IDLE_SECONDS

    def send(self, part: bytes) -> None:
        # Whether the server had ended the connection is seen where its answer is looked for.
        with contextlib.suppress(ConnectionError):
            self.socket.sendall(part)

    def answer(self) -> Reply | None:
        """None when the server had ended the kept connection before it heard the request: it was slow to be asked again."""
        data = b""
        while (found := parsed(data)) is None:
            try:
                more = self.socket.recv(65536)
            except ConnectionError:
                more = b""
            if not more and not data and self.uses:
                return None
            assert more, f"the server closed the connection after {data!r}"
            data += more
        pairs = (line.partition(":") for line in found.head.decode("latin-1").split("\r\n")[1:] if line)
        reply = Reply(found.status, tuple((name, value.strip()) for name, _, value in pairs), found.body)
        self.uses = MOST_USES if reply.header("connection") == "close" else self.uses + 1
        self.used_at = time.monotonic()
        return watched(reply)


class Volley:
    """Callers of one server. No answer may be a fault of its own (`watched`)."""

    def __init__(self, url: str) -> None:
        self._port = urlsplit(url).port or 0
        self._lines: list[_Line] = []
        self.calls = 0
        """How many were answered."""

    def __call__(self, requests: Sequence[bytes]) -> list[Reply]:
        """Send them together; the answers in the same order."""
        lines = self._ready(len(requests))
        try:
            for line, raw in zip(lines, requests, strict=True):
                line.send(raw[:-1])
            for line, raw in zip(lines, requests, strict=True):
                line.send(raw[-1:])
            replies = [line.answer() or self._again(number, requests[number]) for number, line in enumerate(lines)]
        except BaseException:
            self.close()
            raise
        self.calls += len(replies)
        return replies

    def ask(self, request: bytes) -> Reply:
        """One alone."""
        return self([request])[0]

    def close(self) -> None:
        """End all connections."""
        while self._lines:
            self._lines.pop().socket.close()

    def _again(self, number: int, request: bytes) -> Reply:
        self._lines[number].socket.close()
        line = self._lines[number] = _Line(self._port)
        line.send(request)
        reply = line.answer()
        assert reply is not None
        return reply

    def _ready(self, count: int) -> list[_Line]:
        for number, line in enumerate(self._lines[:count]):
            if line.is_worn:
                line.socket.close()
                self._lines[number] = _Line(self._port)
        while len(self._lines) < count:
            self._lines.append(_Line(self._port))
        return self._lines[:count]
