"""Secrets at rest: AES-256-GCM with a version byte, bound to the place where the value is stored."""

from __future__ import annotations

import os
from collections.abc import Mapping

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.padding import PKCS7

FIRST = 1
"""Version byte of what the first key sealed: nonce, ciphertext and tag follow."""
NUMBERED = 2
"""Version byte of what a later key sealed: its number follows, then the same."""
NUMBER_BYTES = 4
NONCE_BYTES = 12


class SealBrokenError(Exception):
    """The sealed value was changed, moved to another place, or sealed by another key."""


class Sealer:
    """Seals and opens short values. `place` names the row and column, so that a value copied elsewhere does not open.

    The key given opens what it sealed for as long as it is given. Keys that came after it have a number, and join by `use`.
    """

    def __init__(self, key: bytes) -> None:
        self._ciphers = {0: AESGCM(key)}
        self.number = 0
        """The key that seals."""

    def use(self, later: Mapping[int, bytes], number: int) -> None:
        """Open with these keys as well as with the first, and seal with the one of this number (0: the first)."""
        self._ciphers = {0: self._ciphers[0], **{each: AESGCM(key) for each, key in later.items()}}
        self.number = number

    def seal(self, value: bytes, place: str) -> bytes:
        """Version byte, the key's number, nonce, ciphertext and tag."""
        nonce = os.urandom(NONCE_BYTES)
        return header(self.number) + nonce + self._ciphers[self.number].encrypt(nonce, value, place.encode())

    def open(self, sealed: bytes, place: str) -> bytes:
        """The value; raises SealBrokenError."""
        number = number_of(sealed)
        if number not in self._ciphers:
            raise SealBrokenError
        begin = len(header(number))
        if len(sealed) <= begin + NONCE_BYTES:
            raise SealBrokenError
        nonce, rest = sealed[begin : begin + NONCE_BYTES], sealed[begin + NONCE_BYTES :]
        try:
            return self._ciphers[number].decrypt(nonce, rest, place.encode())
        except InvalidTag as error:
            raise SealBrokenError from error


def header(number: int) -> bytes:
    """What a value sealed by the key of this number begins with."""
    return bytes([NUMBERED]) + number.to_bytes(NUMBER_BYTES, "big") if number else bytes([FIRST])


def number_of(sealed: bytes) -> int:
    """The number of the key that sealed this; -1 for what no key sealed."""
    if sealed[:1] == bytes([FIRST]):
        return 0
    if sealed[:1] == bytes([NUMBERED]) and len(sealed) > NUMBER_BYTES:
        return int.from_bytes(sealed[1 : 1 + NUMBER_BYTES], "big") or -1
    return -1


def open_librechat(stored: str, creds_key: bytes) -> str:
    """A TOTP secret as LibreChat stores it (librechat-wire 3.7: `v3:` AES-CTR, v2 AES-CBC, or bare); SealBrokenError."""
    parts = stored.split(":")
    if len(parts) == 1:
        return stored
    try:
        iv, body = bytes.fromhex(parts[-2]), bytes.fromhex(parts[-1])
        if parts[0] == "v3":
            decryptor = Cipher(algorithms.AES(creds_key), modes.CTR(iv)).decryptor()
            return (decryptor.update(body) + decryptor.finalize()).decode("ascii")
        decryptor = Cipher(algorithms.AES(creds_key), modes.CBC(iv)).decryptor()
        padding = PKCS7(128).unpadder()
        padded = decryptor.update(body) + decryptor.finalize()
        return (padding.update(padded) + padding.finalize()).decode("ascii")
    except ValueError as error:
        raise SealBrokenError from error
