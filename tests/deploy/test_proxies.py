"""What `deploy/` ships, behind Debian's own nginx and Caddy: clients of both wires get through, and what wears a server down does not."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import time
from collections.abc import Iterator

import pytest

from tests.attack.harness import Caller, raw_to, somewhere, status_of
from tests.attack.people import KeyOwner, Person
from tests.served import Served, served
from tests.services.proxies import NAME, CaddyServer, NginxServer, Proxy

SETTINGS = {
    "DOMAIN_CLIENT": f"https://{NAME}",
    "DOMAIN_SERVER": f"https://{NAME}",
    "NODE_ENV": "production",
    "TRUSTED_PROXIES": "127.0.0.1/32",
    "OSTIARY_BODY_TIME": "1",
}
HEAD = f"POST /api/auth/login HTTP/1.1\r\nHost: {NAME}\r\nContent-Type: application/json\r\n".encode()
PATIENCE = 15
"""What the ground rules allow a silent socket, though the shipped ten seconds are one in these tests."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("behind"), SETTINGS) as running:
        yield running


@pytest.fixture(scope="module", params=[NginxServer, CaddyServer])
def proxy(request: pytest.FixtureRequest, place: Served) -> Iterator[Proxy]:
    kind: type[Proxy] = request.param
    server = kind(int(place.url.rpartition(":")[2]))
    server.waits = "1s"
    with server:
        yield server


def secure(proxy: Proxy, data: bytes, seconds: float = PATIENCE) -> bytes:
    """What comes back for these bytes over TLS."""
    with proxy.connect() as connection:
        return raw_to(connection, data, seconds=seconds)


def plain(proxy: Proxy, data: bytes) -> bytes:
    """What comes back for these bytes in the clear."""
    with socket.create_connection(("127.0.0.1", proxy.port), PATIENCE) as connection:
        return raw_to(connection, data, seconds=PATIENCE)


def test_both_wires_are_spoken_through_it(proxy: Proxy) -> None:
    person, owner = Person(proxy.url, somewhere()), KeyOwner(proxy.url, somewhere())

    assert person.register().status == 200
    signed_in = person.login()
    assert person.refresh().status == 200
    assert person.me().json()["email"] == person.email
    assert (owner.register().status, owner.login().status, owner.get("/api/cipher").status) == (201, 200, 200)
    assert person.post("/api/auth/logout").status == 200
    assert person.me().status == 401

    assert all("Secure" in line for line in signed_in.all("set-cookie"))
    assert signed_in.header("strict-transport-security") is not None
    assert signed_in.header("cache-control") == "no-store"


def test_its_certificate_holds_and_old_protocols_do_not(proxy: Proxy) -> None:
    with proxy.connect() as connection:
        assert connection.version() in ("TLSv1.2", "TLSv1.3")

    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    with (
        socket.create_connection(("127.0.0.1", proxy.secure_port), PATIENCE) as connection_,
        pytest.raises((ssl.SSLError, ConnectionError)),
    ):
        old.wrap_socket(connection_, server_hostname=NAME)


def test_in_the_clear_there_is_only_the_way_to_tls(proxy: Proxy) -> None:
    answer = plain(proxy, f"GET /login?next=%2Fa HTTP/1.1\r\nHost: {NAME}\r\nConnection: close\r\n\r\n".encode())

    assert status_of(answer) == 308
    assert f"\r\nLocation: https://{NAME}/login?next=%2Fa\r\n".encode() in answer


def test_another_name_gets_nothing(proxy: Proxy) -> None:
    foreign = b"GET /api/config HTTP/1.1\r\nHost: evil.test\r\nConnection: close\r\n\r\n"

    assert plain(proxy, foreign) == b""
    assert secure(proxy, foreign) == b""
    with pytest.raises((ssl.SSLError, ConnectionError)):
        proxy.connect("evil.test")


