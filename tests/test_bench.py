from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import msgspec
import pytest

from bench import documents, goals, peers, plot
from bench.enumeration import Question, auc, chosen
from bench.findings import Report
from bench.wire import parsed

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
    *(f"login: {kind}" for kind in ("verified", "unverified", "banned", "federated", "locked")),
    "register: verified",
    *(f"reset: {kind}" for kind in ("verified", "federated")),
    *(f"verification mail: {kind}" for kind in ("verified", "unverified")),
    *(f"key login: {kind}" for kind in ("key", "key unverified", "key banned", "key federated", "key locked")),
    "pre-login: key",
    "hint: key",
    *(f"key mail: {kind}" for kind in ("key", "key unverified")),
)


def run(*arguments: str) -> str:
    command = [sys.executable, "-m", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def told_in_documents(found: Path, tree: Path) -> dict[str, str]:
    """What a whole run would have written into copies of the documents."""
    (tree / "docs").mkdir(parents=True)
    for name in ("README.md", "docs/performance.md"):
        shutil.copy(ROOT / name, tree / name)
    return {path.name: path.read_text() for path in documents.write(msgspec.json.decode(found.read_bytes(), type=Report), tree)}


def test_a_quick_run_measures_every_operation_and_writes_it_down(tmp_path: Path) -> None:
    table = run("bench", "--quick", "--output", str(tmp_path))

    for row in ROWS:
        assert re.search(rf"^{row} +\d", table, re.MULTILINE), row
    for ratio in RATIOS:
        assert re.search(rf"^{ratio} +\d", table, re.MULTILINE), ratio
    assert {file.suffix for file in tmp_path.iterdir()} == {".json", ".md", ".txt"}
    told = told_in_documents(next(tmp_path.glob("*.json")), tmp_path / "tree")
    for row in ("session check", "refresh", "preLogin", "key login", "login"):
        assert re.search(rf"^\| {row} \| \d.*µs \|$", told["README.md"], re.MULTILINE), row
    assert "| server CPU of a key login |" in told["performance.md"]


def test_known_and_unknown_addresses_get_the_same_status_for_every_question() -> None:
    table = run("bench.enumeration", "--count", "2", "--cost", "4")

    for question in QUESTIONS:
        assert re.search(rf"^{question} +\d", table, re.MULTILINE), question
    assert "STATUS DIFFERS" not in table


def test_one_question_can_be_asked_alone() -> None:
    asked = [Question(name, iter(()), iter(())) for name in ("login: verified", "hint: key", "key login: key")]

    assert [question.name for question in chosen(asked, "login")] == ["login: verified"]
    assert chosen(asked, "") == asked


@pytest.mark.parametrize(
    ("longer", "shorter", "chance"),
    [([3.0, 4.0], [1.0, 2.0], 1.0), ([1.0, 2.0], [3.0, 4.0], 0.0), ([1.0, 1.0], [1.0], 0.5), ([1.0, 3.0], [2.0], 0.5)],
)
def test_the_auc_is_the_chance_that_one_of_the_first_is_greater(longer: list[float], shorter: list[float], chance: float) -> None:
    assert auc(longer, shorter) == chance


def test_a_mark_is_met_or_missed_by_the_median() -> None:
    least = goals.Goal("logins", [3.0, 3.9, 5.0], 3.8, is_least=True)
    most = goals.Goal("memory", [80.0, 95.0, 99.0], 90, unit=" MB")

    assert least.cells == ("logins", "3.90 (3.00 to 5.00)", "at least 3.80", "met")
    assert most.cells == ("memory", "95.0 MB (80.0 to 99.0)", "at most 90.0 MB", "missed")


def test_an_answer_in_chunks_is_read_when_it_is_whole() -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

    assert parsed(head + b"3\r\nabc\r\n") is None
    reply = parsed(head + b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n")

    assert reply is not None
    assert (reply.status, reply.body) == (200, b"abcde")


def test_a_plot_draws_each_line_once() -> None:
    lines = [plot.Line("login", engine, [(1, 10.0), (4, 100.0)]) for engine in ("sqlite", "postgresql")]

    drawn = plot.drawn([plot.Panel("clients", lines), plot.Panel("accounts", lines[:1])])

    assert drawn.count("<polyline") == 3
    assert ET.fromstring(drawn).tag.endswith("svg")  # noqa: S314 - drawn above


def test_the_peers_are_left_out_with_a_word_when_nobody_says_where_they_are(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.delenv("BENCH_PEERS", raising=False)

    assert (peers.found(""), peers.found(str(tmp_path))) == (None, None)
    assert capsys.readouterr().err.count("bench: no peers") == 2
