"""Invitations: a link for one address, spent when the registration succeeds and not before."""

from __future__ import annotations

from datetime import timedelta

from ostiary.crypto.tokens import random_hex
from ostiary.identity import accounts, audit, links, notices
from ostiary.identity.context import Context
from ostiary.identity.links import Link, LinkStyle
from ostiary.identity.refusals import AddressTaken, InvitationRefused

PURPOSE = "invitation"
STYLE = LinkStyle(
    purpose=PURPOSE,
    life=timedelta(days=7),
    new_token=random_hex,
    url=lambda settings, _account, _email, token: f"{settings.server.public_client_url}/register?token={token}",
)


async def create(ctx: Context, email: str, *, mail: bool = True) -> str:
    """A link that lets this address register; an earlier one stops working. Raises AddressTaken."""
    address = accounts.canonical(email)
    if await accounts.by_email(ctx, address) is not None:
        raise AddressTaken
    link = await links.issue(ctx, STYLE, address)
    if mail:
        await notices.send_to(ctx, "invitation", address, "", link=link)
    await audit.record(ctx, audit.Event.INVITED)
    return link


async def check(ctx: Context, token: str, email: str) -> None:
    """Raises InvitationRefused unless the token invites this address."""
    found = await links.find(ctx, PURPOSE, token)
    if found is None or found.email != accounts.canonical(email):
        raise InvitationRefused


async def invited(ctx: Context, token: str) -> str:
    """The address that the token invites; empty when it invites none."""
    found = await links.find(ctx, PURPOSE, token)
    return found.email if found is not None else ""


async def spend(ctx: Context, token: str) -> None:
    """Use it up. Raises InvitationRefused when someone else just did."""
    if await links.spend(ctx, PURPOSE, token) is None:
        raise InvitationRefused("spent")


async def listed(ctx: Context) -> list[Link]:
    """Those that still work."""
    return await links.usable(ctx, PURPOSE)


async def revoke(ctx: Context, email: str) -> bool:
    """Make the address's invitation useless; False when it had none."""
    revoked = await links.forget_email(ctx, PURPOSE, accounts.canonical(email)) > 0
    if revoked:
        await audit.record(ctx, audit.Event.INVITATION_REVOKED)
    return revoked
