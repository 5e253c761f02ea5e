"""TOTP: enrolment, and codes that work once (RFC 6238 section 5.2)."""

from __future__ import annotations

from sqlalchemy import bindparam, delete, update

from ostiary.crypto import otp
from ostiary.crypto.sealing import SealBrokenError
from ostiary.identity import accounts, audit, backup_codes, factors, notices, sessions
from ostiary.identity.accounts import Account
from ostiary.identity.context import Context
from ostiary.identity.factors import AnyCode, BackupCode, Enrolment, FactorProof, TOTPCode
from ostiary.identity.refusals import CodeRefused, FactorAbsent, FactorUnreadable, SecretWeak
from ostiary.identity.sessions import Session
from ostiary.storage.statements import Statement
from ostiary.storage.tables import factors as table

MIN_SECRET_BYTES = 16
"""128 bits (RFC 4226 section 4, R6). Imported secrets may be shorter."""
PENDING_LIFE = 10 * 60 * 1_000_000

_accept_step = Statement(
    update(table)
    .where(table.c.id == bindparam("b_id"), table.c.last_step < bindparam("step"))
    .values(last_step=bindparam("step"), last_used_at=bindparam("now")),
)

_promote = Statement(
    update(table)
    .where(table.c.id == bindparam("b_id"), table.c.kind == factors.TOTP_PENDING)
    .values(kind=factors.TOTP, confirmed_at=bindparam("now")),
)
_delete_earlier = Statement(
    delete(table).where(
        table.c.account_id == bindparam("b_account_id"), table.c.kind == factors.TOTP, table.c.id != bindparam("b_id")
    ),
)


def seal_secret(ctx: Context, account_id: str, secret: str) -> bytes:
    """A secret as stored."""
    return ctx.services.sealer.seal(secret.encode(), f"totp {account_id}")


def open_secret(ctx: Context, enrolment: Enrolment) -> bytes:
    """The raw secret. Raises FactorUnreadable: never taken for "no second factor"."""
    try:
        text = ctx.services.sealer.open(enrolment.config or b"", f"totp {enrolment.account_id}").decode()
    except SealBrokenError as error:
        raise FactorUnreadable from error
    secret = otp.decode_secret(text)
    if secret is None:
        raise FactorUnreadable
    return secret


async def live(ctx: Context, account_id: str) -> Enrolment | None:
    """The confirmed enrolment."""
    rows = await factors.of_kind(ctx, account_id, factors.TOTP)
    return rows[0] if rows else None


async def pending(ctx: Context, account_id: str) -> Enrolment | None:
    """The enrolment begun and not confirmed, while it is young enough."""
    rows = await factors.of_kind(ctx, account_id, factors.TOTP_PENDING)
    return rows[0] if rows and ctx.now - rows[0].created_at < PENDING_LIFE else None


async def begin_enrolment(ctx: Context, account: Account, secret: str, codes: list[str]) -> None:
    """Keep a secret and its backup codes aside until a code confirms them; an earlier pending one goes."""
    await ctx.db.run(factors.delete_kind, b_account_id=account.id, b_kind=factors.TOTP_PENDING)
    await ctx.db.run(
        factors.insert_row,
        **factors.row(account.id, factors.TOTP_PENDING, ctx.now, config=seal_secret(ctx, account.id, secret)),
    )
    await backup_codes.replace(ctx, account.id, codes, factors.BACKUP_CODE_PENDING)


