"""Another password for a signed-in owner who shows the present one."""

from __future__ import annotations

from ostiary.identity import accounts, audit, credentials, links, notices, passwords, recovery, sessions, throttle
from ostiary.identity.accounts import Account
from ostiary.identity.context import Context
from ostiary.identity.passwords import Password
from ostiary.identity.refusals import Busy, ProofRefused
from ostiary.identity.sessions import Principal


async def has_password(ctx: Context, account: Account) -> bool:
    """Whether the account has a password that can be changed here."""
    return await credentials.of_account(ctx, account.id, credentials.PASSWORD) is not None


async def prove(ctx: Context, who: Principal, password: str) -> None:
    """Check the present password; a session in the wrong hands guesses no more than a stranger.

    Raises ProofRefused, LockedOut, Throttled, Busy.
    """
    candidate = await accounts.candidate_by_id(ctx, who.account.id, credentials.PASSWORD)
    counted = await throttle.attempt(ctx, who.account.email, candidate)
    try:
        await ctx.services.methods[Password].verify(ctx, candidate, Password(who.account.email, password))
    except ProofRefused as refusal:
        await audit.record(ctx, audit.Event.PROOF_REFUSED, who.account.id, refusal.reason, **throttle.trace(counted))
        await throttle.failed(ctx, counted)
        raise
    except Busy:
        await throttle.never_mind(ctx, counted)
        raise
    await throttle.succeeded(ctx, counted)


async def change(ctx: Context, who: Principal, present: str, new: str) -> None:
    """Every other session ends, with reset links and pending sign-ins; the owner is told.

    Raises what `prove` raises, and PasswordRefused, Busy, SessionGone.
    """
    await prove(ctx, who, present)
    await passwords.check(ctx, new, who.account)
    config = await passwords.hashed(ctx, new)
    await accounts.hold(ctx, who.account)
    await credentials.replace(ctx, who.account.id, credentials.PASSWORD, config)
    await sessions.end_all(ctx, who.account.id, keep=who.session.id)
    await links.forget(ctx, recovery.PURPOSE, who.account.id)
    await audit.record(ctx, audit.Event.PASSWORD_CHANGED, who.account.id)
    await notices.warn(ctx, "password_changed", who.account)
