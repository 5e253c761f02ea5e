"""What a reader of another server's accounts makes of each: a newcomer, or the reason why there is none."""

from __future__ import annotations

import re

import msgspec

from ostiary.crypto import otp
from ostiary.identity.importing import Newcomer

_BASE32 = re.compile(r"[A-Za-z2-7 -]+=*")


class Reading(msgspec.Struct, frozen=True):
    """One account of the other server. `notes` say what of it does not come along, or comes changed."""

    label: str
    newcomer: Newcomer | None
    reason: str = ""
    notes: tuple[str, ...] = ()


class UnmovableError(Exception):
    """The account would come without something that guards or opens it; the text says what."""


def totp_secret(text: str | None) -> str:
    """A secret that authenticators share with us. Raises UnmovableError: an account never comes without its second factor."""
    if not text or not _BASE32.fullmatch(text.strip()) or otp.decode_secret(text) is None:
        raise UnmovableError("its second factor cannot be read, and without it the account would stand open")
    return text.strip()
