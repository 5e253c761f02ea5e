"""RAC: races (catalogue 4.12). Each case: many callers at the same moment, and afterwards exactly what one of them may have done."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.attack.arena import CALLERS, RACE_ROUNDS, Arena, running_provider
from tests.attack.conftest import OPEN, mail_settings
from tests.attack.harness import Caller, Reply, fresh_email, race, somewhere
from tests.attack.people import (
    OTHER_PASSWORD,
    WRONG_PASSWORD,
    Authenticator,
    Person,
    enrolled,
    key_owner,
    link_in,
    owing,
    signed_in,
)
from tests.dialects.librechat.browser import parameters_of
from tests.served import served
from tests.services.redis import RedisServer
from tests.services.smtp import MailServer

AT_ONCE = 64
LOCKOUT_MAX = 10
RESET = "Password Reset Request"
BATCH = 20
"""Mails are asked for by so many before the first is read: they come a moment behind their request."""


KINDS = ("sqlite", "workers")


@contextmanager
def opened(kind: str, request: pytest.FixtureRequest, mails: MailServer, **more: str) -> Iterator[Arena]:
    """One process on SQLite, or several on PostgreSQL and Redis."""
    with ExitStack() as stack:
        op = stack.enter_context(running_provider())
        settings = {**OPEN, **mail_settings(mails), **op.settings, **more}
        url = ""
        if kind != "sqlite":
            url = request.getfixturevalue("postgres").create_database(f"races{len(more)}")
            redis = stack.enter_context(RedisServer())
            settings |= {"DATABASE_URL": url, "REDIS_URL": redis.url, "OSTIARY_WORKERS": "4" if RACE_ROUNDS > 1 else "2"}
        folder: Path = request.getfixturevalue("tmp_path_factory").mktemp("races")
        yield Arena(kind, stack.enter_context(served(folder, settings)), url, settings, op)


@pytest.fixture(scope="module", params=KINDS)
def arena(request: pytest.FixtureRequest, mails: MailServer) -> Iterator[Arena]:
    """Nothing is in the callers' way but what is single."""
    with opened(request.param, request, mails, LOCKOUT="off") as running:
        yield running


@pytest.fixture(params=KINDS)
def guarded_arena(request: pytest.FixtureRequest, mails: MailServer) -> Iterator[Arena]:
    """The lockout counts."""
    with opened(request.param, request, mails) as running:
        yield running


@pytest.fixture
def rounds(arena: Arena, record_property: Any) -> range:
    """As many as were asked for; they stand in the table at the end of `make races`."""
    record_property("race", (arena.name, RACE_ROUNDS))
    return range(RACE_ROUNDS)


def statuses(replies: Sequence[Reply]) -> Counter[int]:
    """How many of each."""
    return Counter(reply.status for reply in replies)


def with_reset_links(arena: Arena, mails: MailServer, rounds: range) -> Iterator[tuple[Person, dict[str, str]]]:
    """For each round somebody who is signed in, and their reset link."""
    for start in range(0, len(rounds), BATCH):
        people = [signed_in(arena.url) for _ in rounds[start : start + BATCH]]
        for person in people:
            assert person.post("/api/auth/requestPasswordReset", {"email": person.email}).status == 200
        for person in people:
            yield person, parameters_of(link_in(mails, person.email, RESET))


def test_rac_02_the_first_of_many_is_the_one_administrator(arena: Arena, rounds: range) -> None:
    for number in rounds:
        arena.empty()

        replies = race(CALLERS, lambda _: Person(arena.url, somewhere()).register())

        assert statuses(replies) == {200: CALLERS}
        assert arena.count("SELECT count(*) FROM accounts WHERE role = 'ADMIN'") == 1, number
        assert arena.count("SELECT count(*) FROM accounts") == CALLERS, number


def test_rac_03_one_refresh_token_has_one_successor(arena: Arena, rounds: range) -> None:
    for number in rounds:
        person = signed_in(arena.url)
        token = person.refresh_token
        callers = [Person(arena.url) for _ in range(CALLERS)]

        replies = race(CALLERS, lambda caller, callers=callers, token=token: callers[caller].refresh(token))  # type: ignore[misc]

        assert statuses(replies) == {200: CALLERS}, number
        assert len({caller.refresh_token for caller in callers}) == 1, number
        assert callers[0].refresh().status == 200, number


