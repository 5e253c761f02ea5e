"""Handshake keys are derived, not kept: the server's X25519 key of an epoch is HKDF(root key, epoch number).

The same on every node and after a restart, gone after two periods; so a shared key captured by someone dies with its period.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from ostiary.crypto import x25519

MOST_KEPT = 512


class ServerKey(msgspec.Struct, frozen=True):
    """One epoch's key."""

    epoch: int
    private: X25519PrivateKey
    public: str
    """64 lower-case hex digits."""


class Handshake:
    """The server's keys. `derive` is the root key's derivation by purpose; `period` is microseconds."""

    def __init__(self, derive: Callable[[str], bytes], period: int) -> None:
        self._first = derive
        self._later: Sequence[tuple[int, Callable[[str], bytes]]] = ()
        self.period = period
        self._kept: dict[int, ServerKey] = {}

    def use(self, later: Sequence[tuple[int, Callable[[str], bytes]]]) -> None:
        """Take roots that came after the first, the oldest first, each with the moment from which on epochs begin with it.

        An epoch that has begun keeps its key: clients hold its public part.
        """
        self._later = later
        self._kept.clear()

    def current(self, now: int) -> ServerKey:
        """The key to hand out."""
        return self.of_epoch(now // self.period)

    def accepted(self, now: int) -> tuple[ServerKey, ServerKey]:
        """The keys that a shared key may have been made with: this period's and the one before."""
        epoch = now // self.period
        return self.of_epoch(epoch), self.of_epoch(epoch - 1)

    def of_epoch(self, epoch: int) -> ServerKey:
        """The key of any epoch."""
        found = self._kept.get(epoch)
        if found is None:
            if len(self._kept) >= MOST_KEPT:
                self._kept.clear()
            begins = epoch * self.period
            derive = next((later for since, later in reversed(self._later) if since <= begins), self._first)
            private = x25519.private_key(derive(f"librepass handshake {epoch}"))
            found = self._kept[epoch] = ServerKey(epoch, private, x25519.public_hex(private))
        return found
