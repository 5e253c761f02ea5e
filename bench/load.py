"""The load: a process of its own, so that its CPU is not the server's. A plan comes in as a line of JSON, a result goes out.

Every client keeps one connection and has at most one request under way. A stream without a rate asks again as soon as it is
answered; with a rate its requests are due at fixed moments, and one that has to wait for the answer before it is timed from when
it was due.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from time import perf_counter
from types import TracebackType
from typing import Self, cast

import msgspec
import uvloop

from bench.wire import HOST, Reply, parsed

ROOT = Path(__file__).resolve().parent.parent
WARM_SECONDS = 0.3
"""At most; never longer than what is measured."""
PATIENCE_SECONDS = 60
CHAINED = b"{refreshToken}"
"""Stands in a request for the cookie that the answer before has set."""


class Client(msgspec.Struct):
    """What one connection asks, over and over."""

    requests: list[bytes]
    cookie: str = ""
    member: str = ""
    """Where an answer has what the next request carries, if not in the cookie: the text of this name in its JSON."""


class Stream(msgspec.Struct):
    """Clients that do the same. `rate` is requests a second of all of them together; 0: as fast as answers come."""

    name: str
    clients: list[Client]
    expect: int = 200
    rate: float = 0


class Plan(msgspec.Struct):
    """What to ask at once, and for how long."""

    port: int
    seconds: float
    streams: list[Stream]


class Result(msgspec.Struct):
    """What came of one stream. `latencies` (seconds) are of the answers within the window; `requests` counts all."""

    name: str
    latencies: list[float] = []
    requests: int = 0
    failures: dict[str, int] = {}
    cookies: list[str] = []


class _Window:
    def __init__(self, seconds: float) -> None:
        self.begins_at = perf_counter() + min(WARM_SECONDS, seconds)
        self.ends_at = self.begins_at + seconds


class _Talker(asyncio.Protocol):
    """One client."""

    def __init__(self, client: Client, expect: int, result: Result) -> None:
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.cookie = client.cookie
        self._requests = client.requests
        self._member = client.member
        self._expect = expect
        self._result = result
        self._position = 0
        self._data = b""
        self._interval = 0.0
        self._due_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        if not self.done.done():
            self._failed("connection lost")
            self.done.set_result(None)

    def begin(self, window: _Window, interval: float, offset: float) -> None:
        self._window = window
        self._interval = interval
        self._due_at = perf_counter() + offset
        if interval:
            asyncio.get_running_loop().call_later(offset, self._ask_when_due)
        else:
            self._ask(perf_counter())

    def data_received(self, data: bytes) -> None:
        self._data += data
        reply = parsed(self._data)
        if reply is not None:
            self._data = b""
            self._answered(reply, perf_counter())

    def _answered(self, reply: Reply, now: float) -> None:
        self._result.requests += 1
        if reply.status != self._expect:
            self._failed(f"status {reply.status}")
        elif self._window.begins_at <= now < self._window.ends_at:
            self._result.latencies.append(now - self._asked_at)
        if self.cookie:
            self.cookie = reply.chained(self._member) or self.cookie
        if now >= self._window.ends_at:
            self._finish()
        elif not self._interval:
            self._ask(now)
        elif self._due_at <= now:
            self._ask(self._due_at)
        else:
            asyncio.get_running_loop().call_later(self._due_at - now, self._ask_when_due)

    def _ask_when_due(self) -> None:
        # A timer that fires late is this process's fault: the request counts from when it was sent.
        self._ask(perf_counter())

    def _ask(self, since: float) -> None:
        if self._transport.is_closing():
            return
        raw = self._requests[self._position % len(self._requests)]
        self._position += 1
        self._due_at += self._interval
        self._asked_at = since
        self._transport.write(raw.replace(CHAINED, self.cookie.encode()) if self.cookie else raw)

    def _finish(self) -> None:
        if not self.done.done():
            self.done.set_result(None)
        self._transport.close()

    def _failed(self, what: str) -> None:
        self._result.failures[what] = self._result.failures.get(what, 0) + 1


async def play(plan: Plan) -> list[Result]:
    """Connect everybody, then let all begin at once; every request that was sent is waited for."""
    loop = asyncio.get_running_loop()
    results, talkers = [], []
    for stream in plan.streams:
        result = Result(stream.name, [], 0, {}, [])
        results.append(result)
        for index, client in enumerate(stream.clients):
            talker = _Talker(client, stream.expect, result)
            await loop.create_connection(lambda talker=talker: talker, HOST, plan.port)  # type: ignore[misc]
            interval = len(stream.clients) / stream.rate if stream.rate else 0.0
            talkers.append((talker, result, interval, interval * index / len(stream.clients)))
    window = _Window(plan.seconds)
    for talker, _, interval, offset in talkers:
        talker.begin(window, interval, offset)
    async with asyncio.timeout(WARM_SECONDS + plan.seconds + PATIENCE_SECONDS):
        await asyncio.gather(*(talker.done for talker, *_ in talkers))
    for talker, result, *_ in talkers:
        result.cookies.append(talker.cookie)
    return results


class Driver:
    """The load's process, as the measurement holds it."""

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "bench.load"]
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is not None:
            self._process.kill()
        self._process.communicate()

    def play(self, plan: Plan) -> dict[str, Result]:
        """Do it; the results by stream."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(msgspec.json.encode(plan) + b"\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise ChildProcessError("the load's process ended")
        return {result.name: result for result in msgspec.json.decode(line, type=list[Result])}


def main() -> None:
    """Plans from standard input, until it ends."""
    # Not sys.stdout.buffer, which PYTHONUNBUFFERED makes a raw file: that one may write a part and be content.
    with open(sys.stdout.fileno(), "wb", closefd=False) as answers:
        for line in sys.stdin.buffer:
            results = uvloop.run(play(msgspec.json.decode(line, type=Plan)))
            answers.write(msgspec.json.encode(results) + b"\n")
            answers.flush()


if __name__ == "__main__":
    main()
