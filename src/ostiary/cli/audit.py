"""`ostiary audit …`: the audit's rows."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import Any

import click

from ostiary.cli.desk import Desk, on_services
from ostiary.cli.output import Answer, Duration, moment, printable, spoken, table
from ostiary.identity import accounts, audit
from ostiary.identity.audit import AuditEvent
from ostiary.identity.context import Context, micros

LOOK_SECONDS = 1.0
MOST_AT_ONCE = 10_000
LOOK_BACK = 30 * 1_000_000
"""A row bears the moment at which its unit of work began, and shows when that ends: hashing lies between."""

_account = click.option("--account", "name", default=None, help="Only this account's: e-mail, or id (also of a deleted one).")
_event = click.option("--event", default=None, help="Only these, such as account:sign_in:refused or account:two_factor:%.")


@click.group(name="audit")
def audit_log() -> None:
    """The audit: who did what, and what was refused. Kept for a year."""


@audit_log.command("list")
@_account
@_event
@click.option("--since", type=Duration(), default=None, help="Only of the last 90s, 30m, 2h, 7d.")
@click.option("--limit", type=click.IntRange(1, 100000), default=100, show_default=True)
@on_services
async def list_events(desk: Desk, name: str | None, event: str | None, since: timedelta | None, limit: int) -> Answer:
    """The newest first."""
    async with desk.begin() as ctx:
        account_id = await _account_id(ctx, name)
        began_at = ctx.now - micros(since) if since is not None else 0
        rows = await audit.latest(ctx, account_id=account_id, event=event, since=began_at, most=limit)
    lines = [(spoken(row.at), row.event, row.reason, row.account_id, row.address, row.user_agent[:40]) for row in rows]
    return Answer(
        [_described(row) for row in rows],
        table(("at", "event", "reason", "account", "address", "client"), lines, "No such events."),
    )


@audit_log.command("tail")
@_account
@_event
@click.option("--lines", "-n", type=click.IntRange(0, 10000), default=20, show_default=True, help="How many to begin with.")
@click.option("--follow", "-f", is_flag=True, help="Go on showing new ones, until interrupted.")
@on_services
async def tail(desk: Desk, name: str | None, event: str | None, lines: int, *, follow: bool) -> Answer:
    """The latest events, the newest last."""
    if follow and click.get_current_context().params["as_json"]:
        text = "--follow never ends, so it cannot print one JSON value. Use --json without --follow."
        raise click.UsageError(text)
    async with desk.begin() as ctx:
        account_id = await _account_id(ctx, name)
        rows = (await audit.latest(ctx, account_id=account_id, event=event, most=lines))[::-1]
        recent = await audit.latest(ctx, account_id=account_id, event=event, since=ctx.now - LOOK_BACK, most=MOST_AT_ONCE)
    shown = [_line(row) for row in rows]
    if follow:
        for line in shown:
            click.echo(line)
        await _follow(desk, account_id, event, {row.id for row in recent})
    return Answer([_described(row) for row in rows], "\n".join(shown) or "No such events.")


async def _follow(desk: Desk, account_id: str | None, event: str | None, seen: set[str]) -> None:
    while True:
        async with desk.begin() as ctx:
            rows = await audit.latest(ctx, account_id=account_id, event=event, since=ctx.now - LOOK_BACK, most=MOST_AT_ONCE)
        for row in reversed(rows):
            if row.id not in seen:
                click.echo(_line(row))
        seen = {row.id for row in rows}
        await asyncio.sleep(LOOK_SECONDS)


async def _account_id(ctx: Context, name: str | None) -> str | None:
    # The trace outlives the account, so an id is taken as it is.
    return (await accounts.named(ctx, name)).id if name and "@" in name else name


def _line(row: AuditEvent) -> str:
    words = (spoken(row.at), row.event, row.reason, row.account_id, row.address)
    return "  ".join(printable(word) for word in words if word)


def _described(row: AuditEvent) -> dict[str, Any]:
    return {
        "at": moment(row.at),
        "event": row.event,
        "reason": row.reason,
        "account_id": row.account_id,
        "address": row.address,
        "user_agent": row.user_agent,
        "request_id": row.request_id,
        "detail": json.loads(row.detail),
    }
