"""uvicorn's connections with less work for each answer (docs/performance.md has what each step saves).

The head waits for the first of the body, so that an answer is one write (ASGI's specification asks for that wait); it is checked
whole rather than line by line; and one timer watches an idle connection, where uvicorn sets and cancels one for each request.
A connection that ends before its request's body has come ends in two steps, so that the answer arrives. All else is uvicorn's
own: the parser, pipelining, flow control, the graceful end.
"""

from __future__ import annotations

from asyncio import Event, TimerHandle
from collections.abc import Callable
from itertools import repeat
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from httptools import parse_url
from uvicorn.protocols.http import httptools_impl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from ostiary.dialects.front_desk import ARRIVED, TRANSPORT

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

    from uvicorn._types import ASGISendEvent, HTTPResponseBodyEvent, HTTPResponseStartEvent

MOST_NAMES = 256
PARTING_SECONDS = 2.0
PARTING_BYTES = 8 * 1024 * 1024
"""How long, and for how much of a body that nobody wants, a connection is kept open behind its last answer."""
_FORBIDDEN = bytes([*range(9), *range(10, 32), 127])
"""Control characters in a value could begin another header or another answer."""
_FRAMING = frozenset({b"content-length: ", b"transfer-encoding: ", b"connection: "})
_NO_BODY = frozenset({204, 304})
_STEADY = frozenset(
    {
        b"cache-control: ",
        b"content-security-policy: ",
        b"content-type: ",
        b"cross-origin-resource-policy: ",
        b"referrer-policy: ",
        b"strict-transport-security: ",
        b"x-content-type-options: ",
        b"x-frame-options: ",
        b"x-robots-tag: ",
    }
)
"""Headers that say the same in answer after answer."""
MOST_STEADY = 128
_prefixes: dict[bytes, bytes] = {}
_lines: dict[tuple[bytes, bytes], bytes] = {}
"""Steady headers that were looked at once, as they are written."""


class Cycle(RequestResponseCycle):
    """One request and its answer."""

    head = b""
    """Waits for the body."""
    part: Callable[[], None]
    """Ends the connection behind this answer, though its request's body is still coming."""

    def arrived(self) -> bytes | None:
        """The request's body, if all of it is here: nearly always, and then nobody needs to wait for it against the clock."""
        return None if self.more_body or self.disconnected else bytes(self.body)

    async def send(self, message: ASGISendEvent) -> None:
        """ASGI."""
        if message["type"] == "http.response.start" and not self.response_started and not self.head:
            self.waiting_for_100_continue = False
            self.head = self._head_of(message)
            return
        if self.head and message["type"] == "http.response.body":
            if self.flow.write_paused and not self.disconnected:
                await self.flow.drain()
            head, self.head = self.head, b""
            self.response_started = True
            if self.disconnected:
                return
            if self._answered_at_once(head, message):
                return
            self.transport.write(head)
        await super().send(message)

    async def send_500_response(self) -> None:
        """Nothing was written: a head that waits is that of an answer which never came."""
        self.head = b""
        self.chunked_encoding = None
        self.expected_content_length = 0
        await super().send_500_response()

    def _answered_at_once(self, head: bytes, message: HTTPResponseBodyEvent) -> bool:
        """Write the whole answer, if this is the whole body and as long as the head says."""
        if message.get("more_body") or self.chunked_encoding:
            return False
        body = message.get("body", b"")
        if self.scope["method"] == "HEAD":
            self.transport.write(head)
        elif len(body) == self.expected_content_length:
            self.transport.writelines((head, body) if body else (head,))
        else:
            return False
        self.response_complete = True
        self.message_event.set()
        if not self.keep_alive:
            if self.more_body:
                self.part()
            else:
                self.transport.close()
        self.on_response()
        return True

    def _head_of(self, message: HTTPResponseStartEvent) -> bytes:
        """The head's bytes, and from its headers how the body is framed. Raises RuntimeError for a header that would break it."""
        status = message["status"]
        headers = [*self.default_headers, *message.get("headers", ())]
        lines = list(map(_lines.get, headers, repeat(b"")))
        values: list[bytes] = []
        unproven: list[tuple[bytes, bytes]] = []
        is_closing = False
        for place, line in enumerate(lines):
            if line:
                continue
            name, value = headers[place]
            prefix = _prefixes.get(name) or _prefix(name)
            lines[place] = prefix + value
            values.append(value)
            if prefix in _FRAMING:
                is_closing |= self._frame(prefix, value)
            elif prefix in _STEADY and len(value) <= MOST_STEADY and len(_lines) < MOST_NAMES:
                unproven.append((name, value))
        together = b"\t".join(values)
        if len(together.translate(None, _FORBIDDEN)) != len(together):
            raise RuntimeError("Invalid HTTP header value.")
        _lines.update({(name, value): _prefix(name) + value for name, value in unproven})
        if not self.keep_alive and not is_closing:
            lines.append(b"connection: close")
        if self.chunked_encoding is None and self.scope["method"] != "HEAD" and status not in _NO_BODY:
            self.chunked_encoding = True
            lines.append(b"transfer-encoding: chunked")
        return b"\r\n".join((httptools_impl.STATUS_LINE[status][:-2], *lines, b"", b""))

    def _frame(self, prefix: bytes, value: bytes) -> bool:
        """Note what this header says of the body; whether it says that the connection ends."""
        if prefix == b"connection: ":
            is_closing = b"close" in [token.lower().strip() for token in value.split(b",")]
            self.keep_alive &= not is_closing
            return is_closing
        if prefix == b"content-length: " and self.chunked_encoding is None:
            self.expected_content_length = int(value)
            self.chunked_encoding = False
        elif prefix == b"transfer-encoding: " and value.lower() == b"chunked":
            self.expected_content_length = 0
            self.chunked_encoding = True
        return False


