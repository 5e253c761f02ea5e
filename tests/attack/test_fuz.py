"""FUZ: bytes that make no sense (catalogue 4.11)."""

from __future__ import annotations

from typing import Any

import pytest

from ostiary.app import documented
from tests.attack.harness import Caller, fresh_email, raw, somewhere, status_of
from tests.attack.people import MAIL_SECONDS, Person, key_owner, signed_in
from tests.served import Served
from tests.services.smtp import MailServer

ROUTES = sorted(
    (method.upper(), path.replace("{id}", "x").replace("{name}", "x"))
    for path, operations in documented()["paths"].items()
    for method in operations
    if method in ("post", "put", "patch", "delete")
)
GARBAGE = [
    b"",
    b"[]",
    b"null",
    b'"x"',
    b"1",
    b"NaN",
    b"1e999",
    b'{"a":',
    b"[" * 60_000,
    b"\xef\xbb\xbf{}",
    "{}".encode("utf-16"),
    b'{"email":"\xff"}',
    b'{"email":"\\ud800"}',
    b'{"email":"a","email":"b"}',
    b"\0",
]
ODD: list[Any] = [
    0,
    1.5,
    True,
    None,
    [],
    {},
    "x" * 30_000,
    {"$ne": None},
    [[["a"]]],
    "\0",
    "' OR 1=1--",
    "'; SELECT pg_sleep(5)--",
]


@pytest.mark.parametrize("body", GARBAGE, ids=lambda body: repr(body[:16]))
def test_fuz_01_garbage_is_answered_and_never_a_fault(site: Served, body: bytes) -> None:
    for method, path in ROUTES:
        reply = Caller(site.url, may_fail=(503,)).send(method, path, body, {"Content-Type": "application/json"})
        assert reply.status < 500 or b"OPENID_NOT_CONFIGURED" in reply.body, (method, path)


@pytest.mark.parametrize("value", ODD, ids=lambda value: repr(value)[:24])
def test_fuz_02_values_of_other_types_are_refused(site: Served, value: object) -> None:
    person, owner = signed_in(site.url), key_owner(site.url)
    for field in person.form():
        assert Person(site.url, somewhere()).register(**{field: value}).status < 500
    for field in owner.form():
        assert 400 <= owner.elsewhere().register(**{field: value}).status < 500 or value is None or isinstance(value, str)
    for field in ("email", "password"):
        body = {"email": person.email, "password": person.password, field: value}
        assert 400 <= Caller(site.url, somewhere()).post("/api/auth/login", body).status < 500


@pytest.mark.parametrize("text", ["' OR 1=1--", "'; SELECT pg_sleep(5)--", "\0", "%00", '" OR ""="', "{$gt: ''}"])
def test_fuz_04_a_statement_in_a_field_is_text(site: Served, text: str) -> None:
    caller = Caller(site.url)
    replies = [
        caller.post("/api/auth/login", {"email": text, "password": text}),
        caller.post("/api/auth/oauth?grantType=login", {"email": text, "sharedKey": "ab" * 32}),
        caller.post("/api/auth/resetPassword", {"userId": text, "token": text, "password": "a-Long-enough-one"}),
        caller.post("/api/user/verify", {"email": text, "token": text}),
        caller.get("/api/auth/verifyEmail?user=%27%20OR%201=1&code=%27"),
        caller.get("/api/auth/preLogin?email=%27%3B%20DROP%20TABLE%20accounts--@x.org"),
    ]

    assert {reply.status for reply in replies[:5]} <= {400, 404}


def test_fuz_05_nobody_names_their_own_rights(site: Served) -> None:
    extra = {"role": "ADMIN", "emailVerified": True, "provider": "openid", "_id": "x", "twoFactorEnabled": True, "googleId": "1"}
    signed_in(site.url)
    person = Person(site.url, somewhere())

    assert person.register(**extra).status in (200, 400)
    person.login()

    user = person.me().json()
    assert (user["role"], user["provider"], user["twoFactorEnabled"], user["emailVerified"]) == ("USER", "local", False, False)
    assert user["_id"] != "x"


def test_fuz_07_a_long_password_counts_whole(site: Served) -> None:
    for password, other in (
        ("a" * 72 + "X", "a" * 72 + "Y"),
        ("é" * 36 + "X", "é" * 36 + "Y"),
        ("ab-Cd" * 25 + "xyz", "ab-Cd" * 25 + "xyy"),
    ):
        person = Person(site.url, somewhere(), password=password)
        assert person.register().status == 200
        assert person.elsewhere().login(other).status == 404
        assert person.elsewhere().login().status == 200
    nul = Person(site.url, somewhere(), password="abc-Def-123\0-tail")
    assert nul.register().status == 404


@pytest.mark.parametrize("password", ["  blank-Around-77  ", "MiXed-Case-77-words", "tab\there-And-77-there"])
def test_fuz_08_a_password_is_taken_to_the_letter(site: Served, password: str) -> None:
    person = Person(site.url, somewhere(), password=password)
    assert person.register().status == 200

    assert person.elsewhere().login().status == 200
    for other in {password.strip(), password.lower(), password.replace("\t", " ")} - {password}:
        assert person.elsewhere().login(other).status == 404


def test_fuz_10_other_methods_change_nothing(site: Served) -> None:
    for method in ("PUT", "TRACE", "PROPFIND", "post", "CONNECT"):
        reply = Caller(site.url).ask(method, "/api/auth/login", {"email": "a@b.cd"})
        assert reply.status in (400, 404, 405), method
    reply = Caller(site.url).get("/api/auth/login", x_http_method_override="POST")
    assert (reply.status, reply.header("allow")) == (405, "POST")


def test_fuz_11_a_parameter_sent_twice_names_one_identity(site: Served) -> None:
    owner, other = key_owner(site.url), fresh_email()
    proof = {"email": owner.email, "sharedKey": owner.shared_key()}

    both = Caller(site.url).post("/api/auth/oauth?grantType=login&grantType=2fa", proof)
    conflict = Caller(site.url).post(f"/api/auth/oauth?grantType=login&email={other}", proof)

    assert both.status in (200, 400)
    assert conflict.json()["userId"] == owner.id
    assert Caller(site.url).get(f"/api/auth/preLogin?email={owner.email}&email={other}").status in (200, 400)
    assert Caller(site.url).get(f"/api/auth/passwordHint?email[]={owner.email}").status == 400


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", "{{7*7}}", "${7*7}", "{0.__class__}", "%s%n"])
def test_fuz_13_stored_text_stays_text(site: Served, mails: MailServer, name: str) -> None:
    person = Person(site.url, somewhere())
    assert person.register(name=name).status == 200
    mail = mails.wait(person.email, "Verify your email", MAIL_SECONDS)
    person.login()
    reply = person.me()

    assert (reply.json()["name"], reply.header("x-content-type-options")) == (name, "nosniff")
    html = mail.get_body(("html",))
    assert html is not None
    assert "<script" not in html.get_content()


def test_fuz_01_a_request_that_is_none_closes_the_connection(site: Served) -> None:
    for data in (
        b"\0\0\0\0\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
    ):
        assert status_of(raw(site, data, seconds=1)) in (0, 400, 404, 505)
