"""Secrets at rest: AES-256-GCM with a version byte, bound to the place where the value is stored."""

from __future__ import annotations

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.padding import PKCS7

VERSION = 1
NONCE_BYTES = 12


class SealBrokenError(Exception):
    """The sealed value was changed, moved to another place, or sealed by another key."""


class Sealer:
    """Seals and opens short values. `place` names the row and column, so that a value copied elsewhere does not open."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    def seal(self, value: bytes, place: str) -> bytes:
        """Version byte, nonce, ciphertext and tag."""
        nonce = os.urandom(NONCE_BYTES)
        return bytes([VERSION]) + nonce + self._cipher.encrypt(nonce, value, place.encode())

    def open(self, sealed: bytes, place: str) -> bytes:
        """The value; raises SealBrokenError."""
        if len(sealed) <= NONCE_BYTES or sealed[0] != VERSION:
            raise SealBrokenError
        try:
            return self._cipher.decrypt(sealed[1 : 1 + NONCE_BYTES], sealed[1 + NONCE_BYTES :], place.encode())
        except InvalidTag as error:
            raise SealBrokenError from error


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
