"""Tokens for other services, by session and scopes: for as long as they really live, and no longer than the session."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from weakref import WeakValueDictionary

import msgspec

SECOND = 1_000_000
MARGIN = 60 * SECOND
"""A token that ends sooner than this is not handed out any more."""
MOST_CACHED = 4096


class CachedToken(msgspec.Struct, frozen=True):
    """A token and its end (microseconds)."""

    access_token: str
    expires_at: int


class TokenCache:
    """One process's; what another process holds of an ended session is out of reach, since the session is looked at first."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._tokens: OrderedDict[tuple[str, str], CachedToken] = OrderedDict()
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def turn(self, session_id: str) -> asyncio.Lock:
        """A session's requests take turns: a refresh token that rotates must not be used twice at once."""
        return self._turns.setdefault(session_id, asyncio.Lock())

    def find(self, session_id: str, scopes: str) -> CachedToken | None:
        """A token in force."""
        found = self._tokens.get((session_id, scopes))
        return found if found is not None and found.expires_at - MARGIN > self._clock() else None

    def keep(self, session_id: str, scopes: str, token: CachedToken) -> None:
        """Remember it; the oldest gives way."""
        self._tokens[session_id, scopes] = token
        self._tokens.move_to_end((session_id, scopes))
        if len(self._tokens) > MOST_CACHED:
            self._tokens.popitem(last=False)

    def purge(self, session_id: str) -> None:
        """The session ended."""
        for key in [key for key in self._tokens if key[0] == session_id]:
            del self._tokens[key]
