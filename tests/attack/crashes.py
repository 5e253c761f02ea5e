"""A server that is killed: real processes, kill -9 at a moment that nobody chose, and what was acknowledged before it."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import os
import random
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg

from tests.attack.conftest import OPEN
from tests.attack.harness import ROUNDS, SECONDS
from tests.served import Served, free_port, served

KILLS = 1 if ROUNDS == 1 else 2 * ROUNDS
"""Of each case and engine: one inside the suite, forty by `make attack`."""
GRACE = {"OSTIARY_REFRESH_GRACE": "600"}
"""A restart takes as long as the machine lets it: what a client retries must not be too late by that alone."""


@dataclass
class Site:
    """One folder and one database, served again and again."""

    folder: Path
    database_url: str = ""
    """Empty: SQLite in the folder."""
    settings: Mapping[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    """The same at every start: access tokens name it, and clients come back to it."""
    toss: random.Random = field(default_factory=random.Random)

    @contextmanager
    def living(self) -> Iterator[Served]:
        """From a start to an orderly end, if nobody kills it before."""
        given = {"DATABASE_URL": self.database_url} if self.database_url else {}
        with served(self.folder, {**OPEN, **GRACE, "LOCKOUT": "false", **given, **self.settings}, port=self.port) as place:
            yield place

    def storm(self, place: Served, deeds: Sequence[Callable[[], object]], longest: float = 1.0) -> None:
        """Each of these again and again, side by side, until the server is killed; returns when all have noticed."""
        threads = [threading.Thread(target=_until_it_is_gone, args=(deed,)) for deed in deeds]
        for thread in threads:
            thread.start()
        time.sleep(self.toss.uniform(0.02, longest))
        os.kill(place.pid, signal.SIGKILL)
        for thread in threads:
            thread.join(SECONDS)
        assert not any(thread.is_alive() for thread in threads)

    def count(self, query: str) -> int:
        """The one number that this finds."""
        if not self.database_url:
            with contextlib.closing(sqlite3.connect(self.folder / "data" / "ostiary.db", timeout=SECONDS)) as connection:
                return int(connection.execute(query).fetchone()[0])
        return int(asyncio.run(_fetched(self.database_url, query)))


def _until_it_is_gone(deed: Callable[[], object]) -> None:
    with contextlib.suppress(OSError, http.client.HTTPException):
        while True:
            deed()


async def _fetched(url: str, query: str) -> Any:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()
