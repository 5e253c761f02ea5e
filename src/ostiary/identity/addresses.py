"""Which texts are addresses that a password account may have: LibreChat's rule, for its clients ask for the address again."""

from __future__ import annotations

import regex

MOST_CHARACTERS = 254
"""The longest address that mail can carry (RFC 5321 section 4.5.3.1.3)."""

_EMAIL = regex.compile(
    r"(?!\.)(?!.*\.\.)[A-Z0-9_'+\-.]*[A-Z0-9_+\-]@(?:[A-Z0-9][A-Z0-9\-]*\.)+[A-Z]{2,}",
    regex.IGNORECASE | regex.ASCII,
)


def is_usual(email: str) -> bool:
    """Whether the text is an address as nearly all are: ASCII, without quotes, in a domain of two labels or more."""
    return len(email) <= MOST_CHARACTERS and bool(_EMAIL.fullmatch(email))
