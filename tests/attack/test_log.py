"""LOG: what gives access is in no log, no error, no metric, and in no database in the clear (catalogue 4.19)."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from ostiary.identity import audit
from tests.attack.canaries import Canaries, dump
from tests.attack.conftest import OPEN, mail_settings
from tests.attack.harness import Caller, Reply, somewhere, stored
from tests.attack.people import Authenticator, KeyOwner, Person, link_in
from tests.cli.conftest import Operator
from tests.conftest import MakeHouse
from tests.dialects.librechat import browser as librechat
from tests.federation.hostile import Provider, provider
from tests.house import Clock
from tests.served import Served, served
from tests.services.postgres import PostgresServer, _program
from tests.services.smtp import MailServer

SECRETS = {
    "JWT_SECRET": "a5c3f1e7d9b2064878695a4b3c2d1e0f-access",
    "JWT_REFRESH_SECRET": "0f1e2d3c4b5a69788796a5b4c3d2e1f0-refresh",
    "CREDS_KEY": "3b1f5d7a9c0e2468ace013579bdf02468ace13579bdf0246813579bdf02468ac",
    "OSTIARY_ROOT_KEY": "77e1c5a3094b8d6f2e70c1b5a3948d6f-root",
    "OSTIARY_METRICS_TOKEN": "9d2f7c41-metrics-of-the-operator",
}


class Watched(KeyOwner):
    """A key account's owner whose every proof is a canary."""

    canaries: Canaries

    def shared_key(self, email: str = "", password: str = "") -> str:
        return self.canaries.add("shared key", super().shared_key(email, password))


