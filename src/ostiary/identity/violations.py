"""Violations: requests over a limit, scored by kind, until they add up to a ban (librechat-wire 2.2)."""

from __future__ import annotations

from typing import Literal

from ostiary.identity import bans, throttle
from ostiary.identity.context import Context
from ostiary.identity.refusals import Throttled
from ostiary.limits.store import Rule, Taken

Kind = Literal["logins", "registrations", "reset_password_limit", "verify_email_limit"]


async def take(ctx: Context, rule: Rule, kind: Kind, *, email: object = None, key: str | None = None) -> Taken | None:
    """Count this request, by the client's network or another key; over the limit, score a violation. Raises Throttled."""
    try:
        return await throttle.count(ctx, rule, key or throttle.network(ctx.client.address))
    except Throttled:
        limits = ctx.settings.limits
        score = {
            "logins": limits.factor_score if rule.name.startswith("factor") else limits.login_score,
            "registrations": limits.registration_score,
            "reset_password_limit": limits.reset_score
            if rule.name.startswith("reset_request")
            else limits.reset_submission_score,
            "verify_email_limit": limits.verify_score
            if rule.name.startswith("verification_mail")
            else limits.verify_submission_score,
        }[kind]
        await bans.violation(ctx, kind, score, email if isinstance(email, str) else None)
        raise
