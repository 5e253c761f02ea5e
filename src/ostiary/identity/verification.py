"""Verifying that an account's owner reads its address's mail."""

from __future__ import annotations

from datetime import timedelta
from urllib.parse import quote

from ostiary.crypto.tokens import random_hex
from ostiary.identity import accounts, audit, links, notices
from ostiary.identity.accounts import Account
from ostiary.identity.context import Context
from ostiary.identity.links import LinkStyle
from ostiary.identity.refusals import LinkRefused

PURPOSE = "verification"
STYLE = LinkStyle(
    purpose=PURPOSE,
    life=timedelta(minutes=15),
    new_token=random_hex,
    url=lambda settings, _account, email, token: (
        f"{settings.server.public_client_url}/verify?token={token}&email={quote(email, safe='')}"
    ),
)
"""A password account's."""


async def send(ctx: Context, account: Account, style: LinkStyle, template: str) -> None:
    """Queue a mail with a fresh link; links before it stop working."""
    link = await links.issue(ctx, style, account.email, account.id)
    await notices.send(ctx, template, account, link=link)
    await audit.record(ctx, audit.Event.VERIFICATION_SENT, account.id)


async def answer(ctx: Context, email: str, style: LinkStyle, template: str) -> None:
    """Mail another link if there is an account that still needs one."""
    account = await accounts.by_email(ctx, email)
    if account is not None and not account.is_verified and await accounts.held(ctx, account.id) is not None:
        await send(ctx, account, style, template)


async def confirm(ctx: Context, account: Account | None, token: str) -> Account:
    """Mark the address verified. The link stays good until it expires: a scanner that opens it takes nothing away.

    Raises LinkRefused, alike for an unknown account and a wrong token.
    """
    found = await links.find(ctx, PURPOSE, token, account.id if account else "")
    if account is None or found is None or found.email != account.email:
        raise LinkRefused
    if await accounts.verify(ctx, account.id):
        await audit.record(ctx, audit.Event.VERIFIED, account.id)
    return account
