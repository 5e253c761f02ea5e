"""JWTs that nobody issued: signed right or wrong, with whatever header."""

from __future__ import annotations

import hmac
import json
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from typing import Any

HS256 = {"alg": "HS256", "typ": "JWT"}


def part(value: object) -> str:
    """One part of a JWT."""
    return urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def signed(claims: object, secret: bytes, header: Mapping[str, Any] = HS256, digest: str = "sha256") -> str:
    """A JWT signed with this secret."""
    text = f"{part(dict(header))}.{part(claims)}"
    mac = urlsafe_b64encode(hmac.digest(secret, text.encode(), digest)).rstrip(b"=").decode()
    return f"{text}.{mac}"
