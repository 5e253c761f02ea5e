"""CRA: killed, restarted, restored (catalogue 4.13). What was acknowledged is there; what was not is whole or not there at all."""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import deque
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

import pytest

from tests.attack.conftest import mail_settings
from tests.attack.crashes import KILLS, Site
from tests.attack.harness import ROUNDS, somewhere
from tests.attack.people import WRONG_PASSWORD, KeyOwner, Person, enrolled, key_owner, owing, signed_in
from tests.cli.conftest import Operator
from tests.served import DEFAULTS, Served
from tests.services.postgres import PostgresServer
from tests.services.redis import RedisServer
from tests.services.smtp import MailServer

HALF_ACCOUNTS = "SELECT count(*) FROM accounts WHERE id NOT IN (SELECT account_id FROM credentials)"
ORPHANS = "SELECT count(*) FROM sessions WHERE account_id NOT IN (SELECT id FROM accounts)"
STOP_SECONDS = 10
PACE = 0.03
"""Seconds between two requests of one caller: six of them make two hundred a second."""


@pytest.fixture(params=["sqlite", "postgresql"])
def site_to_kill(request: pytest.FixtureRequest, tmp_path: Path) -> Site:
    if request.param == "sqlite":
        return Site(tmp_path)
    server: PostgresServer = request.getfixturevalue("postgres")
    return Site(tmp_path, server.create_database(f"cra_{os.urandom(6).hex()}"))


def test_cra_01_killed_among_registrations_every_account_that_was_promised_is_there(site_to_kill: Site) -> None:
    promised: deque[Person] = deque()

    def register() -> None:
        person = Person(place.url, somewhere())
        if person.register().status == 200:
            promised.append(person)

    for _ in range(KILLS):
        with site_to_kill.living() as place:
            site_to_kill.storm(place, [register] * 4)
        with site_to_kill.living() as place:
            lost = [person.email for person in promised if person.login().status != 200]
            assert lost == []
            assert site_to_kill.count(HALF_ACCOUNTS) == 0
        promised.clear()


def test_cra_02_killed_among_refreshes_nobody_is_locked_out(site_to_kill: Site) -> None:
    with site_to_kill.living() as place:
        people = [signed_in(place.url) for _ in range(6)]
    for _ in range(KILLS):
        with site_to_kill.living() as place:
            site_to_kill.storm(place, [person.refresh for person in people])
        with site_to_kill.living() as place:
            # The jar holds what was acknowledged last: a rotation whose answer was lost has spent it, and it is good all the same.
            assert [person.refresh().status for person in people] == [200] * len(people)
            assert [person.me().status for person in people] == [200] * len(people)


def test_cra_04_killed_while_codes_are_spent_each_counts_once(site_to_kill: Site) -> None:
    for _ in range(KILLS):
        spent: list[tuple[Person, str]] = []
        with site_to_kill.living() as place:
            people = [signed_in(place.url) for _ in range(3)]
            pads = [(person, deque(enrolled(person).codes)) for person in people]

            def spend(person: Person, codes: deque[str], log: list[tuple[Person, str]] = spent) -> None:
                if not codes:
                    raise ConnectionAbortedError
                there, pending = owing(person)
                code = codes.popleft()
                if there.prove(pending, backupCode=code).status == 200:
                    log.append((person, code))

            site_to_kill.storm(place, [lambda pad=pad: spend(*pad) for pad in pads])  # type: ignore[misc]
        with site_to_kill.living() as place:
            for person, code in spent:
                there, pending = owing(person)
                assert there.prove(pending, backupCode=code).status == 401
            for person, codes in pads:
                for code in list(codes)[-1:]:
                    there, pending = owing(person)
                    assert there.prove(pending, backupCode=code).status == 200


def test_cra_04_killed_while_factors_are_confirmed_each_is_on_or_off(site_to_kill: Site) -> None:
    confirmed: deque[Person] = deque()
    begun: deque[Person] = deque()

    def confirm() -> None:
        person = signed_in(place.url)
        begun.append(person)
        enrolled(person)
        confirmed.append(person)

    for _ in range(KILLS):
        with site_to_kill.living() as place:
            site_to_kill.storm(place, [confirm] * 3, 2.0)
        with site_to_kill.living() as place:
            for person in begun:
                reply = person.elsewhere().login()
                owes = bool(reply.json().get("twoFAPending"))
                assert reply.status == 200
                assert owes or person not in confirmed
        begun.clear()
        confirmed.clear()


