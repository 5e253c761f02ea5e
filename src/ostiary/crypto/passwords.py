"""Password hashes: what is stored, how it is made, and whether it should be made anew.

A new hash sees the whole password, composed as NFC has it: SHA-256, Base64, then bcrypt (`nfc-sha256-bcrypt`). Earlier ones saw
it as it was typed (`sha256-bcrypt`). An imported bcrypt hash (`bcrypt`) saw the first 72 bytes; it and the hashes that only
others make (`crypto.foreign`) are verified so, and said to be outdated so that the caller renews them.

The stored scheme alone decides how a password is read: one hash is computed for each try, never a second one for another reading.
"""

from __future__ import annotations

import base64
import hmac
import math
import secrets
import unicodedata
from hashlib import sha256

import bcrypt
import msgspec

from ostiary.crypto import foreign
from ostiary.crypto.desks import fair_threads
from ostiary.crypto.hashing import MOST_COST, Asker, Bcrypt, HashingBusyError, HashingPool, LoneTask

__all__ = ["MOST_COST", "Asker", "HashingBusyError", "PasswordHash", "PasswordHasher", "Verdict", "imported", "is_affordable"]

COMPOSED = "nfc-sha256-bcrypt"
WHOLE = "sha256-bcrypt"
IMPORTED = "bcrypt"
BCRYPT_SCHEMES = frozenset({COMPOSED, WHOLE, IMPORTED})
BCRYPT_BYTES = 72
NOBODY = Asker()
_BCRYPT_ALPHABET = "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


class PasswordHash(msgspec.Struct, frozen=True):
    """A stored hash: its scheme and its own text."""

    scheme: str
    text: str


class Verdict(msgspec.Struct, frozen=True):
    """Whether the password was right, and whether its hash should be made anew."""

    is_right: bool
    is_outdated: bool = False


def imported(text: str) -> PasswordHash | None:
    """A hash that another server made: bcrypt (`$2a$`, `$2b$`, `$2y$`), Argon2id or scrypt. None for what is none of these."""
    if len(text) == 60 and text[:4] in {"$2a$", "$2b$", "$2y$"} and text[4:6].isdigit():  # noqa: PLR2004 - bcrypt's length
        return PasswordHash(IMPORTED, text)
    found = foreign.read(text)
    return None if found is None else PasswordHash(found.scheme, text)


def is_affordable(stored: PasswordHash) -> bool:
    """Whether a hash costs what the server is willing to pay at each sign-in."""
    if stored.scheme in BCRYPT_SCHEMES:
        return stored.text[4:6].isdigit() and int(stored.text[4:6]) <= MOST_COST
    found = foreign.read(stored.text)
    return found is not None and foreign.is_affordable(found)


def _input(password: str, scheme: str) -> bytes:
    # What is typed as one character here may come as two from there (macOS, some keyboards): NIST SP 800-63B-4, 3.1.1.2.
    text = unicodedata.normalize("NFC", password) if scheme == COMPOSED else password
    raw = text.encode("utf-8", "surrogatepass")
    if scheme != IMPORTED:
        return base64.b64encode(sha256(raw).digest())
    # The package refuses more than 72 bytes; the servers that made these hashes cut them off.
    return raw[:BCRYPT_BYTES]


def _task(password: str, stored: PasswordHash) -> tuple[Bcrypt | LoneTask, bytes]:
    """What is to be computed, and what it must come to. Raises ValueError."""
    if stored.scheme in BCRYPT_SCHEMES:
        expected = stored.text.encode("ascii")
        return Bcrypt(_input(password, stored.scheme), expected), expected
    found = foreign.read(stored.text)
    if found is None:
        raise ValueError("not a hash")
    return foreign.ForeignTask(found, password), found.digest


class PasswordHasher(HashingPool):
    """One for the process: bounded in threads and in queue, so that a flood of sign-ins cannot take the server down."""

    def __init__(
        self, cost: int, threads: int = 0, queue: int = 256, patience: float = math.inf, memory: int = foreign.MOST_MEMORY
    ) -> None:
        super().__init__(threads or fair_threads(1), queue, patience, memory)
        self.cost = cost
        self._decoy = PasswordHash(COMPOSED, f"$2b${cost:02d}$" + _random_bcrypt_text(22, "Oeu.") + _random_bcrypt_text(31, ""))

    async def make(self, password: str, asker: Asker = NOBODY) -> PasswordHash:
        """A hash of the whole password. Raises HashingBusyError."""
        text = await self.hash(_input(password, COMPOSED), bcrypt.gensalt(self.cost), asker)
        return PasswordHash(COMPOSED, text.decode("ascii"))

    async def verify(self, password: str, stored: PasswordHash | None, asker: Asker = NOBODY) -> Verdict:
        """Compare; without a stored hash do the same work and answer no. Raises HashingBusyError."""
        used = stored if stored is not None and is_affordable(stored) else self._decoy
        try:
            task, expected = _task(password, used)
            right = hmac.compare_digest(await self.compute(task, asker), expected)
        except ValueError:
            return Verdict(is_right=False)
        if used is not stored or not right:
            return Verdict(is_right=False)
        # Composing leaves ASCII alone: for such a password the two schemes are one, and a renewal would be work for nothing.
        is_newest = used.scheme == COMPOSED or (used.scheme == WHOLE and password.isascii())
        return Verdict(is_right=True, is_outdated=not is_newest or used.text[4:6] != f"{self.cost:02d}")


def _random_bcrypt_text(length: int, last: str) -> str:
    text = "".join(secrets.choice(_BCRYPT_ALPHABET) for _ in range(length))
    return text[:-1] + secrets.choice(last) if last else text