class Story:
    """A life on both wires, at a provider and at the command line; every secret of it is noted."""

    def __init__(self, place: Served, mails: MailServer, operator: Operator) -> None:
        self.place = place
        self.mails = mails
        self.operator = operator
        self.canaries = Canaries()
        self.answers: list[Reply] = []
        self.said = ""
        """What commands printed."""

    def link(self, email: str, subject: str) -> dict[str, str]:
        """The query of the link in a mail; its token is a canary."""
        found = dict(parse_qsl(urlsplit(link_in(self.mails, email, subject)).query))
        token = next(found[name] for name in ("token", "code") if name in found)
        self.canaries.add("link", token)
        return found

    def note_cookies(self, someone: Caller) -> None:
        for name, value in someone.cookies.items():
            if len(value) > 16:
                self.canaries.add(f"cookie {name}", value)

    def person(self) -> None:
        """LibreChat's wire."""
        note = self.canaries
        email = note.add("address", f"canary.{id(self):x}.person@example.org")
        person = Person(self.place.url, somewhere(), email=email, password=note.fresh("password"), seen=self.answers)
        person.register(confirm_password=note.fresh("confirmation"))
        assert person.register().status == 200
        verification = self.link(email, "Verify")
        person.register()
        person.post("/api/user/verify", {"email": email, "token": note.fresh("wrong link")})
        assert person.post("/api/user/verify", {"email": email, "token": verification["token"]}).status == 200
        person.login(note.fresh("wrong password"))
        junk = f'{{"email":"{email}","password":"{person.password}"'.encode()
        person.send("POST", "/api/auth/login", junk, {"content-type": "application/json"})
        person.send("POST", f"/api/auth/login?password={person.password}", b"x", {"content-type": "text/plain"})
        person.get(f"/api/nowhere?token={verification['token']}&email={email}")

        assert person.login().status == 200
        note.add("access token", person.bearer)
        self.note_cookies(person)
        assert person.refresh().status == 200
        self.note_cookies(person)
        app = self._enroll(person)
        self._prove(person, app)
        person.post("/api/auth/requestPasswordReset", {"email": email})
        reset = self.link(email, "Reset")
        renewed = note.fresh("renewed password")
        body = {"userId": reset["userId"], "token": reset["token"], "password": renewed, "confirm_password": renewed}
        person.post("/api/auth/resetPassword", {**body, "token": note.fresh("wrong reset link")})
        person.post("/api/auth/resetPassword", {**body, "password": "password1", "confirm_password": "password1"})
        assert person.post("/api/auth/resetPassword", body).status == 200
        person.post("/api/auth/logout")
        person.refresh(note.fresh("invented refresh token"))
        person.me(note.fresh("invented bearer"))

    def _enroll(self, person: Person) -> Authenticator:
        reply = person.post("/api/auth/2fa/enable").json()
        app = Authenticator(self.canaries.add("totp secret", reply["secret"]), reply["backupCodes"])
        for code in app.codes:
            self.canaries.add("backup code", code)
        person.post("/api/auth/2fa/confirm", {"token": app.wrong_code()})
        assert person.post("/api/auth/2fa/confirm", {"token": self.canaries.add("code", app.code())}).status == 200
        return app

    def _prove(self, person: Person, app: Authenticator) -> None:
        there = person.elsewhere()
        there.seen = self.answers
        pending = self.canaries.add("pending token", there.login().json()["tempToken"])
        there.prove(pending, token=app.wrong_code())
        assert there.prove(pending, token=self.canaries.add("code", app.code(1))).status == 200
        self.note_cookies(there)
        there.prove(pending, backupCode=app.codes[0])
        pending = self.canaries.add("pending token", there.login().json()["tempToken"])
        assert there.prove(pending, backupCode=app.codes[0]).status == 200

    def key_owner(self) -> None:
        """LibrePass's wire."""
        note = self.canaries
        email = note.add("address", f"canary.{id(self):x}.keys@example.org")
        owner = Watched(self.place.url, somewhere(), email=email, password=note.fresh("password"), seen=self.answers)
        owner.canaries = note
        assert owner.register(passwordHint=note.fresh("hint")).status == 201
        verification = self.link(email, "Activate")
        owner.get(f"/api/auth/verifyEmail?user={verification.get('user', '')}&code={verification.get('code', '')}")
        owner.post("/api/auth/oauth?grantType=login", {"email": email, "sharedKey": note.add("shared key", "ab" * 32)})
        assert owner.login().status == 200
        note.add("key", owner.bearer)
        app = Authenticator(note.add("totp secret", base64.b32encode(b"a secret of 20 bytes").decode()))
        set_up = {"sharedKey": owner.shared_key(), "secret": app.secret}
        owner.post("/api/user/setup/2fa", {**set_up, "code": app.wrong_code()})
        done = owner.post("/api/user/setup/2fa", {**set_up, "code": note.add("code", app.code())})
        assert done.status == 200, done
        recovery = note.add("recovery code", done.json()["recoveryCode"])
        there = owner.elsewhere()
        there.seen = self.answers
        there.login()
        note.add("key", there.bearer)
        there.answer(app.wrong_code())
        assert there.answer(note.add("code", app.code(1))).status == 200
        owner.get(f"/api/auth/passwordHint?email={email}")
        other = note.add("address", f"canary.{id(self):x}.other@example.org")
        assert owner.ask("PATCH", "/api/user/email", owner.address_form(other)).status == 200
        owner.email = other
        owner.ask("PATCH", "/api/user/password", owner.change_form(note.fresh("renewed password")))
        last = owner.elsewhere()
        last.seen = self.answers
        last.login()
        if last.bearer:
            note.add("key", last.bearer)
            last.answer(recovery)

    def federated(self, op: Provider) -> None:
        """Sign in elsewhere, with the provider's tokens as ours."""
        note = self.canaries
        note.add("address", op.person["email"])
        someone = Caller(self.place.url, somewhere(), seen=self.answers)
        agreed = op.authorize(someone.get("/oauth/openid").header("location") or "")
        query = dict(parse_qsl(urlsplit(agreed).query))
        note.add("provider code", query["code"])
        note.add("state", query["state"])
        target = urlsplit(agreed)
        reply = someone.get(f"{target.path}?{target.query}")
        assert (reply.status, "refreshToken" in someone.cookies) == (302, True), reply
        self.note_cookies(someone)
        for tokens in op.granted.values():
            for token in tokens:
                note.add("provider refresh token", token)
        refreshed = someone.post("/api/auth/refresh")
        note.add("provider access token", refreshed.json()["token"])
        assert someone.get("/api/user", authorization=f"Bearer {refreshed.json()['token']}").status == 200
        someone.get(f"{target.path}?{target.query}")
        self.note_cookies(someone)

    def commands(self) -> None:
        """What an operator does about it all."""
        note = self.canaries
        email = note.add("address", f"canary.{id(self):x}.cli@example.org")
        password = note.fresh("password")
        made = ("user", "create", email, "--name", "Ada", "--password-stdin")
        runs = [self.operator.run(*made, stdin=password), self.operator.run(*made, stdin=password)]
        runs.append(self.operator.run("user", "set-password", email, "--password-stdin", stdin=note.fresh("short")[:5]))
        invitation = self.operator.run("invite", "create", note.add("address", f"canary.{id(self):x}.guest@example.org"))
        assert invitation.exit_code == 0, invitation.output
        for words in (("user", "show", email), ("user", "sessions", email), ("audit", "list"), ("mail", "list"), ("doctor",)):
            runs += [self.operator.run(*words), self.operator.run(*words, "--json")]
        runs += [self.operator.run("check-config", "--all"), self.operator.run("keys", "list")]
        self.said = "\n".join(run.output for run in runs)
        for words in (("user", "reset-link", email), ("invite", "create", f"canary.{id(self):x}.second@example.org")):
            shown = self.operator.json(*words)
            token = dict(parse_qsl(urlsplit(shown["link"]).query))["token"]
            note.add("link", token)


