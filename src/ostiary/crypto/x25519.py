"""X25519 as LibrePass's handshake uses it (librepass-wire 5.2, RFC 7748)."""

from __future__ import annotations

import hmac

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

KEY_BYTES = 32


def private_key(raw: bytes) -> X25519PrivateKey:
    """A private key from 32 bytes; clamping happens inside (RFC 7748 section 5)."""
    return X25519PrivateKey.from_private_bytes(raw)


def public_hex(key: X25519PrivateKey) -> str:
    """The public key as 64 lower-case hex digits."""
    return key.public_key().public_bytes_raw().hex()


def decode_key(text: str) -> bytes | None:
    """32 bytes from exactly 64 hex digits in either case, or None."""
    if len(text) != 2 * KEY_BYTES or not text.isascii() or not text.isalnum():
        return None
    try:
        return bytes.fromhex(text)
    except ValueError:
        return None


def agree(key: X25519PrivateKey, peer: bytes) -> bytes | None:
    """The shared secret, or None for a low-order peer key: its secret would be zero for every server key.

    Whoever registered such a key could be impersonated by anyone who sends 32 zero bytes (librepass-wire 5.2, W16).
    """
    try:
        return key.exchange(X25519PublicKey.from_public_bytes(peer))
    except ValueError:
        return None


def canonical(peer: bytes) -> bytes:
    """The one spelling of a public key: bit 255 cleared and reduced modulo p (RFC 7748 section 5)."""
    p = 2**255 - 19
    value = int.from_bytes(peer, "little") & (2**255 - 1)
    return (value % p).to_bytes(KEY_BYTES, "little")


def matches(secret: bytes | None, presented: bytes | None) -> bool:
    """Constant-time comparison; an all-zero or missing secret never matches."""
    expected = secret if secret is not None else b"\0" * KEY_BYTES
    equal = hmac.compare_digest(expected, presented if presented is not None else b"\1" * KEY_BYTES)
    return equal and secret is not None and any(secret)
