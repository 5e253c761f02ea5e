"""RAC: races (catalogue 4.12). Each case: many callers at the same moment, and afterwards exactly what one of them may have done."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from bench.wire import request as made
from tests.attack.arena import CALLERS, RACE_ROUNDS, Arena, Guest, running_arena, running_provider
from tests.attack.conftest import OPEN
from tests.attack.harness import Reply, fresh_email, somewhere
from tests.attack.people import OTHER_PASSWORD, PASSWORD, WRONG_PASSWORD, claims_of
from tests.served import served
from tests.services.redis import RedisServer

AT_ONCE = 64
LOCKOUT_MAX = 10
KINDS = [pytest.param(kind, marks=pytest.mark.xdist_group(kind)) for kind in ("sqlite", "workers")]
PASSWORDS = [f"{OTHER_PASSWORD} {caller}" for caller in range(CALLERS)]


@contextmanager
def opened(kind: str, request: pytest.FixtureRequest, **more: str) -> Iterator[Arena]:
    """One process on SQLite, or several on PostgreSQL and Redis."""
    with ExitStack() as stack:
        op = stack.enter_context(running_provider())
        settings = {**OPEN, "OSTIARY_LOG_LEVEL": "error", **op.settings, **more}
        if kind != "sqlite":
            settings["DATABASE_URL"] = request.getfixturevalue("postgres").create_database(f"races_{next(iter(more)).lower()}")
            settings["REDIS_URL"] = stack.enter_context(RedisServer()).url
            settings["OSTIARY_WORKERS"] = "4" if RACE_ROUNDS > 1 else "2"
        folder: Path = request.getfixturevalue("tmp_path_factory").mktemp("races")
        place = stack.enter_context(served(folder, settings))
        yield stack.enter_context(running_arena(kind, place, settings, op))


@pytest.fixture(scope="module", params=KINDS)
def arena(request: pytest.FixtureRequest) -> Iterator[Arena]:
    """Nothing is in the callers' way but what is single."""
    with opened(request.param, request, LOCKOUT="off") as running:
        yield running


@pytest.fixture(params=KINDS)
def guarded_arena(request: pytest.FixtureRequest) -> Iterator[Arena]:
    """The lockout counts. Behind a proxy, because many addresses are wanted and few connections."""
    with opened(request.param, request, TRUSTED_PROXIES="127.0.0.0/8") as running:
        yield running


def counted(arena: Arena, record_property: Any) -> Iterator[int]:
    """As many rounds as were asked for. How many there were, and how many calls, stands in the table at the end of `make races`."""
    before = arena.fire.calls
    tally = [arena.name, 0, 0]
    record_property("race", tally)
    for number in range(RACE_ROUNDS):
        yield number
        tally[1:] = number + 1, arena.fire.calls - before


@pytest.fixture
def rounds(arena: Arena, record_property: Any) -> Iterator[int]:
    """The rounds of one race."""
    return counted(arena, record_property)


def statuses(replies: Iterable[Reply]) -> Counter[int]:
    """How many of each."""
    return Counter(reply.status for reply in replies)


def one_of_each(replies: Iterable[Reply]) -> Iterable[str]:
    """Of each session one of the access tokens that were handed out."""
    bearers = [reply.json().get("token") for reply in replies if reply.status == 200]
    return {claims_of(bearer)["sid"]: bearer for bearer in bearers if bearer}.values()


def login(email: str, password: str = PASSWORD, address: str = "", **cookies: str) -> bytes:
    headers = {"cookie": line_of(cookies)} | ({"x_forwarded_for": address} if address else {})
    return made("POST", "/api/auth/login", {"email": email, "password": password}, **headers)


def registration(email: str, password: str = PASSWORD, **more: str) -> bytes:
    form = {"name": "Test User", "email": email, "password": password, "confirm_password": password}
    return made("POST", "/api/auth/register", {**form, **more})


def refresh(token: str) -> bytes:
    return made("POST", "/api/auth/refresh", cookie=line_of({"refreshToken": token}))


def me(bearer: str) -> bytes:
    return made("GET", "/api/user", authorization=f"Bearer {bearer}")


def reset(guest: Guest, password: str = OTHER_PASSWORD) -> bytes:
    return made("POST", "/api/auth/resetPassword", {**guest.link, "password": password})


def proof(pending: str, **code: str) -> bytes:
    return made("POST", "/api/auth/2fa/verify-temp", {"tempToken": pending, **code})


