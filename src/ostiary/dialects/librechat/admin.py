"""`/api/admin`: sign-in of the administration panel (librechat-wire 12)."""

from __future__ import annotations

from starlette.responses import Response

from ostiary.crypto.tokens import random_hex
from ostiary.dialects.http import Call, json_response
from ostiary.dialects.librechat import deps, schemas
from ostiary.dialects.librechat.auth import signed_in, ticket
from ostiary.dialects.librechat.errors import AdminOnly
from ostiary.identity import accounts, bans, sessions, sign_in
from ostiary.identity.passwords import Password

PROVIDER_NAMES = {
    "openid": "OpenID",
    "saml": "SAML",
    "google": "Google",
    "github": "GitHub",
    "discord": "Discord",
    "facebook": "Facebook",
    "apple": "Apple",
}


async def login(call: Call) -> Response:
    """The same chain as the ordinary sign-in, then only administrators; a refused one gets no session."""
    body = deps.read_body(call)
    secret = random_hex()
    async with call.begin() as ctx:
        await deps.limited(call, ctx, ctx.services.rules.login, "logins", email=body.get("email"))
        await bans.check_address(ctx)
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
    """No provider is configured."""
    return _not_configured("openid", call)


async def provider_start(call: Call) -> Response:
    """No provider is configured."""
    return _not_configured(call.path.removeprefix("/api/admin/oauth/").partition("/")[0], call)


async def exchange(call: Call) -> Response:
    """Codes come from provider callbacks; with none configured, none is ever valid."""
    body = deps.read_body(call)
    code = body.get("code")
    if not code:
        return json_response({"error": "Authorization code is required", "error_code": "MISSING_CODE"}, 400)
    if not isinstance(code, str) or len(code) != 64 or not code.isalnum():  # noqa: PLR2004 - 32 bytes in hex
        return json_response({"error": "Invalid authorization code format", "error_code": "INVALID_CODE_FORMAT"}, 400)
    return json_response({"error": "Invalid or expired authorization code", "error_code": "INVALID_OR_EXPIRED_CODE"}, 401)


async def refresh(call: Call) -> Response:
    """Only provider tokens are refreshed here."""
    body = deps.read_body(call)
    provider = body.get("provider") or "openid"
    if not body.get("refresh_token"):
        return json_response({"error": "Refresh token is required", "error_code": "MISSING_REFRESH_TOKEN"}, 400)
    if provider not in ("openid", "google"):
        return json_response({"error": "Unsupported provider", "error_code": "INVALID_PROVIDER"}, 400)
    name = PROVIDER_NAMES[provider]
    return json_response({"error": f"{name} configuration not found", "error_code": f"{provider.upper()}_NOT_CONFIGURED"}, 503)


async def provider_return(call: Call) -> Response:
    """No provider is configured."""
    return await provider_start(call)


def _not_configured(provider: str, _call: Call) -> Response:
    name = PROVIDER_NAMES[provider]
    return json_response({"error": f"{name} configuration not found", "error_code": f"{provider.upper()}_NOT_CONFIGURED"}, 404)
