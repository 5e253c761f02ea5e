"""Password hashes: what is stored, how it is made, and whether it should be made anew.

A new hash sees the whole password: SHA-256, Base64, then bcrypt (`sha256-bcrypt`). An imported bcrypt hash (`bcrypt`) saw the
first 72 bytes; it is verified so, and said to be outdated so that the caller renews it.
"""

from __future__ import annotations

import base64
import hmac
import os
import secrets
from dataclasses import dataclass
from hashlib import sha256

import bcrypt

from ostiary.crypto.hashing import MOST_COST, HashingBusyError, HashingPool

__all__ = ["MOST_COST", "HashingBusyError", "PasswordHash", "PasswordHasher", "Verdict", "is_affordable", "is_imported_hash"]

WHOLE = "sha256-bcrypt"
IMPORTED = "bcrypt"
BCRYPT_BYTES = 72
_BCRYPT_ALPHABET = "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


@dataclass(frozen=True, slots=True)
class PasswordHash:
    """A stored hash: its scheme and bcrypt's own text."""

    scheme: str
    text: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the password was right, and whether its hash should be made anew."""

    is_right: bool
    is_outdated: bool = False


def is_imported_hash(text: str) -> bool:
    """Whether this is a bcrypt hash that another server may have made (`$2a$`, `$2b$`, `$2y$`)."""
    return len(text) == 60 and text[:4] in {"$2a$", "$2b$", "$2y$"} and text[4:6].isdigit()  # noqa: PLR2004 - bcrypt's length


def is_affordable(text: str) -> bool:
    """Whether a bcrypt hash is of a cost that the server is willing to pay at each sign-in."""
    return text[4:6].isdigit() and int(text[4:6]) <= MOST_COST


def _input(password: str, scheme: str) -> bytes:
    raw = password.encode("utf-8", "surrogatepass")
    if scheme == WHOLE:
        return base64.b64encode(sha256(raw).digest())
    # The package refuses more than 72 bytes; the servers that made these hashes cut them off.
    return raw[:BCRYPT_BYTES]


class PasswordHasher(HashingPool):
    """One for the process: bounded in threads and in queue, so that a flood of sign-ins cannot take the server down."""

    def __init__(self, cost: int, threads: int = 0, queue: int = 256) -> None:
        super().__init__(threads or len(os.sched_getaffinity(0)), queue)
        self.cost = cost
        self._decoy = PasswordHash(WHOLE, f"$2b${cost:02d}$" + _random_bcrypt_text(22, "Oeu.") + _random_bcrypt_text(31, ""))

    async def make(self, password: str, source: str = "") -> PasswordHash:
        """A hash of the whole password; `source` is whose turn it takes. Raises HashingBusyError."""
        text = await self.hash(_input(password, WHOLE), bcrypt.gensalt(self.cost), source)
        return PasswordHash(WHOLE, text.decode("ascii"))

    async def verify(self, password: str, stored: PasswordHash | None, source: str = "") -> Verdict:
        """Compare; without a stored hash do the same work and answer no. Raises HashingBusyError."""
        used = stored if stored is not None and is_affordable(stored.text) else self._decoy
        try:
            expected = used.text.encode("ascii")
            right = hmac.compare_digest(await self.hash(_input(password, used.scheme), expected, source), expected)
        except ValueError:
            return Verdict(is_right=False)
        if used is not stored or not right:
            return Verdict(is_right=False)
        return Verdict(is_right=True, is_outdated=used.scheme != WHOLE or used.text[4:6] != f"{self.cost:02d}")


def _random_bcrypt_text(length: int, last: str) -> str:
    text = "".join(secrets.choice(_BCRYPT_ALPHABET) for _ in range(length))
    return text[:-1] + secrets.choice(last) if last else text
