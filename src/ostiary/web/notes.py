"""Notes: what a page has to remember for the next one, sealed in a short-lived cookie of the browser, so not in an address."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode

import msgspec

from ostiary.crypto.sealing import SealBrokenError
from ostiary.http import cookies
from ostiary.http.calls import Call, Header
from ostiary.identity.context import MICROSECONDS

SECONDS = 15 * 60


class _Note(msgspec.Struct, frozen=True):
    until: int
    values: dict[str, str]


def kept(call: Call, name: str, values: dict[str, str], seconds: int = SECONDS) -> Header:
    """The cookie that holds the note."""
    note = _Note(call.services.clock() + seconds * MICROSECONDS, values)
    sealed = call.services.sealer.seal(msgspec.json.encode(note), f"note {name}")
    return cookies.kept(call, _cookie(name), urlsafe_b64encode(sealed).decode().rstrip("="), seconds)


def read(call: Call, name: str) -> dict[str, str]:
    """What the note holds; nothing when there is none, it is too old, or we did not write it."""
    text = cookies.read(call, _cookie(name))
    if not text:
        return {}
    try:
        sealed = urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
        note = msgspec.json.decode(call.services.sealer.open(sealed, f"note {name}"), type=_Note)
    except (ValueError, SealBrokenError, msgspec.DecodeError):
        return {}
    return note.values if note.until > call.services.clock() else {}


def dropped(call: Call, name: str) -> Header:
    """The cookie, taken away."""
    return cookies.dropped(call, _cookie(name))


def _cookie(name: str) -> str:
    return f"ostiary_note_{name}"
