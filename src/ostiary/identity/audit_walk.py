"""Walking along the audit's chain row by row: what fits its place, and what does not."""

from __future__ import annotations

import hmac
from typing import Literal

import msgspec

from ostiary.identity.audit import AuditEvent, seal_of
from ostiary.identity.context import Services

Kind = Literal["removed", "changed", "moved", "foreign", "ends"]


class Place(msgspec.Struct, frozen=True):
    """A row's number in the chain, its link (hex), and a moment (microseconds)."""

    position: int
    link: str
    at: int

    def __str__(self) -> str:
        return f"{self.position}:{self.link}"


class Finding(msgspec.Struct, frozen=True):
    """What does not fit: rows by number, or by id where they have none; it happened to rows written between these moments."""

    kind: Kind
    first: int | None = None
    last: int | None = None
    after: int | None = None
    before: int | None = None
    rows: tuple[str, ...] = ()
    reason: str = ""


MOST_NAMED = 20
"""So many rows of one finding are named by their ids."""


def link_of(services: Services, position: int, previous: bytes, seal: bytes) -> bytes:
    """The keyed digest that binds a row's seal to its number and to the row before it."""
    return services.digester.digest("audit link", f"{position}:{previous.hex()}:{seal.hex()}")


def is_sealed(services: Services, row: AuditEvent) -> bool:
    """Whether the row says what this deployment wrote."""
    return row.seal is not None and hmac.compare_digest(row.seal, seal_of(services, row))


class Walk:
    """Goes from one place of the chain to later ones. `findings` grow on the way; what follows a misfit is still checked."""

    def __init__(self, services: Services, start: Place | None) -> None:
        self.findings: list[Finding] = []
        self.checked = 0
        self.place = start or Place(0, "", 0)
        self._services = services
        self._is_begun = start is not None
        self._links: tuple[bytes, ...] = (bytes.fromhex(start.link),) if start is not None else ()

    def resume(self, floor: Place) -> None:
        """Go on from the chain's floor, which a sweep has moved beyond where we are."""
        self.place, self._links = floor, (bytes.fromhex(floor.link),)

    def step(self, row: AuditEvent) -> None:
        """Take the row with the next number."""
        position, link = row.position or 0, row.link or b""
        self.checked += 1
        if self._is_begun and position <= self.place.position:
            self._note("foreign", row)
            return
        if self._is_begun and position > self.place.position + 1:
            gap = Finding("removed", self.place.position + 1, position - 1, self.place.at, row.at)
            self.findings.append(gap)
            self._links = ()
        expected = [link_of(self._services, position, each, row.seal or b"") for each in self._links]
        if not is_sealed(self._services, row):
            self._note("changed", row)
        elif expected and link not in expected:
            self._note("moved", row)
        elif self.findings and self.findings[-1].before is None:
            self.findings[-1] = msgspec.structs.replace(self.findings[-1], before=row.at)
        # A link that was changed must not make the rows behind it look wrong: they may follow what stands there or what should.
        self._links = (link, *expected[:1])
        self._is_begun = True
        self.place = Place(position, link.hex(), row.at)

    def _note(self, kind: Kind, row: AuditEvent) -> None:
        position = row.position
        found = self.findings[-1] if self.findings else None
        if found is not None and found.kind == kind and found.last is not None and position == found.last + 1:
            named = (*found.rows, row.id)[:MOST_NAMED]
            self.findings[-1] = msgspec.structs.replace(found, last=position, rows=named)
        else:
            self.findings.append(Finding(kind, position, position, self.place.at, None, (row.id,)))
