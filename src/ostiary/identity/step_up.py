"""Step-up: a signed-in owner proves a factor again before something that would weaken the account."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from ostiary.identity import accounts, audit, backup_codes, factors, notices, sessions, totp
from ostiary.identity.accounts import Account
from ostiary.identity.context import Context
from ostiary.identity.factors import BackupCode, Enrolment, FactorProof
from ostiary.identity.refusals import CodeMissing, CodeRefused, FactorAbsent
from ostiary.identity.sessions import Principal

Hold = Callable[[Context, Account], Awaitable[None]]


async def require_code(ctx: Context, who: Principal, proof: FactorProof | None, hold: Hold = accounts.hold) -> None:
    """Spend a code if the account has a factor; nothing otherwise. The account is held: nobody gives it a factor meanwhile.

    Raises CodeMissing, CodeRefused, FactorLocked, Throttled, FactorUnreadable, SessionGone.
    """
    if who.account.has_factor and proof is None:
        raise CodeMissing
    if who.account.has_factor:
        await factors.count_try(ctx, who.account)
    await hold(ctx, who.account)
    if who.account.has_factor and proof is not None:
        await _consume(ctx, who, proof)


async def check_live_code(ctx: Context, who: Principal, proof: FactorProof) -> None:
    """Check a code of the live factor; this session may use the same code once more.

    Raises FactorAbsent, FactorLocked, Throttled, CodeRefused, SessionGone.
    """
    if not who.account.has_factor:
        raise FactorAbsent
    await factors.count_try(ctx, who.account)
    await accounts.hold(ctx, who.account)
    step = await _consume(ctx, who, proof)
    if step and step != who.session.last_step:
        await sessions.note_step(ctx, who.session, step)


async def check_backup_code(ctx: Context, who: Principal, proof: BackupCode) -> None:
    """Check a live backup code and leave it unspent: trying one out must not cost it.

    Raises FactorAbsent, FactorLocked, Throttled, CodeRefused, SessionGone.
    """
    if not who.account.has_factor:
        if await totp.pending(ctx, who.account.id) is None:
            raise FactorAbsent
        raise CodeRefused("no_live_codes")
    await factors.count_try(ctx, who.account)
    await accounts.hold(ctx, who.account)
    tries = await factors.claim_try(ctx, who.account)
    if not await backup_codes.exists(ctx, who.account.id, proof.code):
        await factors.failed(ctx, who.account, tries)
        raise CodeRefused("mismatch")
    await factors.give_back(ctx, who.account)


async def enroll(ctx: Context, who: Principal, secret: str, code: str, codes: list[str], old: FactorProof | None) -> None:
    """Make a secret that the client chose live at once; other sessions end, the owner is told.

    An account that has a factor gives up the old one only for a code of it. Raises SecretWeak, CodeRefused, CodeMissing,
    FactorLocked, Throttled, SessionGone.
    """
    step = await totp.check_offered(ctx, who.account, secret, code)
    await require_code(ctx, who, old)
    await totp.enroll(ctx, who.account, secret, codes, step)
    await sessions.end_all(ctx, who.account.id, keep=who.session.id)
    await notices.warn(ctx, "two_factor_enabled", who.account)


async def confirm(ctx: Context, who: Principal, pending: Enrolment, code: str, codes: list[str] | None = None) -> None:
    """Make the pending enrolment live; other sessions end, the owner is told.

    `codes` become its backup codes, in place of those that it began with. Raises what `totp.confirm` raises.
    """
    await totp.confirm(ctx, who.account, pending, code)
    if codes is not None:
        await backup_codes.replace(ctx, who.account.id, codes)
    await sessions.end_all(ctx, who.account.id, keep=who.session.id)
    await notices.warn(ctx, "two_factor_enabled", who.account)


async def switch_off(ctx: Context, who: Principal) -> None:
    """Remove every factor; other sessions end, the owner is told."""
    await totp.remove(ctx, who.account.id)
    await sessions.end_all(ctx, who.account.id, keep=who.session.id)
    await audit.record(ctx, audit.Event.FACTOR_REMOVED, who.account.id)
    await notices.warn(ctx, "two_factor_disabled", who.account)


async def replace_backup_codes(ctx: Context, who: Principal, codes: list[str]) -> None:
    """Put fresh codes in place of all; the owner is told."""
    await backup_codes.replace(ctx, who.account.id, codes)
    await audit.record(ctx, audit.Event.BACKUP_CODES_MADE, who.account.id)
    await notices.warn(ctx, "backup_codes_made", who.account)


async def _consume(ctx: Context, who: Principal, proof: FactorProof) -> int:
    try:
        return (await totp.consume(ctx, who.account, proof, session=who.session))[1]
    except CodeRefused as refusal:
        await audit.record(ctx, audit.Event.STEP_UP_REFUSED, who.account.id, refusal.reason)
        raise
