"""OPENID_REUSE_TOKENS: a provider's tokens as bearers, renewed there (librechat-wire 1.3, 5.4, 8.6).

A provider's token alone opens nothing here. With it must come the cookie `openid_user_id`, which names a live session of ours:
one that passed the one door, that this same person of this provider began, and that a sign-out, a ban or a reset ends at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.responses import Response

from ostiary.dialects.librechat import schemas, tokens
from ostiary.dialects.librechat.errors import OpenIDRefreshRefused, RefreshMalformed
from ostiary.federation import overage, renewal, roles
from ostiary.federation.oidc import OpenIDProvider
from ostiary.federation.transport import GRANT_DEAD
from ostiary.http.calls import Call, Header, json_response, text_response
from ostiary.identity import accounts, audit, provider_sessions, sessions, throttle
from ostiary.identity.context import MICROSECONDS, Context, micros
from ostiary.identity.provider_sessions import Grant, ProviderSession
from ostiary.identity.refusals import FederationRefused, RefreshReused, SessionGone
from ostiary.identity.sessions import Principal, Session

LEAST_LIFE = 30
"""Seconds that a token handed out must still have."""


def is_presented(call: Call) -> bool:
    """Whether the browser's tokens are a provider's."""
    return call.settings.reuses_tokens and call.cookie(tokens.PROVIDER) == tokens.OPENID


async def principal(call: Call, ctx: Context) -> Principal | None:
    """Who acts, when the bearer is a provider's token and all of it fits; None when it is not, or does not.

    May ask the provider for its keys: call it before the first write.
    """
    if not is_presented(call):
        return None
    token, cookie = call.bearer(), call.cookie(tokens.OPENID_USER)
    if not (token and cookie):
        return None
    try:
        family = tokens.read_openid_user(call.services, cookie, ctx.now)
    except RefreshMalformed:
        return None
    if family.tag != sessions.refresh_tag(call.services, family.session_id, family.generation):
        return None
    found = await sessions.by_id(ctx, family.session_id)
    row = await provider_sessions.of_session(ctx, family.session_id)
    if found is None or row is None or row.dead_at is not None or found.account.id != family.account_id:
        return None
    provider = _provider(call, row)
    claims = await _claims(provider, token)
    if provider is None or (claims.get("iss"), claims.get("sub")) != (row.issuer, row.subject):
        return None
    kind = "id" if token == provider_sessions.grant_of(ctx, row).id_token else "access"
    return await _with_role(ctx, provider, found, kind, claims)


async def _with_role(ctx: Context, provider: OpenIDProvider, who: Principal, kind: str, claims: Mapping[str, Any]) -> Principal:
    """The principal with the role that the bearer gives (OPENID_ROLE_SYNC_API_ENABLED); administrators stay what they are."""
    settings, account = provider.settings, who.account
    if not settings.role_sync_api or settings.role_sync_source != kind or account.role == accounts.ADMIN:
        return who
    is_left_out = settings.role_sync_claim == overage.CLAIM and overage.is_over(claims)
    role = None if is_left_out else roles.synchronized(settings, {kind: claims})
    if account.provider != provider.name or role is None or role == account.role:
        return who
    await accounts.change(ctx, account.id, "role", role)
    await audit.record(ctx, audit.Event.ROLE_CHANGED, account.id, provider.name, role=role)
    return msgspec.structs.replace(who, account=msgspec.structs.replace(account, role=role))


def is_reusable(call: Call, provider: str, grant: Grant | None) -> bool:
    """Whether a session with these tokens gets the provider's; without a refresh token it gets ordinary ones (W-47)."""
    found = call.services.redirect_providers.get(provider)
    is_reusing = isinstance(found, OpenIDProvider) and found.settings.reuse_tokens
    return is_reusing and grant is not None and bool(grant.access_token and grant.refresh_token)


def cookies(
    call: Call, session: Session, issued_at: int, provider: str, grant: Grant | None, device: str | None = None
) -> list[Header]:
    """The cookies of a sign-in: the provider's tokens where they are reused, else ours."""
    if grant is not None and is_reusable(call, provider, grant):
        return tokens.reused_cookies(call, session, issued_at, provider, grant.refresh_token, device=device)
    refresh = tokens.refresh_token(call.services, session, issued_at)
    return tokens.signed_in_cookies(call, session, refresh, device=device)


