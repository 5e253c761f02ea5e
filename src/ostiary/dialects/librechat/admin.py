"""`/api/admin`: sign-in of the administration panel (librechat-wire 12)."""

from __future__ import annotations

import hmac
import re
from datetime import timedelta
from hashlib import sha256

import msgspec
from starlette.responses import Response

from ostiary.crypto.tokens import random_hex
from ostiary.dialects.librechat import deps, oauth, schemas, tokens
from ostiary.dialects.librechat.auth import signed_in, ticket
from ostiary.dialects.librechat.errors import AdminOnly, RefreshMalformed
from ostiary.federation import renewal, vouched
from ostiary.federation.oidc import OpenIDProvider
from ostiary.federation.transport import GRANT_DEAD
from ostiary.http.calls import Call, MalformedBodyError, json_response, redirect
from ostiary.identity import accounts, bans, credentials, links, provider_sessions, sessions, sign_in, throttle, violations
from ostiary.identity.context import Context
from ostiary.identity.links import LinkStyle
from ostiary.identity.passwords import Password
from ostiary.identity.refusals import Banned, FederationRefused, RefreshReused, Refusal, SessionGone
from ostiary.identity.sessions import Principal
from ostiary.identity.sign_in import FactorRequired, SignedIn
from ostiary.storage.database import UnavailableError

SESSION, CHALLENGE = "session", "challenge"
CODE = LinkStyle("admin_code", timedelta(seconds=30), random_hex, lambda *_: "")
_HEX = re.compile(r"[0-9a-fA-F]{64}")
PROVIDER_NAMES = {
    "openid": "OpenID",
    "saml": "SAML",
    "google": "Google",
    "github": "GitHub",
    "discord": "Discord",
    "facebook": "Facebook",
    "apple": "Apple",
}

REFRESH_REFUSED = {
    "no_access_token": (502, "IDP_INCOMPLETE", "The provider's answer is incomplete"),
    "no_refresh_token": (502, "IDP_INCOMPLETE", "The provider's answer is incomplete"),
    "refreshed_for_another": (401, "ISSUER_MISMATCH", "The provider's tokens are not this user's"),
}
"""Why the provider's answer does not do (section 12)."""


async def login(call: Call) -> Response:
    """The same chain as the ordinary sign-in, then only administrators; a refused one gets no session."""
    body = deps.read_body(call)
    secret = random_hex()
    async with call.begin() as ctx:
        call.show_limit(await violations.take_sign_in(ctx, body.get("email")))
        await bans.check_arrival(ctx, body.get("email"), credentials.PASSWORD)
        email, password = schemas.login_fields(body, ctx.settings)
        outcome = await sign_in.sign_in(ctx, Password(email, password), ticket(call, secret))
        if outcome.account.role != accounts.ADMIN:
            if isinstance(outcome, sign_in.SignedIn):
                await sessions.end(ctx, outcome.session)
            raise AdminOnly
    return signed_in(call, ctx, outcome, secret)


async def verify(call: Call) -> Response:
    """Whether the bearer is an administrator's."""
    async with call.begin() as ctx:
        account = (await deps.principal(call, ctx)).account
    if account.role != accounts.ADMIN:
        raise AdminOnly
    return json_response({"user": schemas.user_json(account, call.settings)})


async def provider_check(call: Call) -> Response:
    """Whether the panel may offer OpenID."""
    if "openid" not in call.services.redirect_providers:
        return _not_configured("openid")
    return json_response({"message": "OpenID check successful"})


async def provider_start(call: Call) -> Response:
    """To the provider, for somebody who has an account here. The panel's challenge comes back with its code."""
    name = _provider(call)
    if name not in call.services.redirect_providers:
        return _not_configured(name)
    challenge = call.query("code_challenge") or ""
    try:
        if challenge and not _HEX.fullmatch(challenge):
            raise FederationRefused("challenge_malformed")
        url, cookie = await oauth.begin_flow(call, name, path=oauth.ADMIN_PATH, memory={CHALLENGE: challenge})
    except Banned:
        raise
    except Refusal:
        return redirect(_failure(call, name))
    return oauth.moved(url, [cookie], oauth.start_status(call, name))


async def provider_return(call: Call) -> Response:
    """Back with a code for the panel; only administrators, and no account is made. A factor owed cannot be asked for there."""
    name = _provider(call)
    if name not in call.services.redirect_providers:
        return _not_configured(name)
    done = oauth.flow_cookie(call, "", oauth.ADMIN_PATH, is_posted=name in oauth.POSTED)
    try:
        flow, assertion = await oauth.returned(call, name, oauth.ADMIN_PATH)
        _, outcome, _ = await oauth.enter(call, oauth.provider_of(call, name), assertion, may_create=False)
        async with call.begin() as ctx:
            code = await _code(ctx, outcome, flow.memory.get(CHALLENGE, ""))
    except Banned:
        raise
    except (Refusal, MalformedBodyError, UnavailableError):
        return oauth.moved(_failure(call, name), [done])
    return oauth.moved(f"{call.settings.federation.admin_panel_url}/auth/{name}/callback?code={code}", [done])


