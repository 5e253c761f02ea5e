"""The HTTP edge, row by row: what servers let through or leave open, asked of ours over bare sockets (docs/threat-model.md, "The HTTP edge")."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ostiary.app import documented
from tests.attack.conftest import OPEN
from tests.attack.harness import ROUNDS, Caller, came_true, raw, raw_to, status_of
from tests.attack.people import signed_in
from tests.served import Served, served

LINE = b"POST /api/auth/login HTTP/1.1\r\n"
HOST = b"Host: 127.0.0.1\r\n"
KIND = b"Content-Type: application/json\r\n"
HEAD = LINE + HOST + KIND
EMPTY = b"Content-Length: 0\r\n\r\n"
MOST_SECONDS = 15.0
SHORT = {} if ROUNDS > 1 else {"OSTIARY_HEAD_TIME": "1", "OSTIARY_BODY_TIME": "1"}
"""The short form makes ten seconds one; the long form waits as the defaults say."""


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("edge"), {**OPEN, **SHORT}) as running:
        yield running


ROWS: list[tuple[str, bytes, set[int]]] = [
    ("length and chunks together", HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", {400}),
    ("two lengths", HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n{}   ", {400}),
    ("the same length twice", HEAD + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}", {400}),
    ("a length with a sign", HEAD + b"Content-Length: +5\r\n\r\n{}   ", {400}),
    ("a list of lengths", HEAD + b"Content-Length: 2, 2\r\n\r\n{}", {400}),
    ("another coding", HEAD + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", {400, 501}),
    ("codings in a row", HEAD + b"Transfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n", {400, 501}),
    ("chunked twice", HEAD + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", {400, 501}),
    ("a chunk's size with a sign", HEAD + b"Transfer-Encoding: chunked\r\n\r\n+2\r\n{}\r\n0\r\n\r\n", {400}),
    ("a chunk's size without end", HEAD + b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n{}", {400, 413}),
    ("no host", LINE + KIND + EMPTY, {400}),
    ("two hosts", HEAD + HOST + EMPTY, {400}),
    ("a host with a path", LINE + b"Host: evil.com/abc?x=\r\n" + EMPTY, {400}),
    ("a host with a blank", LINE + b"Host: a b\r\n" + EMPTY, {400}),
    ("a host with a name before it", LINE + b"Host: a@127.0.0.1\r\n" + EMPTY, {400}),
    ("another host", LINE + b"Host: evil.com\r\n" + EMPTY, {400}),
    ("an absolute address", b"GET http://evil.com/api/config HTTP/1.1\r\nHost: evil.com\r\n\r\n", {400}),
    ("bare line feeds", HEAD.replace(b"\r\n", b"\n") + b"Content-Length: 0\n\n", {400}),
    ("a bare carriage return", HEAD + b"X-A: b\rX-C: d\r\n" + EMPTY, {400}),
    ("a folded line", HEAD + b"X-A: b\r\n c\r\n" + EMPTY, {400}),
    ("a blank before the colon", HEAD + b"Content-Length : 0\r\n\r\n", {400}),
    ("NUL in a value", HEAD + b"X-A: b\0c\r\n" + EMPTY, {400}),
    ("a header without a name", HEAD + b": b\r\n" + EMPTY, {400}),
    ("a long header", HEAD + b"X-A: " + b"x" * 100_000 + b"\r\n" + EMPTY, {431}),
    ("a thousand headers", HEAD + b"X-A: b\r\n" * 1_000 + EMPTY, {431}),
    ("twenty thousand headers", HEAD + b"X-A: b\r\n" * 20_000 + EMPTY, {431}),
    ("a long address", b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", {414}),
    ("a long query", b"GET /api/config?" + b"a" * 9_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", {414}),
    ("a slash too many", b"POST /api/auth/login/ HTTP/1.1\r\n" + HOST + EMPTY, {404}),
    ("a compressed body", HEAD + b"Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}", {415}),
    ("a large body that is announced", HEAD + b"Content-Length: 100000000\r\n\r\n", {413}),
    ("two bearers", HEAD + b"Authorization: Bearer a\r\nAuthorization: Bearer b\r\n" + EMPTY, {400}),
    ("two kinds of body", HEAD + b"Content-Type: text/plain\r\n" + EMPTY, {400}),
]


@pytest.mark.parametrize(("sent", "wanted"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_what_could_be_read_in_two_ways_or_is_too_large_is_refused(edge: Served, sent: bytes, wanted: set[int]) -> None:
    hidden = b"GET /hidden HTTP/1.1\r\n" + HOST + b"\r\n"
    with connected(edge) as connection:
        answer = raw_to(connection, sent + hidden, seconds=5)
        rest = b"" if status_of(answer) == 404 else raw_to(connection, b"", seconds=5)

    assert status_of(answer) in wanted, answer[:200]
    assert b"evil" not in answer
    assert b"Endpoint not found" not in rest, "what came behind it was taken for a request"


@contextlib.contextmanager
def connected(place: Served) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", int(place.url.rpartition(":")[2])), MOST_SECONDS) as connection:
        yield connection


@pytest.mark.parametrize(
    "sent",
    [b"", b"GET /api/config HTTP/1.1\r\nX-Half", HEAD + b'Content-Length: 100\r\n\r\n{"half'],
    ids=["silent", "half a head", "half a body"],
)
def test_a_socket_that_falls_silent_is_closed_in_time(edge: Served, sent: bytes) -> None:
    started = time.monotonic()
    with connected(edge) as connection:
        answer = raw_to(connection, sent, seconds=MOST_SECONDS + 5)

    assert time.monotonic() - started <= MOST_SECONDS
    assert status_of(answer) == (408 if sent else 0)


def test_an_encoded_letter_of_a_path_is_the_letter(edge: Served) -> None:
    body = b'{"email":"nobody@example.org","password":"certainly-Not-it"}'
    sent = b"POST /api/auth/%%6cogin HTTP/1.1\r\n%s%sContent-Length: %d\r\n\r\n%s" % (HOST, KIND, len(body), body)

    assert b"Invalid credentials" in raw(edge, sent)


@pytest.mark.parametrize("leave", ["close", "reset"])
def test_a_client_that_leaves_in_the_middle_is_one_line(edge: Served, leave: str) -> None:
    path = f"/api/auth/login?{leave}"
    before = edge.log.read_text().count("request:abandoned")
    with connected(edge) as connection:
        connection.sendall(HEAD.replace(b"/api/auth/login", path.encode()) + b'Content-Length: 100\r\n\r\n{"half')
        if leave == "reset":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    assert came_true(lambda: edge.log.read_text().count("request:abandoned") > before, MOST_SECONDS)
    lines = edge.log.read_text()
    assert lines.count("request:abandoned") == before + 1
    assert json.loads(next(line for line in lines.splitlines() if "request:abandoned" in line))["level"] == "info"
    assert "Traceback" not in lines


def test_an_address_that_nobody_vouches_for_is_not_believed(edge: Served) -> None:
    reply = Caller(edge.url, "127.9.9.9").post(
        "/api/auth/login", {"email": "nobody@example.org", "password": "not-It-99"}, x_forwarded_for="203.0.113.9"
    )

    lines = [json.loads(line) for line in edge.log.read_text().splitlines() if line.startswith("{")]
    (line,) = [line for line in lines if line.get("request_id") == reply.header("x-request-id")]
    assert line["address"] == "127.9.9.9"


def test_no_answer_is_kept_by_anyone_in_between(edge: Served) -> None:
    """Those with a token among them: every documented path, in and out of favour."""
    person = signed_in(edge.url)
    callers = (person, Caller(edge.url))

    for path, operations in documented()["paths"].items():
        for method in operations:
            if path in ("/api/auth/logout", "/api/user/delete"):
                continue
            for caller in callers:
                caller.may_fail = (503,)
                reply = caller.ask(method.upper(), path.replace("{id}", "x").replace("{name}", "x"))
                assert reply.all("cache-control") == ["no-store"], (method, path)
                assert reply.all("x-content-type-options") == ["nosniff"], (method, path)
                assert reply.header("content-security-policy") is not None, (method, path)


def test_limits_of_size_are_the_operators(tmp_path: Path) -> None:
    with served(tmp_path, {"OSTIARY_MAX_BODY": "2048", "OSTIARY_MAX_VAULT_BODY": "4096"}) as place:
        caller = Caller(place.url)
        assert caller.post("/api/auth/login", {"email": "x" * 3000}).status == 413
        assert caller.ask("PUT", "/api/cipher", {"data": "x" * 3000}).status == 401
        assert caller.ask("PUT", "/api/cipher", {"data": "x" * 5000}).status == 413
