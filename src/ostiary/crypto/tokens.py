"""Random secrets and their keyed digests. Plaintext and digest never share a name or a type."""

from __future__ import annotations

import os
from typing import NewType

from ostiary.crypto.mac import Mac

TokenHash = NewType("TokenHash", bytes)

KEY_PREFIX = "lp_"


class Digester:
    """Keyed digests (HMAC-SHA-256): whoever reads the table can neither use a token nor test a guess."""

    def __init__(self, key: bytes) -> None:
        self._mac = Mac(key)

    def digest(self, purpose: str, token: str) -> TokenHash:
        """The digest of one token for one purpose; a token of another purpose never matches."""
        return TokenHash(self._mac(purpose.encode() + b"\0" + token.encode("utf-8", "surrogatepass")))


def random_hex(bytes_of_entropy: int = 32) -> str:
    """Lower-case hex of so many random bytes."""
    return os.urandom(bytes_of_entropy).hex()


def new_key() -> str:
    """An API key of LibrePass's wire: `lp_` and 64 hex digits (librepass-wire 4)."""
    return KEY_PREFIX + os.urandom(32).hex()
