"""Requests by the thousand: one that the OpenAPI document describes, bent in some way, over kept-alive connections to a running server.

The same seed makes the same requests. What is counted: answers that are a fault of ours, silence, restarts, memory.
"""

from __future__ import annotations

import http.client
import json
import random
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from ostiary.app import documented
from tests.attack.harness import INSIDES, somewhere
from tests.attack.people import PASSWORD, KeyOwner, Person, key_owner, signed_in
from tests.served import Served

HANG_SECONDS = 60
"""Silence for so long is none that a busy machine explains."""
RENEW_EVERY = 250
"""After so many requests a caller is somebody fresh, because the last one has signed out, locked or deleted itself."""
TEXTS = (
    "", " ", "0", "-1", "null", "true", "a", "A" * 300, "x" * 9000, "\0", "a\0b", "\ud800", "\u202e", "'; DROP TABLE accounts;--",
    "' OR '1'='1", "{{7*7}}", "${7*7}", "%00", "%zz", "../../etc/passwd", "<script>", "\r\nSet-Cookie: a=b", "١٢٣٤٥٦", "123456",
    "000000", "ada@example.org", "a@b", "a@b@c", "ab" * 32, "00" * 32, "ff" * 32, "not-a-uuid", "00000000-0000-4000-8000-000000000001",
    "2026-11-28T00:00:00Z", "lp_x", "eyJhbGciOiJub25lIn0.e30.", "🦉" * 40,
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    1,
    2**31,
    2**63,
    2**64,
    -(2**63),
    1e308,
    0.5,
    [],
    {},
    [[]],
    {"a": {}},
    ["a"],
    [None],
)
RAW = (
    b"", b"{", b"[", b"null", b'"x"', b"1", b"NaN", b"1e999", b'{"a":', b"[" * 5000, b'{"a":' * 3000, b"\xef\xbb\xbf{}", b"\xff\xfe{\x00}\x00",
    b'{"a":"\\ud800"}', b'{"email":"a","email":"b"}', b"a=b&a=c", b"email[]=a", b"&" * 4000, b"\x00" * 100, b'{"k":' + b"9" * 4300 + b"}",
)  # fmt: skip
TYPES = (
    "application/json",
    "application/json; charset=utf-16",
    "application/x-www-form-urlencoded",
    "text/plain",
    "multipart/form-data",
    "",
    "\t",
)
HEADERS = (
    ("Origin", "https://evil.test"), ("Origin", "null"), ("X-Forwarded-For", "a, 1.2.3.4:80, ::1%eth0"), ("X-API", "1"), ("X-API", "\xff"),
    ("Cookie", "refreshToken=a; refreshToken=b"), ("Cookie", "=x; %zz; a" * 50), ("Cookie", "ostiary_device=" + "a" * 400), ("Accept", "*" * 3000),
    ("X-HTTP-Method-Override", "DELETE"), ("Sec-Fetch-Site", "cross-site"), ("User-Agent", "\xfe" * 900), ("X-CSRF-Token", "a.b"),
    ("If-None-Match", "*"), ("Range", "bytes=0-"), ("Expect", "100-continue"), ("Content-Encoding", "gzip"), ("Accept-Language", "de;q=\xff"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Route:
    """An operation of the document."""

    method: str
    path: str
    schema: dict[str, Any] | None
    query: tuple[str, ...]


@dataclass(slots=True)
class Report:
    """What came of it."""

    requests: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    hangs: list[str] = field(default_factory=list)
    restarts: int = 0
    memory_before: int = 0
    memory_after: int = 0
    slowest: float = 0

    @property
    def is_clean(self) -> bool:
        """Whether nothing was wrong."""
        return not (self.faults or self.hangs or self.restarts)


@lru_cache
def routes() -> list[Route]:
    """All of them."""
    found = []
    for path, operations in documented()["paths"].items():
        for method, operation in operations.items():
            schema = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
            query = tuple(parameter["name"] for parameter in operation.get("parameters", []) if parameter["in"] == "query")
            found.append(Route(method.upper(), path, schema, query))
    return found


class Forge:
    """Makes requests for one caller."""

    def __init__(self, seed: int, person: Person, owner: KeyOwner) -> None:
        self._random = random.Random(seed)  # noqa: S311 - the same seed, the same requests
        self._routes = routes()
        self._known = [person.email, owner.email, PASSWORD, owner.id, person.bearer, owner.bearer, person.refresh_token]
        self._bearers = (person.bearer, owner.bearer)
        self._bent_bearers = ("", "lp_" + "a" * 40, "x.y.z", person.bearer[:-1], owner.bearer + "a", "é" * 10)
        self._cookie = f"refreshToken={person.refresh_token}"

    def request(self) -> tuple[str, str, bytes | None, list[tuple[str, str]]]:
        """Method, target, body, headers."""
        dice = self._random
        route = dice.choice(self._routes)
        method = (
            dice.choice(("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "X"))
            if dice.random() < 0.05
            else route.method
        )
        bearer = dice.choice(self._bearers if dice.random() < 0.8 else self._bent_bearers)
        headers = [("Authorization", f"Bearer {bearer}")] if dice.random() < 0.8 else []
        if dice.random() < 0.3:
            headers.append(("Cookie", self._cookie))
        if dice.random() < 0.3:
            headers.append(dice.choice(HEADERS))
        body = self._body(route) if method in ("POST", "PUT", "PATCH", "DELETE") else None
        if body is not None:
            kind = dice.choice(TYPES) if dice.random() < 0.15 else "application/json"
            if kind:
                headers.append(("Content-Type", kind))
        return method, self._target(route), body, headers

    def _target(self, route: Route) -> str:
        dice = self._random
        path = "/".join(
            quote(self._text().encode("utf-8", "replace")[:200], safe="") if part.startswith("{") else part
            for part in route.path.split("/")
        )
        if dice.random() < 0.03:
            path = dice.choice(
                (
                    path + "/",
                    "/" + path,
                    path.upper(),
                    path.replace("/api", "/%61pi"),
                    path + "%00",
                    path + ";a=b",
                    path + "/../x",
                )
            )
        names = [name for name in route.query if dice.random() < 0.9] + (["x"] if dice.random() < 0.05 else [])
        query = "&".join(f"{name}={quote(self._text().encode('utf-8', 'replace')[:400], safe='@')}" for name in names)
        if dice.random() < 0.03:
            query += dice.choice(("&", "%", "&&=", "=%zz", "&email[]=a", "&grantType=2fa&grantType=login"))
        return f"{path}?{query}" if query else path

    def _body(self, route: Route) -> bytes:
        dice = self._random
        if route.schema is None or dice.random() < 0.08:
            return dice.choice(RAW) if dice.random() < 0.5 else b""
        value = self._value(route.schema, 0)
        if isinstance(value, dict):
            self._bend(value)
        raw = json.dumps(value).encode()
        if dice.random() < 0.08:
            place = dice.randrange(len(raw) + 1)
            raw = raw[:place] + dice.randbytes(dice.randrange(1, 5)) + raw[place + dice.randrange(3) :]
        return raw

    def _bend(self, value: dict[str, Any]) -> None:
        dice = self._random
        for name in list(value):
            roll = dice.random()
            if roll < 0.05:
                del value[name]
            elif roll < 0.12:
                value[name] = dice.choice(VALUES)
        if dice.random() < 0.1:
            value[dice.choice(("role", "id", "__proto__", "a" * 5000, "emailVerified", "\ud800"))] = dice.choice(VALUES)

    def _value(self, schema: dict[str, Any], depth: int) -> Any:
        dice = self._random
        if depth > 4:
            return None
        if choices := schema.get("anyOf") or schema.get("oneOf"):
            return self._value(dice.choice(choices), depth + 1)
        kind = schema.get("type")
        if kind == "object" or "properties" in schema:
            return {
                name: self._value(part, depth + 1) for name, part in schema.get("properties", {}).items() if dice.random() < 0.95
            }
        if kind == "array":
            return [self._value(schema.get("items", {}), depth + 1) for _ in range(dice.choice((0, 1, 2, 30)))]
        if kind == "integer":
            return dice.choice((0, 1, 3, 20480, 65536, -1, 2**31, schema.get("minimum", 0), schema.get("maximum", 9)))
        if kind == "boolean":
            return dice.choice((True, False))
        if "[0-9A-Fa-f]{64}" in schema.get("pattern", "") and dice.random() < 0.7:
            return dice.randbytes(32).hex()
        return self._text()

    def _text(self) -> str:
        dice = self._random
        if dice.random() < 0.5:
            return dice.choice(self._known)
        if dice.random() < 0.2:
            return "".join(
                chr(dice.choice((dice.randrange(32, 127), dice.randrange(0, 0x2FFF)))) for _ in range(dice.randrange(1, 40))
            )
        return dice.choice(TEXTS)


def run(place: Served, requests: int, seed: int = 0, callers: int = 4) -> Report:
    """Send so many, by several callers at once, and watch."""
    report = Report()
    lock = threading.Lock()
    warm_up = min(2000, requests // 10)
    _send(place, warm_up, seed + 1_000_003, report, lock)
    report.memory_before = memory(place.pid)
    threads = [
        threading.Thread(target=_send, args=(place, (requests - warm_up) // callers, seed + number, report, lock))
        for number in range(callers)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    report.memory_after = memory(place.pid)
    report.restarts = int(report.memory_after == 0)
    return report


def memory(pid: int) -> int:
    """Resident kilobytes of a process and its children; 0 when it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")), 0)


def _send(place: Served, requests: int, seed: int, report: Report, lock: threading.Lock) -> None:
    parts = urlsplit(place.url)
    connection: http.client.HTTPConnection | None = None
    forge: Forge | None = None
    for number in range(requests):
        if forge is None or number % RENEW_EVERY == 0:
            forge = Forge(seed * 1_000_000 + number, signed_in(place.url), key_owner(place.url))
        if connection is None:
            connection = http.client.HTTPConnection(
                parts.hostname or "", parts.port, timeout=HANG_SECONDS, source_address=(somewhere(), 0)
            )
        method, target, body, headers = forge.request()
        said = f"seed {seed}, number {number}: {method} {target[:120]} {(body or b'')[:160]!r}"
        started = time.monotonic()
        try:
            status, answer, closes = _exchange(connection, method, target, body, headers)
        except TimeoutError:
            with lock:
                report.hangs.append(said)
            status, answer, closes = 0, b"", True
        except (ConnectionError, http.client.HTTPException):
            # The server may end a connection after an answer; that it still lives is seen by the next request and at the end.
            status, answer, closes = 0, b"", True
        if closes:
            connection.close()
            connection = None
        with lock:
            report.requests += 1
            report.statuses[status] += 1
            report.slowest = max(report.slowest, time.monotonic() - started)
            if status >= 500 or _shows_insides(answer):
                report.faults.append(f"{status} {said} -> {answer[:200]!r}")
    if connection is not None:
        connection.close()


@lru_cache(4096)
def _shows_insides(answer: bytes) -> bool:
    # Most answers were given before; to look through the same page a thousand times would cost more than to ask for it.
    return INSIDES.search(answer) is not None


def _exchange(
    connection: http.client.HTTPConnection, method: str, target: str, body: bytes | None, headers: list[tuple[str, str]]
) -> tuple[int, bytes, bool]:
    connection.putrequest(method, target, skip_accept_encoding=True)
    for name, value in headers:
        connection.putheader(name, value.encode("latin-1", "replace"))
    if body is not None:
        connection.putheader("Content-Length", str(len(body)))
    connection.endheaders(body)
    answer = connection.getresponse()
    return answer.status, answer.read(), answer.will_close
