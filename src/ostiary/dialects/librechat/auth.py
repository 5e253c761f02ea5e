"""`/api/auth`: sign in, register, refresh, sign out (librechat-wire 5.1 to 5.4), and the redirects of section 15, row 18."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from ostiary.crypto.tokens import random_hex
from ostiary.dialects.librechat import deps, reuse, schemas, tokens
from ostiary.dialects.librechat.errors import BearerRefused, CredentialsMixed, RefreshMalformed
from ostiary.federation import vouched
from ostiary.http.calls import Call, json_response, text_response
from ostiary.identity import (
    accounts,
    audit,
    bans,
    challenges,
    credentials,
    devices,
    directory,
    provider_sessions,
    registration,
    sessions,
    sign_in,
    throttle,
    verification,
    violations,
)
from ostiary.identity.accounts import Arrival
from ostiary.identity.context import Context
from ostiary.identity.methods import Verified
from ostiary.identity.passwords import Password
from ostiary.identity.provider_sessions import ProviderSession
from ostiary.identity.refusals import InvitationRefused, MethodClosed, PasswordRefused, RegistrationClosed
from ostiary.identity.sessions import BROWSER, SessionRequest
from ostiary.identity.sign_in import FactorRequired, SignedIn, Ticket

REGISTERED = "Please check your email to verify your email address."
FACTOR_ASKED = "2FA verification required"


async def login(call: Call) -> Response:
    """Section 5.1: limiter, ban by address, switch, fields, then the one door."""
    body = deps.read_body(call)
    secret = random_hex()
    async with call.begin() as ctx:
        call.show_limit(await violations.take_sign_in(ctx, body.get("email")))
        arrival = await bans.check_arrival(ctx, body.get("email"), credentials.PASSWORD)
        policy = ctx.settings.policy
        if not (policy.allow_email_login or policy.allow_email_login_override):
            raise MethodClosed
        outcome = await _first_proof(ctx, body, ticket(call, secret), arrival)
    return signed_in(call, ctx, outcome, secret)


async def _first_proof(ctx: Context, body: Mapping[str, Any], ticket: Ticket, arrival: Arrival) -> SignedIn | FactorRequired:
    """A password of ours; with a directory, any name and the password that it knows (section 9)."""
    their_directory = ctx.services.directory
    if their_directory is not None:
        identifier, password = schemas.directory_fields(body)
        return await directory.sign_in(ctx, their_directory, identifier, password, ticket)
    email, password = schemas.login_fields(body, ctx.settings)
    return await sign_in.sign_in(ctx, Password(email, password), ticket, arrival)


def ticket(call: Call, secret: str, page_token: str = "") -> Ticket:
    """A browser session, which our own pages know by that token if one is given; or a challenge under this secret."""
    shown = sessions.page_hash(call.services, page_token) if page_token else None
    return Ticket(SessionRequest(kind=BROWSER, token_hash=shown), challenges.browser_hash(call.services, call.client, secret))


def signed_in(
    call: Call,
    ctx: Context,
    outcome: SignedIn | FactorRequired,
    secret: str,
    *,
    row: ProviderSession | None = None,
    **members: Any,  # noqa: ANN401
) -> Response:
    """Token, user and cookies; or what the client needs to ask for a code (section 15, row 1).

    `row` is what a provider gave for the session, if one vouched for it.
    """
    if isinstance(outcome, FactorRequired):
        temporary = tokens.temporary_token(call.services, outcome.account, secret, ctx.now)
        return json_response({"twoFAPending": True, "tempToken": temporary, "message": FACTOR_ASKED, **members})
    account, session = outcome.account, outcome.session
    device = devices.remember(ctx, account.id)
    provider, grant = (row.provider, provider_sessions.grant_of(ctx, row)) if row is not None else ("", None)
    cookies = reuse.cookies(call, session, session.created_at, provider, grant, device)
    token = tokens.access_token(call.services, account, session, ctx.now)
    return json_response({**members, "token": token, "user": schemas.user_json(account, ctx.settings)}, 200, cookies)


async def register(call: Call) -> Response:
    """Section 5.3: the same answer whether the address is free or not."""
    body = deps.read_body(call)
    secret = random_hex()
    outcome: SignedIn | FactorRequired | None = None
    async with call.begin() as ctx:
        await deps.limited(call, ctx, ctx.services.rules.register, "registrations", email=body.get("email"))
        await bans.check_address(ctx)
        if any(member in body for member in ("publicKey", "sharedKey")):
            raise CredentialsMixed
        invitation = _invitation(body.get("token"))
        if ctx.services.directory is not None:
            raise RegistrationClosed
        await registration.check_gate(ctx, schemas.text_of(body, "email"), invitation)
        fields = schemas.registration_fields(body, ctx.settings)
        try:
            account = await registration.register(
                ctx, registration.Applicant(**fields, invitation=invitation), verification.STYLE
            )
        except PasswordRefused as refusal:
            raise schemas.password_complaint(refusal, ctx.settings) from refusal
        if account is not None and account.is_verified and ctx.settings.policy.register_auto_login:
            candidate = await accounts.candidate_by_id(ctx, account.id, credentials.PASSWORD)
            if candidate is not None:
                outcome = await sign_in.admit(ctx, Verified(candidate, ("pwd",)), ticket(call, secret))
    if outcome is not None:
        return signed_in(call, ctx, outcome, secret, message=REGISTERED)
    return json_response({"message": REGISTERED})


def _invitation(token: object) -> str | None:
    """The token of an invitation; the client sends the text `undefined` when it has none."""
    if token is None or token in ("", "undefined"):
        return None
    if not isinstance(token, str) or "\0" in token:
        raise InvitationRefused("malformed")
    return token


async def refresh(call: Call) -> Response:
    """Section 5.4: the cookie alone decides; a bearer, dead or alive, is not looked at."""
    if reuse.is_presented(call):
        deps.require_own_site(call)
        return await reuse.refresh(call)
    cookie = call.cookie(tokens.REFRESH)
    if not cookie:
        return text_response("Refresh token not provided")
    deps.require_own_site(call)
    async with call.begin() as ctx:
        await throttle.take(ctx, ctx.services.rules.refresh, throttle.network(call.client.address))
        account_id, session_id, generation, tag = tokens.read_refresh(call.services, cookie, ctx.now)
        refreshed = await sessions.rotate(ctx, session_id, account_id, generation, tag)
    account, session = refreshed.principal.account, refreshed.principal.session
    cookies = tokens.signed_in_cookies(call, session, tokens.refresh_token(call.services, session, refreshed.issued_at))
    token = tokens.access_token(call.services, account, session, ctx.now)
    return json_response({"token": token, "user": schemas.user_json(account, ctx.settings)}, 200, cookies)


async def logout(call: Call) -> Response:
    """Section 5.2. The bearer's session ends, and so does the cookie's; never anybody else's (contract, "logout")."""
    if call.cookie(tokens.REFRESH):
        deps.require_own_site(call)
    async with call.begin() as ctx:
        by_cookie = await _session_of_cookie(call, ctx)
        try:
            found = await deps.principal(call, ctx)
        except BearerRefused as refusal:
            if by_cookie is not None:
                await _end(ctx, *by_cookie)
            return json_response(
                {"message": refusal.reason}, 401, tokens.cleared_cookies(call) if call.cookie(tokens.REFRESH) else ()
            )
        by = await vouched.of(ctx, found)
        await _end(ctx, found.account.id, found.session.id)
        if by_cookie is not None and by_cookie[0] == found.account.id and by_cookie[1] != found.session.id:
            await _end(ctx, *by_cookie)
    url = await vouched.logout_url(call.settings, by)
    answer = {"message": "Logout successful"} | ({"redirect": url} if url else {})
    return json_response(answer, 200, tokens.cleared_cookies(call))


async def _session_of_cookie(call: Call, ctx: Context) -> tuple[str, str] | None:
    """Account id and session id of the refresh cookie, if this server issued it."""
    try:
        family = tokens.family_of(call, ctx.now)
    except RefreshMalformed:
        return None
    is_ours = family is not None and family.tag == sessions.refresh_tag(call.services, family.session_id, family.generation)
    return (family.account_id, family.session_id) if family is not None and is_ours else None


async def _end(ctx: Context, account_id: str, session_id: str) -> None:
    await vouched.forget(ctx, session_id)
    if await sessions.end_by_id(ctx, account_id, session_id):
        await audit.record(ctx, audit.Event.SIGNED_OUT, account_id, session=session_id)


async def csrf(call: Call) -> Response:
    """A token for clients that want one; sent back as `X-CSRF-Token`, it is checked."""
    return json_response({"csrfToken": tokens.csrf_token(call)})
