"""HTTP/1.1 as the measurements speak it: one request, one answer, the connection kept, nothing sent ahead."""

from __future__ import annotations

import json
import re
import socket
from dataclasses import dataclass
from time import perf_counter
from types import TracebackType
from typing import Any, Self

HOST = "127.0.0.1"
SECONDS = 60
_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)\r\n", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer."""

    status: int
    head: bytes
    body: bytes

    def json(self) -> Any:  # noqa: ANN401 - whatever the server said
        return json.loads(self.body)

    def chained(self, member: str) -> str:
        """What the next refresh carries: the cookie `refreshToken`, or the text of this name in the JSON."""
        if not member:
            return self.cookie("refreshToken")
        found = re.search(rb'"%s": ?"([^"]+)"' % member.encode(), self.body)
        return found[1].decode() if found else ""

    def cookie(self, name: str) -> str:
        """A cookie that this answer sets, or the empty text."""
        _, found, rest = self.head.partition(f"\r\nset-cookie: {name}=".encode())
        if not found:
            _, found, rest = self.head.partition(f"\r\nSet-Cookie: {name}=".encode())
        return rest.partition(b"\r\n")[0].partition(b";")[0].decode() if found else ""


def request(method: str, path: str, body: object = None, **headers: str) -> bytes:
    """The bytes of a request; `user_agent` is the header `user-agent`."""
    lines = {"host": HOST, "accept": "application/json", **{name.replace("_", "-"): value for name, value in headers.items()}}
    payload = b""
    if body is not None:
        payload = json.dumps(body).encode()
        lines["content-type"] = "application/json"
    if method != "GET":
        lines["content-length"] = str(len(payload))
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + payload


def parsed(data: bytes) -> Reply | None:
    """The answer that has come in, or None while it is incomplete."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return None
    found = _LENGTH.search(data, 0, end + 2)
    if found is None and b"\r\ntransfer-encoding: chunked\r\n" in data[: end + 2].lower():
        return _in_chunks(data, end) if data.endswith(b"0\r\n\r\n") else None
    if found is None:
        text = f"an answer without Content-Length: {data[:end]!r}"
        raise ValueError(text)
    if len(data) < end + 4 + int(found[1]):
        return None
    return Reply(int(data[9:12]), data[: end + 2], data[end + 4 :])


def _in_chunks(data: bytes, end: int) -> Reply:
    rest, body = data[end + 4 :], b""
    while (size := int(rest.partition(b"\r\n")[0].partition(b";")[0], 16)) > 0:
        start = rest.index(b"\r\n") + 2
        body += rest[start : start + size]
        rest = rest[start + size + 2 :]
    return Reply(int(data[9:12]), data[: end + 2], body)


class Connection:
    """One kept connection on which one thread asks."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._socket: socket.socket | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def ask(self, raw: bytes, expect: int = 200) -> Reply:
        """The answer, which must have this status."""
        reply, _ = self.timed(raw)
        if reply.status != expect:
            text = f"{raw.partition(b' HTTP')[0].decode()} answered {reply.status}, not {expect}: {reply.body[:300]!r}"
            raise ValueError(text)
        return reply

    def timed(self, raw: bytes) -> tuple[Reply, float]:
        """The answer and the seconds that it took."""
        if self._socket is None:
            self._socket = socket.create_connection((HOST, self._port), SECONDS)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        asked_at = perf_counter()
        self._socket.sendall(raw)
        data = b""
        while (reply := parsed(data)) is None:
            more = self._socket.recv(65536)
            if not more:
                raise ConnectionError("the server closed the connection")
            data += more
        return reply, perf_counter() - asked_at