@pytest.mark.parametrize("claimed", ["203.0.113.9", "203.0.113.9, 127.0.0.1", "127.0.0.1", "a", ""])
def test_an_address_that_a_client_claims_is_not_believed(proxy: Proxy, place: Served, claimed: str) -> None:
    source = somewhere()
    forged = [
        ("X-Forwarded-For", claimed),
        ("X-Forwarded-For", "198.51.100.7"),
        ("X-Real-IP", "203.0.113.9"),
        ("Forwarded", "for=203.0.113.9;host=evil.test"),
        ("X-Forwarded-Host", "evil.test"),
    ]
    body = json.dumps({"email": "nobody@example.org", "password": "certainly-Not-it-99"}).encode()

    reply = Caller(proxy.url, source).send("POST", "/api/auth/login", body, [("Content-Type", "application/json"), *forged])

    assert reply.status == 404
    lines = [json.loads(line) for line in place.log.read_text().splitlines() if line.startswith("{")]
    (line,) = [line for line in lines if line.get("request_id") == reply.header("x-request-id")]
    assert line["address"] == source


@pytest.mark.parametrize("path", ["/metrics", "//metrics", "/%6detrics", "/./metrics", "/metrics?a", "/metrics/", "/METRICS"])
def test_the_metrics_are_closed(proxy: Proxy, path: str) -> None:
    answer = secure(proxy, f"GET {path} HTTP/1.1\r\nHost: {NAME}\r\nConnection: close\r\n\r\n".encode())

    assert status_of(answer) == 404
    assert b"ostiary_" not in answer


@pytest.mark.parametrize("sent", [b"", b"GET /api/con", HEAD + b"X-Half", HEAD + b'Content-Length: 100\r\n\r\n{"half'])
def test_a_slow_socket_is_closed_in_time(proxy: Proxy, sent: bytes) -> None:
    started = time.monotonic()

    answer = secure(proxy, sent, PATIENCE + 5)

    assert time.monotonic() - started < PATIENCE
    assert status_of(answer) in (0, 400, 408)


def test_heads_are_as_large_as_the_guard_takes_and_no_larger(proxy: Proxy) -> None:
    filler = b"X-%d: " + b"x" * 7000 + b"\r\n"
    large = HEAD + b"".join(filler % number for number in range(3)) + b"Connection: close\r\nContent-Length: 2\r\n\r\n{}"

    assert status_of(secure(proxy, large)) == 404
    assert status_of(secure(proxy, HEAD + b"X-Large: " + b"x" * 60_000 + b"\r\nContent-Length: 0\r\n\r\n")) in (400, 431)


@pytest.mark.parametrize("size", [70_000, 5_000_000, 100_000_000])
def test_a_large_body_is_refused_in_the_wires_words(proxy: Proxy, size: int) -> None:
    answer = secure(proxy, HEAD + b"Content-Length: %d\r\n\r\n" % size + b"x" * min(size, 5_000_000))

    assert status_of(answer) == 413
    assert "message" in json.loads(answer.rpartition(b"\r\n\r\n")[2])


def test_a_body_without_a_length_counts_while_it_comes(proxy: Proxy) -> None:
    answer = secure(proxy, HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + (b"10000\r\n" + b"x" * 65_536 + b"\r\n") * 20)

    assert status_of(answer) == 413


def test_a_vault_calls_body_reaches_the_wire_though_it_is_large(proxy: Proxy) -> None:
    owner = KeyOwner(proxy.url, somewhere())
    assert (owner.register().status, owner.login().status) == (201, 200)

    reply = owner.ask("PUT", "/api/cipher", owner.row(data="ab" * 3_000_000))

    # One row may not be that large; the wire has read it whole to say so.
    assert (reply.status, reply.json()["error"]) == (400, "LP-Invalid-Cipher")


def test_framing_that_could_be_read_in_two_ways_hides_no_second_request(proxy: Proxy) -> None:
    hidden = f"0\r\n\r\nGET /api/user HTTP/1.1\r\nHost: {NAME}\r\nX: ".encode()
    both = HEAD + b"Content-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n" % len(hidden) + hidden

    answer = secure(proxy, both, 2)

    assert status_of(answer) in (400, 404)
    assert b"Unauthorized" not in answer


def test_while_ostiary_is_away_it_says_so(proxy: Proxy) -> None:
    gone = type(proxy)(1)
    with gone:
        reply = Caller(gone.url, may_fail=(503,)).get("/api/config")

    assert (reply.status, reply.json(), reply.header("retry-after")) == (503, {"message": "Not available now"}, "2")


def test_a_flood_of_silent_sockets_leaves_the_door_open(proxy: Proxy) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(200):
            stack.enter_context(socket.create_connection(("127.0.0.1", proxy.secure_port), PATIENCE))

        assert Caller(proxy.url, somewhere()).get("/api/config").status == 200