async def check_pending(ctx: Context, account: Account, enrolment: Enrolment, code: str) -> int:
    """The time step that a code proves for a pending enrolment; changes nothing. Raises CodeRefused, Throttled."""
    await factors.count_try(ctx, account)
    step = otp.matching_step(open_secret(ctx, enrolment), code, ctx.now // 1_000_000)
    if step is None:
        raise CodeRefused("mismatch")
    return step


async def confirm(ctx: Context, account: Account, enrolment: Enrolment, code: str) -> int:
    """Make the pending enrolment live, in place of an earlier one; the step that confirmed it.

    Raises CodeRefused, Throttled; SessionGone or FactorAbsent when another confirmation or enrolment was quicker.
    """
    step = await check_pending(ctx, account, enrolment, code)
    await accounts.hold(ctx, account)
    await _make_live(ctx, account, enrolment, step)
    return step


async def check_offered(ctx: Context, account: Account, secret: str, code: str) -> int:
    """The time step that a code proves for a secret that a client offers; changes nothing.

    Raises SecretWeak, CodeRefused, Throttled.
    """
    check_strength(secret)
    await factors.count_try(ctx, account)
    step = otp.matching_step(otp.decode_secret(secret) or b"", code, ctx.now // 1_000_000)
    if step is None:
        raise CodeRefused("mismatch")
    return step


async def enroll(ctx: Context, account: Account, secret: str, codes: list[str], step: int) -> None:
    """Make a checked secret live at once, in place of an earlier one and its codes."""
    await begin_enrolment(ctx, account, secret, codes)
    begun = await pending(ctx, account.id)
    if begun is None:
        raise FactorAbsent
    await _make_live(ctx, account, begun, step)


async def _make_live(ctx: Context, account: Account, enrolment: Enrolment, step: int) -> None:
    pending_codes = await factors.of_kind(ctx, account.id, factors.BACKUP_CODE_PENDING)
    # This very enrolment or none, and before anything is deleted: a refusal keeps what was written.
    if not await ctx.db.run(_promote, b_id=enrolment.id, now=ctx.now):
        raise FactorAbsent
    await ctx.db.run(_delete_earlier, b_account_id=account.id, b_id=enrolment.id)
    await ctx.db.run(_accept_step, b_id=enrolment.id, step=step, now=ctx.now)
    if pending_codes:
        await ctx.db.run(factors.delete_kind, b_account_id=account.id, b_kind=factors.BACKUP_CODE)
        await ctx.db.run(
            factors.promote_kind,
            b_account_id=account.id,
            b_kind=factors.BACKUP_CODE_PENDING,
            new_kind=factors.BACKUP_CODE,
            now=ctx.now,
        )
    factors.forget_tries(ctx, account)
    await audit.record(ctx, audit.Event.FACTOR_ENROLLED, account.id)


async def remove(ctx: Context, account_id: str) -> None:
    """Forget every enrolment and every backup code."""
    for kind in (factors.TOTP, factors.TOTP_PENDING, factors.BACKUP_CODE, factors.BACKUP_CODE_PENDING):
        await ctx.db.run(factors.delete_kind, b_account_id=account_id, b_kind=kind)


async def consume(ctx: Context, account: Account, proof: FactorProof, *, session: Session | None = None) -> tuple[str, int]:
    """Check a code of the live enrolment and spend it: how it was proved (RFC 8176), and the TOTP step (0 for a backup code).

    With a session, the step that this session signed in with is good once more (contract, `OSTIARY_TOTP_REUSE`). The caller has
    counted the try (`factors.count_try`). Raises FactorAbsent, FactorLocked, CodeRefused, FactorUnreadable.
    """
    enrolment = await live(ctx, account.id)
    if enrolment is None:
        raise FactorAbsent
    secret = open_secret(ctx, enrolment) if isinstance(proof, TOTPCode | AnyCode) else None
    tries = await factors.claim_try(ctx, account)
    step = 0
    if secret is not None:
        found = otp.matching_step(secret, proof.code, ctx.now // 1_000_000)
        if found is not None and await _accept(ctx, enrolment, found, session):
            step = found
    if step:
        await factors.succeeded(ctx, account)
        return "otp", step
    if isinstance(proof, BackupCode | AnyCode) and await backup_codes.consume(ctx, account.id, proof.code):
        await factors.succeeded(ctx, account)
        await audit.record(ctx, audit.Event.BACKUP_CODE_USED, account.id)
        await notices.warn(ctx, "backup_code_used", account)
        return "otp", 0
    await factors.failed(ctx, account, tries)
    raise CodeRefused("mismatch")


async def _accept(ctx: Context, enrolment: Enrolment, step: int, session: Session | None) -> bool:
    if await ctx.db.run(_accept_step, b_id=enrolment.id, step=step, now=ctx.now):
        return True
    if session is not None and session.last_step == step and await sessions.spend_step(ctx, session, step):
        return True
    # A second sign-in with the same code, as the originals allow: only where the operator says so, and only the latest step.
    return ctx.settings.sessions.totp_reuse == "per-session" and session is None and step == enrolment.last_step


def check_strength(secret: str) -> None:
    """Raises SecretWeak for a client's secret that is too short to guard anything."""
    raw = otp.decode_secret(secret)
    if raw is None or len(raw) < MIN_SECRET_BYTES:
        raise SecretWeak
