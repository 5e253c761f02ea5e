"""HDR: headers, cookies, other sites, framing (catalogue 4.16)."""

from __future__ import annotations

import json

import pytest

from tests.attack.harness import Caller, raw, status_of
from tests.attack.people import Person, signed_in
from tests.served import Served

CLEARED = {"refreshToken", "openid_access_token", "openid_id_token", "openid_user_id", "token_provider"}
EVIL = "https://evil.test"


def attributes(line: str) -> set[str]:
    return {part.strip().partition("=")[0].lower() for part in line.split(";")[1:]}


def test_hdr_01_the_refresh_cookie_is_out_of_reach(site: Served) -> None:
    person = signed_in(site.url)

    lines = person.elsewhere().login().all("set-cookie")

    assert {line.partition("=")[0] for line in lines} >= {"refreshToken", "token_provider"}
    for line in lines:
        assert {"httponly", "samesite", "path", "expires"} <= attributes(line)
        assert "domain" not in attributes(line)
        assert "SameSite=Strict" in line


def test_hdr_02_signing_out_clears_every_cookie(site: Served) -> None:
    lines = signed_in(site.url).post("/api/auth/logout").all("set-cookie")

    assert {line.partition("=")[0] for line in lines} == CLEARED
    for line in lines:
        assert "Expires=Thu, 01 Jan 1970" in line
        assert {"httponly", "samesite", "path"} <= attributes(line)


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "text/plain", "multipart/form-data; boundary=x"])
def test_hdr_04_another_site_signs_nobody_in(site: Served, kind: str) -> None:
    person = signed_in(site.url)
    form = f"email={person.email}&password={person.password}"
    text = json.dumps({"email": person.email, "password": person.password})

    for body in (form, text):
        reply = Caller(site.url).send("POST", "/api/auth/login", body.encode(), {"Content-Type": kind, "Origin": EVIL})
        assert reply.status in (400, 403, 404, 415)
        assert reply.all("set-cookie") == []


@pytest.mark.parametrize("origin", [EVIL, "null", "http://127.0.0.1:1.evil.test", "HTTP://127.0.0.1", "file://"])
def test_hdr_05_no_other_site_reads_an_answer(site: Served, origin: str) -> None:
    person = signed_in(site.url)

    for reply in (
        person.get("/api/user", origin=origin),
        person.ask("OPTIONS", "/api/auth/refresh", None, origin=origin, access_control_request_method="POST"),
    ):
        assert reply.header("access-control-allow-origin") is None
        assert reply.header("vary") == "Origin"
    assert person.post("/api/auth/refresh", origin=origin).status == 403
    own = person.get("/api/user", origin=site.url)
    assert (own.header("access-control-allow-origin"), own.header("vary")) == (site.url, "Origin")


@pytest.mark.parametrize(
    "lines",
    ["Host: evil.test", "Host: evil.test/abc?x=", "Host: a b", "", "Host: evil.test\r\nHost: 127.0.0.1", "Host: a@evil.test"],
)
@pytest.mark.parametrize("path", ["/api/auth/login/", "/oauth/google", "/api/config"])
def test_hdr_07_the_requests_host_is_never_used(site: Served, lines: str, path: str) -> None:
    answer = raw(site, f"GET {path} HTTP/1.1\r\n{lines}\r\nConnection: close\r\n\r\n".replace("\r\n\r\nC", "\r\nC").encode())

    assert 200 <= status_of(answer) < 500
    assert b"evil.test" not in answer


def test_hdr_08_a_slash_too_many_redirects_nobody(site: Served) -> None:
    for method in ("GET", "POST"):
        reply = Caller(site.url).ask(method, "/api/auth/login/", host="evil.test")
        assert reply.status in (400, 404, 405, 421)
        assert reply.header("location") is None


def test_hdr_10_two_refresh_cookies_are_none(site: Served) -> None:
    one, other = signed_in(site.url).refresh_token, signed_in(site.url).refresh_token

    for first, second in ((one, other), (other, one)):
        reply = Caller(site.url).post("/api/auth/refresh", cookie=f"refreshToken={first}; refreshToken={second}")
        assert b'"token"' not in reply.body
        assert reply.all("set-cookie") == []


@pytest.mark.parametrize("value", ["x" * 8000, "%zz", "=x", ";;;", "é", "refreshToken", 'a="b', "a=b; " * 100])
def test_hdr_11_junk_cookies_do_no_harm(site: Served, value: str) -> None:
    person = signed_in(site.url)

    for line in (value, f"refreshToken={value}"):
        assert Caller(site.url).post("/api/auth/refresh", cookie=line).status < 500
        assert person.get("/api/user", cookie=line).status in (200, 400, 431)


def test_hdr_13_a_limit_says_when_and_not_who(guarded: Served) -> None:
    person = Person(guarded.url, "127.99.0.1")
    replies = [person.login() for _ in range(8)]

    assert replies[-1].status == 429
    assert (replies[-1].header("retry-after") or "").isdigit()
    for reply in replies:
        shown = [value for name, value in reply.headers if name.lower().startswith(("x-ratelimit", "ratelimit", "retry"))]
        assert all(value.isdigit() for value in shown)


def test_hdr_14_nothing_is_served_by_surprise(site: Served) -> None:
    """The contract serves /docs and /openapi.json; /metrics is for loopback or a token."""
    for path in (
        "/debug",
        "/.git/HEAD",
        "/.env",
        "/actuator/env",
        "/actuator/heapdump",
        "/admin",
        "/server-status",
        "/..%2f.env",
    ):
        assert Caller(site.url).get(path).status == 404, path
    assert Caller(site.url).get("/metrics", x_forwarded_for="203.0.113.9").status == 403
