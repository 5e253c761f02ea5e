"""HMAC with SHA-256 under a key that lives long: its two blocks are hashed once and copied for each message (RFC 2104 section 4).

The standard library's object can be copied too, by way of so many calls that they cost more than a short message does.
"""

from __future__ import annotations

from hashlib import sha256

_BLOCK = 64
_INNER, _OUTER = (bytes(byte ^ pad for byte in range(256)) for pad in (0x36, 0x5C))


class Mac:
    """`mac(message)` is `hmac.digest(key, message, "sha256")`."""

    __slots__ = ("_inner", "_outer")

    def __init__(self, key: bytes) -> None:
        block = (sha256(key).digest() if len(key) > _BLOCK else key).ljust(_BLOCK, b"\0")
        self._inner, self._outer = sha256(block.translate(_INNER)), sha256(block.translate(_OUTER))

    def __call__(self, message: bytes) -> bytes:
        """The digest, 32 bytes."""
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(message)
        outer.update(inner.digest())
        return outer.digest()