def deletion(guest: Guest, **code: str) -> bytes:
    return made("DELETE", "/api/user/delete", code, authorization=f"Bearer {guest.bearer}")


def line_of(cookies: Mapping[str, str]) -> str:
    """The header that brings them back."""
    return "; ".join(f"{name}={value}" for name, value in cookies.items())


def test_rac_02_the_first_of_many_is_the_one_administrator(arena: Arena, rounds: Iterator[int]) -> None:
    for number in rounds:
        arena.empty()

        replies = arena.fire([registration(fresh_email()) for _ in range(CALLERS)])

        assert statuses(replies) == {200: CALLERS}
        assert arena.count("SELECT count(*) FROM accounts WHERE role = 'ADMIN'") == 1, number
        assert arena.count("SELECT count(*) FROM accounts") == CALLERS, number


def test_rac_03_one_refresh_token_has_one_successor(arena: Arena, rounds: Iterator[int]) -> None:
    for number, guest in zip(rounds, arena.guests(), strict=False):
        replies = arena.fire([refresh(guest.refresh_token)] * CALLERS)

        assert statuses(replies) == {200: CALLERS}, number
        (successor,) = {reply.cookies["refreshToken"] for reply in replies}
        assert successor != guest.refresh_token
        assert arena.fire.ask(refresh(successor)).status == 200, number


def test_rac_05_no_refresh_outlives_a_reset(arena: Arena, rounds: Iterator[int]) -> None:
    for number, guest in zip(rounds, arena.guests(resets=True), strict=False):
        first, second = [refresh(guest.refresh_token)] * (number % (CALLERS + 1)), [refresh(guest.refresh_token)] * CALLERS

        replies = arena.fire([*first, reset(guest), *second[len(first) :]])

        done = replies.pop(len(first))
        assert done.status == 200
        assert set(statuses(replies)) <= {200, 401, 403}, number
        given = {reply.cookies["refreshToken"] for reply in replies if reply.status == 200} | {guest.refresh_token}
        assert set(statuses(arena.fire([me(bearer) for bearer in (guest.bearer, *one_of_each(replies))]))) == {401}, number
        assert set(statuses(arena.fire([refresh(token) for token in given]))) <= {401, 403}, number


def test_rac_06_one_backup_code_is_good_once(arena: Arena, rounds: Iterator[int]) -> None:
    for number, guest in zip(rounds, arena.guests(waiting=CALLERS), strict=False):
        replies = arena.fire([proof(pending, backupCode=guest.app.codes[0]) for pending in guest.waiting])

        assert statuses(replies) == {200: 1, 401: CALLERS - 1}, number


def test_rac_06_one_recovery_code_of_a_key_account_is_good_once(arena: Arena, rounds: Iterator[int]) -> None:
    for number, owner in zip(rounds, arena.key_owners(CALLERS), strict=False):
        answers = [{"apiKey": key, "code": owner.app.codes[0]} for key in owner.waiting]

        replies = arena.fire([made("POST", "/api/auth/oauth?grantType=2fa", answer) for answer in answers])

        assert statuses(replies) == {200: 1, 400: CALLERS - 1}, number


def test_rac_08_one_code_of_an_authenticator_is_good_once(arena: Arena, rounds: Iterator[int]) -> None:
    for number, guest in zip(rounds, arena.guests(waiting=CALLERS), strict=False):
        replies = arena.fire([proof(pending, token=guest.app.code()) for pending in guest.waiting])

        assert statuses(replies) == {200: 1, 401: CALLERS - 1}, number


def test_rac_09_one_reset_link_sets_one_password(arena: Arena, rounds: Iterator[int]) -> None:
    for number, guest in zip(rounds, arena.guests(resets=True), strict=False):
        replies = arena.fire([reset(guest, password) for password in PASSWORDS])

        assert statuses(replies) == {200: 1, 400: CALLERS - 1}, number
        winner = next(caller for caller, reply in enumerate(replies) if reply.status == 200)
        tried = (PASSWORDS[winner], PASSWORDS[winner - 1], PASSWORD)
        assert [arena.fire.ask(login(guest.email, password)).status for password in tried] == [200, 404, 404], number


