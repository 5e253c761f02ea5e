"""What the server's own connections do, over real sockets; the application is whatever a case needs."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn

from ostiary.cli.connection import Connection

PATIENCE = 20
Send = Callable[[dict[str, Any]], Awaitable[None]]
Answer = Callable[[str, Send], Awaitable[None]]


@asynccontextmanager
async def served(
    answer: Answer, keep_alive: float = 5, ending: asyncio.Event | None = None
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection to a server whose application answers like this, and which ends when the test says so."""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await answer(scope["path"], send)

    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        application,
        loop="none",
        http=Connection,
        ws="none",
        interface="asgi3",
        lifespan="off",
        log_config=None,
        # A part of a second serves as well.
        timeout_keep_alive=keep_alive,  # type: ignore[arg-type]
    )
    server = uvicorn.Server(config)
    running = asyncio.create_task(server.serve(sockets=[listener]))
    reader, writer = await asyncio.open_connection("127.0.0.1", listener.getsockname()[1])
    telling = asyncio.create_task(_told(server, ending))
    try:
        async with asyncio.timeout(PATIENCE):
            yield reader, writer
    finally:
        telling.cancel()
        writer.close()
        server.should_exit = True
        await running


async def _told(server: uvicorn.Server, ending: asyncio.Event | None) -> None:
    if ending is not None:
        await ending.wait()
        server.should_exit = True


def ask(path: str, method: str = "GET") -> bytes:
    return f"{method} {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode()


async def greet(path: str, send: Send) -> None:
    body = path.encode()
    headers = [(b"content-length", b"%d" % len(body)), (b"X-Some", b"a\tb")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def test_requests_sent_together_are_answered_in_their_order() -> None:
    async with served(greet) as (reader, writer):
        writer.write(ask("/one") + ask("/two") + ask("/three"))

        for body in (b"/one", b"/two", b"/three"):
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 OK\r\n")
            assert b"\r\nx-some: a\tb\r\n" in head
            assert await reader.readexactly(len(body)) == body


async def test_a_head_request_gets_the_length_and_no_body() -> None:
    async with served(greet) as (reader, writer):
        writer.write(ask("/four", "HEAD") + ask("/five"))

        assert b"content-length: 5\r\n" in await reader.readuntil(b"\r\n\r\n")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 OK")


async def test_a_body_without_a_length_is_sent_in_chunks() -> None:
    async def parts(_path: str, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"first", "more_body": True})
        await send({"type": "http.response.body", "body": b"last"})

    async with served(parts) as (reader, writer):
        writer.write(ask("/"))

        assert b"transfer-encoding: chunked" in await reader.readuntil(b"\r\n\r\n")
        assert await reader.readuntil(b"0\r\n\r\n") == b"5\r\nfirst\r\n4\r\nlast\r\n0\r\n\r\n"


@pytest.mark.parametrize("value", [b"a\r\nset-cookie: b", b"a\nb", b"a\rb", b"a\0b", b"a\x7fb"])
async def test_a_value_that_would_begin_another_header_is_never_sent(value: bytes) -> None:
    async def split(_path: str, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0"), (b"location", value)]})
        await send({"type": "http.response.body"})

    async with served(split) as (reader, writer):
        writer.write(ask("/"))

        answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 500 ")
        assert value not in answer


async def test_a_name_that_is_none_is_never_sent() -> None:
    async def split(_path: str, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"a: b\r\nc", b"d")]})

    async with served(split) as (reader, writer):
        writer.write(ask("/"))

        assert (await reader.read()).startswith(b"HTTP/1.1 500 ")


async def test_an_application_that_fails_behind_its_head_is_answered_for() -> None:
    async def fail(_path: str, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"7")]})
        raise ZeroDivisionError

    async with served(fail) as (reader, writer):
        writer.write(ask("/"))

        answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 500 ")
        assert answer.endswith(b"\r\n\r\nInternal Server Error")


@pytest.mark.parametrize("body", [b"short", b"far too long"])
async def test_a_body_of_another_length_than_was_said_ends_the_connection(body: bytes) -> None:
    async def lie(_path: str, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"7")]})
        await send({"type": "http.response.body", "body": body})

    async with served(lie) as (reader, writer):
        writer.write(ask("/") + ask("/"))

        assert (await reader.read()).count(b"HTTP/1.1") == 1


async def test_an_answer_that_ends_the_connection_ends_it() -> None:
    async def last(_path: str, send: Send) -> None:
        headers = [(b"content-length", b"2"), (b"connection", b"close")]
        await send({"type": "http.response.start", "status": 413, "headers": headers})
        await send({"type": "http.response.body", "body": b"no"})

    async with served(last) as (reader, writer):
        writer.write(ask("/"))

        assert (await reader.read()).endswith(b"\r\n\r\nno")


async def test_an_idle_connection_is_closed() -> None:
    async with served(greet, keep_alive=0.05) as (reader, writer):
        writer.write(ask("/"))

        assert (await reader.read()).endswith(b"\r\n\r\n/")


async def send_on(writer: asyncio.StreamWriter) -> None:
    for _ in range(2000):
        writer.write(b"x" * 65_536)
        await writer.drain()


async def early(_path: str, send: Send) -> None:
    await send({"type": "http.response.start", "status": 413, "headers": [(b"content-length", b"2"), (b"connection", b"close")]})
    await send({"type": "http.response.body", "body": b"no"})


async def test_an_answer_before_the_body_has_come_arrives_and_not_a_reset() -> None:
    async with served(early) as (reader, writer):
        writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 900000\r\n\r\n" + b"x" * 800_000)
        await writer.drain()

        assert (await reader.read()).endswith(b"\r\n\r\nno")


async def test_behind_the_last_answer_nothing_more_is_asked() -> None:
    asked: list[str] = []

    async def count(path: str, send: Send) -> None:
        asked.append(path)
        await early(path, send)

    async with served(count) as (reader, writer):
        writer.write(b"POST /one HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n")
        answer = await reader.read()
        writer.write(b"12345" + ask("/two"))
        await writer.drain()
        writer.write_eof()

        assert answer.count(b"HTTP/1.1") == 1
        assert await reader.read() == b""
    assert asked == ["/one"]


async def test_a_body_that_does_not_end_behind_the_answer_ends_with_the_connection() -> None:
    async with served(early) as (reader, writer):
        writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 900000000\r\n\r\n")
        await reader.read()

        with pytest.raises(ConnectionError):
            await send_on(writer)


async def test_who_came_just_before_the_end_is_answered_once() -> None:
    ending = asyncio.Event()
    async with served(greet, ending=ending) as (reader, writer):
        writer.write(b"GET /last")
        ending.set()
        # The server looks every tenth of a second whether it shall end, and closes what is idle then.
        await asyncio.sleep(0.5)
        writer.write(b" HTTP/1.1\r\nHost: a\r\n\r\n")

        answer = await reader.read()
        assert b"connection: close" in answer
        assert answer.endswith(b"\r\n\r\n/last")


async def test_who_came_just_before_the_end_and_says_nothing_is_not_waited_for() -> None:
    ending = asyncio.Event()
    async with served(greet, ending=ending) as (reader, _):
        ending.set()

        assert await reader.read() == b""
