"""Real servers for the tests, each on a free port of 127.0.0.1 and gone with the block that started it."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType

ATTEMPTS = 3
START_SECONDS = 30
STOP_SECONDS = 10
POLL_SECONDS = 0.01


class ServiceError(Exception):
    """A server of the tests cannot be had; the text is what it said last."""


def free_port() -> int:
    """A port that nobody listens on now; who binds it later may still come second."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


class Server(ABC):
    """A child process with a folder of its own; both are gone at the end of the `with` block.

    Enter it from a thread that outlives the block: the kernel ends the child with the thread that started it, so that
    no server stays behind a test run that was killed.
    """

    user: str | None = None
    """The system's user that runs it where the tests run as root."""
    end_signal = signal.SIGINT
    """The quick and orderly end of PostgreSQL and of Redis."""

    def __init__(self) -> None:
        self.port = 0
        self.directory = Path()
        self._process: subprocess.Popen[bytes] | None = None
        self._exits = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as exits:
            self.directory = Path(tempfile.mkdtemp(prefix=f"ostiary-{type(self).__name__.lower()}-"))
            exits.callback(shutil.rmtree, self.directory, ignore_errors=True)
            exits.callback(self._stop)
            if self.user is not None and os.geteuid() == 0:
                shutil.chown(self.directory, self.user, self.user)
            self._prepare()
            self._start()
            self._exits = exits.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._exits.close()

    @abstractmethod
    def _prepare(self) -> None:
        """What must stand in the folder before the first start."""

    @abstractmethod
    def _command(self) -> list[str]:
        """The command that serves on `self.port` in the foreground."""

    @abstractmethod
    def _is_ready(self) -> bool:
        """Whether the process that was started answers."""

    def _start(self) -> None:
        # Between finding a port and listening on it another process may have taken it: no reason to fail a test run.
        for _ in range(ATTEMPTS):
            self.port = free_port()
            with self._log.open("wb") as log:
                self._process = subprocess.Popen(
                    [*self._privileges(), "--pdeathsig=INT", *self._command()],
                    cwd=self.directory,
                    env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                )
            deadline = time.monotonic() + START_SECONDS
            while self._process.poll() is None and time.monotonic() < deadline:
                if self._is_ready():
                    return
                time.sleep(POLL_SECONDS)
            self._stop()
        text = f"{type(self).__name__} does not start: {self._log.read_text(errors='replace')[-2000:]}"
        raise ServiceError(text)

    def _stop(self) -> None:
        if self._process is None:
            return
        # Sent to the process started here and to no other.
        self._process.send_signal(self.end_signal)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def _privileges(self) -> list[str]:
        if self.user is None or os.geteuid() != 0:
            return ["setpriv"]
        return ["setpriv", f"--reuid={self.user}", f"--regid={self.user}", "--init-groups"]

    @property
    def _log(self) -> Path:
        return self.directory / "server.log"
