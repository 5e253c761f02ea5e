"""A Redis from Debian's packages, in memory alone."""

from __future__ import annotations

import shutil
import socket

from tests.services import Server, ServiceError


class RedisServer(Server):
    """Empty at the start; nothing is written to disk."""

    @property
    def url(self) -> str:
        """`redis://127.0.0.1:41234/0`."""
        return f"redis://127.0.0.1:{self.port}/0"

    def _prepare(self) -> None:
        if shutil.which("redis-server") is None:
            text = "redis-server is missing: `make test` installs Debian's"
            raise ServiceError(text)

    def _command(self) -> list[str]:
        options = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "dir": str(self.directory),
            "save": "",
            "appendonly": "no",
        }
        return ["redis-server", *(word for name, value in options.items() for word in (f"--{name}", value))]

    def _is_ready(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(16) == b"+PONG\r\n"
        except OSError:
            return False
