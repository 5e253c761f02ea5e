"""Connections without a proxy in front: what uvicorn leaves open is closed in time, and one address cannot have all."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator

import pytest

from ostiary.cli.protocol import Desk
from ostiary.settings import Settings
from tests.served import Served, served

HEAD = b"POST /api/auth/login HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
PATIENCE = 30


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    environment = {
        "OSTIARY_HEAD_TIME": "1",
        "OSTIARY_BODY_TIME": "1",
        "OSTIARY_MAX_CONNECTIONS": "24",
        "OSTIARY_MAX_BODY": "2048",
    }
    with served(tmp_path_factory.mktemp("served"), environment) as found:
        yield found


@contextlib.contextmanager
def connected(place: Served) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", int(place.url.rpartition(":")[2])), timeout=PATIENCE) as connection:
        yield connection


def rest_of(connection: socket.socket) -> bytes:
    """All that comes until the server closes; a timeout when it never does."""
    parts = []
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(65536):
            parts.append(part)
    return b"".join(parts)


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (b"", b""),
        (b"\r\n", b"408 "),
        (b"GET /api/con", b"408 "),
        (b"GET /api/config HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Half", b"408 "),
        (HEAD + b'Content-Length: 100\r\n\r\n{"half', b"408 "),
    ],
)
def test_silence_ends_the_connection(place: Served, sent: bytes, expected: bytes) -> None:
    with connected(place) as connection:
        connection.sendall(sent)
        answer = rest_of(connection)

    assert expected in answer[:20]


def test_a_head_that_drips_in_has_no_more_time_than_one_that_stops(place: Served) -> None:
    started = time.monotonic()
    with connected(place) as connection, contextlib.suppress(ConnectionError):
        connection.sendall(b"GET /api/config HTTP/1.1\r\nX-Drip: ")
        while time.monotonic() - started < PATIENCE:
            connection.sendall(b"x")
            time.sleep(0.1)

    assert time.monotonic() - started < PATIENCE


def test_what_drips_on_after_the_answer_is_cut_off(place: Served) -> None:
    started = time.monotonic()
    with connected(place) as connection, contextlib.suppress(ConnectionError):
        connection.sendall(b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000000\r\n\r\n")
        while time.monotonic() - started < PATIENCE:
            connection.sendall(b"x")
            time.sleep(0.1)

    assert time.monotonic() - started < PATIENCE


def test_an_endless_head_is_refused_before_it_ends(place: Served) -> None:
    with connected(place) as connection:
        with contextlib.suppress(ConnectionError):
            for _ in range(100):
                connection.sendall(b"GET / HTTP/1.1\r\n" if not _ else b"X-Filler: " + b"x" * 8000 + b"\r\n")
        assert b" 431 " in rest_of(connection)[:20]


@pytest.mark.parametrize(
    "head",
    [
        b"POST /api/auth/login HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
        HEAD + b"Host: 127.0.0.1\r\nContent-Length: 0\r\n\r\n",
        HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n",
        HEAD + b"Content-Length : 0\r\n\r\n",
        b"GET http://evil.test/api/config HTTP/1.1\r\nHost: evil.test\r\n\r\n",
    ],
)
def test_framing_that_could_be_read_in_two_ways_is_refused(place: Served, head: bytes) -> None:
    with connected(place) as connection:
        connection.sendall(head)
        answer = rest_of(connection)

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"evil" not in answer


def test_a_large_body_is_refused_before_it_is_read(place: Served) -> None:
    with connected(place) as connection:
        connection.sendall(HEAD + b"Content-Length: 100000000\r\n\r\n")
        answer = rest_of(connection)

    assert answer.startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize(("size", "expected"), [(2048, b"HTTP/1.1 404 "), (2049, b"HTTP/1.1 413 ")])
def test_a_body_that_comes_with_its_head_is_measured_like_any_other(place: Served, size: int, expected: bytes) -> None:
    body = b"{}".ljust(size)
    with connected(place) as connection:
        connection.sendall(HEAD + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (size, body))
        answer = rest_of(connection)

    assert answer.startswith(expected)


def test_silent_connections_give_way_to_one_that_speaks(place: Served) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(60):
            stack.enter_context(connected(place))
        connection = stack.enter_context(connected(place))
        connection.sendall(b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")

        assert rest_of(connection).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("127.0.0.1", ""),
        ("10.0.0.7", ""),
        ("", ""),
    ],
)
def test_connections_are_counted_by_household_but_not_those_of_a_proxy(address: str, expected: str) -> None:
    assert Desk.of(Settings.load({"TRUSTED_PROXIES": "10.0.0.0/8"})).key_of(address) == expected
    assert Desk.of(Settings.load({"TRUST_PROXY": "1"})).key_of(address) == ""
