"""Real commands, in this process: on the test's database, in the test's folder, beside a running server where asked for."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner, Result

from ostiary.cli import ostiary
from ostiary.settings import Settings
from tests.conftest import MakeHouse
from tests.house import DEFAULTS, House

PASSWORD = "correct horse battery"
HOUR = 3600


def settings_variables() -> set[str]:
    """Every variable that Ostiary reads."""
    return {name for group in Settings.groups().values() for names in group.variables().values() for name in names}


class Operator:
    """Someone at the command line."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        foreign = dict.fromkeys(settings_variables() & set(os.environ))
        self.environment: dict[str, str | None] = {**foreign, **environment}

    def run(self, *words: str, stdin: str = "", **environment: str) -> Result:
        """Run a command."""
        with _logging_kept():
            return CliRunner(env={**self.environment, **environment}).invoke(ostiary, words, input=stdin, prog_name="ostiary")

    def json(self, *words: str, stdin: str = "", **environment: str) -> Any:
        """Run a command that must succeed; the one JSON value that it prints."""
        done = self.run(*words, "--json", stdin=stdin, **environment)
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    def text(self, *words: str, stdin: str = "", **environment: str) -> str:
        """Run a command that must succeed; what it tells a person."""
        done = self.run(*words, stdin=stdin, **environment)
        assert done.exit_code == 0, done.output
        return done.stdout

    def complaint(self, *words: str, stdin: str = "", code: int = 1, **environment: str) -> str:
        """Run a command that must fail; its words. With `--json` the same is one JSON value."""
        done = self.run(*words, "--json", stdin=stdin, **environment)
        assert done.exit_code == code, done.output
        assert done.exception is None or isinstance(done.exception, SystemExit)
        words_of_json: str = json.loads(done.stdout)["error"]
        assert words_of_json in done.stderr
        return words_of_json

    async def meanwhile(self, *words: str, stdin: str = "") -> Any:
        """`json`, while the event loop of the test goes on."""
        return await asyncio.to_thread(self.json, *words, stdin=stdin)


@contextmanager
def _logging_kept() -> Iterator[None]:
    root = logging.getLogger()
    handlers: Sequence[logging.Handler] = root.handlers[:]
    level = root.level
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)


@pytest.fixture
def operator(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Operator:
    """At the command line of a fresh deployment."""
    monkeypatch.chdir(tmp_path)
    return Operator(tmp_path, {**DEFAULTS, "DATABASE_URL": database_url, "OSTIARY_DATA": str(tmp_path / "data")})


@pytest.fixture
async def running(make_house: MakeHouse) -> House:
    """The server beside the command line, on the same database; its clock is an hour behind, so that tests can move it."""
    house = await make_house()
    house.clock.now = time.time_ns() // 1000 - HOUR * 1_000_000
    return house


async def sign_in(house: House, email: str, password: str = PASSWORD) -> httpx.Response:
    """Sign in over LibreChat's wire."""
    return await house.client.post("/api/auth/login", json={"email": email, "password": password})


async def is_let_in(house: House, token: str) -> bool:
    """Whether an access token opens the door."""
    answer = await house.client.get("/api/user", headers={"Authorization": f"Bearer {token}"})
    return answer.status_code == 200