def test_rac_05_no_refresh_outlives_a_reset(arena: Arena, mails: MailServer, rounds: range) -> None:
    for person, link in with_reset_links(arena, mails, rounds):
        token = person.refresh_token
        callers = [Person(arena.url) for _ in range(CALLERS)]

        def deed(caller: int) -> Reply:
            if caller == CALLERS:
                return Caller(arena.url).post("/api/auth/resetPassword", {**link, "password": OTHER_PASSWORD})  # noqa: B023
            return callers[caller].refresh(token)  # noqa: B023

        *refreshed, reset = race(CALLERS + 1, deed)

        assert reset.status == 200
        assert set(statuses(refreshed)) <= {200, 401, 403}
        for caller in callers:
            if caller.bearer:
                assert caller.me().status == 401
                assert caller.refresh(caller.refresh_token).status in (401, 403)


def test_rac_06_one_backup_code_is_good_once(arena: Arena, rounds: range) -> None:
    for number in rounds:
        person = signed_in(arena.url)
        code = enrolled(person).codes[0]
        waiting = [owing(person) for _ in range(CALLERS)]

        replies = race(CALLERS, lambda n, waiting=waiting, code=code: waiting[n][0].prove(waiting[n][1], backupCode=code))  # type: ignore[misc]

        assert statuses(replies) == {200: 1, 401: CALLERS - 1}, number


def test_rac_06_one_recovery_code_of_a_key_account_is_good_once(arena: Arena, rounds: range) -> None:
    for number in rounds:
        owner = key_owner(arena.url)
        app = Authenticator("JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP")
        setup = {"sharedKey": owner.shared_key(), "secret": app.secret, "code": app.code()}
        recovery = owner.post("/api/user/setup/2fa", setup).json()["recoveryCode"]
        waiting = [owner.elsewhere() for _ in range(CALLERS)]
        for someone in waiting:
            assert someone.login().json()["verified"] is False

        replies = race(CALLERS, lambda n, waiting=waiting, code=recovery: waiting[n].answer(code))  # type: ignore[misc]

        assert statuses(replies) == {200: 1, 400: CALLERS - 1}, number


def test_rac_08_one_code_of_an_authenticator_is_good_once(arena: Arena, rounds: range) -> None:
    for number in rounds:
        person = signed_in(arena.url)
        app = enrolled(person)
        waiting = [owing(person) for _ in range(CALLERS)]
        code = app.code(1)

        replies = race(CALLERS, lambda n, waiting=waiting, code=code: waiting[n][0].prove(waiting[n][1], token=code))  # type: ignore[misc]

        assert statuses(replies) == {200: 1, 401: CALLERS - 1}, number


def test_rac_09_one_reset_link_sets_one_password(arena: Arena, mails: MailServer, rounds: range) -> None:
    passwords = [f"{OTHER_PASSWORD} {caller}" for caller in range(CALLERS)]
    for person, link in with_reset_links(arena, mails, rounds):

        def deed(caller: int) -> Reply:
            return Caller(arena.url, somewhere()).post("/api/auth/resetPassword", {**link, "password": passwords[caller]})  # noqa: B023

        replies = race(CALLERS, deed)

        assert statuses(replies) == {200: 1, 400: CALLERS - 1}
        winner = next(caller for caller, reply in enumerate(replies) if reply.status == 200)
        there = [person.elsewhere() for _ in passwords]
        logins = [someone.login(password).status for someone, password in zip(there, passwords, strict=True)]
        assert logins == [200 if caller == winner else 404 for caller in range(CALLERS)]


def test_rac_11_one_invitation_makes_one_account(arena: Arena, rounds: range) -> None:
    emails = [fresh_email("invited") for _ in rounds]
    tokens = arena.invite(emails)
    passwords = [f"{OTHER_PASSWORD} {caller}" for caller in range(CALLERS)]
    for email, token in zip(emails, tokens, strict=True):
        people = [Person(arena.url, somewhere(), email=email, password=password) for password in passwords]

        replies = race(CALLERS, lambda n, people=people, token=token: people[n].register(token=token))  # type: ignore[misc]

        assert set(statuses(replies)) <= {200, 400, 403}
        assert arena.count("SELECT count(*) FROM accounts WHERE email = ?", email) == 1
        assert (
            arena.count("SELECT count(*) FROM links WHERE email = ? AND purpose = 'invitation' AND used_at IS NOT NULL", email)
            == 1
        )
        assert [person.elsewhere().login().status for person in people].count(200) == 1


