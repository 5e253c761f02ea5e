"""A signer whose secret can be replaced while tokens under earlier ones are still out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ostiary.crypto.jwt import Signer, TokenError


class RotatingSigner:
    """Signs with one secret; checks with it, and with the others that are still good."""

    def __init__(self, secret: bytes) -> None:
        self._current = Signer(secret)
        self._known = {secret: self._current}
        self._others: Sequence[Signer] = ()

    def use(self, secret: bytes, others: Sequence[bytes]) -> None:
        """Sign with this from now on; a token under a secret that is neither this nor one of the others is refused."""
        self._known = {each: self._known.get(each) or Signer(each) for each in (secret, *others)}
        self._current, *self._others = self._known.values()

    def sign(self, claims: dict[str, Any]) -> str:
        """The token."""
        return self._current.sign(claims)

    def claims(self, token: str, now: int) -> dict[str, Any]:
        """The claims of a token that has not expired at `now` (microseconds). Raises TokenError."""
        try:
            return self._current.claims(token, now)
        except TokenError as error:
            if error.flaw != "signature" or not self._others:
                raise
        for other in self._others[:-1]:
            try:
                return other.claims(token, now)
            except TokenError as error:
                if error.flaw != "signature":
                    raise
        return self._others[-1].claims(token, now)
