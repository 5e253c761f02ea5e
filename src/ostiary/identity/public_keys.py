"""Key accounts: the password never reaches the server; the client proves that it holds the X25519 key derived from it."""

from __future__ import annotations

import msgspec

from ostiary.crypto import x25519
from ostiary.crypto.handshake import ServerKey
from ostiary.identity import credentials
from ostiary.identity.accounts import Candidate
from ostiary.identity.context import Context
from ostiary.identity.methods import Verified
from ostiary.identity.refusals import KeyRefused, ParametersRefused, ProofRefused
from ostiary.identity.sessions import Session

DECOY = bytes([9]) + bytes(31)
"""A public key to agree with where there is none: the base point (RFC 7748 section 4.1)."""


class Parameters(msgspec.Struct, frozen=True):
    """Argon2id on the client: lanes, KiB, passes. Clients hard-code these defaults (librepass-wire 6.2)."""

    parallelism: int = 3
    memory: int = 65536
    iterations: int = 4

    def check(self) -> None:
        """Raises ParametersRefused outside the ranges that the original declares (librepass-wire 4)."""
        if not (1 <= self.parallelism <= 10 and 20480 <= self.memory <= 153600 and 1 <= self.iterations <= 10):  # noqa: PLR2004
            raise ParametersRefused


DEFAULTS = Parameters()


class Config(msgspec.Struct, frozen=True):
    """What a public-key credential holds."""

    public_key: str
    parameters: Parameters
    hint: str | None = None
    """Sealed, hex."""


class SharedKey(msgspec.Struct, frozen=True):
    """An e-mail and the secret shared with the server, 64 hex digits."""

    email: str
    shared_key: str


class NewKey(msgspec.Struct, frozen=True):
    """A public key and the proof that its holder has the private one."""

    public_key: str
    shared_key: str


decoded = msgspec.json.Decoder(Config).decode
"""A config as it was stored."""


def of(candidate: Candidate | None) -> Config | None:
    """The candidate's key, if it has one."""
    return decoded(candidate.config) if candidate and candidate.config else None


def accepted_keys(ctx: Context, session: Session | None = None) -> list[ServerKey]:
    """The server keys that a proof may be made with; in a session also the one that it signed in with (architecture 4)."""
    handshake = ctx.services.handshake
    keys = list(handshake.accepted(ctx.now))
    if session is not None and session.handshake_epoch is not None:
        keys.append(handshake.of_epoch(session.handshake_epoch))
    return keys


def proves(keys: list[ServerKey], public_key: bytes, shared_key: str) -> ServerKey | None:
    """The server key with which this shared key was made, or None. A proof that fails costs the same whoever it was for."""
    presented = x25519.decode_key(shared_key)
    for key in keys:
        if x25519.matches(x25519.agree(key.private, public_key), presented):
            return key
    return None


def accept_new(ctx: Context, offered: NewKey, session: Session | None = None) -> str:
    """The canonical spelling of a key that may be stored. Raises KeyRefused: malformed, low-order, or not proven."""
    raw = x25519.decode_key(offered.public_key)
    if raw is None:
        raise KeyRefused("malformed")
    if proves(accepted_keys(ctx, session), raw, offered.shared_key) is None:
        raise KeyRefused("not_proven")
    return x25519.canonical(raw).hex()


def seal_hint(ctx: Context, account_id: str, hint: str | None) -> str | None:
    """A password hint as stored."""
    return None if hint is None else ctx.services.sealer.seal(hint.encode(), f"hint {account_id}").hex()


def open_hint(ctx: Context, account_id: str, sealed: str | None) -> str | None:
    """A stored hint's text."""
    return None if sealed is None else ctx.services.sealer.open(bytes.fromhex(sealed), f"hint {account_id}").decode()


def encoded(config: Config) -> str:
    """The config as stored."""
    return msgspec.json.encode(config).decode()


class PublicKeyMethod:
    """See `Method`."""

    kind = credentials.PUBLIC_KEY

    async def verify(self, ctx: Context, candidate: Candidate | None, proof: SharedKey) -> Verified:
        config = of(candidate)
        public_key = bytes.fromhex(config.public_key) if config else DECOY
        used = proves(accepted_keys(ctx), public_key, proof.shared_key)
        if candidate is None:
            raise ProofRefused("unknown_account")
        if config is None:
            raise ProofRefused("no_key")
        if used is None:
            raise ProofRefused("mismatch")
        return Verified(candidate, ("pop",), handshake_epoch=used.epoch)
