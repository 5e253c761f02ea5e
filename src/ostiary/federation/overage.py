"""Entra's group overage: a token says of too many groups only that there are some, and Graph has them (librechat-wire 8.5)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from ostiary.federation import roles
from ostiary.federation.oauth2 import object_of
from ostiary.federation.transport import Transport
from ostiary.identity.refusals import FederationRefused
from ostiary.observability.logging import log
from ostiary.settings.providers import OpenID

CLAIM = "groups"
MEMBERSHIPS = "/v1.0/me/getMemberObjects"

Exchange = Callable[[str, str], Awaitable[Mapping[str, Any]]]


def is_over(claims: Mapping[str, Any]) -> bool:
    """Whether there are more groups than the token holds. Where to ask is the operator's word, never the token's."""
    names = claims.get("_claim_names")
    is_named = isinstance(names, Mapping) and CLAIM in names
    return CLAIM not in claims and (is_named or claims.get("hasgroups") in (True, "true"))


async def completed(
    settings: OpenID, sources: roles.Sources, exchange: Exchange, line: Transport, access_token: str
) -> roles.Sources:
    """The sources with the groups that a role is read from, where a token left them out; UNKNOWN where Graph does not tell."""
    wanted = {kind for kind, path in roles.readings(settings) if path == CLAIM and is_over(sources.get(kind, {}))}
    if not wanted:
        return sources
    groups: object = roles.UNKNOWN
    try:
        answer = await exchange(access_token, f"{settings.graph_url}/.default")
        bearer = str(answer.get("access_token") or "")
        found = object_of(await line.post_json(f"{settings.graph_url}{MEMBERSHIPS}", {"securityEnabledOnly": False}, bearer))
    except FederationRefused as refusal:
        log.warning("groups:unknown", reason=refusal.reason)
    else:
        groups = found["value"] if isinstance(found.get("value"), list) else roles.UNKNOWN
    return {kind: {**claims, CLAIM: groups} if kind in wanted else claims for kind, claims in sources.items()}
