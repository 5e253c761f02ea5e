"""Password reset and e-mail verification (librechat-wire 5.5, 5.6, 6). Nothing that gives access is in any anonymous answer."""

from __future__ import annotations

from urllib.parse import unquote

from starlette.responses import Response

from ostiary.dialects.librechat import deps, schemas
from ostiary.dialects.librechat.auth import REGISTERED
from ostiary.http.calls import Call, json_response
from ostiary.identity import accounts, asks, bans, recovery, verification
from ostiary.identity.refusals import PasswordRefused

RESET_ASKED = "If an account with that email exists, a password reset link has been sent to it."


async def request_password_reset(call: Call) -> Response:
    """Section 5.5: one answer for every address."""
    body = deps.read_body(call)
    email = schemas.text_of(body, "email")
    async with call.begin() as ctx:
        await deps.limited(call, ctx, ctx.services.rules.reset_request, "reset_password_limit", email=email)
        await bans.check_address(ctx)
        await recovery.ask(ctx, email)
    return json_response({"message": RESET_ASKED})


async def reset_password(call: Call) -> Response:
    """Section 5.6, with the rules of registration for the new password."""
    body = deps.read_body(call)
    async with call.begin() as ctx:
        await deps.limited(call, ctx, ctx.services.rules.reset_submission, "reset_password_limit")
        await bans.check_address(ctx)
        recovery.check_open(ctx)
        account_id, token, password = schemas.reset_fields(body, ctx.settings)
        try:
            await recovery.reset(ctx, account_id, token, password)
        except PasswordRefused as refusal:
            raise schemas.password_complaint(refusal, ctx.settings) from refusal
    return json_response({"message": "Password reset was successful"})


async def verify(call: Call) -> Response:
    """Section 6: the link's page posts here. The same link goes on succeeding until it expires."""
    body = deps.read_body(call)
    async with call.begin() as ctx:
        await deps.limited(call, ctx, ctx.services.rules.verification, "verify_email_limit")
        user_id, email = schemas.text_of(body, "userId"), schemas.text_of(body, "email")
        account = await (accounts.by_email(ctx, unquote(email)) if email else accounts.by_id(ctx, user_id))
        if account is None and email:
            account = await accounts.by_email(ctx, email)
        await verification.confirm(ctx, account, schemas.text_of(body, "token"))
    return json_response({"message": "Email verification was successful", "status": "success"})


async def resend(call: Call) -> Response:
    """Section 6: the same answer for unknown, unverified and verified addresses."""
    body = deps.read_body(call)
    email = schemas.text_of(body, "email")
    async with call.begin() as ctx:
        await deps.limited(call, ctx, ctx.services.rules.verification_mail, "verify_email_limit", email=email)
        await asks.put(ctx, "verification", email)
    return json_response({"message": REGISTERED})
