"""The README's first logins, run as they stand there against a server started by the documented command."""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from tests.served import Served, served

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PRINTED = "http://127.0.0.1:3080"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("readme")) as running:
        yield running


def test_every_picture_is_there_by_day_and_by_night() -> None:
    shown = set(re.findall(r"docs/pictures/([\w-]+\.png)", README))

    assert shown == {path.name for path in (ROOT / "docs" / "pictures").iterdir()}
    assert {name.replace(".png", "-dark.png") for name in shown if "-dark" not in name} <= shown


def _commands(wire: str) -> list[str]:
    return re.findall(rf"<!-- run: {wire} -->\n```sh\n(.*?)```", README, re.DOTALL)


def _shown_answers() -> list[dict[str, Any]]:
    return [json.loads(block) for block in re.findall(r"```json\n(.*?)```", README, re.DOTALL)]


def _run(command: str, place: Served, **environment: str) -> str:
    done = subprocess.run(
        ["bash", "-ec", command.replace(PRINTED, place.url)],
        cwd=place.data.parent,
        env={"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
@pytest.mark.parametrize(("user", "expected"), [(0, 200), (65534, 403)])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_the_mailbox_is_read_by_whoever_runs_the_server_and_by_no_other_user(
    place: Served, user: int, expected: int, host: str
) -> None:
    told, tells = multiprocessing.Pipe(duplex=False)
    url = f"{place.url.replace('127.0.0.1', host)}/mailbox"

    # A copy of this process: another user may not be allowed to start the program that this one runs.
    asking = multiprocessing.get_context("fork").Process(target=_ask_as, args=(user, url, tells))
    asking.start()
    asking.join()

    assert told.poll()
    assert told.recv() == expected


def _ask_as(user: int, url: str, tells: Connection) -> None:
    os.setuid(user)
    try:
        tells.send(urllib.request.urlopen(url, timeout=60).status)  # noqa: S310 - our own address
    except urllib.error.HTTPError as refused:
        tells.send(refused.code)


@pytest.mark.skipif(shutil.which("curl") is None, reason="the README uses curl")
def test_the_password_wires_first_login_runs_as_printed(place: Served) -> None:
    register, login, refresh, logout = _commands("password wire")
    shown_register, shown_login, shown_logout = _shown_answers()

    registered = json.loads(_run(register, place))
    signed_in = json.loads(_run(login, place))
    refreshed = json.loads(_run(refresh, place))
    signed_out = json.loads(_run(logout, place, TOKEN=refreshed["token"]))

    assert registered == shown_register
    assert signed_in.keys() == shown_login.keys()
    assert signed_in["user"].keys() == shown_login["user"].keys()
    assert {name: signed_in["user"][name] for name in ("email", "role", "provider", "emailVerified")} == {
        name: shown_login["user"][name] for name in ("email", "role", "provider", "emailVerified")
    }
    assert signed_out == shown_logout


def test_the_key_wires_first_login_runs_as_printed(place: Served) -> None:
    (printed,) = _commands("key wire")
    command = printed.splitlines()[-1].replace(".venv/bin/python", sys.executable).replace("examples/", f"{ROOT}/examples/")

    output = _run(command, place)

    assert re.search(r"^registered grace@example\.org$", output, re.MULTILINE)
    assert re.search(r"^signed in as [0-9a-f-]{36} with a key that begins lp_", output, re.MULTILINE)
    assert 'vault: {"ids": [], "ciphers": []}' in output
