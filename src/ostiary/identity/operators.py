"""What an operator may do to an account that is somebody else's. Every order is audited with the reason `operator`."""

from __future__ import annotations

import msgspec

from ostiary.identity import (
    accounts,
    audit,
    credentials,
    factors,
    notices,
    passwords,
    policy,
    recovery,
    registration,
    sessions,
    throttle,
    totp,
)
from ostiary.identity.accounts import Account
from ostiary.identity.context import Context, micros
from ostiary.identity.refusals import AccountGone, AddressTaken, DomainRefused, FactorAbsent, SessionGone

OPERATOR = "operator"


class Appointment(msgspec.Struct, frozen=True):
    """A password account to be made; the caller checked the fields. Without a role, the rule for the first account holds."""

    email: str
    name: str
    username: str | None
    password: str
    role: str | None = None
    is_verified: bool = True


async def create(ctx: Context, wanted: Appointment) -> Account:
    """Make it, by the rules of registration. Whatever its role, no stranger becomes the first administrator after it.

    Raises DomainRefused, PasswordRefused, Busy, AddressTaken.
    """
    if not policy.allows_domain(ctx, wanted.email):
        raise DomainRefused
    await passwords.check(ctx, wanted.password, wanted)
    if await accounts.by_email(ctx, wanted.email) is not None:
        raise AddressTaken
    config = await passwords.hashed(ctx, wanted.password)
    must_verify = not wanted.is_verified and ctx.settings.requires_verification
    account = accounts.fresh(
        ctx,
        wanted.email,
        wanted.name,
        username=wanted.username,
        role=wanted.role or accounts.USER,
        verified_at=ctx.now if wanted.is_verified else None,
        expires_at=ctx.now + micros(registration.PASSWORD_ACCOUNT_GRACE) if must_verify else None,
    )
    if not await accounts.insert_account(ctx, account):
        raise AddressTaken
    is_first = await accounts.claim_first_admin(ctx, account.id)
    if is_first and wanted.role is None and ctx.settings.policy.bootstrap == "first-user":
        await accounts.change(ctx, account.id, "role", accounts.ADMIN)
    await credentials.add(ctx, account.id, credentials.PASSWORD, config)
    await audit.record(ctx, audit.Event.REGISTERED, account.id, OPERATOR, kind="password")
    return await accounts.named(ctx, account.id)


async def set_password(ctx: Context, account: Account, password: str) -> None:
    """Put a password in place: every session ends, lockouts too, and the owner is told.

    Raises FactorAbsent for an account that signs in without a password of its own, PasswordRefused, Busy, AccountGone.
    """
    if account.provider != "local":
        raise FactorAbsent("no_password")
    await passwords.check(ctx, password, account)
    config = await passwords.hashed(ctx, password)
    await throttle.unlock(ctx, account.email)
    await _stays(ctx, account)
    await recovery.set_password(ctx, account, config)
    await _note_unlocked(ctx, account)
    await audit.record(ctx, audit.Event.PASSWORD_CHANGED, account.id, OPERATOR)
    await notices.warn(ctx, "password_changed", account)


async def set_role(ctx: Context, account: Account, role: str) -> None:
    """Give another role; it holds from the next request on."""
    await accounts.change(ctx, account.id, "role", role)
    await audit.record(ctx, audit.Event.ROLE_CHANGED, account.id, OPERATOR, role=role)


async def reset_factors(ctx: Context, account: Account) -> bool:
    """Take the second factor away from someone who lost it; sessions end and the owner is told. False when there was none.

    Raises AccountGone.
    """
    await _stays(ctx, account)
    await totp.remove(ctx, account.id)
    if not account.has_factor:
        return False
    await sessions.end_all(ctx, account.id)
    await audit.record(ctx, audit.Event.FACTOR_REMOVED, account.id, OPERATOR)
    await notices.warn(ctx, "two_factor_disabled", account)
    return True


async def log_out(ctx: Context, account: Account, session_id: str | None = None) -> int:
    """End every session and pending sign-in, or one session; how many sessions. Raises SessionGone for an unknown one."""
    if session_id is not None:
        if not await sessions.end_by_id(ctx, account.id, session_id):
            raise SessionGone("no_session")
        await audit.record(ctx, audit.Event.SIGNED_OUT, account.id, OPERATOR, session=session_id)
        return 1
    live = await sessions.of_account(ctx, account.id)
    await sessions.end_all(ctx, account.id)
    await audit.record(ctx, audit.Event.SESSIONS_ENDED, account.id, OPERATOR)
    return len(live)


async def unlock(ctx: Context, account: Account) -> None:
    """Open the door after too many failed proofs or codes, on every server of the deployment (see `throttle.take_of_account`)."""
    await throttle.unlock(ctx, account.email)
    await _note_unlocked(ctx, account)


async def _note_unlocked(ctx: Context, account: Account) -> None:
    await factors.succeeded(ctx, account)
    await audit.record(ctx, audit.Event.UNLOCKED, account.id, OPERATOR)


async def _stays(ctx: Context, account: Account) -> None:
    if not await accounts.stays(ctx, account.id):
        raise AccountGone
