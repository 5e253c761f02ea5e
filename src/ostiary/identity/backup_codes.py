"""Backup codes: one-time codes for a lost authenticator, kept as keyed digests, spent by one statement."""

from __future__ import annotations

from hashlib import sha256
from uuid import uuid4

from sqlalchemy import bindparam, update

from ostiary.crypto.tokens import random_hex
from ostiary.identity import factors
from ostiary.identity.context import Context, Services
from ostiary.storage.statements import Statement
from ostiary.storage.tables import factors as table

HOW_MANY = 10

_spend = Statement(
    update(table)
    .where(
        table.c.account_id == bindparam("b_account_id"),
        table.c.kind == factors.BACKUP_CODE,
        table.c.identifier == bindparam("b_identifier"),
        table.c.used_at.is_(None),
    )
    .values(used_at=bindparam("now"), last_used_at=bindparam("now")),
)


def identifier(services: Services, account_id: str, sha256_hex: str) -> bytes:
    """The stored digest. It goes over the code's SHA-256, which is what another server's export holds (librechat-wire 3.7)."""
    return services.digester.digest("backup code", f"{account_id}:{sha256_hex}")


def normalised(code: str) -> str:
    """A code as it is digested: trimmed, lower-case."""
    return code.strip().lower()


def shown_digest(services: Services, account_id: str, code: str) -> str:
    """A digest that an answer may carry: it is not the stored one, and tells nothing without the root key."""
    return services.digester.digest("backup code shown", f"{account_id}:{code}").hex()


def new_short_codes() -> list[str]:
    """Ten codes of eight hex digits, as clients' input fields expect (librechat-wire 20.2)."""
    return [random_hex(4) for _ in range(HOW_MANY)]


def new_recovery_code() -> list[str]:
    """One UUID (librepass-wire 4)."""
    return [str(uuid4())]


async def replace(ctx: Context, account_id: str, codes: list[str], kind: str = factors.BACKUP_CODE) -> None:
    """Put these codes in place of all of that kind."""
    await ctx.db.run(factors.delete_kind, b_account_id=account_id, b_kind=kind)
    digests = [identifier(ctx.services, account_id, sha256(normalised(code).encode()).hexdigest()) for code in codes]
    await ctx.db.run_many(factors.insert_row, [factors.row(account_id, kind, ctx.now, identifier=digest) for digest in digests])


async def consume(ctx: Context, account_id: str, code: str) -> bool:
    """Spend one; True for exactly one caller."""
    digest = identifier(ctx.services, account_id, sha256(normalised(code).encode("utf-8", "surrogatepass")).hexdigest())
    return await ctx.db.run(_spend, b_account_id=account_id, b_identifier=digest, now=ctx.now) == 1


async def exists(ctx: Context, account_id: str, code: str) -> bool:
    """Whether the code could be spent; spends nothing."""
    digest = identifier(ctx.services, account_id, sha256(normalised(code).encode("utf-8", "surrogatepass")).hexdigest())
    rows = await factors.of_kind(ctx, account_id, factors.BACKUP_CODE)
    return any(row.identifier == digest and row.used_at is None for row in rows)
