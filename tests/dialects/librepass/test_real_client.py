"""The web client's own engine (`@medzik/libcrypto`) against the served application, on a socket, with the real clock."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.served import served
from tests.services.postgres import PostgresServer

NODE = Path(__file__).parents[2] / "node"
CHAPTERS = [
    "registered",
    "verified by mail",
    "signed in, and wrote a row",
    "set two-factor up",
    "signed in with a code",
    "signed in with the recovery code, once",
    "changed the password",
    "changed the address",
    "deleted the account",
]
SECONDS = 120


@pytest.mark.skipif(
    shutil.which("node") is None or not (NODE / "node_modules").exists(), reason="`make test` sets Node.js and its packages up"
)
def test_the_web_clients_engine_lives_a_whole_account(engine: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    environment = {"EMAIL_VERIFICATION_REQUIRED": "true"}
    if engine == "postgresql":
        postgres: PostgresServer = request.getfixturevalue("postgres")
        environment["DATABASE_URL"] = postgres.create_database("librepass_story")

    with served(tmp_path, environment) as place:
        done = subprocess.run(
            ["node", str(NODE / "librepass_story.mjs"), place.url, str(place.mailbox)],
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS,
        )

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == CHAPTERS
