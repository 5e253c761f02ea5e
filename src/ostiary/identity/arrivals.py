"""What arrived with a sign-in elsewhere, for the operator: the names of claims, what was made of them; never what they said."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from ostiary.identity import audit
from ostiary.identity.context import Context

if TYPE_CHECKING:
    from ostiary.identity.federated import Assertion

METHOD, CLAIMS = "method", "claims"
MADE_OF = ("address", "name", "username", "picture", "role")
MOST_NAMES = 60
LONGEST_NAME = 120
MOST_REFUSALS = 10
LOOKED_THROUGH = 1000
NONE = "no single claim"
"""What something was taken from that was put together, or came by another way than the claims."""
_EVENTS = frozenset({audit.Event.SIGNED_IN, audit.Event.FACTOR_ASKED, audit.Event.SIGN_IN_REFUSED})


class Seen(msgspec.Struct):
    """A way in, as the audit knows it. Times in microseconds, the newest first."""

    at: int | None = None
    """When somebody came in last."""
    claims_at: int | None = None
    claims: list[str] = msgspec.field(default_factory=list)
    made: dict[str, str] = msgspec.field(default_factory=dict)
    """What → the claim that it was taken from."""
    refusals: list[tuple[int, str]] = msgspec.field(default_factory=list)


def detail(assertion: Assertion) -> dict[str, str]:
    """What the audit keeps of an assertion."""
    claims = assertion.claims
    word = "verified" if assertion.is_email_verified else "not verified"
    made = {
        "address": f"{_source(claims, assertion.email)}, {word}" if assertion.email else "",
        "name": _source(claims, assertion.name),
        "username": _source(claims, assertion.username),
        "picture": _source(claims, assertion.avatar),
        "role": assertion.role or "",
    }
    return {METHOD: assertion.provider, CLAIMS: names_of(claims), **{what: of for what, of in made.items() if of}}


def names_of(claims: Iterable[str]) -> str:
    """The names in one text, blanks between: what no terminal should be sent, and what is too much, is left out."""
    shown = sorted("_".join(name.split())[:LONGEST_NAME] for name in claims if name.isprintable() and name.strip())
    return " ".join(shown[:MOST_NAMES])


async def seen(ctx: Context) -> dict[str, Seen]:
    """Every way in that people came by, or tried to, lately."""
    found: dict[str, Seen] = {}
    for event in await audit.latest(ctx, event="account:sign_in:%", most=LOOKED_THROUGH):
        kept: dict[str, Any] = json.loads(event.detail or "{}")
        if event.event not in _EVENTS or METHOD not in kept:
            continue
        one = found.setdefault(kept[METHOD], Seen())
        if event.event == audit.Event.SIGN_IN_REFUSED:
            one.refusals.append((event.at, event.reason or ""))
        elif one.at is None:
            one.at = event.at
        if CLAIMS in kept and one.claims_at is None:
            one.claims_at, one.claims = event.at, kept[CLAIMS].split()
            one.made = {what: kept[what] for what in MADE_OF if what in kept}
    return found


def _source(claims: Mapping[str, Any], value: str | None) -> str:
    """The claim that says this, or NONE. A subject that is a name too is the last to be thought of."""
    if not value:
        return ""
    names = sorted(claims, key=lambda name: name == "sub")
    return next((name for name in names if claims[name] in (value, [value])), NONE)
