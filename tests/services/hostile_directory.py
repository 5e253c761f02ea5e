"""A directory that does what a real one would not: it answers any bind as told, finds what it is told, and keeps a log."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from tests.services import free_port

SEQUENCE, INTEGER, OCTETS, ENUMERATED, SET = 0x30, 0x02, 0x04, 0x0A, 0x31
BIND, BIND_ANSWER, UNBIND = 0x60, 0x61, 0x42
SEARCH, ENTRY, DONE, REFERENCE = 0x63, 0x64, 0x65, 0x73
EXTENDED, EXTENDED_ANSWER = 0x77, 0x78
Person = tuple[str, dict[str, list[bytes]]]
ADA: Person = ("uid=ada,dc=example,dc=org", {"uid": [b"ada"], "cn": [b"Ada"], "mail": [b"ada@example.org"]})
EVE: Person = ("uid=eve,dc=example,dc=org", {"uid": [b"eve"], "cn": [b"Eve"], "mail": [b"eve@example.org"]})


@dataclass
class HostileDirectory:
    """Speaks LDAP on `port`, as badly as it is told."""

    found: Sequence[Person] = (ADA,)
    references: Sequence[bytes] = ()
    search_code: int = 0
    bind_code: int = 0
    bind_text: bytes = b""
    starttls_code: int = 0
    raw: bytes | None = None
    """Answered to a search instead of anything that LDAP knows."""
    drips: bool = False
    """Answers a search one byte at a time, and never the last."""
    port: int = 0
    binds: list[tuple[str, bytes]] = field(default_factory=list)
    searches: list[bytes] = field(default_factory=list)
    requests: list[int] = field(default_factory=list)
    _server: asyncio.Server | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def __aenter__(self) -> Self:
        self.port = free_port()
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        assert self._server is not None
        self._server.close()
        for task in [*self._tasks]:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    def settings(self, **changes: str) -> dict[str, str]:
        """What Ostiary is told to use it with an anonymous search."""
        return {"LDAP_URL": f"ldap://127.0.0.1:{self.port}", "LDAP_USER_SEARCH_BASE": "dc=example,dc=org", **changes}

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            while True:
                number, kind, body = await _request(reader)
                self.requests.append(kind)
                if kind == UNBIND:
                    break
                await self._answer(writer, number, kind, body)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()

    async def _answer(self, writer: asyncio.StreamWriter, number: int, kind: int, body: bytes) -> None:
        if kind == BIND:
            _, _, rest = _part(body)
            _, name, rest = _part(rest)
            _, password, _ = _part(rest)
            self.binds.append((name.decode(), password))
            writer.write(_message(number, _result(BIND_ANSWER, self.bind_code, self.bind_text)))
        elif kind == EXTENDED:
            writer.write(_message(number, _result(EXTENDED_ANSWER, self.starttls_code, b"")))
        elif kind == SEARCH and self.raw is not None:
            self.searches.append(body)
            writer.write(self.raw)
        elif kind == SEARCH:
            self.searches.append(body)
            answers = [_entry(*person) for person in self.found]
            answers += [_tlv(REFERENCE, _tlv(OCTETS, url)) for url in self.references]
            answers.append(_result(DONE, self.search_code, b""))
            await self._send(writer, b"".join(_message(number, answer) for answer in answers))
        await writer.drain()

    async def _send(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        if not self.drips:
            writer.write(data)
            return
        for byte in data[:-1]:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0.05)


async def _request(reader: asyncio.StreamReader) -> tuple[int, int, bytes]:
    """Message number, kind and body of the next request."""
    header = await reader.readexactly(2)
    length = header[1]
    if length & 0x80:
        length = int.from_bytes(await reader.readexactly(length & 0x7F), "big")
    _, number, rest = _part(await reader.readexactly(length))
    kind, body, _ = _part(rest)
    return int.from_bytes(number, "big"), kind, body


def _part(data: bytes) -> tuple[int, bytes, bytes]:
    """The first element's tag and contents, and what follows it."""
    tag, length, start = data[0], data[1], 2
    if length & 0x80:
        start += length & 0x7F
        length = int.from_bytes(data[2:start], "big")
    return tag, data[start : start + length], data[start + length :]


def _tlv(tag: int, *contents: bytes) -> bytes:
    body = b"".join(contents)
    size = len(body)
    length = bytes([size]) if size < 0x80 else b"\x84" + size.to_bytes(4, "big")
    return bytes([tag]) + length + body


def _message(number: int, answer: bytes) -> bytes:
    return _tlv(SEQUENCE, _tlv(INTEGER, number.to_bytes(2, "big")), answer)


def _result(tag: int, code: int, text: bytes) -> bytes:
    return _tlv(tag, _tlv(ENUMERATED, bytes([code])), _tlv(OCTETS), _tlv(OCTETS, text))


def _entry(dn: str, attributes: dict[str, list[bytes]]) -> bytes:
    rows = [
        _tlv(SEQUENCE, _tlv(OCTETS, name.encode()), _tlv(SET, *(_tlv(OCTETS, value) for value in values)))
        for name, values in attributes.items()
    ]
    return _tlv(ENTRY, _tlv(OCTETS, dn.encode()), _tlv(SEQUENCE, *rows))
