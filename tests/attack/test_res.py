"""RES: whoever would wear the server down (catalogue 4.15). Costs are the server's own processor time, not the clock's."""

from __future__ import annotations

import contextlib
import gzip
import socket
import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.attack.conftest import OPEN
from tests.attack.harness import (
    ROUNDS,
    Caller,
    Reply,
    checks,
    cpu_of,
    fresh_email,
    memory_of,
    raw,
    somewhere,
    status_of,
)
from tests.attack.people import PASSWORD, WRONG_PASSWORD, KeyOwner, Person, signed_in
from tests.served import Served, served

HEAD = b"POST /api/auth/login HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
MEGABYTE = 1024 * 1024
CLOSED_WITHIN = 15
QUEUE = 20
"""How many may wait for a hash."""
SHORT = {} if ROUNDS > 1 else {"OSTIARY_HEAD_TIME": "2", "OSTIARY_BODY_TIME": "2"}
"""The short form makes ten seconds two; the long form waits as the defaults say."""


@pytest.fixture(scope="module")
def worn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("worn"), {**OPEN, **SHORT, "LOCKOUT": "false"}) as running:
        yield running


def port_of(place: Served) -> int:
    return int(place.url.rpartition(":")[2])


def cost(place: Served, caller: Caller, turns: int, method: str, target: str, raw_body: bytes, *statuses: int) -> float:
    """Processor seconds of one such request, over some."""
    before = cpu_of(place)
    for _ in range(turns):
        reply = caller.send(method, target, raw_body or None, {"Content-Type": "application/json"})
        assert reply.status in statuses, (reply.status, reply.body[:200])
    return (cpu_of(place) - before) / turns


def test_res_01_a_large_body_is_counted_while_it_comes_and_not_kept(worn: Served) -> None:
    before = memory_of(worn)
    for framed in (b"Content-Length: 100000000\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n"):
        chunk = b"x" * 65_536 if framed.startswith(b"C") else b"10000\r\n" + b"x" * 65_536 + b"\r\n"
        assert status_of(raw(worn, HEAD + framed + chunk * 1600)) == 413

    assert memory_of(worn) - before < 16 * MEGABYTE


def test_res_03_bodies_that_drip_in_are_cut_off_together(worn: Served) -> None:
    count = 50 * ROUNDS
    with contextlib.ExitStack() as stack:
        dripping = [stack.enter_context(socket.create_connection(("127.0.0.1", port_of(worn)), 30)) for _ in range(count)]
        started = time.monotonic()
        for connection in dripping:
            connection.sendall(HEAD + b"Content-Length: 100\r\n\r\n")
        answers: dict[socket.socket, bytes] = {}
        while len(answers) < count and time.monotonic() - started < 2 * CLOSED_WITHIN:
            for connection in dripping:
                if connection in answers:
                    continue
                connection.settimeout(0.001)
                try:
                    connection.sendall(b" ")
                    answers[connection] = connection.recv(1024)
                except TimeoutError:
                    continue
                except ConnectionError:
                    answers[connection] = b""
            time.sleep(0.1)
        took = time.monotonic() - started

    assert took <= CLOSED_WITHIN
    assert {status_of(answer) for answer in answers.values()} <= {408, 0}
    assert sum(status_of(answer) == 408 for answer in answers.values()) > count / 2


def test_res_04_idle_sockets_are_closed_and_stand_in_nobodys_way(worn: Served) -> None:
    person = signed_in(worn.url)
    alone = cost(worn, person, 20, "GET", "/api/user", b"", 200)
    with contextlib.ExitStack() as stack:
        started = time.monotonic()
        idle = [stack.enter_context(socket.create_connection(("127.0.0.1", port_of(worn)), 30)) for _ in range(250 * ROUNDS)]
        among = cost(worn, person, 20, "GET", "/api/user", b"", 200)
        assert person.elsewhere().login().status == 200
        for connection in idle:
            connection.settimeout(75)
            with contextlib.suppress(ConnectionError):
                assert connection.recv(1) == b""
        took = time.monotonic() - started

    assert took <= 75
    # Accepting the idle ones has its price as well; a tick of the processor's clock is ten milliseconds.
    assert among <= 2 * alone + 0.02


