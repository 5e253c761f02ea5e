"""`make attack-mutants`: switches each guard off in turn, in a copy of the tree, and shows that some test notices."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
TABLE = Path(__file__).with_suffix(".toml")
COPIED = ("src", "tests", "bench", "scripts", "docs", "pyproject.toml", "README.md", "SECURITY.md", "CONTRIBUTING.md", "Makefile")
LEAST = 0.95
SECONDS = 600


@dataclass(frozen=True, slots=True)
class Mutant:
    """A guard, and how to do without it."""

    guard: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


def mutants() -> list[Mutant]:
    """The table."""
    rows = tomllib.loads(TABLE.read_text(encoding="utf-8"))["mutant"]
    return [Mutant(row["guard"], row["file"], row["old"], row["new"], tuple(row["tests"])) for row in rows]


def is_noticed(mutant: Mutant) -> bool:
    """Whether a test fails without the guard. One that does not end shows nothing: the machine may be slow."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        tree = Path(folder)
        for name in COPIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, tree / name, ignore=shutil.ignore_patterns("__pycache__", "node_modules", "*.egg-info"))
            elif source.exists():
                shutil.copy(source, tree / name)
        file = tree / mutant.file
        file.write_text(file.read_text(encoding="utf-8").replace(mutant.old, mutant.new), encoding="utf-8")
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-k", "not postgresql", *mutant.tests]
        try:
            done = subprocess.run(
                command,
                cwd=tree,
                env={**os.environ, "PYTHONPATH": str(tree / "src"), "PYTHONDONTWRITEBYTECODE": "1"},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return False
    # 1 is "some test failed"; whatever else went wrong shows nothing.
    return done.returncode == 1


def main() -> int:
    """Go through the table; 1 when too many went unnoticed."""
    parser = argparse.ArgumentParser(prog="tests.attack.mutants", description="Whether some test notices each missing guard.")
    parser.add_argument("--only", default="", help="guards whose name holds this")
    parser.add_argument("--part", default="1/1", help="a share of the table: 2/5 is the second fifth")
    options = parser.parse_args()
    part, parts = map(int, options.part.split("/"))
    chosen = [mutant for mutant in mutants()[part - 1 :: parts] if options.only in mutant.guard]
    noticed = 0
    with ThreadPoolExecutor(2) as pool:
        for mutant, is_found in zip(chosen, pool.map(is_noticed, chosen), strict=True):
            noticed += is_found
            print(f"{'noticed' if is_found else 'UNNOTICED':<10} {mutant.guard}", flush=True)
    share = noticed / len(chosen) if chosen else 0.0
    print(f"{noticed} of {len(chosen)} guards are noticed when they are missing ({share:.0%})")
    return 0 if share >= LEAST else 1


if __name__ == "__main__":
    sys.exit(main())
