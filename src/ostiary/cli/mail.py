"""`ostiary mail …`: what waits to be sent, and whether sending works."""

from __future__ import annotations

import time

import click

from ostiary.cli.desk import Desk, on_services
from ostiary.cli.fields import address
from ostiary.cli.output import Answer, TroubleError, moment, spoken, table
from ostiary.jobs import LOOK_SECONDS
from ostiary.mail import outbox
from ostiary.mail.mailbox import LocalMailbox
from ostiary.mail.messages import Message, rendered
from ostiary.mail.outbox import DeliveryError
from ostiary.mail.smtp import SMTPTransport


@click.group(name="mail")
def mail() -> None:
    """Mail: send a test, look at what waits."""


@mail.command("test")
@click.argument("to")
@on_services
async def test(desk: Desk, to: str) -> Answer:
    """Send one mail to this address now, past the queue, and say what came of it."""
    settings = desk.settings
    recipient = address(settings, to)
    message = rendered(
        Message("test", recipient, "", {}),
        sender=settings.mail.sender or "ostiary@localhost",
        sender_name=settings.mail.sender_name or settings.server.product_name,
        title=settings.server.product_name,
        now=time.time_ns() // 1000,
    )
    folder = settings.server.data / "mailbox"
    transport = SMTPTransport(settings.mail) if settings.mail.is_configured else LocalMailbox(folder)
    try:
        await transport.send(message)
    except (DeliveryError, OSError) as error:
        raise TroubleError(f"The mail did not leave: {error}.") from error
    if isinstance(transport, SMTPTransport):
        words = f"{settings.mail.host} took the mail. Whether it arrives is for {recipient} to see."
        return Answer({"sent": True, "to": recipient, "via": settings.mail.host}, words)
    return Answer(
        {"sent": True, "to": recipient, "via": str(folder)}, f"Written to {folder}: no SMTP server is set (EMAIL_HOST)."
    )


@mail.command("list")
@click.option("--limit", type=click.IntRange(1, 10000), default=100, show_default=True, help="How many, the newest first.")
@on_services
async def list_mails(desk: Desk, limit: int) -> Answer:
    """What is queued, sent and given up. Recipients and contents are sealed, so they are not shown."""
    async with desk.begin() as ctx:
        rows = await outbox.listed(ctx.db, limit)
    value = [
        {
            "id": row.id,
            "kind": row.kind,
            "status": row.status,
            "attempts": row.attempts,
            "last_error": row.last_error,
            "created_at": moment(row.created_at),
            "due_at": moment(row.due_at),
            "sent_at": moment(row.sent_at),
        }
        for row in rows
    ]
    lines = [(row.kind, row.status, row.attempts, spoken(row.created_at), spoken(row.sent_at), row.last_error) for row in rows]
    return Answer(value, table(("mail", "status", "attempts", "queued", "sent", "last trouble"), lines, "No mails."))


@mail.command("retry")
@on_services
async def retry(desk: Desk) -> Answer:
    """Make everything that waits, or was given up, due now."""
    async with desk.begin() as ctx:
        due = await outbox.retry_all(ctx.db, ctx.now)
    words = f"{due} mail(s) are due. A running server sends them within {LOOK_SECONDS} seconds." if due else "No mail waits."
    return Answer({"due": due}, words)
