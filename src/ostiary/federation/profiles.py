"""What a provider says of a person, brought into bounds: nothing from outside is believed to be short, clean or a text."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import msgspec

MOST_NAME = 80
MOST_EMAIL = 254
MOST_URL = 2048
MOST_SUBJECT = 255
_EMAIL = re.compile(r"[^\s@\"<>(),:;\[\]\\]{1,64}@[^\s@\"<>(),:;\[\]\\]+")


class Profile(msgspec.Struct, frozen=True):
    """Someone, as a provider describes them."""

    subject: str
    email: str | None
    is_email_verified: bool
    name: str
    username: str | None = None
    avatar: str | None = None


def email_of(value: object) -> str | None:
    """An address with exactly one `@` and nothing that could be read in two ways (librechat-wire W-51), or None."""
    if not isinstance(value, str) or len(value) > MOST_EMAIL:
        return None
    return value if _EMAIL.fullmatch(value) and value.isprintable() else None


def text_of(value: object, most: int = MOST_NAME) -> str:
    """A text without control characters, on one line, not longer than that; a list is joined by `_` (section 8.5)."""
    if isinstance(value, list):
        value = "_".join(part for part in value if isinstance(part, str))
    if not isinstance(value, str):
        return ""
    kept = "".join(character for character in value if unicodedata.category(character) not in {"Cc", "Cf", "Cs", "Zl", "Zp"})
    return kept.strip()[:most]


def subject_of(value: object) -> str:
    """An identifier at the issuer: a text, or a number written as one; empty when it is neither."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not value.isprintable() or len(value) > MOST_SUBJECT:
        return ""
    return value


def picture_of(value: object) -> str | None:
    """An address of a picture that a browser may be sent to, or None."""
    if not isinstance(value, str) or len(value) > MOST_URL or not value.isprintable():
        return None
    try:
        parts = urlsplit(value)
    except ValueError:
        return None
    # As written: where the address is split, a blank before it is passed over.
    return value if value[:8].lower() == "https://" and parts.hostname else None


def flag_of(value: object) -> bool:
    """A statement that an address is verified. Apple and Cognito write it as text."""
    return value is True or value == "true"


def full_name(claims: Mapping[str, Any]) -> str:
    """Given and family name, whichever there is of the two."""
    return " ".join(part for key in ("given_name", "family_name") if (part := text_of(claims.get(key))))[:MOST_NAME]