async def exchange(call: Call) -> Response:
    """The panel's code for a token: once, within 30 seconds, from the panel's own pages, by whoever knows the verifier."""
    body = deps.read_body(call)
    code = body.get("code")
    if not code:
        return _error(400, "MISSING_CODE", "Authorization code is required")
    if not isinstance(code, str) or not _HEX.fullmatch(code):
        return _error(400, "INVALID_CODE_FORMAT", "Invalid authorization code format")
    async with call.begin() as ctx:
        link = await links.spend(ctx, CODE.purpose, code)
        kept = msgspec.json.decode(link.config, type=dict[str, str]) if link is not None else {}
        who = await sessions.by_id(ctx, kept.get(SESSION, "")) if _is_from_panel(call) else None
        verifier = body.get("code_verifier")
        is_right = not kept.get(CHALLENGE) or (
            isinstance(verifier, str) and hmac.compare_digest(sha256(verifier.encode()).hexdigest(), kept[CHALLENGE].lower())
        )
        if who is not None and not is_right:
            await sessions.end(ctx, who.session)
    if who is None or who.account.role != accounts.ADMIN:
        return _error(401, "INVALID_OR_EXPIRED_CODE", "Invalid or expired authorization code")
    if not is_right:
        return _error(400, "INVALID_VERIFIER", "Invalid code verifier")
    return _tokens(call, ctx, who, who.session.created_at)


async def refresh(call: Call) -> Response:
    """Fresh tokens for the panel's refresh token. OpenID is asked first: who lost their place there gets nothing here."""
    body = deps.read_body(call)
    given, name = body.get("refresh_token"), body.get("provider") or "openid"
    if not given or not isinstance(given, str):
        return _error(400, "MISSING_REFRESH_TOKEN", "Refresh token is required")
    if name not in ("openid", "google"):
        return _error(400, "INVALID_PROVIDER", "Unsupported provider")
    provider = call.services.redirect_providers.get(name)
    if not isinstance(provider, OpenIDProvider):
        return _error(503, f"{name.upper()}_NOT_CONFIGURED", f"{PROVIDER_NAMES[name]} configuration not found")
    if name == "openid" and not provider.settings.reuse_tokens:
        return _error(403, "TOKEN_REUSE_DISABLED", "OpenID token reuse is not enabled")
    if not _is_from_panel(call):
        return _error(403, "FORBIDDEN", "Forbidden")
    try:
        return await _refreshed(call, provider, given, body.get("user_id"))
    except (RefreshMalformed, SessionGone, RefreshReused):
        return _error(401, "REFRESH_FAILED", "Token refresh failed")
    except FederationRefused as refusal:
        return _error(*REFRESH_REFUSED.get(refusal.reason, (401, "REFRESH_FAILED", "Token refresh failed")))


async def _refreshed(call: Call, provider: OpenIDProvider, token: str, user_id: object) -> Response:
    async with call.begin() as ctx:
        await throttle.take(ctx, ctx.services.rules.refresh, throttle.network(call.client.address))
        account_id, session_id, generation, tag = tokens.read_refresh(call.services, token, ctx.now)
        who = (await sessions.rotate(ctx, session_id, account_id, generation, tag, advance=False)).principal
        row = await provider_sessions.of_session(ctx, session_id)
    if user_id and user_id != account_id:
        return _error(401, "USER_ID_MISMATCH", "User id does not match")
    if who.account.role != accounts.ADMIN:
        return _error(403, "FORBIDDEN", "Forbidden")
    if row is None or row.provider != provider.name:
        raise FederationRefused("no_grant")
    if provider.settings.reuse_tokens:
        try:
            await renewal.renewed(call.services, provider, row)
        except FederationRefused as refusal:
            if refusal.reason == GRANT_DEAD:
                async with call.begin() as ctx:
                    await vouched.forget(ctx, session_id)
                    await sessions.end(ctx, who.session)
            raise
    async with call.begin() as ctx:
        refreshed = await sessions.rotate(ctx, session_id, account_id, generation, tag)
    return _tokens(call, ctx, refreshed.principal, refreshed.issued_at)


def _tokens(call: Call, ctx: Context, who: Principal, issued_at: int) -> Response:
    lives = call.settings.sessions.access_life.total_seconds()
    return json_response(
        {
            "token": tokens.access_token(call.services, who.account, who.session, ctx.now),
            "refreshToken": tokens.refresh_token(call.services, who.session, issued_at),
            "user": schemas.user_json(who.account, call.settings),
            "expiresAt": ctx.now // 1000 + int(lives * 1000),
        }
    )


async def _code(ctx: Context, outcome: SignedIn | FactorRequired, challenge: str) -> str:
    """A code for the session. Raises AdminOnly, after ending the session, for whoever is none."""
    if not isinstance(outcome, SignedIn):
        raise AdminOnly
    if outcome.account.role != accounts.ADMIN:
        await sessions.end(ctx, outcome.session)
        raise AdminOnly
    kept = {SESSION: outcome.session.id, CHALLENGE: challenge}
    return await links.issue_token(ctx, CODE, "", None, msgspec.json.encode(kept).decode(), replace=False)


def _is_from_panel(call: Call) -> bool:
    """No browser's page but the panel's may exchange a code; a server sends no origin."""
    origin = call.header(b"origin")
    return origin is None or origin == call.settings.federation.admin_panel_url


def _failure(call: Call, name: str) -> str:
    reason = "error=auth_failed&error_description=Authentication+failed"
    return f"{call.settings.federation.admin_panel_url}/auth/{name}/callback?{reason}"


def _provider(call: Call) -> str:
    return call.path.removeprefix("/api/admin/oauth/").partition("/")[0]


def _not_configured(provider: str) -> Response:
    return _error(404, f"{provider.upper()}_NOT_CONFIGURED", f"{PROVIDER_NAMES[provider]} configuration not found")


def _error(status: int, code: str, text: str) -> Response:
    return json_response({"error": text, "error_code": code}, status)
