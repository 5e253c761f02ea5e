"""`/api/auth/2fa` (librechat-wire 5.7 to 5.12)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import segno
from starlette.responses import Response

from ostiary.crypto import otp
from ostiary.dialects.librechat import deps, schemas, tokens
from ostiary.dialects.librechat.auth import signed_in
from ostiary.dialects.librechat.config import title
from ostiary.dialects.librechat.errors import TokenMissing
from ostiary.http.calls import Call, json_response, raw_response
from ostiary.identity import backup_codes, challenges, provider_sessions, sign_in, step_up, totp, violations
from ostiary.identity.factors import BackupCode, TOTPCode
from ostiary.identity.refusals import ChallengeGone, CodeRefused, FactorAbsent

JSON = b"application/json; charset=utf-8"
LOST_CODE = TOTPCode("")


async def enable(call: Call) -> Response:
    """Section 5.7: a pending secret and its codes; what is live stays so until confirmed."""
    body = deps.read_body(call)
    async with call.begin() as ctx:
        who = await deps.principal(call, ctx)
        await step_up.require_code(ctx, who, schemas.factor_proof(body))
        secret, codes = otp.new_secret(), backup_codes.new_short_codes()
        await totp.begin_enrolment(ctx, who.account, secret, codes)
    url = otp.otpauth_url(secret, who.account.email, title(ctx.settings))
    picture = segno.make(url, error="m").png_data_uri(scale=5)
    return json_response({"otpauthUrl": url, "secret": secret, "qrCode": picture, "backupCodes": codes})


async def verify(call: Call) -> Response:
    """Section 5.8: nothing is enabled, and a code of the pending secret stays good for the confirmation that follows."""
    body = deps.read_body(call)
    async with call.begin() as ctx:
        who = await deps.principal(call, ctx)
        proof = schemas.factor_proof(body)
        pending = await totp.pending(ctx, who.account.id)
        if isinstance(proof, BackupCode):
            await step_up.check_backup_code(ctx, who, proof)
        elif pending is not None:
            await totp.check_pending(ctx, who.account, pending, (proof or LOST_CODE).code)
        else:
            await step_up.check_live_code(ctx, who, proof or LOST_CODE)
    return raw_response(b"", JSON)


async def confirm(call: Call) -> Response:
    """Section 5.9: the pending secret becomes live; every other session of the account ends (W-32)."""
    body = deps.read_body(call)
    async with call.begin() as ctx:
        who = await deps.principal(call, ctx)
        code = schemas.text_of(body, "token")
        pending = await totp.pending(ctx, who.account.id)
        if pending is None:
            # Confirming again what is live, with a right code, does no harm.
            await step_up.check_live_code(ctx, who, TOTPCode(code))
        else:
            await step_up.confirm(ctx, who, pending, code)
    return raw_response(b"", JSON)


async def disable(call: Call) -> Response:
    """Section 5.10."""
    body = deps.read_body(call)
    async with call.begin() as ctx:
        who = await deps.principal(call, ctx)
        if not who.account.has_factor:
            raise FactorAbsent
        await step_up.require_code(ctx, who, schemas.factor_proof(body))
        await step_up.switch_off(ctx, who)
    return raw_response(b"", JSON)


async def regenerate(call: Call) -> Response:
    """Section 5.11. `backupCodesHash` is there for the client, and no help for guessing (contract)."""
    body = deps.read_body(call)
    async with call.begin() as ctx:
        who = await deps.principal(call, ctx)
        await step_up.require_code(ctx, who, schemas.factor_proof(body))
        codes = backup_codes.new_short_codes()
        await step_up.replace_backup_codes(ctx, who, codes)
    shown = [
        {"codeHash": backup_codes.shown_digest(call.services, who.account.id, code), "used": False, "usedAt": None}
        for code in codes
    ]
    return json_response({"backupCodes": codes, "backupCodesHash": shown})


async def verify_temp(call: Call) -> Response:
    """Section 5.12: answers a pending sign-in, with a code or a backup code in either field."""
    body: Mapping[str, Any] = deps.read_body(call)
    token = body.get("tempToken")
    async with call.begin() as ctx:
        secret = tokens.read_temporary(call.services, token, ctx.now) if isinstance(token, str) else None
        challenge_hash = challenges.browser_hash(call.services, call.client, secret) if secret is not None else None
        call.show_limit(await violations.take_answer(ctx, challenge_hash))
        await violations.check_answer(ctx, challenge_hash)
        if not token:
            raise TokenMissing
        if secret is None or challenge_hash is None:
            raise ChallengeGone
        await deps.limited(call, ctx, ctx.services.rules.factor_challenge, "logins", key=secret)
        proof = schemas.factor_proof(body)
        if proof is None:
            raise CodeRefused("missing")
        outcome = await sign_in.answer(ctx, challenge_hash, proof)
        row = await provider_sessions.hand_over(ctx, challenge_hash.hex(), outcome.session)
    return signed_in(call, ctx, outcome, "", row=row)
