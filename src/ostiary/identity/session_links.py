"""Links in the mails that warn owners: "it was not me" ends every session. Their use needs none."""

from __future__ import annotations

from ostiary.identity import audit, links, notices, sessions
from ostiary.identity.context import Context
from ostiary.identity.links import Link
from ostiary.identity.refusals import LinkRefused

PURPOSE = notices.NOT_ME.purpose


async def check(ctx: Context, account_id: str, token: str) -> Link:
    """The link, if it would end something; nothing is spent. Raises LinkRefused."""
    found = await links.find(ctx, PURPOSE, token, account_id)
    if found is None:
        raise LinkRefused
    return found


async def end(ctx: Context, account_id: str, token: str) -> None:
    """End every session and pending sign-in of the link's account, and a change of address that waits. Raises LinkRefused.

    The link is not spent: whoever comes back can be shut out again until it expires.
    """
    await check(ctx, account_id, token)
    live = await sessions.of_account(ctx, account_id)
    await sessions.end_all(ctx, account_id)
    await links.forget(ctx, "email_change", account_id)
    await audit.record(ctx, audit.Event.SESSIONS_ENDED, account_id, "mail_link", sessions=len(live))
