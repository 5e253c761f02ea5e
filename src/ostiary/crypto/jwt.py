"""Signed tokens of our own: compact JWS with HS256 and claims as payload (RFC 7515 section 7.1, RFC 7519)."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections import OrderedDict
from typing import Any, Literal

import msgspec
from joserfc import jws
from joserfc.errors import BadSignatureError, JoseError, UnsupportedAlgorithmError
from joserfc.jwk import OctKey

from ostiary.crypto.mac import Mac

ALGORITHM = "HS256"
MOST_CHARACTERS = 4096
MOST_REMEMBERED = 1024
"""Of one secret; 1.3 KB each. What was used longest ago goes first."""
_HEADER = urlsafe_b64encode(b'{"alg":"HS256","typ":"JWT"}').rstrip(b"=") + b"."

Flaw = Literal["malformed", "unsigned", "signature", "algorithm", "invalid", "expired", "invalid_exp"]


class TokenError(Exception):
    """Not a token of ours in force; `flaw` says why."""

    def __init__(self, flaw: Flaw) -> None:
        super().__init__(flaw)
        self.flaw: Flaw = flaw


class Signer:
    """Makes and checks tokens under one secret.

    What was signed or checked here lately is remembered by its text, so that a token used again costs a look-up. Only the
    signature is remembered: times are looked at on every use, and so is whatever else the caller asks of the claims.
    """

    def __init__(self, secret: bytes) -> None:
        self._key = OctKey.import_key(secret)
        # HS256 is HMAC with SHA-256 (RFC 7518 section 3.2).
        self._mac = Mac(secret)
        self._remembered: OrderedDict[str, dict[str, Any]] = OrderedDict()

    def sign(self, claims: dict[str, Any]) -> str:
        """The token. Its header never changes, so that only the payload is written and signed."""
        signed = _HEADER + urlsafe_b64encode(msgspec.json.encode(claims)).rstrip(b"=")
        token = (signed + b"." + urlsafe_b64encode(self._mac(signed)).rstrip(b"=")).decode("ascii")
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
        try:
            opened = jws.deserialize_compact(token, self._key, algorithms=[ALGORITHM])
            claims = msgspec.json.decode(opened.payload)
        except BadSignatureError as error:
            raise TokenError("signature") from error
        except UnsupportedAlgorithmError as error:
            raise TokenError("algorithm") from error
        except (JoseError, ValueError, RecursionError, TypeError, KeyError, AttributeError) as error:
            raise TokenError("invalid") from error
        # What a header declares critical must be understood (RFC 7515 section 4.1.11); no token of ours declares anything.
        if not isinstance(claims, dict) or "crit" in opened.protected:
            raise TokenError("invalid")
        return claims