def test_rac_12_many_callbacks_for_one_new_subject_make_one_account(arena: Arena, rounds: range) -> None:
    for number in rounds:
        email = fresh_email("elsewhere")
        arena.op.person = {**arena.op.person, "sub": email, "email": email, "preferred_username": email.partition("@")[0]}
        browsers = [Caller(arena.url) for _ in range(CALLERS)]
        backs = []
        for browser in browsers:
            started = browser.get("/oauth/openid").header("location")
            assert started is not None
            backs.append(arena.op.authorize(started).removeprefix(arena.url))

        replies = race(CALLERS, lambda n, browsers=browsers, backs=backs: browsers[n].get(backs[n]))  # type: ignore[misc]

        assert statuses(replies) == {302: CALLERS}, number
        assert all("refreshToken" in browser.cookies for browser in browsers), [reply.header("location") for reply in replies]
        assert arena.count("SELECT count(*) FROM accounts WHERE email = ?", email) == 1, number
        assert (
            arena.count("SELECT count(*) FROM credentials WHERE kind = 'federated' AND identifier LIKE ?", f"%{email}%") == 1
        ), number


def test_rac_14_whoever_is_deleted_stays_deleted(arena: Arena, mails: MailServer, rounds: range) -> None:
    for person, link in with_reset_links(arena, mails, rounds):
        token, bearer = person.refresh_token, person.bearer
        logins, refreshes = [person.elsewhere() for _ in range(8)], [Person(arena.url) for _ in range(8)]

        def deed(caller: int) -> Reply:
            if caller == 24:
                return Caller(arena.url, bearer=bearer).ask("DELETE", "/api/user/delete", {})  # noqa: B023
            if caller < 8:
                return logins[caller].login()  # noqa: B023
            if caller < 16:
                return refreshes[caller - 8].refresh(token)  # noqa: B023
            return Caller(arena.url, somewhere()).post("/api/auth/resetPassword", {**link, "password": OTHER_PASSWORD})  # noqa: B023

        *others, deleted = race(25, deed)

        # A reset that came first ends the session that asked for the deletion.
        assert deleted.status in (200, 401)
        assert set(statuses(others)) <= {200, 400, 401, 403, 404}
        if deleted.status == 401:
            continue
        assert arena.count("SELECT count(*) FROM accounts WHERE email = ?", person.email) == 0
        for table in ("sessions", "challenges", "credentials", "links"):
            orphans = f"SELECT count(*) FROM {table} WHERE account_id NOT IN (SELECT id FROM accounts)"  # noqa: S608 - our own names
            assert arena.count(orphans) == 0
        for someone in (*logins, *refreshes):
            if someone.bearer:
                assert someone.me().status == 401
        assert person.elsewhere().login(OTHER_PASSWORD).status == 404


def test_rac_14_a_factor_asked_or_answered_beside_a_deletion_is_refused_or_done_and_no_fault(arena: Arena, rounds: range) -> None:
    for _ in rounds:
        person = signed_in(arena.url)
        app = enrolled(person)
        bearer, waiting = person.bearer, [owing(person) for _ in range(8)]
        logins = [person.elsewhere() for _ in range(4)]

        def deed(caller: int) -> Reply:
            if caller == 16:
                return Caller(arena.url, bearer=bearer).ask("DELETE", "/api/user/delete", {"backupCode": app.codes[9]})  # noqa: B023
            if caller < 8:
                someone, pending = waiting[caller]  # noqa: B023
                return someone.prove(pending, backupCode=app.codes[caller] if caller % 2 else "00000000")  # noqa: B023
            if caller < 12:
                return logins[caller - 8].login()  # noqa: B023
            return Caller(arena.url, bearer=bearer).post("/api/auth/2fa/verify", {"backupCode": app.codes[8]})  # noqa: B023

        *others, deleted = race(17, deed)

        assert deleted.status == 200
        assert set(statuses(others)) <= {200, 401, 404}
        assert arena.count("SELECT count(*) FROM accounts WHERE email = ?", person.email) == 0


def test_rac_15_every_failure_at_once_is_counted(guarded_arena: Arena, record_property: Any) -> None:
    for number in range(RACE_ROUNDS):
        person = signed_in(guarded_arena.url)
        strangers = [Person(guarded_arena.url, somewhere(), email=person.email) for _ in range(AT_ONCE)]

        replies = race(AT_ONCE, lambda n, strangers=strangers: strangers[n].login(WRONG_PASSWORD))  # type: ignore[misc]

        assert statuses(replies) == {404: LOCKOUT_MAX, 429: AT_ONCE - LOCKOUT_MAX}, number
        assert person.login().status == 200, number
    record_property("race", (guarded_arena.name, RACE_ROUNDS))
