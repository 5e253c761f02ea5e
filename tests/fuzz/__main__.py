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
CORPUS = Path(__file__).parent / "corpus"


def main() -> int:
    """0 when nothing was found."""
    options = argparse.ArgumentParser(prog="make fuzz")
    options.add_argument("--requests", type=int, default=20_000)
    options.add_argument("--seconds", type=int, default=20, help="for each parser")
    options.add_argument("--seed", type=int, default=0)
    chosen = options.parse_args()
    is_clean = _requests(chosen.requests, chosen.seed) if chosen.requests else True
    for name in PARSERS if chosen.seconds else ():
        is_clean = _parser(name, chosen.seconds) and is_clean
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


def _parser(name: str, seconds: int) -> bool:
    with tempfile.TemporaryDirectory(prefix="ostiary-fuzz-") as folder:
        places = [folder, *([str(CORPUS / name)] if (CORPUS / name).exists() else [])]
        command = [
            sys.executable,
            "-m",
            "tests.fuzz.guided",
            name,
            *places,
            f"-max_total_time={seconds}",
            f"-artifact_prefix={folder}/",
        ]
        done = subprocess.run([*command, "-max_len=4096", "-verbosity=1"], capture_output=True, text=True, check=False)
        last = next((line for line in reversed(done.stderr.splitlines()) if line.startswith(("#", "Done"))), "")
        print(f"{name:<14} {'clean' if done.returncode == 0 else 'FAILED'}  {last[:90]}")
        if done.returncode != 0:
            print(done.stdout[-2000:], done.stderr[-3000:])
            for found in Path(folder).glob("crash-*"):
                print(f"  the bytes: {found.read_bytes()!r}")
    return done.returncode == 0


if __name__ == "__main__":
    sys.exit(main())
