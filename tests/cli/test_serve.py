"""`ostiary serve`, as a process of its own."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from alembic import command
from sqlalchemy import create_engine

from ostiary.crypto.desks import fair_threads
from ostiary.storage.sqlite import prepare_file
from ostiary.storage.upgrade import configuration
from tests.cli.conftest import PASSWORD, Operator, settings_variables
from tests.house import DEFAULTS
from tests.services.redis import RedisServer

STOP_SECONDS = 20
UNNEEDED = {
    "aiosmtplib", "alembic", "argon2", "asyncpg", "cryptography.x509", "dotenv", "fastapi", "httpx", "joserfc", "ldap3", "lxml",
    "pydantic", "redis", "signxml", "sqlalchemy.dialects.postgresql", "structlog", "zxcvbn",
}  # fmt: skip
"""What only some deployments or some moments need (docs/decisions/014-parts.md)."""


def environment(**settings: str) -> dict[str, str]:
    """This process's, without its settings."""
    kept = {name: value for name, value in os.environ.items() if name not in settings_variables()}
    return {**kept, **DEFAULTS, "PORT": "0", **settings}


@contextmanager
def serving(folder: Path, program: str = "", **settings: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """A server in this folder, and what it said about itself. `program` runs in its process before it does."""
    process = subprocess.Popen(
        [sys.executable, *_called(program), "serve", "--json"],
        cwd=folder,
        env=environment(**settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, process.stderr.read() if process.stderr else ""
        yield process, json.loads(line)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.communicate(timeout=STOP_SECONDS)


def refused(folder: Path, program: str = "", **settings: str) -> tuple[int, list[str]]:
    """A start that must fail: the exit code and the lines on standard error."""
    done = subprocess.run(
        [sys.executable, *_called(program), "serve"],
        cwd=folder,
        env=environment(**settings),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == ""
    return done.returncode, done.stderr.splitlines()


def make_old_tables(file: Path) -> None:
    """A database of an earlier version: a start has to migrate it."""
    prepare_file(str(file))
    engine = create_engine(f"sqlite:///{file}")
    with engine.begin() as connection:
        config = configuration()
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
    engine.dispose()


def _called(program: str) -> list[str]:
    return ["-c", f"{program}\nfrom ostiary.__main__ import main\nmain()"] if program else ["-m", "ostiary"]


def test_it_serves_with_nothing_set_and_ends_when_told(tmp_path: Path) -> None:
    with serving(tmp_path) as (process, said):
        assert httpx.get(f"{said['url']}/health").text == "OK"
        assert said["mail"] == "local mailbox data/mailbox"
        assert httpx.get(f"{said['pages']}/login").status_code == 200
        assert httpx.get(said["mailbox"]).status_code == 200
        assert said["wires"] == ["librechat", "librepass"]
        process.send_signal(signal.SIGTERM)
        assert process.wait(STOP_SECONDS) == 0

    assert (tmp_path / "data" / "secrets.env").stat().st_mode & 0o777 == 0o600


def test_the_first_account_is_made_as_it_says(tmp_path: Path) -> None:
    with serving(tmp_path) as (_, said):
        by_command, by_curl = said["first_account"]
        done = subprocess.run(["bash", "-c", by_curl], capture_output=True, text=True, check=True, timeout=30)
        assert "message" in json.loads(done.stdout)
        words = by_command.partition("user create ")[2].split()
        operator = Operator(tmp_path, {**DEFAULTS, "OSTIARY_DATA": str(tmp_path / "data")})
        assert operator.json("user", "show", words[0])["role"] == "ADMIN"


def test_an_account_of_the_command_line_signs_in_at_a_running_server(tmp_path: Path) -> None:
    operator = Operator(tmp_path, {**DEFAULTS, "OSTIARY_DATA": str(tmp_path / "data")})
    with serving(tmp_path) as (_, said), httpx.Client(base_url=said["url"]) as client:
        operator.json("user", "create", "ada@example.org", "--password-stdin", stdin=PASSWORD)
        signed_in = client.post("/api/auth/login", json={"email": "ada@example.org", "password": PASSWORD})
        bearer = {"Authorization": f"Bearer {signed_in.json()['token']}"}
        assert client.get("/api/user", headers=bearer).json()["role"] == "ADMIN"

        operator.json("user", "logout", "ada@example.org")

        assert client.get("/api/user", headers=bearer).status_code == 401


def test_people_are_told_in_plain_lines(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "ostiary", "serve"], cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline().rstrip() for _ in range(8)]
        process.send_signal(signal.SIGINT)
        assert process.wait(STOP_SECONDS) == 0

    assert lines[0].startswith("Ostiary ")
    assert "listens on http://127.0.0.1:" in lines[0]
    assert lines[2] == "Mail goes to the local mailbox data/mailbox."
    assert "user create" in lines[4]
    assert "/api/auth/register" in lines[5]
    assert lines[6].startswith("Pages for people: http://127.0.0.1:")
    assert lines[7].endswith("/mailbox.")


def test_several_processes_share_one_port(tmp_path: Path) -> None:
    workers = {"OSTIARY_WORKERS": "2", "OSTIARY_HASHING_THREADS": "0"}
    with RedisServer() as redis, serving(tmp_path, REDIS_URL=redis.url, **workers) as (process, said):
        with httpx.Client(base_url=said["url"], timeout=120) as client:
            assert client.get("/health").text == "OK"
            assert f"ostiary_hashing_threads {fair_threads(2)}.0" in client.get("/metrics").text
        process.send_signal(signal.SIGTERM)
        assert process.wait(STOP_SECONDS) == 0


def test_a_port_in_use_is_one_clear_line(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        code, lines = refused(tmp_path, PORT=str(port))

    assert (code, lines) == (1, [f"Error: Port {port} on 127.0.0.1 is in use. Stop what listens there, or set PORT."])


def test_a_bad_setting_is_one_clear_line(tmp_path: Path) -> None:
    code, lines = refused(tmp_path, LOGIN_MAX="abc")

    assert code == 1
    assert len(lines) == 1
    assert lines[0].startswith("Error: LOGIN_MAX must be a number")


def test_an_address_of_another_machine_is_one_clear_line(tmp_path: Path) -> None:
    code, lines = refused(tmp_path, HOST="192.0.2.1")

    assert (code, len(lines)) == (1, 1)
    assert "HOST=192.0.2.1 is not an address of this machine" in lines[0]


def test_a_folder_that_cannot_be_made_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")

    code, lines = refused(tmp_path, OSTIARY_DATA="file/data")

    assert (code, len(lines)) == (1, 1)
    assert "OSTIARY_DATA=file/data" in lines[0]


def test_a_database_that_does_not_answer_is_one_clear_line(tmp_path: Path) -> None:
    code, lines = refused(tmp_path, DATABASE_URL="postgresql://postgres@127.0.0.1:1/x")

    assert (code, len(lines)) == (1, 1)
    assert "PostgreSQL cannot be used: nobody listens there. Look at DATABASE_URL" in lines[0]


def test_what_serving_does_not_need_is_not_in_its_memory_even_where_it_migrated(tmp_path: Path) -> None:
    make_old_tables(tmp_path / "data" / "ostiary.db")
    tells = "import atexit, sys\natexit.register(lambda: print(*sys.modules))"
    with serving(tmp_path, tells) as (process, said), httpx.Client(base_url=said["url"]) as client:
        assert client.get("/livez").text == "OK"
        account = {"name": "Ada", "email": "ada@example.org", "password": PASSWORD, "confirm_password": PASSWORD}
        assert client.post("/api/auth/register", json=account).status_code == 200
        assert client.post("/api/auth/login", json=account).status_code == 200
        assert client.get("/login").status_code == 200

        process.send_signal(signal.SIGTERM)
        loaded = process.stdout.read().split() if process.stdout else []

    assert "ostiary.app" in loaded
    assert sorted(UNNEEDED.intersection(loaded)) == []


def test_a_database_of_a_newer_version_is_one_clear_line(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "newer.db")) as connection, connection:
        connection.execute("CREATE TABLE alembic_version (version_num TEXT)")
        connection.execute("INSERT INTO alembic_version VALUES ('9999')")

    code, lines = refused(tmp_path, DATABASE_URL="sqlite:///newer.db")

    assert (code, len(lines)) == (1, 1)
    assert lines[0].startswith("Error: The database's tables were made by a newer version, or by another program.")


def test_a_migration_that_is_killed_is_one_clear_line(tmp_path: Path) -> None:
    make_old_tables(tmp_path / "data" / "ostiary.db")
    dies = "import os\nfrom ostiary.cli import serve\nserve.migrate = lambda _: os.kill(os.getpid(), 9)"

    code, lines = refused(tmp_path, dies)

    assert (code, len(lines)) == (1, 1)
    assert "ended without a word (exit code -9). Start again." in lines[0]
    with serving(tmp_path) as (_, said):
        assert httpx.get(f"{said['url']}/livez").text == "OK"


@pytest.mark.parametrize("address", ["::1", "0.0.0.0"])
def test_other_addresses_of_this_machine_work(tmp_path: Path, address: str) -> None:
    with serving(tmp_path, HOST=address) as (_, said):
        started = time.monotonic()
        assert httpx.get(f"{said['url']}/livez").text == "OK"
        assert time.monotonic() - started < STOP_SECONDS
