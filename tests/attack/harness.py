"""What an attacker has: sockets. Requests are written byte for byte, from any address of 127.0.0.0/8, and every answer is watched.

No answer may be a 5xx (but a named 503), and none may show the inside of the program.
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import os
import random
import re
import secrets
import socket
import ssl
import threading
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from tests.served import Served

SECONDS = 30
"""For one answer, on a busy machine."""
ROUNDS = int(os.environ.get("ATTACK_ROUNDS", "1"))
"""How long the long cases are: 1 inside the suite, 20 by `make attack`."""
JWT_SECRET = "the tests know this one: 5c0e9d1b7a"
INSIDES = re.compile(rb"Traceback|File \"|sqlalchemy|asyncpg|sqlite3|msgspec|site-packages|ostiary\.", re.IGNORECASE)
SHARED_OUTSIDE = frozenset({"x-request-id", "date", "content-length"})
"""Headers whose values differ from answer to answer, whoever asks."""

_numbers = itertools.count(1)
Found = TypeVar("Found")


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer as it came."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    def all(self, name: str) -> list[str]:
        """Every value of a header."""
        return [value for found, value in self.headers if found.lower() == name]

    def header(self, name: str) -> str | None:
        """The one value of a header; None without it."""
        return next(iter(self.all(name)), None)

    @property
    def cookies(self) -> dict[str, str]:
        """What it sets."""
        pairs = (line.partition(";")[0].partition("=") for line in self.all("set-cookie"))
        return {name: value for name, _, value in pairs}

    @property
    def told(self) -> tuple[int, bytes, frozenset[str]]:
        """What a stranger could tell it from another by."""
        return self.status, self.body, frozenset(name.lower() for name, _ in self.headers)


def watched(reply: Reply, *may_fail: int) -> Reply:
    """The same, when nothing in it is a fault of ours."""
    assert reply.status < 500 or reply.status in may_fail, (reply.status, reply.body[:300])
    assert not INSIDES.search(reply.body), reply.body[:300]
    return reply


class Secure(http.client.HTTPConnection):
    """TLS to a name that is this machine's, whoever vouches for it."""

    def __init__(self, host: str, port: int | None, *, timeout: float, source_address: tuple[str, int]) -> None:
        super().__init__(host, port, timeout=timeout)
        self._source = source_address

    def connect(self) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        plain = socket.create_connection(("127.0.0.1", self.port), SECONDS, self._source)
        self.sock = context.wrap_socket(plain, server_hostname=self.host)