def test_rac_11_one_invitation_makes_one_account(arena: Arena, rounds: Iterator[int]) -> None:
    for number, (email, token) in zip(rounds, arena.invited(), strict=False):
        replies = arena.fire([registration(email, password, token=token) for password in PASSWORDS])

        assert set(statuses(replies)) <= {200, 400, 403}, number
        stored = "SELECT count(*) FROM accounts JOIN credentials ON account_id = accounts.id WHERE email = :email"
        assert arena.count(stored, email=email) == 1, number
        spent = "SELECT count(*) FROM links WHERE email = :email AND purpose = 'invitation' AND used_at IS NOT NULL"
        assert arena.count(spent, email=email) == 1, number
        assert any(arena.fire.ask(login(email, password)).status == 200 for password in PASSWORDS), number


def test_rac_12_many_callbacks_for_one_new_subject_make_one_account(arena: Arena, rounds: Iterator[int]) -> None:
    for number in rounds:
        email = fresh_email("elsewhere")
        arena.op.person = {**arena.op.person, "sub": email, "email": email, "preferred_username": email.partition("@")[0]}
        started = arena.fire([made("GET", "/oauth/openid")] * CALLERS)
        backs = [arena.op.authorize(reply.header("location") or "").removeprefix(arena.url) for reply in started]

        replies = arena.fire(
            [made("GET", back, cookie=line_of(reply.cookies)) for back, reply in zip(backs, started, strict=True)]
        )

        assert statuses(replies) == {302: CALLERS}, number
        assert all("refreshToken" in reply.cookies for reply in replies), [reply.header("location") for reply in replies]
        assert arena.count("SELECT count(*) FROM accounts WHERE email = :email", email=email) == 1, number
        linked = "SELECT count(*) FROM credentials WHERE kind = 'federated' AND identifier LIKE :subject"
        assert arena.count(linked, subject=f"%{email}%") == 1, number


def test_rac_14_whoever_is_deleted_stays_deleted(arena: Arena, rounds: Iterator[int]) -> None:
    for number, guest in zip(rounds, arena.guests(resets=True), strict=False):
        others = [login(guest.email), refresh(guest.refresh_token), reset(guest)] * 8
        place = number % (len(others) + 1)

        replies = arena.fire([*others[:place], deletion(guest), *others[place:]])

        # A reset that came first ends the session that asked for the deletion.
        deleted = replies.pop(place)
        assert deleted.status in (200, 401), number
        assert set(statuses(replies)) <= {200, 400, 401, 403, 404}, number
        if deleted.status == 401:
            continue
        assert arena.count("SELECT count(*) FROM accounts WHERE email = :email", email=guest.email) == 0, number
        for table in ("sessions", "challenges", "credentials", "links"):
            left = f"SELECT count(*) FROM {table} WHERE account_id = :account"  # noqa: S608 - our own names
            assert arena.count(left, account=guest.id) == 0, number
        assert set(statuses(arena.fire([me(bearer) for bearer in (guest.bearer, *one_of_each(replies))]))) == {401}, number
        assert arena.fire.ask(login(guest.email, OTHER_PASSWORD)).status == 404, number


def test_rac_14_a_factor_asked_or_answered_beside_a_deletion_is_refused_or_done_and_no_fault(
    arena: Arena, rounds: Iterator[int]
) -> None:
    for number, guest in zip(rounds, arena.guests(waiting=8), strict=False):
        codes = [code if caller % 2 else "00000000" for caller, code in enumerate(guest.app.codes[:8])]
        answers = [proof(pending, backupCode=code) for pending, code in zip(guest.waiting, codes, strict=True)]
        tried = made("POST", "/api/auth/2fa/verify", {"backupCode": guest.app.codes[8]}, authorization=f"Bearer {guest.bearer}")
        others = [*answers, *[login(guest.email), tried] * 4]
        place = number % (len(others) + 1)

        replies = arena.fire([*others[:place], deletion(guest, backupCode=guest.app.codes[9]), *others[place:]])

        assert replies.pop(place).status == 200, number
        assert set(statuses(replies)) <= {200, 401, 404}, number
        assert arena.count("SELECT count(*) FROM accounts WHERE email = :email", email=guest.email) == 0, number


def test_rac_15_every_failure_at_once_is_counted(guarded_arena: Arena, record_property: Any) -> None:
    arena = guarded_arena
    for number, guest in zip(counted(arena, record_property), arena.guests(), strict=False):
        at_home = arena.fire.ask(login(guest.email)).cookies

        replies = arena.fire([login(guest.email, WRONG_PASSWORD, somewhere()) for _ in range(AT_ONCE)])

        assert statuses(replies) == {404: LOCKOUT_MAX, 429: AT_ONCE - LOCKOUT_MAX}, number
        assert arena.fire.ask(login(guest.email, **at_home)).status == 200, number