@pytest.fixture
async def op() -> AsyncIterator[Provider]:
    async with provider(Clock(time.time_ns() // 1000)) as served_provider:
        served_provider.refreshing = True
        served_provider.person = served_provider.person | {"email": f"canary.{time.time_ns():x}.elsewhere@example.org"}
        yield served_provider


@pytest.mark.parametrize(("engine", "log_format"), [("sqlite", "json"), ("postgresql", "readable")])
async def test_log_01_nothing_that_gives_access_is_kept_or_written_in_the_clear(
    engine: str,
    log_format: str,
    tmp_path: Path,
    op: Provider,
    mails: MailServer,
    postgres: PostgresServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url = f"sqlite:///{tmp_path / 'data' / 'ostiary.db'}"
    if engine == "postgresql":
        url = postgres.create_database(f"canaries_{log_format}")
    settings = {
        **OPEN,
        **mail_settings(mails),
        **SECRETS,
        **op.settings,
        "OPENID_REUSE_TOKENS": "true",
        "DATABASE_URL": url,
        "OSTIARY_LOG_FORMAT": log_format,
        "OSTIARY_LOG_LEVEL": "debug",
    }
    monkeypatch.chdir(tmp_path)
    with served(tmp_path, settings) as place:
        own = {**settings, "OSTIARY_DATA": str(place.data), "BCRYPT_COST": "4", "PORT": str(urlsplit(place.url).port)}
        story = Story(place, mails, Operator(tmp_path, own))
        for name, value in (*SECRETS.items(), ("OPENID_CLIENT_SECRET", op.settings["OPENID_CLIENT_SECRET"])):
            story.canaries.add(name, value)
        await asyncio.to_thread(story.person)
        await asyncio.to_thread(story.key_owner)
        await asyncio.to_thread(story.federated, op)
        await asyncio.to_thread(story.commands)
        metrics = Caller(place.url).get("/metrics", authorization=f"Bearer {SECRETS['OSTIARY_METRICS_TOKEN']}")
        files = stored(place)
        lines = list(dump(url, _program("pg_dump")))
    log = place.log.read_bytes()
    errors = b"\n".join(reply.body for reply in story.answers if reply.status >= 400)
    canaries = story.canaries

    assert len(canaries.values) > 60
    assert log.count(b"account:sign_in:") > 5
    assert metrics.status == 200
    assert errors.count(b"message") > 8
    assert any(table == "sessions" for table, _ in lines)
    for found in (canaries.found_in(log), canaries.found_in(metrics.body), canaries.found_in(errors)):
        assert found == []
    assert canaries.found_in(story.said.encode(), without="address") == []
    assert canaries.found_in(files, without="address") == []
    assert canaries.found_in("\n".join(line for _, line in lines).encode(), without="address") == []
    # Whose account it is, whom a link is for, and what the provider calls them: nowhere else, the audit and the outbox included.
    assert {table for table, line in lines if canaries.found_in(line.encode())} == {"accounts", "links", "credentials"}


def test_the_search_finds_a_secret_in_every_form() -> None:
    canaries = Canaries(
        {"key 0": "00ff" * 16, "totp secret 1": "JBSWY3DPEHPK3PXP", "code 2": "123456", "address 3": "a+b@example.org"}
    )

    for data in (b"x" + bytes.fromhex("00ff" * 16) + b"y", b"00FF" * 16, b"=" + base64.b64encode(b"00ff" * 16)):
        assert canaries.found_in(data) == ["key 0"]
    assert canaries.found_in(base64.b32decode("JBSWY3DPEHPK3PXP")) == ["totp secret 1"]
    assert canaries.found_in(b'{"code":"123456"}') == ["code 2"]
    assert canaries.found_in(b'"at":1791234567,"t":"12:00:00.123456Z"') == []
    assert canaries.found_in(b"?email=a%2Bb%40example.org") == ["address 3"]


@pytest.mark.parametrize("log_format", ["json", "readable"])
async def test_log_01_a_fault_of_ours_shows_no_secret(
    make_house: MakeHouse, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], log_format: str
) -> None:
    """Local variables stay out of the trace, and what an exception says of others is hidden."""
    house = await make_house(OSTIARY_LOG_FORMAT=log_format, OSTIARY_LOG_LEVEL="debug")
    email, password = "canary.person@example.org", "canary-4b1d-Lantern"
    token = "lp_" + "7" * 40

    async def fails(*given: object, **_: object) -> None:
        kept = [given, password]
        raise RuntimeError(f'Key (email)=("{email}") is there already, asked with {token}, {len(kept)}')

    monkeypatch.setattr(audit, "record", fails)

    answer = await house.client.post("/api/auth/login", json={"email": email, "password": password})

    logged = capsys.readouterr().err
    assert answer.status_code == 500
    assert "is there already" in logged
    assert "(hidden)" in logged
    for secret in (email, password, token):
        assert secret not in logged + answer.text


async def test_log_02_each_outcome_is_one_event_that_says_who_where_and_when(make_house: MakeHouse) -> None:
    house = await make_house(OSTIARY_LOCKOUT_MAX="2")
    person = await librechat.signed_in(house)
    account = (await person.get("/api/user")).json()["id"]
    for _ in range(2):
        await librechat.browser(house, "127.9.9.9").login(password="certainly wrong 1")
    await librechat.browser(house, "127.9.9.9").login(password="certainly wrong 1")
    app = await librechat.enrolled(house, person)
    there, pending = await librechat.owing(house, address="127.0.0.1")
    await there.prove(pending, token=app.wrong_code())
    await there.prove(pending, token=app.code())
    await there.post("/api/auth/logout")
    await there.post("/api/auth/requestPasswordReset", {"email": librechat.EMAIL})
    await house.mails()

    async with house.begin() as ctx:
        events = await audit.latest(ctx, most=50)

    of_account = [event for event in events if event.account_id == account]
    kinds = [event.event for event in of_account]
    for kind, count in (
        (audit.Event.REGISTERED, 1),
        (audit.Event.SIGNED_IN, 2),
        (audit.Event.SIGN_IN_REFUSED, 2),
        (audit.Event.FACTOR_ENROLLED, 1),
        (audit.Event.FACTOR_REFUSED, 1),
        (audit.Event.SIGNED_OUT, 1),
        (audit.Event.RESET_ASKED, 1),
    ):
        assert kinds.count(kind) == count, (kind, kinds)
    assert {event.event for event in events if event.reason == "lockout.account"} <= {audit.Event.VIOLATION}
    for event in of_account:
        assert event.address in ("127.0.0.1", "127.9.9.9")
        assert event.request_id
        assert 0 <= house.clock.now - event.at < 3600 * 1_000_000


async def test_log_04_a_fault_is_told_in_general_words_with_the_number_of_the_request(
    make_house: MakeHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = await make_house()
    inside = "/srv/secret/place.py of the engine room"

    async def fails(*_: object, **__: object) -> None:
        raise RuntimeError(inside)

    monkeypatch.setattr(audit, "record", fails)
    calls: list[tuple[str, Any]] = [
        ("/api/auth/login", {"email": "a@example.org", "password": "a lamp at noon"}),
        ("/api/auth/oauth?grantType=login", {"email": "a@example.org", "sharedKey": "ab" * 32}),
    ]

    answers = [await house.client.post(path, json=body) for path, body in calls]

    for answer in answers:
        assert answer.status_code == 500
        assert re.fullmatch(r"[0-9A-Za-z-]{8,64}", answer.headers["x-request-id"])
        assert inside not in answer.text
        assert not re.search(r"Traceback|RuntimeError|\.py", answer.text)


async def test_log_05_metrics_name_nobody_and_do_not_grow_with_those_who_ask(make_house: MakeHouse) -> None:
    house = await make_house(RATE_LIMITS="on", LOGIN_MAX="3")
    await librechat.browser(house).register()

    async def series(first: int) -> set[str]:
        for number in range(first, first + 25):
            someone = librechat.browser(house, f"127.7.{number}.9")
            await someone.login(f"somebody.{number}@example.org", "certainly wrong 1")
            await someone.get(f"/api/nowhere/{number}")
            await house.client.get(f"/api/auth/preLogin?email=key.{number}@example.org")
        text = (await house.client.get("/metrics")).text
        assert not re.search(r"@|127\.7\.|somebody|nowhere", text)
        assert not re.search(r"[0-9a-f]{8}-[0-9a-f]{4}", text)
        return {line.rpartition(" ")[0] for line in text.splitlines() if not line.startswith("#")}

    before = await series(1)

    assert await series(101) == before
    assert json.dumps(sorted(before)).count("{") < 300
