"""Password hashes, and the bounded pool that computes them away from the event loop.

A new hash sees the whole password: SHA-256, Base64, then bcrypt (`sha256-bcrypt`). An imported bcrypt hash (`bcrypt`) saw the
first 72 bytes; it is verified so, and said to be outdated so that the caller renews it.
"""

from __future__ import annotations

import asyncio
import base64
import os
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from typing import TypeVar

import bcrypt

WHOLE = "sha256-bcrypt"
IMPORTED = "bcrypt"
BCRYPT_BYTES = 72
_BCRYPT_ALPHABET = "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

Result = TypeVar("Result")


class HashingBusyError(Exception):
    """The queue is full; trying again in `retry_after` seconds is likely to work."""

    retry_after = 1


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


def _input(password: str, scheme: str) -> bytes:
    raw = password.encode("utf-8", "surrogatepass")
    if scheme == WHOLE:
        return base64.b64encode(sha256(raw).digest())
    # The package refuses more than 72 bytes; the servers that made these hashes cut them off.
    return raw[:BCRYPT_BYTES]


class PasswordHasher:
    """One pool for the process: bounded in threads and in queue, so that a flood of sign-ins cannot take the server down."""

    def __init__(self, cost: int, threads: int = 0, queue: int = 256) -> None:
        self.cost = cost
        self.threads = threads or len(os.sched_getaffinity(0))
        self.waiting = 0
        self.done = 0
        self._limit = queue + self.threads
        self._pool = ThreadPoolExecutor(self.threads, thread_name_prefix="hashing")
        self._decoy = PasswordHash(WHOLE, f"$2b${cost:02d}$" + _random_bcrypt_text(22, "Oeu.") + _random_bcrypt_text(31, ""))

    async def hash(self, password: str) -> PasswordHash:
        """A hash of the whole password. Raises HashingBusyError."""
        text = await self._run(lambda: bcrypt.hashpw(_input(password, WHOLE), bcrypt.gensalt(self.cost)))
        return PasswordHash(WHOLE, text.decode("ascii"))

    async def verify(self, password: str, stored: PasswordHash | None) -> Verdict:
        """Compare; without a stored hash do the same work and answer no. Raises HashingBusyError."""
        used = stored or self._decoy
        try:
            right = await self._run(lambda: bcrypt.checkpw(_input(password, used.scheme), used.text.encode("ascii")))
        except ValueError:
            return Verdict(is_right=False)
        if stored is None or not right:
            return Verdict(is_right=False)
        return Verdict(is_right=True, is_outdated=used.scheme != WHOLE or used.text[4:6] != f"{self.cost:02d}")

    def close(self) -> None:
        """Let running hashes end and take no more."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _run(self, work: Callable[[], Result]) -> Result:
        if self.waiting >= self._limit:
            raise HashingBusyError
        self.waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work)
        finally:
            self.waiting -= 1
            self.done += 1


def _random_bcrypt_text(length: int, last: str) -> str:
    text = "".join(secrets.choice(_BCRYPT_ALPHABET) for _ in range(length))
    return text[:-1] + secrets.choice(last) if last else text
