"""Mails to owners, queued in the transaction that they speak of."""

from __future__ import annotations

from typing import Any

from ostiary.identity.accounts import Account
from ostiary.identity.context import Context
from ostiary.mail import outbox
from ostiary.mail.messages import Message


async def send(ctx: Context, template: str, account: Account, *, to: str | None = None, **values: Any) -> None:  # noqa: ANN401
    """Queue a mail to the account's address, or to another one given."""
    await send_to(ctx, template, to or account.email, account.name, **values)


async def send_to(ctx: Context, template: str, email: str, name: str, **values: Any) -> None:  # noqa: ANN401
    """Queue a mail to someone who may have no account."""
    await outbox.put(ctx.db, ctx.services.sealer, Message(template, email, name, values), ctx.now)
    ctx.has_mail = True
