"""Sessions that a provider vouched for: Microsoft Graph (librechat-wire 10), signing out there as well (5.2), and from there."""

from __future__ import annotations

from starlette.responses import Response

from ostiary.dialects.librechat import deps
from ostiary.federation import graph
from ostiary.federation.oidc import OpenIDProvider
from ostiary.federation.transport import GRANT_DEAD
from ostiary.http.calls import Call, json_response
from ostiary.identity import links, provider_sessions
from ostiary.identity.context import MICROSECONDS
from ostiary.identity.refusals import FederationRefused

NOTICE_LIFE = 24 * 3600 * 1_000_000
"""How long a logout token's id is remembered, so that it works once."""


async def graph_token(call: Call) -> Response:
    """Section 10's checks in their order, and the scopes that the operator allows (W-58)."""
    async with call.begin() as ctx:
        who = await deps.principal(call, ctx)
    provider = call.services.redirect_providers.get(who.account.provider)
    if not isinstance(provider, OpenIDProvider) or not provider.settings.is_configured:
        return json_response({"message": "Microsoft Graph access requires Entra ID authentication"}, 403)
    if not provider.settings.reuse_tokens:
        return json_response({"message": "SharePoint integration requires OpenID token reuse to be enabled"}, 403)
    scopes = call.query("scopes")
    if not scopes or not scopes.strip():
        return json_response({"message": "Graph API scopes are required as query parameter"}, 400)
    if not graph.are_allowed(scopes, call.settings.federation.graph_scopes):
        return json_response({"message": "These Graph API scopes are not allowed here"}, 403)
    try:
        token = await graph.token(call.services, call.client, provider, who.session.id, scopes)
    except FederationRefused as refusal:
        if refusal.reason in {"no_grant", GRANT_DEAD}:
            return json_response({"message": "No federated access token available for token exchange"}, 401)
        return json_response({"message": "Failed to obtain Microsoft Graph token"}, 500)
    lives = (token.expires_at - call.services.clock()) // MICROSECONDS
    return json_response({"access_token": token.access_token, "token_type": "Bearer", "expires_in": lives, "scope": scopes})


async def backchannel_logout(call: Call) -> Response:
    """The provider says that a session ended there: it ends here (OpenID Connect Back-Channel Logout 1.0 section 2.5)."""
    provider = call.services.redirect_providers.get(call.path.split("/")[2])
    if not isinstance(provider, OpenIDProvider):
        return json_response({"message": "Endpoint not found"}, 404)
    try:
        issuer, subject, sid, identifier = await provider.logout_notice(call.form().get("logout_token", ""))
    except FederationRefused as refusal:
        return json_response({"error": "invalid_request", "error_description": refusal.reason}, 400)
    async with call.begin() as ctx:
        is_first = await links.claim(ctx, "logout_token", f"{issuer} {identifier}", ctx.now + NOTICE_LIFE)
        ended = await provider_sessions.end_at_provider(ctx, provider.name, issuer, subject, sid) if is_first else []
    for session_id in ended:
        provider.tokens.purge(session_id)
    return json_response({})
