"""Password hashes that only other servers make: Argon2id and scrypt. They are read here and computed in the hashing pool.

A hash says itself what it costs, so whoever wrote it could ask for any amount of time and memory: what is beyond the limits below
is not computed.
"""

from __future__ import annotations

import re
import unicodedata
from base64 import b64decode
from binascii import Error
from dataclasses import dataclass, field
from hashlib import scrypt
from typing import TYPE_CHECKING

from ostiary.crypto.hashing import ALONE
from ostiary.parts import Part

if TYPE_CHECKING:
    from argon2 import exceptions, low_level
else:
    exceptions, low_level = Part("argon2.exceptions"), Part("argon2.low_level")

ARGON2ID = "argon2id"
SCRYPT = "scrypt"
MOST_MEMORY = 1 << 28
MOST_UNITS = 64.0
"""In bcrypts of cost 10, computed alone: what bcrypt's greatest cost takes."""
MOST_PARALLEL = 16
LEAST_DIGEST = 16
_KIBIBYTE = 1024
# Measured beside a bcrypt of cost 10 on one core: so much of each takes as long.
_ARGON2_BLOCKS = 63_000
_SCRYPT_MIXES = 192_000

_B64 = r"[A-Za-z0-9+/]{1,172}"
_PHC_ARGON2ID = re.compile(rf"\$argon2id\$v=(16|19)\$m=(\d{{1,8}}),t=(\d{{1,4}}),p=(\d{{1,3}})\$({_B64})\$({_B64})")
_PHC_SCRYPT = re.compile(rf"\$scrypt\$ln=(\d{{1,2}}),r=(\d{{1,3}}),p=(\d{{1,3}})\$({_B64})\$({_B64})")
_WERKZEUG = re.compile(r"scrypt:(\d{1,8}):(\d{1,3}):(\d{1,3})\$([A-Za-z0-9]{1,64})\$([0-9a-f]{128})")
_BETTER_AUTH = re.compile(r"([0-9a-f]{32}):([0-9a-f]{128})")


@dataclass(frozen=True, slots=True)
class Argon2id:
    """What an Argon2id hash says of itself (RFC 9106)."""

    version: int
    memory_kib: int
    passes: int
    lanes: int
    salt: bytes
    digest: bytes = field(repr=False)

    scheme = ARGON2ID

    @property
    def memory(self) -> int:
        return self.memory_kib * _KIBIBYTE

    @property
    def alone(self) -> float:
        return self.memory_kib * self.passes / _ARGON2_BLOCKS

    def compute(self, password: str) -> bytes:
        raw = password.encode("utf-8", "surrogatepass")
        length = len(self.digest)
        try:
            return low_level.hash_secret_raw(
                raw, self.salt, self.passes, self.memory_kib, self.lanes, length, low_level.Type.ID, version=self.version
            )
        except exceptions.HashingError as error:
            raise (MemoryError if "llocation" in str(error) else ValueError)(str(error)) from error


@dataclass(frozen=True, slots=True)
class Scrypt:
    """What an scrypt hash says of itself (RFC 7914)."""

    cost: int
    block: int
    parallel: int
    salt: bytes
    digest: bytes = field(repr=False)
    is_normalized: bool = False
    """Whether the password was brought into Unicode's form NFKC first."""

    scheme = SCRYPT

    @property
    def memory(self) -> int:
        return 128 * self.block * (self.cost + self.parallel)

    @property
    def alone(self) -> float:
        return self.cost * self.block * self.parallel / _SCRYPT_MIXES

    def compute(self, password: str) -> bytes:
        text = unicodedata.normalize("NFKC", password) if self.is_normalized else password
        raw = text.encode("utf-8", "surrogatepass")
        most = 2 * self.memory + (1 << 20)
        return scrypt(raw, salt=self.salt, n=self.cost, r=self.block, p=self.parallel, maxmem=most, dklen=len(self.digest))


@dataclass(frozen=True, slots=True)
class ForeignTask:
    """See `crypto.hashing.LoneTask`."""

    recipe: Argon2id | Scrypt
    password: str = field(repr=False)

    @property
    def units(self) -> float:
        return max(0.01, self.recipe.alone * ALONE)

    @property
    def memory(self) -> int:
        return self.recipe.memory

    def compute(self) -> bytes:
        return self.recipe.compute(self.password)


def read(text: str) -> Argon2id | Scrypt | None:
    """The hash, if it is one of these: Argon2id and scrypt in PHC's form, scrypt as Werkzeug and better-auth write it."""
    try:
        if found := _PHC_ARGON2ID.fullmatch(text):
            version, memory, passes, lanes = map(int, found.groups()[:4])
            return Argon2id(version, memory, passes, lanes, _raw(found[5]), _raw(found[6]))
        if found := _PHC_SCRYPT.fullmatch(text):
            logarithm, block, parallel = map(int, found.groups()[:3])
            return Scrypt(1 << logarithm, block, parallel, _raw(found[4]), _raw(found[5]))
    except Error:
        return None
    if found := _WERKZEUG.fullmatch(text):
        cost, block, parallel = map(int, found.groups()[:3])
        return Scrypt(cost, block, parallel, found[4].encode(), bytes.fromhex(found[5]))
    if found := _BETTER_AUTH.fullmatch(text):
        # The salt is its hexadecimal text, not the bytes that this stands for.
        return Scrypt(1 << 14, 16, 1, found[1].encode(), bytes.fromhex(found[2]), is_normalized=True)
    return None


def is_affordable(recipe: Argon2id | Scrypt) -> bool:
    """Whether the server is willing to pay what the hash costs at a sign-in, and its parameters are ones that can be computed."""
    lanes = recipe.lanes if isinstance(recipe, Argon2id) else recipe.parallel
    return (
        recipe.memory <= MOST_MEMORY
        and recipe.alone <= MOST_UNITS
        and 0 < lanes <= MOST_PARALLEL
        and len(recipe.digest) >= LEAST_DIGEST
        and _is_sound(recipe)
    )


def _is_sound(recipe: Argon2id | Scrypt) -> bool:
    if isinstance(recipe, Argon2id):
        return recipe.passes > 0 and recipe.memory_kib >= 8 * recipe.lanes and len(recipe.salt) >= 8  # noqa: PLR2004 - RFC 9106
    return recipe.cost > 1 and recipe.cost & (recipe.cost - 1) == 0 and recipe.block > 0


def _raw(text: str) -> bytes:
    """Base64 without padding, as PHC's form has it."""
    return b64decode(text + "=" * (-len(text) % 4), validate=True)
