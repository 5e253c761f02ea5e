"""`ostiary ban …`: bans of accounts (by e-mail or id) and of network addresses."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import click

from ostiary.cli.desk import Desk, on_services
from ostiary.cli.output import Answer, Duration, TroubleError, moment, spoken, table
from ostiary.identity import accounts, bans
from ostiary.identity.bans import Ban
from ostiary.identity.context import Context, micros

_target = click.argument("target", metavar="ACCOUNT|ADDRESS")


@click.group(name="ban")
def ban() -> None:
    """Bans: shut out an account (e-mail or id) or a network address. They hold at once, on a running server too."""


@ban.command("add")
@_target
@click.option("--for", "duration", type=Duration(), default=None, help="How long: 90s, 30m, 2h, 7d. Without it, until lifted.")
@click.option("--reason", default="", help="Why; kept in the audit.")
@on_services
async def add(desk: Desk, target: str, duration: timedelta | None, reason: str) -> Answer:
    """Shut out. An account's sessions end; of an IPv6 address, its whole /64 is meant."""
    async with desk.begin() as ctx:
        kind, subject = await bans.subject_of(ctx, target)
        made = await bans.add(ctx, kind, subject, reason, None if duration is None else ctx.now + micros(duration))
        value = await _described(ctx, made)
    return Answer(value, f"Banned {value['target']} {_until(made)}.")


@ban.command("list")
@on_services
async def list_bans(desk: Desk) -> Answer:
    """Bans in force, the oldest first."""
    async with desk.begin() as ctx:
        value = [await _described(ctx, each) for each in await bans.in_force(ctx)]
    rows = [
        (each["kind"], each["target"], each["created_at"], each["expires_at"] or "until lifted", each["reason"]) for each in value
    ]
    return Answer(value, table(("kind", "who", "since", "until", "reason"), rows, "Nobody is banned."))


@ban.command("lift")
@_target
@on_services
async def lift(desk: Desk, target: str) -> Answer:
    """Let in again."""
    async with desk.begin() as ctx:
        kind, subject = await bans.subject_of(ctx, target)
        if not await bans.lift(ctx, kind, subject):
            raise TroubleError(f"{target} is not banned. `ostiary ban list` shows who is.")
    return Answer({"kind": kind, "subject": subject, "lifted": True}, f"Lifted the ban of {target}.")


async def _described(ctx: Context, made: Ban) -> dict[str, Any]:
    account = await accounts.by_id(ctx, made.subject) if made.kind == bans.ACCOUNT else None
    return {
        "kind": bans.shown(made.kind),
        "subject": made.subject,
        "target": account.email if account else made.subject,
        "reason": made.reason,
        "created_at": moment(made.created_at),
        "expires_at": moment(made.expires_at),
    }


def _until(made: Ban) -> str:
    return "until it is lifted" if made.expires_at is None else f"until {spoken(made.expires_at)} UTC"
