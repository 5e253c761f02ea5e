"""`make attack-mutants`: switches each guard off in turn, in a copy of the tree, and shows that some test notices."""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
TABLE = Path(__file__).with_suffix(".toml")
COPIED = ("src", "tests", "bench", "scripts", "docs", "pyproject.toml", "README.md", "SECURITY.md", "CONTRIBUTING.md", "Makefile")
LEAST = 0.95
SECONDS = 600
WITHOUT = tuple(f"-pno:{plugin}" for plugin in ("cacheprovider", "hypothesispytest", "xdist", "anyio"))
"""What no test of the table needs, and what takes longer to load than most of them to run."""
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
        command = [sys.executable, "-m", "pytest", "-x", "-q", *WITHOUT, "-k", "not postgresql", *mutant.tests]
        try:
            done = subprocess.run(
                command,
                cwd=tree,
                env={**os.environ, "PYTHONPATH": str(tree / "src")},
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                timeout=SECONDS,
                check=False,
                encoding="utf-8",
                errors="replace",
            )
        except subprocess.TimeoutExpired:
            return Finding(mutant.guard, noticed=False, seconds=SECONDS, by="no end")
    # 1 is "some test failed"; whatever else went wrong shows nothing.
    failed = FAILED.findall(done.stdout)
    by = failed[0] if failed else f"exit {done.returncode}"
    return Finding(mutant.guard, noticed=done.returncode == 1, seconds=round(time.monotonic() - began), by=by)


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
