from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from bench.enumeration import auc

ROOT = Path(__file__).resolve().parent.parent
ROWS = (
    "register",
    "login",
    "session check",
    "refresh",
    "preLogin",
    "key login",
    "preLogin, otherwise idle",
    "refresh, otherwise idle",
    "preLogin, between logins",
    "refresh, between logins",
    "login, probed meanwhile",
)
RATIOS = (
    "bcrypt package alone, CPU of one check",
    "logins/s, of that rate in the same round",
    "server CPU of a login, of one bare check in the same round",
)
QUESTIONS = (
    "login, wrong password",
    "register, taken or free",
    "password reset asked for",
    "verification mail again",
    "key login, wrong key",
    "key account's hint",
    "key account's mail again",
)


def run(*arguments: str) -> str:
    command = [sys.executable, "-m", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_quick_run_measures_every_operation_and_writes_it_down(tmp_path: Path) -> None:
    table = run("bench", "--quick", "--output", str(tmp_path))

    for row in ROWS:
        assert re.search(rf"^{row} +\d", table, re.MULTILINE), row
    for ratio in RATIOS:
        assert re.search(rf"^{ratio} +\d", table, re.MULTILINE), ratio
    assert {file.suffix for file in tmp_path.iterdir()} == {".json", ".txt"}


def test_known_and_unknown_addresses_get_the_same_status_for_every_question() -> None:
    table = run("bench.enumeration", "--count", "2", "--cost", "4")

    for question in QUESTIONS:
        assert re.search(rf"^{question} +\d", table, re.MULTILINE), question
    assert "STATUS DIFFERS" not in table


@pytest.mark.parametrize(
    ("longer", "shorter", "chance"),
    [([3.0, 4.0], [1.0, 2.0], 1.0), ([1.0, 2.0], [3.0, 4.0], 0.0), ([1.0, 1.0], [1.0], 0.5), ([1.0, 3.0], [2.0], 0.5)],
)
def test_the_auc_is_the_chance_that_one_of_the_first_is_greater(longer: list[float], shorter: list[float], chance: float) -> None:
    assert auc(longer, shorter) == chance
