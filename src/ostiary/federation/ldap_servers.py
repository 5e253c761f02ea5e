"""A directory's servers: the one that answered last is asked, and the next when it does not."""

from __future__ import annotations

from collections.abc import Callable

from ostiary.federation.ldap_connections import Connections, Exchange, Result
from ostiary.identity.refusals import DirectoryUnavailable, Refusal
from ostiary.settings import Directory


class Servers:
    """All have the same entries. Together they take no longer than one would: each has its share of the time."""

    def __init__(self, settings: Directory) -> None:
        share = settings.timeout.total_seconds() / len(settings.servers)
        self._all = [Connections(settings, server, share) for server in settings.servers]
        self._at = 0
        """Who answered last. It stays until it does not: a server that comes and goes should not cost a sign-in each time."""

    async def run(self, work: Callable[[Exchange], Result], now: int) -> Result:
        """As `Connections.run`, at the first that can be used. Raises DirectoryUnavailable when none can."""
        first = self._at
        trouble = DirectoryUnavailable("no server")
        for step in range(len(self._all)):
            place = (first + step) % len(self._all)
            try:
                result = await self._all[place].run(work, now)
            except DirectoryUnavailable as refusal:
                trouble = refusal
                continue
            except Refusal:
                self._at = place
                raise
            self._at = place
            return result
        raise trouble

    async def run_at_each(self, work: Callable[[Exchange], Result], now: int) -> None:
        """At every one. Raises DirectoryUnavailable for the first that cannot be used, and the refusals of the work."""
        for each in self._all:
            await each.run(work, now)

    async def close(self) -> None:
        """Let go of everything."""
        for each in self._all:
            await each.close()
