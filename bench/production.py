"""The packages that an operator has, and no others: the server is measured with these. One more can cost it memory."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

from bench.load import ROOT

BUILT_FOR = f"{sys.base_prefix} {sys.version}"
"""The Python: one and the same for all that is measured."""


def interpreter(cache: Path) -> Path | None:
    """A Python with exactly the packages of requirements.txt, made once and kept in the cache; None when they cannot be had."""
    lock, home = ROOT / "requirements.txt", cache / "production"
    stamp, wanted = home / "locked", hashlib.sha256(lock.read_bytes() + BUILT_FOR.encode()).hexdigest()
    python = home / "bin" / "python"
    if stamp.exists() and stamp.read_text() == wanted:
        return python
    print(f"bench: installing what the server needs into {home}", file=sys.stderr)
    install = (python, "-m", "pip", "install", "--quiet", "--no-input", "--require-hashes", "--only-binary=:all:", "-r", lock)
    for command in ((sys.executable, "-m", "venv", "--clear", home), install):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            print(f"bench: measured with the packages of development: {done.stderr[-500:]}", file=sys.stderr)
            return None
    stamp.write_text(wanted)
    return python
