"""What strangers may ask for by naming an address: a reset, another verification mail, a hint.

The request writes one row of one shape, whoever the address belongs to; the account is looked up later, beside the requests. So
neither the answer nor the time it takes tells whether there is such an account.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from ostiary.identity import throttle
from ostiary.identity.context import Client, Context
from ostiary.mail import outbox
from ostiary.mail.messages import Message

PREFIX = "ask:"
MOST_CHARACTERS = 320

Answer = Callable[[Context, str], Awaitable[None]]
"""What is done for an address that may have an account."""


async def put(ctx: Context, what: str, email: str) -> None:
    """Keep the request for later. Mails over the recipient's limit are dropped then, with a trace. Raises Throttled."""
    await throttle.take(ctx, ctx.services.rules.mail_network, throttle.neighbourhood(ctx.client.address))
    may = await throttle.may_mail(ctx, email)
    client = ctx.client
    values = {"may": may, "address": client.address, "user_agent": client.user_agent[:256], "request_id": client.request_id}
    asked = Message(f"{PREFIX}{what}", email[:MOST_CHARACTERS], "", values)
    await outbox.put(ctx.db, ctx.services.sealer, asked, ctx.now)
    ctx.has_mail = True


def client_of(asked: Message) -> Client:
    """Who asked."""
    return Client(asked.values["address"], asked.values["user_agent"], asked.values["request_id"])


async def answer(ctx: Context, asked: Message, answers: dict[str, Answer]) -> None:
    """Do what was asked, unless the recipient has had enough mail."""
    what = asked.template.removeprefix(PREFIX)
    if asked.values["may"] and what in answers:
        await answers[what](ctx, asked.to)
