"""Signed tokens of our own: compact JWS with HS256 and claims as payload (RFC 7515 section 7.1, RFC 7519)."""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64decode
from binascii import b2a_base64
from collections import OrderedDict
from typing import Annotated, Any, Literal

import msgspec

from ostiary.crypto.mac import Mac

ALGORITHM = "HS256"
MOST_CHARACTERS = 4096
MOST_REMEMBERED = 1024
"""Of one secret; 1.3 KB each. What was used longest ago goes first."""
_URL_SAFE = bytes.maketrans(b"+/", b"-_")


def _encoded(raw: bytes) -> bytes:
    """Base64 as RFC 7515 section 2 has it."""
    return b2a_base64(raw, newline=False).translate(_URL_SAFE).rstrip(b"=")


_HEADER = _encoded(b'{"alg":"HS256","typ":"JWT"}') + b"."
_OWN_HEADER = _HEADER.decode("ascii")
_MOST_HEADER = 512

Flaw = Literal["malformed", "unsigned", "signature", "algorithm", "invalid", "expired", "invalid_exp"]


_URL = Annotated[str, msgspec.Meta(pattern="^https?://")]


class TokenError(Exception):
    """Not a token of ours in force; `flaw` says why."""

    def __init__(self, flaw: Flaw) -> None:
        super().__init__(flaw)
        self.flaw: Flaw = flaw


class _Header(msgspec.Struct, forbid_unknown_fields=True):
    """What a header may say (RFC 7515 section 4.1): who signs with our secret elsewhere may write one of its own.

    Nothing of it chooses a key. `crit` is not in the list: whatever must be understood is not (section 4.1.11).
    """

    alg: str
    typ: str = ""
    cty: str = ""
    kid: str = ""
    jku: _URL = ""
    jwk: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET
    x5u: _URL = ""
    x5c: list[str] | msgspec.UnsetType = msgspec.UNSET
    x5t: str = ""
    x5t_s256: str = msgspec.field(default="", name="x5t#S256")
    b64: Literal[True] = True


class Signer:
    """Makes and checks tokens under one secret.

    What was signed or checked here lately is remembered by its text, so that a token used again costs a look-up. Only the
    signature is remembered: times are looked at on every use, and so is whatever else the caller asks of the claims.
    """

    def __init__(self, secret: bytes) -> None:
        # HS256 is HMAC with SHA-256 (RFC 7518 section 3.2).
        self._mac = Mac(secret)
        self._remembered: OrderedDict[str, dict[str, Any]] = OrderedDict()

    def sign(self, claims: dict[str, Any]) -> str:
        """The token. Its header never changes, so that only the payload is written and signed."""
        signed = _HEADER + _encoded(msgspec.json.encode(claims))
        token = (signed + b"." + _encoded(self._mac(signed))).decode("ascii")
        self._remember(token, claims)
        return token

    def claims(self, token: str, now: int) -> dict[str, Any]:
        """The claims of a token that has not expired at `now` (microseconds). Raises TokenError."""
        claims = self._remembered.get(token)
        if claims is None:
            claims = self._checked(token)
            self._remember(token, claims)
        else:
            self._remembered.move_to_end(token)
        expires = claims.get("exp")
        if isinstance(expires, bool) or not isinstance(expires, int | float):
            raise TokenError("invalid_exp")
        if expires <= now / 1_000_000:
            raise TokenError("expired")
        return claims

    def _remember(self, token: str, claims: dict[str, Any]) -> None:
        self._remembered[token] = claims
        if len(self._remembered) > MOST_REMEMBERED:
            self._remembered.popitem(last=False)

    def _checked(self, token: str) -> dict[str, Any]:
        parts = token.split(".")
        if len(parts) != 3 or len(token) > MOST_CHARACTERS or not token.isascii():  # noqa: PLR2004 - header, payload, signature
            raise TokenError("malformed")
        if not parts[2]:
            raise TokenError("unsigned")
        if "=" in token:
            raise TokenError("invalid")
        header, payload, signature = parts
        try:
            algorithm = ALGORITHM if token.startswith(_OWN_HEADER) else _algorithm_of(header)
            text = _decoded(payload)
        except (ValueError, RecursionError) as error:
            raise TokenError("invalid") from error
        if algorithm != ALGORITHM:
            raise TokenError("algorithm")
        made = _encoded(self._mac(f"{header}.{payload}".encode("ascii")))
        if not hmac.compare_digest(made, signature.encode("ascii")):
            raise TokenError("signature")
        try:
            claims = msgspec.json.decode(text)
        except (ValueError, RecursionError) as error:
            raise TokenError("invalid") from error
        if not isinstance(claims, dict):
            raise TokenError("invalid")
        return claims


def _algorithm_of(header: str) -> str:
    """Raises ValueError."""
    if len(header) > _MOST_HEADER:
        raise ValueError
    return msgspec.json.decode(_decoded(header), type=_Header).alg


def _decoded(text: str) -> bytes:
    """Base64 as RFC 7515 section 2 has it, and in the one way that these bytes are written. Raises ValueError."""
    decoded = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if _encoded(decoded) != text.encode("ascii"):
        raise ValueError
    return decoded
