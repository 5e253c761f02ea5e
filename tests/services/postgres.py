"""A PostgreSQL from Debian's packages, empty and quick."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path

from tests.services import POLL_SECONDS, START_SECONDS, Server, ServiceError

# Nothing here outlives the tests: what guards against a power cut is switched off.
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "max_connections": "200",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
}


class PostgresServer(Server):
    """Trusts every client on 127.0.0.1; its superuser is `postgres`."""

    # PostgreSQL refuses to run as root.
    user = "postgres"

    def stop(self) -> None:
        """Be gone before the block ends."""
        self._stop()

    def url(self, database: str = "postgres") -> str:
        """`postgresql://postgres@127.0.0.1:41234/NAME`."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def create_database(self, name: str, template: str | None = None) -> str:
        """Make an empty database, or a copy of `template` (which nobody may be connected to), and return its URL."""
        self._run("createdb", f"--maintenance-db={self.url()}", f"--template={template or 'template0'}", name)
        return self.url(name)

    def _prepare(self) -> None:
        options = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"]
        self._run("initdb", f"--pgdata={self._data}", *options)

    def _command(self) -> list[str]:
        settings = SETTINGS | {"port": str(self.port), "unix_socket_directories": str(self.directory)}
        options = [f"--{name}={value}" for name, value in settings.items()]
        return [str(_program("postgres")), "-D", str(self._data), *options]

    def _is_ready(self) -> bool:
        # The last line of the lock file is the server's state; pg_ctl waits in the same way.
        try:
            return (self._data / "postmaster.pid").read_text().rstrip().endswith("ready")
        except FileNotFoundError:
            return False

    def _run(self, program: str, *arguments: str) -> None:
        command = [*self._privileges(), str(_program(program)), *arguments]
        done = subprocess.run(command, cwd=self.directory, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise ServiceError(done.stderr)

    @property
    def _data(self) -> Path:
        return self.directory / "data"


class StandbyServer(PostgresServer):
    """Follows another one, which must be running, by streaming replication."""

    def __init__(self, primary: PostgresServer) -> None:
        super().__init__()
        self._primary = primary

    def wait_until_level(self) -> None:
        """Return when everything that the primary has acknowledged is here."""
        waited_for = self._asked(self._primary, "SELECT pg_current_wal_lsn()")
        deadline = time.monotonic() + START_SECONDS
        while self._asked(self, f"SELECT pg_last_wal_replay_lsn() >= '{waited_for}'") != "t":
            if time.monotonic() > deadline:
                raise ServiceError("the standby does not keep up")
            time.sleep(POLL_SECONDS)

    def promote(self) -> None:
        """Be a primary from now on."""
        self._run("pg_ctl", "promote", "-D", str(self._data))

    def _prepare(self) -> None:
        self._run(
            "pg_basebackup", "-d", self._primary.url(), "-D", str(self._data), "-R", "-X", "stream", "-c", "fast", "--no-sync"
        )

    def _asked(self, server: PostgresServer, question: str) -> str:
        command = [str(_program("psql")), "-XAtd", server.url(), "-c", question]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def _program(name: str) -> Path:
    # Debian keeps the server's programs of each major version off the PATH; the newest is taken.
    installed = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: float(path.parts[4]))
    found = installed[-1] if installed else shutil.which(name)
    if found is None:
        text = f"{name} is missing: `make test` installs Debian's postgresql"
        raise ServiceError(text)
    return Path(found)
