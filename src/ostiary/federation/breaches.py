"""Passwords of known breaches, by the range API of Have I Been Pwned (or a mirror of it): k-anonymity.

Five digits of the SHA-1 go out; every digest that begins so comes back, among padding of a random length, and is compared here.
"""

from __future__ import annotations

import re
import unicodedata
from datetime import timedelta
from hashlib import sha1

from ostiary.federation.transport import Transport
from ostiary.identity.refusals import FederationRefused

PATIENCE = timedelta(seconds=2)
PREFIX = 5
_LINE = re.compile(r"([0-9A-Fa-f]{35}):(\d{1,12})\s*")


class BreachedPasswords:
    """Asks the service at this address; see `identity.passwords.Breaches`."""

    def __init__(self, url: str, line: Transport) -> None:
        self._url = url
        self._line = line

    async def holds(self, password: str) -> bool:
        """Whether it was seen in a breach. Raises FederationRefused when there is no answer in time, or none of that form."""
        raw = unicodedata.normalize("NFC", password).encode("utf-8", "surrogatepass")
        digest = sha1(raw, usedforsecurity=False).hexdigest().upper()
        answer = await self._line.text(f"{self._url}/range/{digest[:PREFIX]}", {"add-padding": "true"})
        found = {line[1].upper(): int(line[2]) for line in map(_LINE.fullmatch, answer.splitlines()) if line}
        if not found:
            raise FederationRefused("provider_speaks_no_ranges")
        # Padding has the count 0.
        return found.get(digest[PREFIX:], 0) > 0

    async def close(self) -> None:
        """Let go of connections."""
        await self._line.close()