async def refresh(call: Call) -> Response:
    """Section 5.4's OpenID path: the token at hand while it is fresh, else a new one from the provider."""
    cookie = call.cookie(tokens.OPENID_USER)
    if not cookie:
        if not call.cookie(tokens.REFRESH):
            return text_response("Refresh token not provided")
        raise OpenIDRefreshRefused("no_openid_user")
    async with call.begin() as ctx:
        await throttle.take(ctx, ctx.services.rules.refresh, throttle.network(call.client.address))
        family, who = await _present(call, ctx, cookie)
        row = await provider_sessions.of_session(ctx, family.session_id)
        grant = provider_sessions.grant_of(ctx, row) if row is not None else None
    provider = _provider(call, row) if row is not None else None
    if row is None or grant is None or provider is None or not is_reusable(call, row.provider, grant):
        raise OpenIDRefreshRefused("no_grant")
    if ctx.now - row.renewed_at <= micros(provider.settings.reuse_max_age):
        if (token := await _of_provider(provider, grant, ctx.now)) is not None:
            return _answer(call, who, token)
        if not grant.id_token and grant.expires_at > ctx.now + LEAST_LIFE * MICROSECONDS:
            return _answer(call, who, tokens.access_token(call.services, who.account, who.session, ctx.now))
    try:
        grant = await renewal.renewed(call.services, provider, row)
    except FederationRefused as refusal:
        if refusal.reason == GRANT_DEAD:
            return await _ended(call, who)
        if (token := await _of_provider(provider, grant, ctx.now)) is None:
            raise OpenIDRefreshRefused(refusal.reason) from refusal
        # The provider does not answer: what it gave lasts a while yet.
        return _answer(call, who, token)
    async with call.begin() as ctx:
        refreshed = await _rotated(ctx, family, advance=True)
    session = refreshed.principal.session
    headers = tokens.reused_cookies(call, session, refreshed.issued_at, row.provider, grant.refresh_token)
    return _answer(call, refreshed.principal, await _token(call, provider, grant, refreshed.principal, ctx.now), headers)


async def _present(call: Call, ctx: Context, cookie: str) -> tuple[tokens.Family, Principal]:
    try:
        family = tokens.read_openid_user(call.services, cookie, ctx.now)
    except RefreshMalformed as refusal:
        raise OpenIDRefreshRefused(refusal.reason) from refusal
    return family, (await _rotated(ctx, family, advance=False)).principal


async def _rotated(ctx: Context, family: tokens.Family, *, advance: bool) -> sessions.Refreshed:
    try:
        return await sessions.rotate(ctx, *_in_order(family), advance=advance)
    except (SessionGone, RefreshReused) as refusal:
        raise OpenIDRefreshRefused(refusal.reason or refusal.code) from refusal


def _in_order(family: tokens.Family) -> tuple[str, str, int, str]:
    return family.session_id, family.account_id, family.generation, family.tag


async def _token(call: Call, provider: OpenIDProvider, grant: Grant, who: Principal, now: int) -> str:
    """The provider's token; ours where it gives none that a bearer could be, or the client would ask for ever."""
    found = await _of_provider(provider, grant, now)
    return found or tokens.access_token(call.services, who.account, who.session, now)


async def _of_provider(provider: OpenIDProvider, grant: Grant, now: int) -> str | None:
    """Its ID token, else its access token: whichever this server would take back as a bearer, for a while yet."""
    for token in (grant.id_token, grant.access_token):
        claims = await _claims(provider, token)
        if claims.get("exp", 0) > now / MICROSECONDS + LEAST_LIFE:
            return token
    return None


async def _claims(provider: OpenIDProvider | None, token: str) -> Mapping[str, Any]:
    if provider is None:
        return {}
    try:
        return await provider.bearer(token)
    except FederationRefused:
        return {}


async def _ended(call: Call, who: Principal) -> Response:
    """The provider renews nothing any more: its session is over, and so is ours that stands on it."""
    async with call.begin() as ctx:
        await provider_sessions.forget(ctx, who.session.id)
        if await sessions.end_by_id(ctx, who.account.id, who.session.id):
            await audit.record(ctx, audit.Event.SIGNED_OUT, who.account.id, "provider", session=who.session.id)
    return text_response("Invalid OpenID refresh token", 403, tokens.cleared_cookies(call))


def _provider(call: Call, row: ProviderSession) -> OpenIDProvider | None:
    found = call.services.redirect_providers.get(row.provider)
    return found if isinstance(found, OpenIDProvider) and found.settings.reuse_tokens else None


def _answer(call: Call, who: Principal, token: str, headers: list[Header] | None = None) -> Response:
    return json_response({"token": token, "user": schemas.user_json(who.account, call.settings)}, 200, headers or [])
