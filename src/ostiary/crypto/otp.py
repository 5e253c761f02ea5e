"""TOTP (RFC 6238, RFC 4226) as both wires use it: HMAC-SHA-1, 30 seconds, 6 digits."""

from __future__ import annotations

import base64
import binascii
import hmac
import re
import secrets
from hashlib import sha1
from urllib.parse import quote

STEP_SECONDS = 30
WINDOW = 1
SECRET_BYTES = 20
"""160 bits (RFC 4226 section 4, requirement R6 recommends them)."""

_CODE = re.compile(r"[0-9]{6}", re.ASCII)
_FOREIGN = re.compile(r"[^A-Z2-7]")


def new_secret() -> str:
    """A fresh secret: 32 Base32 characters without padding."""
    return base64.b32encode(secrets.token_bytes(SECRET_BYTES)).decode("ascii")


def decode_secret(text: str) -> bytes | None:
    """Base32 in any case; blanks, dashes, padding and foreign characters are passed over (librepass-wire 13); None if empty."""
    cleaned = _FOREIGN.sub("", text.upper())
    usable = cleaned[: len(cleaned) - {1: 1, 3: 1, 6: 1}.get(len(cleaned) % 8, 0)]
    try:
        return base64.b32decode(usable + "=" * (-len(usable) % 8)) or None
    except binascii.Error:
        return None


def code_at(secret: bytes, step: int) -> str:
    """The code of one time step (RFC 4226 section 5.3)."""
    mac = hmac.digest(secret, step.to_bytes(8, "big"), sha1)
    offset = mac[-1] & 15
    number = int.from_bytes(mac[offset : offset + 4], "big") & 0x7FFFFFFF
    return f"{number % 1_000_000:06d}"


def matching_step(secret: bytes, code: str, unix_seconds: int) -> int | None:
    """The time step whose code this is, one step either way, or None. The same work for every code."""
    if not _CODE.fullmatch(code):
        return None
    now = unix_seconds // STEP_SECONDS
    found: int | None = None
    for step in range(now - WINDOW, now + WINDOW + 1):
        if step >= 0 and hmac.compare_digest(code_at(secret, step), code) and found is None:
            found = step
    return found


def otpauth_url(secret: str, account: str, issuer: str) -> str:
    """What a QR code for an authenticator holds; label and issuer percent-encoded, one `secret=` (librechat-wire 3.7, W-25)."""
    title = "".join(issuer.split())
    return f"otpauth://totp/{quote(title, safe='')}:{quote(account, safe='@')}?secret={secret}&issuer={quote(title, safe='')}"
