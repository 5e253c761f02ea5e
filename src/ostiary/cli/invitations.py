"""`ostiary invite …`: invitations, named by e-mail."""

from __future__ import annotations

import click

from ostiary.cli.desk import Desk, on_services
from ostiary.cli.fields import address
from ostiary.cli.output import Answer, TroubleError, moment, spoken, table
from ostiary.identity import invitations, policy
from ostiary.identity.context import micros
from ostiary.identity.refusals import DomainRefused


@click.group(name="invite")
def invite() -> None:
    """Invitations: links that let one address register, also while ALLOW_REGISTRATION is false."""


@invite.command("create")
@click.argument("email")
@click.option("--no-mail", is_flag=True, help="Print the link, and send nothing.")
@on_services
async def create(desk: Desk, email: str, *, no_mail: bool) -> Answer:
    """Invite an address for seven days. The link is mailed and printed; an earlier one stops working."""
    email = address(desk.settings, email)
    async with desk.begin() as ctx:
        if not policy.allows_domain(ctx, email):
            raise DomainRefused
        link = await invitations.create(ctx, email, mail=not no_mail)
        expires_at = ctx.now + micros(invitations.STYLE.life)
    value = {"email": email.lower(), "link": link, "expires_at": moment(expires_at), "mailed": not no_mail}
    mailed = "Nothing was mailed." if no_mail else "The mail waits for the server to send it."
    return Answer(value, f"{link}\nGood until {spoken(expires_at)} UTC, for {email}, once. {mailed}")


@invite.command("list")
@on_services
async def list_invitations(desk: Desk) -> Answer:
    """Invitations that still work. Links are not kept, so they cannot be shown again."""
    async with desk.begin() as ctx:
        open_ones = await invitations.listed(ctx)
    value = [
        {"email": each.email, "created_at": moment(each.created_at), "expires_at": moment(each.expires_at)} for each in open_ones
    ]
    rows = [(each.email, spoken(each.created_at), spoken(each.expires_at)) for each in open_ones]
    return Answer(value, table(("email", "created", "expires"), rows, "No open invitations."))


@invite.command("revoke")
@click.argument("email")
@on_services
async def revoke(desk: Desk, email: str) -> Answer:
    """Make an address's invitation useless."""
    async with desk.begin() as ctx:
        if not await invitations.revoke(ctx, email):
            raise TroubleError(f"{email} has no open invitation. `ostiary invite list` shows all.")
    return Answer({"email": email, "revoked": True}, f"Revoked the invitation of {email}.")
