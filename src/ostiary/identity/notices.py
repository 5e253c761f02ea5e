"""Mails to owners, queued in the transaction that they speak of: a mail server that is away fails nobody's sign-in."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from ostiary.crypto.tokens import random_hex
from ostiary.identity import links
from ostiary.identity.accounts import Account
from ostiary.identity.context import Context
from ostiary.identity.links import LinkStyle
from ostiary.mail import outbox
from ostiary.mail.messages import Message
from ostiary.settings import Settings

MOST_AGENT = 120


def _not_me(settings: Settings, account_id: str, _email: str, token: str) -> str:
    """Our own page where there is one; else the one that the API shows."""
    page = (
        f"{settings.server.public_client_url}/end-session" if settings.page_origins else f"{settings.api_url}/api/auth/endSession"
    )
    return f"{page}?user={account_id}&code={token}"


NOT_ME = LinkStyle(purpose="end_session", life=timedelta(days=30), new_token=random_hex, url=_not_me)
"""The link by which an owner says "that was not me" (`session_links`)."""


async def warn(
    ctx: Context,
    template: str,
    account: Account,
    *,
    to: str | None = None,
    **values: Any,  # noqa: ANN401
) -> None:
    """Queue a mail about what a stranger may have done: from where, and a link that ends every session of the account."""
    link = await links.issue(ctx, NOT_ME, account.email, account.id, replace=False)
    client = ctx.client
    told = {"link": link, "address": client.address, "user_agent": client.user_agent[:MOST_AGENT], **values}
    await send(ctx, template, account, to=to, **told)


async def send(ctx: Context, template: str, account: Account, *, to: str | None = None, **values: Any) -> None:  # noqa: ANN401
    """Queue a mail to the account's address, or to another one given."""
    await send_to(ctx, template, to or account.email, account.name, **values)


async def send_to(ctx: Context, template: str, email: str, name: str, **values: Any) -> None:  # noqa: ANN401
    """Queue a mail to someone who may have no account."""
    await outbox.put(ctx.db, ctx.services.sealer, Message(template, email, name, values), ctx.now)
    ctx.has_mail = True
