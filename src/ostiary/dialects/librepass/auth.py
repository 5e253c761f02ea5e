"""`/api/auth` (librepass-wire 6)."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

from starlette.responses import Response

from ostiary.crypto.tokens import new_key
from ostiary.dialects.librepass import deps, errors, schemas
from ostiary.dialects.librepass.errors import BodyRefused
from ostiary.http.calls import Call, json_response, redirect
from ostiary.identity import (
    accounts,
    asks,
    bans,
    credentials,
    key_accounts,
    registration,
    sessions,
    sign_in,
    throttle,
    verification,
)
from ostiary.identity.context import Context
from ostiary.identity.factors import AnyCode
from ostiary.identity.links import LinkStyle
from ostiary.identity.public_keys import SharedKey
from ostiary.identity.refusals import AccountGone
from ostiary.identity.registration import KeyApplicant
from ostiary.identity.sessions import KEY, SessionRequest
from ostiary.identity.sign_in import SignedIn, Ticket
from ostiary.settings import Settings

VERIFICATION = LinkStyle(
    purpose=verification.PURPOSE,
    life=timedelta(hours=24),
    new_token=lambda: str(uuid4()),
    url=lambda settings, account_id, _email, code: f"{settings.api_url}/api/auth/verifyEmail?user={account_id}&code={code}",
)


def done(status: int = 200) -> Response:
    """`{}`: the web client parses every answer (section 2)."""
    return json_response({}, status)


def landing(settings: Settings) -> str:
    """Where a mail link's reader ends up (6.6)."""
    return f"{settings.librepass.web_url or settings.server.public_client_url}/verification/email"


async def register(call: Call) -> Response:
    """6.1. The same answer whether the address is free or not, when mail can tell its owner (contract)."""
    wanted = deps.read(call, schemas.Registration)
    async with call.begin() as ctx:
        await throttle.take(ctx, ctx.services.rules.standard, deps.by_address(ctx))
        await bans.check_address(ctx)
        applicant = KeyApplicant(wanted.email, wanted.key, wanted.parameters, wanted.password_hint)
        await registration.register_key(ctx, applicant, VERIFICATION)
    return done(201)


async def pre_login(call: Call) -> Response:
    """6.2. An unknown address gets the defaults, as does an empty or absent one."""
    email = call.query("email", plus_is_blank=False) or ""
    if email and not schemas.is_email(email):
        raise BodyRefused(errors.INVALID)
    async with call.begin() as ctx:
        await throttle.take(ctx, ctx.services.rules.standard, deps.by_address(ctx))
        found = await key_accounts.parameters(ctx, email)
    return json_response(
        {
            "parallelism": found.parallelism,
            "memory": found.memory,
            "iterations": found.iterations,
            "serverPublicKey": call.services.handshake.current(ctx.now).public,
        },
    )


async def oauth(call: Call) -> Response:
    """6.3 and 6.4: any content type; the grant is looked at after the limit of the address."""
    grant = deps.required(call, "grantType")
    if not call.body:
        raise BodyRefused(errors.UNREADABLE)
    async with call.begin() as ctx:
        await throttle.take(ctx, ctx.services.rules.standard, deps.by_address(ctx))
        if grant == "login":
            return await _login(call, ctx)
        await bans.check_address(ctx)
        if grant == "2fa":
            return await _answer(call, ctx)
        raise BodyRefused(errors.GRANT)


async def _login(call: Call, ctx: Context) -> Response:
    """6.3. With a factor owed, the key handed out opens nothing until 6.4; then the same key does."""
    try:
        given = deps.decoded(call.body, schemas.Login, errors.SYNTAX)
    except BodyRefused:
        await bans.check_address(ctx)
        raise
    arrival = await bans.check_arrival(ctx, given.email, credentials.PUBLIC_KEY)
    rule, bucket = ctx.services.rules.standard, deps.by_email(ctx, given.email)
    await throttle.take(ctx, rule, bucket)
    key = new_key()
    stored = sessions.key_hash(ctx.services, key)
    ticket = Ticket(SessionRequest(kind=KEY, token_hash=stored), stored)
    outcome = await sign_in.sign_in(ctx, SharedKey(given.email, given.shared_key), ticket, arrival)
    await deps.give_back(ctx, rule, bucket)
    return json_response({"userId": outcome.account.id, "apiKey": key, "verified": isinstance(outcome, SignedIn)})


async def _answer(call: Call, ctx: Context) -> Response:
    """6.4. A key that already opens doors is confirmed again without a look at the code."""
    given = deps.decoded(call.body, schemas.FactorAnswer, errors.SYNTAX)
    stored = sessions.key_hash(ctx.services, given.api_key)
    # By digest: the store of counters, which others may read, must not hold keys.
    await throttle.take(ctx, ctx.services.rules.standard, f"key {stored.hex()}")
    if await sessions.by_token(ctx, stored) is None:
        await sign_in.answer(ctx, stored, AnyCode(given.code))
    return done()


async def password_hint(call: Call) -> Response:
    """6.5. Always the same answer; only the owner gets the mail (contract)."""
    email = deps.required_email(call)
    deps.refuse_prefetch(call)
    async with call.begin() as ctx:
        await _limit_mail(ctx, email)
        if ctx.settings.policy.reveal_accounts and await accounts.by_email(ctx, email) is None:
            raise AccountGone
        await asks.put(ctx, "hint", email)
    return done()


async def resend_verification_email(call: Call) -> Response:
    """6.7, with a code that works: a new one for 24 hours (section 20, W9)."""
    email = deps.required_email(call)
    deps.refuse_prefetch(call)
    async with call.begin() as ctx:
        await _limit_mail(ctx, email)
        if ctx.settings.policy.reveal_accounts:
            await _reveal(ctx, email)
        await asks.put(ctx, "key_verification", email)
    return done()


async def verify_email(call: Call) -> Response:
    """6.6. The link goes on succeeding until it expires: a scanner that opens it takes nothing away (contract)."""
    account_id, code = deps.account_and_code(call)
    async with call.begin() as ctx:
        await throttle.take(ctx, ctx.services.rules.standard, deps.by_address(ctx), deps.by_account(ctx, account_id))
        account = await accounts.by_id(ctx, account_id)
        is_open = ctx.settings.policy.reveal_accounts
        if account is None and is_open:
            raise AccountGone
        if not (account is not None and account.is_verified and is_open):
            await verification.confirm(ctx, account, code)
    return redirect(landing(call.settings))


async def _limit_mail(ctx: Context, email: str) -> None:
    """Four buckets, each kept even if a later one refuses (6.5). Raises Throttled, Banned."""
    rules, keys = ctx.services.rules, (deps.by_address(ctx), deps.by_email(ctx, email))
    await throttle.take(ctx, rules.standard, *keys)
    await throttle.take(ctx, rules.mail, *keys)
    await bans.check_address(ctx)


async def _reveal(ctx: Context, email: str) -> None:
    account = await accounts.by_email(ctx, email)
    if account is None:
        raise AccountGone
    if account.is_verified:
        raise BodyRefused(errors.VERIFIED)
