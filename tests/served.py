"""Ostiary as a newcomer meets it: `python -m ostiary serve` in a process of its own, on a free port of 127.0.0.1."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

OWN_PORTS = range(20_000, 32_000)
START_SECONDS = 240
"""Several processes that start on a machine with better things to do take their time."""
DEFAULTS = {"BCRYPT_COST": "4", "RATE_LIMITS": "off", "OSTIARY_LOG_FORMAT": "json"}


@dataclass(frozen=True, slots=True)
class Served:
    """Where it answers, and where its data lies."""

    url: str
    data: Path
    log: Path
    pid: int = 0

    @property
    def mailbox(self) -> Path:
        """The local mailbox's folder."""
        return self.data / "mailbox"


@contextmanager
def served(
    folder: Path, environment: Mapping[str, str] | None = None, *, port: int = 0, prefix: tuple[str, ...] = ()
) -> Iterator[Served]:
    """Start, wait until it is healthy, stop. Settings of the outside do not reach it. `port` is for who had to know it before.

    `prefix` goes before the command: what it may open, what it is watched by.
    """
    port = port or free_port()
    log = folder / "served.log"
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "PYTHONPATH") if name in os.environ}
    variables = {**kept, **DEFAULTS, "PORT": str(port), "OSTIARY_DATA": str(folder / "data"), **(environment or {})}
    with log.open("ab") as output:
        process = subprocess.Popen(
            [*prefix, sys.executable, "-m", "ostiary", "serve"],
            cwd=folder,
            env=variables,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    place = Served(f"http://127.0.0.1:{port}", folder / "data", log, process.pid)
    try:
        _wait_until_healthy(place, process)
        yield place
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on now.

    Below those that the system gives to outgoing connections: one that was stopped and starts again finds it still free.
    """
    for port in random.sample(OWN_PORTS, len(OWN_PORTS)):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no port is free")


def _wait_until_healthy(place: Served, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            with urllib.request.urlopen(f"{place.url}/health", timeout=2) as answer:  # noqa: S310 - our own address
                if answer.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            # Another process decides when: looking again is the only way to know.
            time.sleep(0.05)
    raise AssertionError(f"it did not start:\n{place.log.read_text()[-3000:]}")
