"""The server that is measured: `ostiary serve` in a process and a folder of its own, and what the kernel says of its CPU."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from bench.load import ROOT
from bench.wire import Connection, request
from tests.services import Server
from tests.services.postgres import PostgresServer

TICKS = os.sysconf("SC_CLK_TCK")
"""CPU time in /proc/PID/stat is counted in ticks; there are so many to a second."""
PAGE = os.sysconf("SC_PAGE_SIZE")
SETTLED_SECONDS = 0.05
MOST_SETTLING_SECONDS = 30
SETTINGS = {
    "RATE_LIMITS": "off",
    # A run may take longer than the quarter of an hour that an access token lives.
    "SESSION_EXPIRY": "86400000",
}


class Measured(Server):
    """A server of which the kernel tells what it uses: its whole process tree."""

    def __init__(self) -> None:
        super().__init__()
        self.start_seconds = 0.0
        self._began_at = 0.0

    def cpu(self) -> float:
        """Seconds of CPU that the server and its children have used, those that ended included."""
        used = 0
        for pid in self._tree():
            fields = _stat(pid)
            used += sum(map(int, fields[11:15])) if fields else 0
        return used / TICKS

    def memory(self) -> int:
        """Bytes of memory that it has now, its children included."""
        return sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE for pid in self._tree())

    def settle(self) -> None:
        """Wait until it has finished what goes on after an answer (mail, commits)."""
        deadline = time.monotonic() + MOST_SETTLING_SECONDS
        before = -1.0
        while before != (before := self.cpu()) and time.monotonic() < deadline:
            time.sleep(SETTLED_SECONDS)

    def _begin(self) -> None:
        self._began_at = time.perf_counter()

    def _ask_whether_ready(self, connection: Connection) -> None:
        raise NotImplementedError

    def _is_ready(self) -> bool:
        try:
            with Connection(self.port) as connection:
                self._ask_whether_ready(connection)
        except OSError:
            return False
        self.start_seconds = time.perf_counter() - self._began_at
        return True

    def _tree(self) -> list[int]:
        assert self._process is not None
        children: dict[int, list[int]] = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and (fields := _stat(int(entry.name))):
                children.setdefault(int(fields[1]), []).append(int(entry.name))
        found = [self._process.pid]
        for pid in found:
            found += children.get(pid, [])
        return found


class OstiaryServer(Measured):
    """Serves on 127.0.0.1 with its logs in a file, as it does in production."""

    def __init__(self, environment: dict[str, str], python: Path | None = None) -> None:
        super().__init__()
        self.environment = environment
        self._python = python or Path(sys.executable)

    def start_again(self) -> float:
        """End it and start it on what it has stored; the seconds until it answers."""
        self._stop()
        self._start()
        return self.start_seconds

    def _prepare(self) -> None:
        pass

    def _command(self) -> list[str]:
        self._begin()
        variables = {
            "HOST": "127.0.0.1",
            "PORT": str(self.port),
            "OSTIARY_DATA": str(self.directory / "data"),
            "PYTHONPATH": str(ROOT / "src"),
            **SETTINGS,
            **self.environment,
        }
        # A folder of its own also means that no .env is read.
        return ["env", *(f"{name}={value}" for name, value in variables.items()), str(self._python), "-m", "ostiary", "serve"]

    def _ask_whether_ready(self, connection: Connection) -> None:
        connection.ask(request("GET", "/livez"))


class DurablePostgres(PostgresServer):
    """The PostgreSQL of the tests, but with the durability that one in production has."""

    def _command(self) -> list[str]:
        return [*super()._command(), "--fsync=on", "--synchronous_commit=on", "--full_page_writes=on"]


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the third on (proc(5)); none when the process is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
