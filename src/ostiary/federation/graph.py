"""Microsoft Graph on behalf of the signed-in owner (librechat-wire 10)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from ostiary.federation import renewal
from ostiary.federation.oidc import OpenIDProvider
from ostiary.federation.token_cache import MARGIN, SECOND, CachedToken
from ostiary.identity import provider_sessions
from ostiary.identity.context import Client, Services, begin
from ostiary.identity.provider_sessions import Grant
from ostiary.identity.refusals import FederationRefused

GRAPH = "https://graph.microsoft.com/"
RETRY_SECONDS = 0.3
LONGEST_LIFE = 86400
_PASSING = {f"provider_status_{status}" for status in (429, 500, 502, 503, 504)} | {"provider_unreachable"}


async def token(services: Services, client: Client, provider: OpenIDProvider, session_id: str, scopes: str) -> CachedToken:
    """A Graph token in force. Raises FederationRefused: `no_grant` when the provider's tokens are not kept, else why not."""
    async with provider.tokens.turn(session_id):
        found = provider.tokens.find(session_id, scopes)
        if found is None:
            grant = await _grant(services, client, provider, session_id)
            found = _read(await _exchanged(provider, grant.access_token, scopes), services.clock())
            provider.tokens.keep(session_id, scopes, found)
        return found


def are_allowed(scopes: str, allowed: tuple[str, ...]) -> bool:
    """Whether every scope asked for is on the operator's list; Graph's own may be written short."""
    known = {_short(scope) for scope in allowed}
    return all(_short(scope) in known for scope in scopes.split())


def _short(scope: str) -> str:
    return scope.lower().removeprefix(GRAPH)


async def _grant(services: Services, client: Client, provider: OpenIDProvider, session_id: str) -> Grant:
    """The provider's tokens for this session, fresh ones in place of those that are over."""
    async with begin(services, client) as ctx:
        row = await provider_sessions.of_session(ctx, session_id)
    if row is None or row.provider != provider.name or row.dead_at is not None:
        raise FederationRefused("no_grant")
    grant = provider_sessions.grant_of(ctx, row)
    if not grant.access_token:
        raise FederationRefused("no_grant")
    if grant.expires_at - MARGIN > ctx.now or not grant.refresh_token:
        return grant
    return await renewal.renewed(services, provider, row)


async def _exchanged(provider: OpenIDProvider, access_token: str, scopes: str) -> Mapping[str, Any]:
    """One more try after trouble that passes (section 10)."""
    try:
        return await provider.on_behalf(access_token, scopes)
    except FederationRefused as refusal:
        if refusal.reason not in _PASSING:
            raise
    await asyncio.sleep(RETRY_SECONDS)
    return await provider.on_behalf(access_token, scopes)


def _read(answer: Mapping[str, Any], now: int) -> CachedToken:
    text, seconds = answer.get("access_token"), answer.get("expires_in", 3600)
    if not isinstance(text, str) or not text or not isinstance(seconds, int | float) or isinstance(seconds, bool):
        raise FederationRefused("no_access_token")
    return CachedToken(text, now + int(min(max(seconds, 0), LONGEST_LIFE)) * SECOND)
