"""Recovery of password accounts: a reset link by mail, spent with the new password in one transaction."""

from __future__ import annotations

from datetime import timedelta

from ostiary.crypto.tokens import random_hex
from ostiary.identity import accounts, asks, audit, credentials, factors, links, notices, passwords, sessions, throttle
from ostiary.identity.accounts import Account
from ostiary.identity.context import Context
from ostiary.identity.links import LinkStyle
from ostiary.identity.refusals import AccountGone, FactorAbsent, LinkRefused, ResetClosed

PURPOSE = "reset"
STYLE = LinkStyle(
    purpose=PURPOSE,
    life=timedelta(minutes=15),
    new_token=random_hex,
    url=lambda settings, account_id, _email, token: (
        f"{settings.server.public_client_url}/reset-password?token={token}&userId={account_id}"
    ),
)


def check_open(ctx: Context) -> None:
    """Raises ResetClosed when reset is switched off."""
    if not ctx.settings.policy.allow_password_reset:
        raise ResetClosed


async def ask(ctx: Context, email: str) -> None:
    """Take a stranger's wish for a reset link; what comes of it only the mailbox's owner learns. Raises ResetClosed."""
    check_open(ctx)
    await asks.put(ctx, "reset", email)


async def answer(ctx: Context, email: str) -> None:
    """Mail a link if there is a local account with a password."""
    account = await accounts.by_email(ctx, email)
    # Held, and not only kept from deletion: of two links at once the later one ends the other.
    if account is None or not await _has_password(ctx, account) or await accounts.held(ctx, account.id) is None:
        await audit.record(ctx, audit.Event.RESET_REFUSED, account.id if account else None, "nothing_to_reset")
        return
    link = await links.issue(ctx, STYLE, account.email, account.id)
    await notices.send(ctx, "reset", account, link=link)
    await audit.record(ctx, audit.Event.RESET_ASKED, account.id)


async def link_for_operator(ctx: Context, account: Account) -> str:
    """A link to hand to the owner by another way. Raises FactorAbsent for an account without a local password, AccountGone."""
    if not await _has_password(ctx, account):
        raise FactorAbsent("no_password")
    if await accounts.held(ctx, account.id) is None:
        raise AccountGone
    await audit.record(ctx, audit.Event.RESET_ASKED, account.id, "operator")
    return await links.issue(ctx, STYLE, account.email, account.id)


async def check(ctx: Context, account_id: str, token: str) -> str:
    """The address whose password the link would reset; nothing is spent. Raises ResetClosed, LinkRefused."""
    check_open(ctx)
    found = await links.find(ctx, PURPOSE, token, account_id) if account_id else None
    if found is None:
        raise LinkRefused
    return found.email


async def reset(ctx: Context, account_id: str, token: str, password: str) -> None:
    """Spend the link and set the password: one caller of many, all sessions ended, the owner told.

    Raises ResetClosed, LinkRefused, PasswordRefused, Busy.
    """
    check_open(ctx)
    account = await accounts.by_id(ctx, account_id) if account_id else None
    if account is None or await links.find(ctx, PURPOSE, token, account.id) is None:
        await audit.record(ctx, audit.Event.RESET_REFUSED, account.id if account else None, "link")
        raise LinkRefused
    await passwords.check(ctx, password, account)
    config = await passwords.hashed(ctx, password)
    # Counters may be in Redis: they are asked before the first write.
    await throttle.unlock(ctx, account.email)
    # The account before its link: whoever deletes the account takes them in this order, and two orders would meet head-on.
    if await accounts.held(ctx, account.id) is None or await links.spend(ctx, PURPOSE, token, account.id) is None:
        raise LinkRefused
    await set_password(ctx, account, config)
    await audit.record(ctx, audit.Event.RESET_DONE, account.id)
    await notices.warn(ctx, "reset_done", account)


async def set_password(ctx: Context, account: Account, config: str) -> None:
    """Put a new hash in place; every session, challenge and reset link of the account ends."""
    await credentials.replace(ctx, account.id, credentials.PASSWORD, config)
    await sessions.end_all(ctx, account.id)
    await links.forget(ctx, PURPOSE, account.id)
    await links.forget(ctx, "email_change", account.id)
    # Whoever guessed codes behind the old password is shut out; the owner must not be.
    await factors.forgive(ctx, account.id)


async def _has_password(ctx: Context, account: Account) -> bool:
    # Someone who signs in elsewhere (a provider, a directory) must not get a local password by mail (librechat-wire W-16).
    return account.provider == "local" and await credentials.of_account(ctx, account.id, credentials.PASSWORD) is not None
