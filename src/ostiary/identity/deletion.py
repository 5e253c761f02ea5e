"""Deleting an account: by its owner, by an operator, or because it was never verified."""

from __future__ import annotations

from ostiary.identity import accounts, audit, step_up
from ostiary.identity.accounts import Account
from ostiary.identity.context import Context
from ostiary.identity.factors import FactorProof
from ostiary.identity.sessions import Principal


async def by_owner(ctx: Context, who: Principal, proof: FactorProof | None) -> None:
    """The owner leaves, by a code where a factor is on. Raises what `step_up.require_code` raises."""
    await step_up.require_code(ctx, who, proof, accounts.hold_to_delete)
    await delete(ctx, who.account, "owner")


async def delete(ctx: Context, account: Account, reason: str) -> bool:
    """Remove the account with its credentials, factors, sessions, links and rows; the audit stays."""
    removed = await accounts.remove(ctx, account.id)
    if removed:
        await audit.record(ctx, audit.Event.DELETED, account.id, reason)
    return removed


async def sweep_unverified(ctx: Context) -> int:
    """Remove accounts whose time to verify is over; none while unverified addresses may sign in."""
    if not ctx.settings.requires_verification:
        return 0
    removed = 0
    for account_id in await accounts.expired(ctx):
        if await accounts.remove_unverified(ctx, account_id):
            await audit.record(ctx, audit.Event.EXPIRED, account_id)
            removed += 1
    return removed
