"""Advice on a password that was refused, asked of `adviser` in a process of its own (docs/decisions/015-passwords.md)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from threading import BoundedSemaphore

from ostiary.observability.logging import log

PROGRAM = "ostiary.identity.adviser"
MOST_AT_ONCE = 2
PATIENCE = 10
"""Seconds. It takes a quarter of one."""
_KEPT = ("LD_LIBRARY_PATH", "PYTHONHOME")
_turns = BoundedSemaphore(MOST_AT_ONCE)


def advice(password: str) -> str:
    """What would make it better, in a sentence or two, empty where nothing comes to mind. For a thread: it waits for a process.

    Whoever comes while so many are asked already gets none: a refusal is whole without.
    """
    if not _turns.acquire(blocking=False):
        return ""
    try:
        return _asked(password)
    finally:
        _turns.release()


def _asked(password: str) -> str:
    # It finds what this process finds, and knows nothing else of it: no setting, and so no secret. -P: nothing of the working
    # directory comes before that.
    environment = {name: os.environ[name] for name in _KEPT if name in os.environ} | {"PYTHONPATH": os.pathsep.join(sys.path)}
    try:
        done = subprocess.run(  # noqa: S603 - our own program; the password is on its standard input
            [sys.executable, "-P", "-m", PROGRAM],
            input=json.dumps(password).encode(),
            capture_output=True,
            env=environment,
            timeout=PATIENCE,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        log.warning("advice:failed", error=type(error).__name__)
        return ""
    return done.stdout.decode()
