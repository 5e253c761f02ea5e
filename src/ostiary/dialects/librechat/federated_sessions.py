"""Sessions that a provider vouched for: Microsoft Graph (librechat-wire 10), signing out there as well (5.2), and from there."""

from __future__ import annotations

from urllib.parse import urlencode, urlsplit

from starlette.responses import Response

from ostiary.dialects.librechat import deps
from ostiary.federation import graph
from ostiary.federation.oidc import OpenIDProvider
from ostiary.federation.transport import GRANT_DEAD
from ostiary.http.calls import Call, json_response
from ostiary.identity import links, provider_sessions
from ostiary.identity.accounts import Account
from ostiary.identity.context import MICROSECONDS, Context
from ostiary.identity.provider_sessions import Grant
from ostiary.identity.refusals import FederationRefused
from ostiary.identity.sessions import Principal

NOTICE_LIFE = 24 * 3600 * 1_000_000
"""How long a logout token's id is remembered, so that it works once."""

Vouched = tuple[OpenIDProvider, Account, Grant, str]


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


async def vouched(ctx: Context, who: Principal) -> Vouched | None:
    """What the provider's own sign-out needs, if one vouched for this session."""
    row = await provider_sessions.of_session(ctx, who.session.id)
    provider = ctx.services.redirect_providers.get(row.provider) if row is not None else None
    if row is None or not isinstance(provider, OpenIDProvider):
        return None
    return provider, who.account, provider_sessions.grant_of(ctx, row), row.subject


async def forget(ctx: Context, session_id: str) -> None:
    """The session ended: the provider's tokens go with it, and those that came of them."""
    await provider_sessions.forget(ctx, session_id)
    for provider in ctx.services.redirect_providers.values():
        if isinstance(provider, OpenIDProvider):
            provider.tokens.purge(session_id)


async def logout_url(call: Call, by: Vouched | None) -> str | None:
    """Where the client goes to end the provider's own session too (section 5.2), by the original's rules of length."""
    if by is None or not by[0].settings.use_end_session:
        return None
    provider, account, grant, subject = by
    try:
        endpoint = (await provider.metadata()).end_session_endpoint
    except FederationRefused:
        return None
    if not endpoint:
        return None
    back = provider.settings.post_logout_url or f"{call.settings.server.public_client_url}/login"
    asked = {"post_logout_redirect_uri": back}
    if not grant.id_token:
        return _with(endpoint, {**asked, "client_id": provider.client_id})
    hinted = _with(endpoint, {**asked, "id_token_hint": grant.id_token})
    if len(hinted) <= provider.settings.max_logout_url:
        return hinted
    hint = account.email or account.username or subject
    return _with(endpoint, {**asked, "logout_hint": hint, "client_id": provider.client_id})


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


def _with(endpoint: str, parameters: dict[str, str]) -> str:
    separator = "&" if urlsplit(endpoint).query else "?"
    return f"{endpoint}{separator}{urlencode(parameters)}"