def _prefix(name: bytes) -> bytes:
    """How a line with this name begins. Names come from this program alone, so that few are remembered."""
    if httptools_impl.HEADER_RE.search(name):
        raise RuntimeError("Invalid HTTP header name.")
    prefix = name.lower() + b": "
    if len(_prefixes) < MOST_NAMES:
        _prefixes[name] = prefix
    return prefix


class Connection(HttpToolsProtocol):
    """One connection. uvicorn makes it and calls it; see the module."""

    loop: AbstractEventLoop

    def __init__(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401 - uvicorn's own
        super().__init__(*arguments, **options)
        self._idle_timer: TimerHandle | None = None
        self._idle_since: float | None = None
        self._is_parting = False
        self._parting_bytes = 0
        self._is_last = False

    def data_received(self, data: bytes) -> None:
        """Bytes have come."""
        if not self._is_parting:
            super().data_received(data)
            return
        # Not for the parser: behind its last answer a connection asks for nothing more.
        self._parting_bytes += len(data)
        if self._parting_bytes > PARTING_BYTES:
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """The other side went, or this one closed."""
        if self._idle_timer is not None:
            self._idle_timer.cancel()
            self._idle_timer = None
        super().connection_lost(exc)

    def on_headers_complete(self) -> None:
        """A request's head is whole: its answer begins, or waits for the answers before it."""
        parser, scope = self.parser, self.scope
        version = parser.get_http_version()
        scope["method"] = parser.get_method().decode("ascii")
        scope["http_version"] = version
        url = parse_url(self.url)
        raw_path = url.path
        path = raw_path.decode("ascii")
        scope["path"] = self.root_path + (unquote(path) if "%" in path else path)
        scope["raw_path"] = self.root_path.encode("ascii") + raw_path
        scope["query_string"] = url.query or b""
        scope[TRANSPORT] = self.transport  # type: ignore[literal-required]
        before: RequestResponseCycle | None = self.cycle
        cycle = self.cycle = Cycle(
            scope=scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=self.access_log,
            default_headers=self.server_state.default_headers,
            message_event=Event(),
            expect_100_continue=self.expect_100_continue,
            keep_alive=version != "1.0" and parser.should_keep_alive() and not self._is_last,
            on_response=self.on_response_complete,
        )
        cycle.part = self._part
        scope[ARRIVED] = cycle.arrived  # type: ignore[literal-required]
        if before is None or before.response_complete:
            self._start_asgi_task(cycle, self.app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((cycle, self.app))

    def on_response_complete(self) -> None:
        """An answer is out: the next of the pipeline begins, or the time of idleness does."""
        self.server_state.total_requests += 1
        if self._is_parting or self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
            return
        self._idle_since = self.loop.time()
        if self._idle_timer is None:
            self._idle_timer = self.loop.call_later(self.timeout_keep_alive, self._look_whether_idle)

    def shutdown(self) -> None:
        """The process ends. Who has just come is answered once: their request is on its way, and a reset would lose it."""
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is not None or self.transport.is_closing():
            super().shutdown()
            return
        self._is_last = True
        self.loop.call_later(PARTING_SECONDS, self._close_unless_answering)

    def _close_unless_answering(self) -> None:
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is None or cycle.response_complete:
            self.transport.close()

    def _part(self) -> None:
        """End our side, and take in for a moment what still comes.

        To close while it comes would send a reset, which can overtake the answer (RFC 9112 section 9.6): a proxy then says 502.
        """
        self._is_parting = True
        self.flow.resume_reading()
        self.transport.write_eof()
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        self._idle_timer = self.loop.call_later(PARTING_SECONDS, self.transport.close)

    def _unset_keepalive_if_required(self) -> None:
        self._idle_since = None

    def _look_whether_idle(self) -> None:
        self._idle_timer = None
        if self._idle_since is None:
            return
        left = self._idle_since + self.timeout_keep_alive - self.loop.time()
        if left <= 0:
            self.timeout_keep_alive_handler()
        else:
            self._idle_timer = self.loop.call_later(left, self._look_whether_idle)
