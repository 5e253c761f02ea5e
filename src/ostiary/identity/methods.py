"""Methods: first ways in. A proof is what they present now; its method checks it and changes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Protocol

import msgspec

from ostiary.identity.accounts import Candidate
from ostiary.identity.context import Context

NOTHING: Mapping[str, str] = MappingProxyType({})


class Verified(msgspec.Struct, frozen=True):
    """A right proof: whose it is, how they proved it (RFC 8176), and what the session should remember of it."""

    candidate: Candidate
    amr: tuple[str, ...]
    renewed_config: str | None = None
    """The same credential stored better, if it should be."""
    handshake_epoch: int | None = None
    detail: Mapping[str, str] = NOTHING
    """What the audit should say of it besides: never a value that is secret."""


class Proof(Protocol):
    """Something presented under an identifier."""

    @property
    def email(self) -> str:
        """The identifier."""
        ...


class Method(Protocol):
    """A first way in."""

    kind: str
    """The credential that it checks against."""

    async def verify(self, ctx: Context, candidate: Candidate | None, proof: Any) -> Verified:  # noqa: ANN401 - each its own
        """Check, with the same work for every candidate, and change nothing. Raises ProofRefused."""
        ...
