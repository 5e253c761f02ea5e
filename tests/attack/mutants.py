"""`make attack-mutants`: switches each guard off in turn, in a copy of the tree, and shows that some test notices.

What the tests load takes longer than most of them run. So it is loaded once, without anything of this tree, and every guard's tests
run in a process forked from there.
"""

from __future__ import annotations

import argparse
import importlib
import json
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
TABLE = Path(__file__).with_suffix(".toml")
COPIED = ("src", "tests", "bench", "scripts", "docs", "pyproject.toml", "README.md", "SECURITY.md", "CONTRIBUTING.md", "Makefile")
LEAST = 0.95
SECONDS = 600
WITHOUT = tuple(f"-pno:{plugin}" for plugin in ("cacheprovider", "hypothesispytest", "xdist", "anyio"))
"""What no test of the table needs."""
LOADED = """
import sys, pytest, pytest_asyncio.plugin, tests.conftest, tests.attack.harness, tests.attack.conftest, tests.federation.hostile
print(*(name for name in sys.modules if name.split(".")[0] not in ("tests", "ostiary", "__main__") and "editable" not in name))
"""
FORKS = multiprocessing.get_context("forkserver")
OUTPUT = "output.txt"
FAILED = re.compile(r"^(?:FAILED|ERROR) (\S+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Mutant:
    """A guard, and how to do without it."""

    guard: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Finding:
    """What came of switching a guard off; a line of the results that a run can go on from."""

    guard: str
    noticed: bool
    seconds: int
    by: str
    """The test that failed, or why none did."""


def mutants() -> list[Mutant]:
    """The table."""
    rows = tomllib.loads(TABLE.read_text(encoding="utf-8"))["mutant"]
    return [Mutant(row["guard"], row["file"], row["old"], row["new"], tuple(row["tests"])) for row in rows]


def preload() -> None:
    """Have the processes to come forked from one that has loaded what the tests stand on."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    found = subprocess.run([sys.executable, "-c", LOADED], cwd=ROOT, env=environment, check=True, capture_output=True, text=True)
    FORKS.set_forkserver_preload(found.stdout.split())


def switch_off(mutant: Mutant) -> Finding:
    """Whether a test fails without the guard. One that does not end shows nothing: the machine may be slow."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        tree = Path(folder)
        for name in COPIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, tree / name, ignore=shutil.ignore_patterns("node_modules", "*.egg-info"))
            elif source.exists():
                shutil.copy(source, tree / name)
        file = tree / mutant.file
        file.write_text(file.read_text(encoding="utf-8").replace(mutant.old, mutant.new), encoding="utf-8")
        run = FORKS.Process(target=_run, args=(tree, mutant.tests))
        run.start()
        run.join(SECONDS)
        if run.exitcode is None and run.pid is not None:
            os.killpg(run.pid, signal.SIGKILL)
            return Finding(mutant.guard, noticed=False, seconds=SECONDS, by="no end")
        failed = FAILED.findall((tree / OUTPUT).read_text(encoding="utf-8", errors="replace"))
    # 1 is "some test failed"; whatever else went wrong shows nothing.
    by = failed[0] if failed else f"exit {run.exitcode}"
    return Finding(mutant.guard, noticed=run.exitcode == 1, seconds=round(time.monotonic() - began), by=by)


def _run(tree: Path, tests: tuple[str, ...]) -> None:
    """The tests, in this process, with the copied tree in place of the one that this function is of."""
    os.setsid()
    os.chdir(tree)
    output = os.open(OUTPUT, os.O_CREAT | os.O_WRONLY)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.environ["PYTHONPATH"] = str(tree / "src")
    own = {"", str(ROOT), str(ROOT / "src")}
    sys.path[:] = [str(tree), str(tree / "src"), *(entry for entry in sys.path if entry not in own)]
    for name in [name for name in sys.modules if name.split(".")[0] in {"tests", "ostiary"}]:
        del sys.modules[name]
    importlib.invalidate_caches()
    quiet = ("-W", "ignore::pytest.PytestAssertRewriteWarning")
    one_engine = () if any("[postgresql" in test for test in tests) else ("-k", "not postgresql")
    code = pytest.main(["-x", "-q", *quiet, *WITHOUT, *one_engine, *tests])
    if not str(sys.modules["ostiary"].__file__).startswith(str(tree)):
        code = pytest.ExitCode.INTERNAL_ERROR
    sys.stdout.flush()
    # Threads that a failed test leaves behind are nobody's business any more.
    os._exit(code)


def earlier(results: Path | None) -> dict[str, Finding]:
    """What stands in the file of results already, by guard."""
    if results is None or not results.exists():
        return {}
    lines = map(json.loads, results.read_text(encoding="utf-8").splitlines())
    return {line["guard"]: Finding(**line) for line in lines}


def told(findings: list[Finding]) -> int:
    """The sum, in words; 1 when too many went unnoticed."""
    noticed = sum(finding.noticed for finding in findings)
    share = noticed / len(findings) if findings else 0.0
    print(f"{noticed} of {len(findings)} guards are noticed when they are missing ({share:.0%})")
    return 0 if share >= LEAST else 1


def main() -> int:
    """Go through the table; 1 when too many went unnoticed."""
    parser = argparse.ArgumentParser(prog="tests.attack.mutants", description="Whether some test notices each missing guard.")
    parser.add_argument("--only", default="", help="guards whose name holds this")
    parser.add_argument("--part", default="1/1", help="a share of the table: 2/5 is the second fifth")
    parser.add_argument("--at-once", type=int, default=2, help="so many guards are off at the same time, each in its own copy")
    parser.add_argument("--results", type=Path, help="a file to write each result to, and to go on from")
    options = parser.parse_args()
    part, parts = map(int, options.part.split("/"))
    chosen = [mutant for mutant in mutants()[part - 1 :: parts] if options.only in mutant.guard]
    known = earlier(options.results)
    preload()
    findings = [known[mutant.guard] for mutant in chosen if mutant.guard in known]
    with ThreadPoolExecutor(options.at_once) as pool:
        for done in as_completed([pool.submit(switch_off, mutant) for mutant in chosen if mutant.guard not in known]):
            finding = done.result()
            findings.append(finding)
            print(
                f"{'noticed' if finding.noticed else 'UNNOTICED':<10} {finding.seconds:>4} s  {finding.guard}  ({finding.by})",
                flush=True,
            )
            if options.results is not None:
                with options.results.open("a", encoding="utf-8") as file:
                    file.write(f"{json.dumps(asdict(finding))}\n")
    return told(findings)


if __name__ == "__main__":
    sys.exit(main())