def test_res_06_a_flood_of_sign_ins_is_bounded_and_others_are_answered(tmp_path: Path) -> None:
    with served(tmp_path, {**OPEN, "BCRYPT_COST": "10", "OSTIARY_HASHING_QUEUE": str(QUEUE)}) as place:
        person = signed_in(place.url)
        replies: list[Reply] = []

        def sign_in(number: int) -> None:
            caller = Person(place.url, f"127.1.{number}.1", may_fail=(503,))
            replies.append(caller.login(WRONG_PASSWORD))

        threads = [threading.Thread(target=sign_in, args=(number,)) for number in range(200)]
        for thread in threads:
            thread.start()
        hashes_meanwhile = []
        while any(thread.is_alive() for thread in threads):
            before = checks(place)
            assert Caller(place.url).get("/health").status == 200
            hashes_meanwhile.append(checks(place) - before)
        for thread in threads:
            thread.join()

        assert {reply.status for reply in replies} <= {404, 429, 503}
        assert len(replies) == 200
        assert all((reply.header("retry-after") or "").isdigit() for reply in replies if reply.status in (429, 503))
        # Whoever wants no hash does not stand behind those who do.
        assert sorted(hashes_meanwhile)[len(hashes_meanwhile) // 2] <= QUEUE // 2
        assert any(reply.status == 404 for reply in replies)
        assert person.login().status == 200


def test_res_07_a_long_password_is_refused_before_it_costs(worn: Served) -> None:
    caller = Person(worn.url, somewhere())
    before = checks(worn)

    huge = cost(worn, caller, 50, "POST", "/api/auth/login", b'{"email":"a@b.example","password":"%s"}' % (b"x" * MEGABYTE), 413)
    long = cost(
        worn, caller, 50, "POST", "/api/auth/login", b'{"email":"a@b.example","password":"%s"}' % (b"x" * 60_000), 400, 404
    )

    assert checks(worn) == before
    assert (huge, long) < (0.02, 0.02)
    assert long <= 0.005


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "gzip, gzip", "x-gzip", "zstd"])
def test_res_09_a_compressed_body_is_never_unpacked(worn: Served, coding: str) -> None:
    bomb = (gzip.compress if "gzip" in coding else zlib.compress)(b" " * 40 * MEGABYTE)
    before = memory_of(worn)

    for _ in range(3):
        reply = Caller(worn.url).send(
            "POST", "/api/auth/login", bomb[:60_000], {"Content-Type": "application/json", "Content-Encoding": coding}
        )
        assert (reply.status, reply.header("connection")) == (415, "close")

    assert memory_of(worn) - before < 8 * MEGABYTE


LONG = {
    "letters": "a" * 50_000,
    "an address": "a" * 64 + "@" + "a." * 30_000,
    "many marks": "e" + "\u0301" * 10_000 + "@example.org",
    "one letter that grows": "\ufdfa" * 10_000 + "@example.org",
    "blanks": " " * 50_000 + "@",
    "dots": "." * 50_000 + "@" + "." * 5_000,
    "quotes": '"' * 25_000,
}


@pytest.mark.parametrize("text", LONG.values(), ids=list(LONG))
def test_res_10_long_and_odd_texts_cost_no_more_than_their_reading(worn: Served, text: str) -> None:
    caller, owner = Person(worn.url, somewhere()), KeyOwner(worn.url, somewhere())
    before, turns = cpu_of(worn), 5

    replies: list[Reply] = []
    for _ in range(turns):
        replies += [
            caller.login(PASSWORD, email=text),
            caller.register(email=text),
            caller.register(username=text, email=fresh_email()),
            caller.register(name=text, email=fresh_email()),
            caller.post("/api/auth/requestPasswordReset", {"email": text}),
            owner.post("/api/auth/oauth?grantType=login", {"email": text, "sharedKey": "ab" * 32}),
            caller.get("/api/config", user_agent=text.encode("ascii", "ignore").decode()[:30_000]),
        ]

    assert all(reply.status < 500 for reply in replies)
    assert (cpu_of(worn) - before) / len(replies) < 0.05


@pytest.mark.parametrize(
    ("target", "body"),
    [
        ("/api/auth/login", b"{" + b",".join(b'"k%d":1' % number for number in range(6_000)) + b"}"),
        ("/api/auth/login", b'{"email":"a","password":"b"' + b',"email":"c"' * 5_000 + b"}"),
        ("/api/auth/register", b'{"a":' * 10_000 + b"1" + b"}" * 10_000),
        ("/api/auth/login?" + "a=b&" * 2_000, b"{}"),
        ("/api/auth/preLogin?" + "&".join(f"email={number}" for number in range(700)), b""),
    ],
    ids=["keys", "the same key", "depth", "parameters", "the same parameter"],
)
def test_res_12_keys_without_end_are_quickly_refused(worn: Served, target: str, body: bytes) -> None:
    caller = Caller(worn.url, somewhere())

    assert cost(worn, caller, 10, "POST" if body else "GET", target, body, 400, 404, 414) < 0.1


def test_res_13_without_descriptors_the_server_recovers_when_they_come_back(tmp_path: Path) -> None:
    with served(tmp_path, {**OPEN, **SHORT}, prefix=("prlimit", "--nofile=256:256")) as place:
        with contextlib.ExitStack() as stack:
            for _ in range(400):
                connection = stack.enter_context(socket.create_connection(("127.0.0.1", port_of(place)), 30))
                with contextlib.suppress(ConnectionError):
                    connection.sendall(b"GET /api/con")
            meanwhile = Caller(place.url, may_fail=(503,)).get("/livez")
        assert signed_in(place.url).me().status == 200

        lines = place.log.read_text()
        assert meanwhile.status in (200, 503)
        assert lines.count("connections:limit_reached") == 1
        assert "Traceback" not in lines
