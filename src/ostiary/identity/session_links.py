"""Links that end one session, for the mail that tells its owner of a sign-in; their use needs no session."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec

from ostiary.crypto.tokens import random_hex
from ostiary.identity import audit, links, sessions
from ostiary.identity.accounts import Account
from ostiary.identity.context import Context
from ostiary.identity.links import Link, LinkStyle
from ostiary.identity.refusals import LinkRefused
from ostiary.identity.sessions import Session

PURPOSE = "end_session"
PAGE_STYLE = LinkStyle(
    purpose=PURPOSE,
    life=timedelta(days=30),
    new_token=random_hex,
    url=lambda settings, account_id, _email, token: (
        f"{settings.server.public_client_url}/end-session?user={account_id}&code={token}"
    ),
)
"""Of those who signed in at our own pages."""


async def issue(ctx: Context, style: LinkStyle, account: Account, session: Session) -> str:
    """A link that ends exactly this session; links of other sessions go on working."""
    config = msgspec.json.encode({"session": session.id}).decode()
    return await links.issue(ctx, style, account.email, account.id, config, replace=False)


async def check(ctx: Context, account_id: str, token: str) -> Link:
    """The link, if it would end something; nothing is spent. Raises LinkRefused."""
    found = await links.find(ctx, PURPOSE, token, account_id)
    if found is None:
        raise LinkRefused
    return found


async def end(ctx: Context, account_id: str, token: str) -> None:
    """End the link's session. A repeat succeeds until the link expires. Raises LinkRefused."""
    found = await check(ctx, account_id, token)
    named: dict[str, Any] = msgspec.json.decode(found.config)
    if await sessions.end_by_id(ctx, account_id, named["session"]):
        await audit.record(ctx, audit.Event.SIGNED_OUT, account_id, "mail_link", session=named["session"])
