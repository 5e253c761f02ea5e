"""Sessions that an OpenID provider vouched for: what ends with them, and where a browser ends the provider's own session."""

from __future__ import annotations

from urllib.parse import urlencode, urlsplit

from ostiary.federation.oidc import OpenIDProvider
from ostiary.identity import provider_sessions
from ostiary.identity.accounts import Account
from ostiary.identity.context import Context
from ostiary.identity.provider_sessions import Grant
from ostiary.identity.refusals import FederationRefused
from ostiary.identity.sessions import Principal
from ostiary.settings import Settings

Vouched = tuple[OpenIDProvider, Account, Grant, str]


async def of(ctx: Context, who: Principal) -> Vouched | None:
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


async def logout_url(settings: Settings, by: Vouched | None) -> str | None:
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
    back = provider.settings.post_logout_url or f"{settings.server.public_client_url}/login"
    asked = {"post_logout_redirect_uri": back}
    if not grant.id_token:
        return _with(endpoint, {**asked, "client_id": provider.client_id})
    hinted = _with(endpoint, {**asked, "id_token_hint": grant.id_token})
    if len(hinted) <= provider.settings.max_logout_url:
        return hinted
    hint = account.email or account.username or subject
    return _with(endpoint, {**asked, "logout_hint": hint, "client_id": provider.client_id})


def _with(endpoint: str, parameters: dict[str, str]) -> str:
    separator = "&" if urlsplit(endpoint).query else "?"
    return f"{endpoint}{separator}{urlencode(parameters)}"