def test_cra_05_killed_while_a_vault_changes_hands_exactly_one_key_opens_all_of_it(site_to_kill: Site) -> None:
    with site_to_kill.living() as place:
        owner = key_owner(place.url)
        rows = [owner.row(number, "0000") for number in range(60 * (1 + ROUNDS // 4))]
        assert all(owner.ask("PUT", "/api/cipher", row).status < 300 for row in rows)
    acknowledged, tried = 0, 0
    words = [owner.password]

    def change() -> None:
        nonlocal acknowledged, tried
        tried = acknowledged + 1
        words[tried:] = [f"the word number {tried} of this vault"]
        rewritten = [{"id": row["id"], "data": f"{tried:04x}"} for row in rows]
        reply = owner.ask("PATCH", "/api/user/password", owner.change_form(words[tried], ciphers=rewritten))
        assert reply.status == 200, reply
        owner.password, acknowledged = words[tried], tried
        assert owner.login().status == 200

    for _ in range(KILLS):
        with site_to_kill.living() as place:
            site_to_kill.storm(place, [change], 1.5)
        with site_to_kill.living() as place:
            opens = {
                number: KeyOwner(place.url, somewhere(), email=owner.email, password=words[number])
                for number in {acknowledged, tried}
            }
            good = [number for number, there in opens.items() if there.login().status == 200]
            assert len(good) == 1
            acknowledged = good[0]
            found = opens[acknowledged].get("/api/cipher").json()
            assert {row["protectedData"] for row in found} == {f"{acknowledged:04x}"}
            assert len(found) == len(rows)
        owner.password = words[acknowledged]
        owner.bearer = opens[acknowledged].bearer


class Load:
    """Requests one behind the other over connections of their own or kept ones, and what became of each."""

    def __init__(self, place: Served, callers: int) -> None:
        self.answered: deque[int] = deque()
        self.failed: deque[str] = deque()
        self._place = place
        self._is_over = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(number % 2 == 0,)) for number in range(callers)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join(30)

    def _run(self, is_kept: bool) -> None:
        parts = urlsplit(self._place.url)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)
        while not self._is_over.wait(PACE):
            is_fresh = connection.sock is None
            try:
                connection.request("GET", "/api/config")
                answer = connection.getresponse()
                answer.read()
                self.answered.append(answer.status)
            except ConnectionRefusedError:
                break
            except (OSError, http.client.HTTPException) as error:
                self._note(error, is_fresh=is_fresh)
                connection.close()
            if not is_kept:
                connection.close()
        connection.close()

    def _note(self, error: Exception, *, is_fresh: bool) -> None:
        # A kept connection may end between two requests, as its clients know (RFC 9112 section 9.5); a fresh one may not.
        if is_fresh or isinstance(error, http.client.IncompleteRead):
            self.failed.append(repr(error))


def test_cra_07_told_to_end_under_load_it_answers_what_was_asked(tmp_path: Path) -> None:
    with Site(tmp_path).living() as place, Load(place, 8) as load:
        time.sleep(1)
        os.kill(place.pid, signal.SIGTERM)
        started = time.monotonic()
        while _runs(place.pid) and time.monotonic() - started < 2 * STOP_SECONDS:
            time.sleep(0.02)
        took = time.monotonic() - started

    assert set(load.answered) == {200}
    assert [error for error in load.failed if "Incomplete" in error] == []
    assert took <= STOP_SECONDS


def test_cra_07_workers_are_replaced_one_by_one_without_a_failed_request(tmp_path: Path) -> None:
    with RedisServer() as redis:
        site = Site(tmp_path, settings={"OSTIARY_WORKERS": "2", "REDIS_URL": redis.url})
        with site.living() as place, Load(place, 6) as load:
            before = _children(place.pid)
            os.kill(place.pid, signal.SIGHUP)
            deadline = time.monotonic() + 150
            while before & _children(place.pid) and time.monotonic() < deadline:
                time.sleep(0.1)
            time.sleep(0.5)
            after = _children(place.pid)

    assert not before & after
    assert set(load.answered) == {200}
    assert list(load.failed) == []


def _runs(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def _children(pid: int) -> set[str]:
    """The worker processes; the tracker of shared resources is none."""
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return {child for child in found if b"resource_tracker" not in Path(f"/proc/{child}/cmdline").read_bytes()}


def test_cra_08_a_restart_forgets_nothing(tmp_path: Path, mails: MailServer) -> None:
    nobody = {"EMAIL_HOST": "127.0.0.1", "EMAIL_PORT": "1", "EMAIL_ENCRYPTION": "none", "EMAIL_FROM": "ostiary@example.org"}
    with RedisServer() as redis:
        site = Site(tmp_path, settings={**nobody, "REDIS_URL": redis.url, "LOCKOUT": "true"})
        with site.living() as place:
            person, owner = signed_in(place.url), key_owner(place.url)
            app = enrolled(person)
            there, pending = owing(person)
            spent = app.code(1)
            assert there.prove(pending, token=spent).status == 200
            waiting, pending = owing(person)
            banned, guessed = signed_in(place.url), signed_in(place.url)
            operator = Operator(tmp_path, {**DEFAULTS, "OSTIARY_DATA": str(place.data), "REDIS_URL": redis.url, **nobody})
            operator.json("ban", "add", banned.email, "--for", "2h", "--reason", "test")
            while (refused := guessed.elsewhere().login(WRONG_PASSWORD)).status != 429:
                assert refused.status == 404
            key = owner.server_key()
            os.kill(place.pid, signal.SIGKILL)
        site.settings = {**site.settings, **mail_settings(mails)}
        with site.living() as place:
            assert (person.me().status, person.refresh().status) == (200, 200)
            assert owner.get("/api/cipher").status == 200
            assert owner.server_key() == key or owner.login().status == 200
            assert waiting.prove(pending, token=spent).status == 401
            assert banned.me().status in (401, 403)
            assert guessed.elsewhere().login().status == 429
            mails.wait(person.email, "", 60)


def test_cra_10_killed_while_it_migrates_the_next_start_finishes(site_to_kill: Site) -> None:
    url = site_to_kill.database_url or f"sqlite:///{site_to_kill.folder / 'data' / 'ostiary.db'}"
    environment = {**os.environ, "DATABASE_URL": url, "OSTIARY_DATA": str(site_to_kill.folder / "data")}
    command = [sys.executable, "-m", "ostiary", "migrate"]
    started = time.monotonic()
    subprocess.run(command, env=environment, check=True, capture_output=True, timeout=120)
    whole = time.monotonic() - started
    for _ in range(KILLS):
        _emptied(site_to_kill)
        with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            # The program's own start is most of it: the tables are made at the end.
            time.sleep(site_to_kill.toss.uniform(0.5 * whole, 1.05 * whole))
            process.kill()

        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)

        assert done.returncode == 0, done.stderr
        assert site_to_kill.count("SELECT count(*) FROM accounts") == 0


def _emptied(site: Site) -> None:
    if site.database_url:
        words = "DROP SCHEMA public CASCADE; CREATE SCHEMA public"
        subprocess.run(["psql", "-Xqd", site.database_url, "-c", words], check=True, capture_output=True)
    else:
        shutil.rmtree(site.folder / "data")


def test_cra_11_a_copy_made_under_load_serves(site_to_kill: Site, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    with site_to_kill.living() as place:
        people = [signed_in(place.url) for _ in range(4)]
        gone = signed_in(place.url)
        token, cookie = gone.bearer, gone.refresh_token
        assert gone.post("/api/auth/logout").status == 200
        with Churn(place):
            copied = _copied(site_to_kill, request)
    copy = Site(tmp_path / "restored", copied, port=site_to_kill.port)
    copy.folder.mkdir()
    (copy.folder / "data").mkdir(mode=0o700)
    shutil.copy(place.data / "secrets.env", copy.folder / "data" / "secrets.env")
    if not copied:
        shutil.move(tmp_path / "copy.db", copy.folder / "data" / "ostiary.db")
        with contextlib.closing(sqlite3.connect(copy.folder / "data" / "ostiary.db")) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    with copy.living() as place:
        for person in people:
            assert person.refresh().status == 200
            assert person.elsewhere().login().status == 200
        assert gone.me(token).status == 401
        assert gone.refresh(cookie).status in (401, 403)
        assert (copy.count(HALF_ACCOUNTS), copy.count(ORPHANS)) == (0, 0)


class Churn(Load):
    """Accounts that come, sign in and go."""

    def __init__(self, place: Served) -> None:
        super().__init__(place, 0)
        self._threads = [threading.Thread(target=self._come_and_go) for _ in range(3)]

    def _come_and_go(self) -> None:
        while not self._is_over.is_set():
            person = signed_in(self._place.url)
            person.ask("DELETE", "/api/user/delete", {})


def _copied(site: Site, request: pytest.FixtureRequest) -> str:
    """A copy beside a running server, as docs/operating.md says; the URL of the copy, empty for a file."""
    if not site.database_url:
        source = sqlite3.connect(site.folder / "data" / "ostiary.db")
        target = sqlite3.connect(site.folder / "copy.db")
        with contextlib.closing(source), contextlib.closing(target):
            source.backup(target, pages=5, sleep=0.01)
        return ""
    dump = subprocess.run(["pg_dump", "--no-owner", site.database_url], check=True, capture_output=True, timeout=60).stdout
    server: PostgresServer = request.getfixturevalue("postgres")
    url = server.create_database(f"restored_{os.urandom(6).hex()}")
    subprocess.run(["psql", "-Xqd", url, "-v", "ON_ERROR_STOP=1"], input=dump, check=True, capture_output=True, timeout=60)
    return url
