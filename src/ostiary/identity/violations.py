"""Violations: requests over a limit, scored by kind, until they add up to a ban (librechat-wire 2.2)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Literal

from ostiary.crypto.tokens import TokenHash
from ostiary.identity import accounts, bans, challenges, credentials, devices, throttle
from ostiary.identity.context import Context
from ostiary.identity.refusals import Throttled
from ostiary.limits.store import Rule, Taken

Kind = Literal["logins", "registrations", "reset_password_limit", "verify_email_limit"]


async def take(ctx: Context, rule: Rule, kind: Kind, *, email: object = None, key: str | None = None) -> Taken | None:
    """Count this request, by the client's network or another key; over the limit, score a violation. Raises Throttled."""
    try:
        return await throttle.count(ctx, rule, key or throttle.network(ctx.client.address))
    except Throttled:
        await _score(ctx, rule, kind, email)
        raise


async def take_sign_in(ctx: Context, email: object) -> Taken | None:
    """Count a first proof by the client's network, with room for a device that the named account knows. Raises Throttled."""

    async def whose() -> str | None:
        address = email if isinstance(email, str) and email.isprintable() else ""
        candidate = await accounts.candidate(ctx, address, credentials.PASSWORD)
        return candidate.account.id if candidate is not None else None

    return await _take_proof(ctx, ctx.services.rules.login, ctx.services.rules.login_device, whose, email)


async def take_answer(ctx: Context, challenge_hash: TokenHash | None) -> Taken | None:
    """The same for an answer to a challenge: the device is one that the challenge's account knows. Raises Throttled."""

    async def whose() -> str | None:
        return await _challenged(ctx, challenge_hash)

    return await _take_proof(ctx, ctx.services.rules.factor_address, ctx.services.rules.factor_device, whose)


async def check_answer(ctx: Context, challenge_hash: TokenHash | None) -> None:
    """As `bans.check_address`, for an answer to a challenge. Raises Banned."""
    await bans.check_address(ctx, await _challenged(ctx, challenge_hash) if devices.presented(ctx) else None)


async def _challenged(ctx: Context, challenge_hash: TokenHash | None) -> str | None:
    challenge = await challenges.pending(ctx, challenge_hash) if challenge_hash is not None else None
    return challenge.account_id if challenge is not None else None


async def _take_proof(
    ctx: Context, rule: Rule, own_rule: Rule, whose: Callable[[], Awaitable[str | None]], email: object = None
) -> Taken | None:
    """What strangers have spent at an address that many share does not keep an owner's device out: it has a budget of its own.

    The device is counted from the first request that it shows itself in, so that one alone gets no more than its address. Whose
    it is costs a look into the rows, and is asked only when the address's budget is spent.
    """
    device = devices.presented(ctx)
    own = await ctx.services.limits.take(own_rule, device, ctx.now) if device and ctx.is_limited else None
    try:
        return await throttle.count(ctx, rule, throttle.network(ctx.client.address))
    except Throttled:
        if own is not None and own.is_allowed and devices.known(ctx, await whose() or "") is not None:
            return own
        await _score(ctx, rule, "logins", email)
        raise


async def _score(ctx: Context, rule: Rule, kind: Kind, email: object) -> None:
    limits = ctx.settings.limits
    score = {
        "logins": limits.factor_score if rule.name.startswith("factor") else limits.login_score,
        "registrations": limits.registration_score,
        "reset_password_limit": limits.reset_score if rule.name.startswith("reset_request") else limits.reset_submission_score,
        "verify_email_limit": limits.verify_score
        if rule.name.startswith("verification_mail")
        else limits.verify_submission_score,
    }[kind]
    await bans.violation(ctx, kind, score, email if isinstance(email, str) else None)