@dataclass
class Caller:
    """Somebody at one address, with a cookie jar and perhaps a bearer. One connection for each request."""

    url: str
    address: str = "127.0.0.1"
    bearer: str = ""
    cookies: dict[str, str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    may_fail: tuple[int, ...] = ()
    seen: list[Reply] = field(default_factory=list, repr=False)
    """Every answer so far."""

    def ask(self, method: str, target: str, body: Any = None, **headers: str) -> Reply:
        """One request with this body as JSON. `x_real_ip` is the header `x-real-ip`; cookies are kept."""
        raw = None if body is None else json.dumps(body).encode()
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        if raw is not None:
            given = {"content-type": "application/json", **given}
        return self.send(method, target, raw, given)

    def send(
        self, method: str, target: str, raw: bytes | None = None, headers: Mapping[str, str] | Sequence[tuple[str, str]] = ()
    ) -> Reply:
        """One request with exactly this body; headers may come twice."""
        pairs = [*self.headers.items(), *(headers.items() if isinstance(headers, Mapping) else headers)]
        names = {name.lower() for name, _ in pairs}
        if self.bearer and "authorization" not in names:
            pairs.append(("Authorization", f"Bearer {self.bearer}"))
        if self.cookies and "cookie" not in names:
            pairs.append(("Cookie", "; ".join(f"{name}={value}" for name, value in self.cookies.items())))
        connection = self._connection()
        try:
            connection.putrequest(method, target, skip_host="host" in names, skip_accept_encoding=True)
            for name, value in pairs:
                connection.putheader(name, value.encode("utf-8", "surrogateescape"))
            if raw is not None and not names & {"content-length", "transfer-encoding"}:
                connection.putheader("Content-Length", str(len(raw)))
            elif raw is None and method not in ("GET", "HEAD"):
                connection.putheader("Content-Length", "0")
            connection.endheaders(raw)
            answer = connection.getresponse()
            reply = Reply(answer.status, tuple(answer.getheaders()), answer.read())
        finally:
            connection.close()
        self._keep(reply)
        self.seen.append(reply)
        return watched(reply, *self.may_fail)

    def get(self, target: str, **headers: str) -> Reply:
        return self.ask("GET", target, **headers)

    def post(self, target: str, body: Any = None, **headers: str) -> Reply:
        return self.ask("POST", target, body, **headers)

    def _connection(self) -> http.client.HTTPConnection:
        parts = urlsplit(self.url)
        kind = Secure if parts.scheme == "https" else http.client.HTTPConnection
        return kind(parts.hostname or "", parts.port, timeout=SECONDS, source_address=(self.address, 0))

    def _keep(self, reply: Reply) -> None:
        for line in reply.all("set-cookie"):
            name, _, value = line.partition(";")[0].partition("=")
            if value:
                self.cookies[name] = value
            else:
                self.cookies.pop(name, None)


def somewhere(third: int | None = None) -> str:
    """An address that nobody has asked from, each in another /24 than the 249 before; with a number, one of that /24."""
    number = next(_numbers)
    if third is not None:
        return f"127.99.{third}.{1 + number % 250}"
    return f"127.{100 + number // 62500}.{1 + number % 250}.{1 + number // 250 % 250}"


def fresh_email(about: str = "a") -> str:
    """An address that nobody has."""
    return f"{about}-{secrets.token_hex(6)}@example.org"


def race(callers: int, deed: Callable[[int], Found]) -> list[Found]:
    """So many at once, released together; what each got."""
    barrier = threading.Barrier(callers)
    found: dict[int, Found] = {}

    def run(number: int) -> None:
        barrier.wait(SECONDS)
        found[number] = deed(number)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    assert len(found) == callers, f"{callers - len(found)} of {callers} came back without an answer"
    return [found[number] for number in range(callers)]


def came_true(holds: Callable[[], bool], seconds: float = SECONDS) -> bool:
    """Whether it holds within this time."""
    deadline = time.monotonic() + seconds
    while not holds() and time.monotonic() < deadline:
        # Another process decides when: looking again is the only way to know.
        time.sleep(0.02)
    return holds()


def interleaved(one: Callable[[], Reply], other: Callable[[], Reply], turns: int) -> tuple[list[Reply], list[Reply]]:
    """Both arms in turns, which goes first tossed; nothing is dropped."""
    toss = random.Random(1)  # noqa: S311 - turns, not secrets
    found: tuple[list[Reply], list[Reply]] = ([], [])
    for _ in range(turns):
        for arm in toss.sample((0, 1), 2):
            found[arm].append((one, other)[arm]())
    return found


def raw(place: Served, data: bytes, *, seconds: float = SECONDS) -> bytes:
    """What comes back for these bytes, until the server closes or is silent: no HTTP library in between."""
    parts = urlsplit(place.url)
    with socket.create_connection((parts.hostname or "", parts.port or 0), SECONDS) as connection:
        return raw_to(connection, data, seconds=seconds)


def raw_to(connection: socket.socket, data: bytes, *, seconds: float = SECONDS) -> bytes:
    """The same over a connection that is open. Who is cut off while they send still hears what was said before."""
    received = b""
    connection.settimeout(seconds)
    with contextlib.suppress(ConnectionError, ssl.SSLEOFError):
        connection.sendall(data)
    with contextlib.suppress(TimeoutError, ConnectionError, ssl.SSLEOFError):
        while part := connection.recv(65536):
            received += part
            if _is_whole(received):
                break
    return received


def stored(place: Served) -> bytes:
    """Everything in the server's database files, as whoever steals them has it."""
    return b"\n".join(file.read_bytes() for file in sorted(place.data.glob("ostiary.db*")))


def status_of(answer: bytes) -> int:
    """The status of a raw answer; 0 for none."""
    found = re.match(rb"HTTP/1\.1 (\d{3}) ", answer)
    return int(found[1]) if found else 0


def metric(place: Served, name: str, **labels: str) -> float:
    """A counter of /metrics; 0 while it was never raised."""
    with urllib.request.urlopen(f"{place.url}/metrics", timeout=SECONDS) as answer:  # noqa: S310 - our own address
        text = answer.read().decode()
    shown = "".join(f'{{{key}="{value}"}}' for key, value in labels.items())
    found = re.search(rf"^{re.escape(name + shown)} ([0-9.e+]+)$", text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def memory_of(place: Served) -> int:
    """The server's resident memory, bytes."""
    found = re.search(r"^VmRSS:\s+(\d+) kB$", Path(f"/proc/{place.pid}/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024


def cpu_of(place: Served) -> float:
    """The processor time that the server has taken, seconds: who else works on the machine does not count."""
    fields = Path(f"/proc/{place.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def checks(place: Served) -> float:
    """How many passwords were compared since the start."""
    return metric(place, "ostiary_password_checks_total")


def _is_whole(received: bytes) -> bool:
    head, end, body = received.partition(b"\r\n\r\n")
    length = re.search(rb"\r\ncontent-length: (\d+)", head, re.IGNORECASE)
    return bool(end) and length is not None and len(body) >= int(length[1])
