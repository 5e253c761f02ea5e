"""`make fuzz N=…`: that many bent requests against a server that it starts, then every parser for so many seconds under atheris."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.fuzz import requests
from tests.fuzz.parsers import PARSERS
from tests.served import served

SETTINGS = {"LOCKOUT": "off", "EMAIL_NEW_LOGIN": "false", "OSTIARY_LOG_LEVEL": "error"}


def main() -> int:
    """0 when nothing was found."""
    options = argparse.ArgumentParser(prog="make fuzz")
    options.add_argument("--requests", type=int, default=20_000)
    options.add_argument("--seconds", type=int, default=20, help="for each parser")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--parsers", nargs="+", choices=PARSERS, help="these alone")
    chosen = options.parse_args()
    is_clean = _requests(chosen.requests, chosen.seed) if chosen.requests else True
    if chosen.seconds:
        command = [sys.executable, "-m", "tests.fuzz.guided", str(chosen.seconds), *(chosen.parsers or PARSERS)]
        is_clean = subprocess.run(command, check=False).returncode == 0 and is_clean
    return 0 if is_clean else 1


def _requests(number: int, seed: int) -> bool:
    with tempfile.TemporaryDirectory(prefix="ostiary-fuzz-") as folder, served(Path(folder), SETTINGS) as place:
        report = requests.run(place, number, seed)
    print(f"requests {report.requests}, seed {seed}; statuses {dict(sorted(report.statuses.items()))}")
    print(
        f"answers of 5xx: {len(report.faults)}; silent for {requests.HANG_SECONDS} s: {len(report.hangs)}; restarts: {report.restarts}"
    )
    grown = (report.memory_after - report.memory_before) / 1024
    print(
        f"memory after the first requests {report.memory_before / 1024:.1f} MB, at the end {grown:+.1f} MB; slowest {report.slowest * 1000:.0f} ms"
    )
    for said in (*report.faults, *report.hangs)[:20]:
        print(f"  {said}")
    return report.is_clean


if __name__ == "__main__":
    sys.exit(main())
