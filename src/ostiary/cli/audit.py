"""`ostiary audit …`: the audit's rows, and whether they are what was written."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

import click

from ostiary.app import now
from ostiary.cli.desk import Desk, on_services
from ostiary.cli.output import Answer, Duration, confirm, moment, printable, spoken, table
from ostiary.identity import accounts, audit, audit_chain
from ostiary.identity.audit import AuditEvent, Picked
from ostiary.identity.audit_walk import Finding, Place
from ostiary.identity.context import Context, micros

LOOK_SECONDS = 1.0
MOST_AT_ONCE = 10_000
LOOK_BACK = 30 * 1_000_000
"""A row bears the moment at which its unit of work began, and shows when that ends: hashing lies between."""
_HEAD = re.compile(r"([0-9]{1,18}):([0-9a-f]{64})")

Body = TypeVar("Body", bound=Callable[..., Any])


class Moment(click.ParamType[int]):
    """So long ago (`90s`, `30m`, `2h`, `7d`), or an instant: `2026-01-31`, `2026-01-31T12:00`; UTC unless it says otherwise."""

    name = "moment"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:  # noqa: ANN401
        """Microseconds. Raises UsageError, naming the forms."""
        try:
            given = datetime.fromisoformat(str(value))
        except ValueError:
            return now() - micros(Duration().convert(value, param, ctx))
        return int((given if given.tzinfo else given.replace(tzinfo=UTC)).timestamp() * 1_000_000)


class Head(click.ParamType[Place]):
    """A chain's head as the log and `ostiary audit verify` print it: a number, a colon, and 64 hex digits."""

    name = "head"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Place:  # noqa: ANN401
        """Raises UsageError, naming the form."""
        found = _HEAD.fullmatch(str(value).strip())
        if found is None:
            self.fail(f"{value!r} is no head such as 1842:9f86d081… (a number, a colon, 64 hex digits).", param, ctx)
        return Place(int(found[1]), found[2], 0)


def _picking(body: Body) -> Body:
    """The options by which `list` and `tail` pick rows."""
    for option in (
        click.option("--reason", default=None, help="Only with this reason, such as mismatch."),
        click.option("--address", default=None, help="Only from this address, such as 203.0.113.7 or 203.0.113.*."),
        click.option("--event", default=None, help="Only these, such as account:sign_in:refused or account:two_factor:*."),
        click.option("--account", default=None, help="Only this account's: e-mail, or id (also of a deleted one)."),
    ):
        body = option(body)
    return body


@click.group(name="audit")
def audit_log() -> None:
    """The audit: who did what, and what was refused. Kept for a year (OSTIARY_AUDIT_DAYS)."""


@audit_log.command("list")
@_picking
@click.option("--since", type=Moment(), default=None, help="Only after: 90s, 30m, 2h, 7d ago, or 2026-01-31T12:00.")
@click.option("--until", type=Moment(), default=None, help="Only before: the same forms.")
@click.option("--limit", type=click.IntRange(1, 100000), default=100, show_default=True)
@on_services
async def list_events(desk: Desk, since: int | None, until: int | None, limit: int, **picked: str | None) -> Answer:
    """The newest first."""
    async with desk.begin() as ctx:
        wanted = await _wanted(ctx, picked)
        rows = await audit.latest(ctx, **wanted, since=since or 0, until=audit.FOR_EVER if until is None else until, most=limit)
    lines = [
        (spoken(row.at), row.event, row.reason, row.account_id, row.address, row.device, row.user_agent[:40]) for row in rows
    ]
    return Answer(
        [_described(row) for row in rows],
        table(("at", "event", "reason", "account", "address", "device", "client"), lines, "No such events."),
    )


@audit_log.command("tail")
@_picking
@click.option("--lines", "-n", type=click.IntRange(0, 10000), default=20, show_default=True, help="How many to begin with.")
@click.option("--follow", "-f", is_flag=True, help="Go on showing new ones, until interrupted.")
@on_services
async def tail(desk: Desk, lines: int, *, follow: bool, **picked: str | None) -> Answer:
    """The latest events, the newest last."""
    if follow and click.get_current_context().params["as_json"]:
        text = "--follow never ends, so it cannot print one JSON value. Use --json without --follow."
        raise click.UsageError(text)
    async with desk.begin() as ctx:
        wanted = await _wanted(ctx, picked)
        rows = (await audit.latest(ctx, **wanted, most=lines))[::-1]
        recent = await audit.latest(ctx, **wanted, since=ctx.now - LOOK_BACK, most=MOST_AT_ONCE)
    shown = [_line(row) for row in rows]
    if follow:
        for line in shown:
            click.echo(line)
        await _follow(desk, wanted, {row.id for row in recent})
    return Answer([_described(row) for row in rows], "\n".join(shown) or "No such events.")


@audit_log.command("verify")
@click.option("--head", "heads", type=Head(), multiple=True, help="A head printed earlier that must still be in the chain.")
@on_services
async def verify(desk: Desk, heads: tuple[Place, ...]) -> Answer:
    """Look whether a row was changed, removed, put in or moved since it was written. Works beside a running server."""
    async with desk.begin() as ctx:
        verdict = await audit_chain.verify(ctx, heads)
    ends = verdict.ends
    lines = [_spoken(found) for found in verdict.findings]
    lines += [f"Head {head.position} lies in what retention has swept: nothing can be said of it." for head in verdict.unknown]
    if verdict.waiting:
        since = spoken(verdict.waiting_since)
        lines.append(f"{verdict.waiting} rows wait for their place, since {since} UTC: a running server links them.")
    if ends is not None:
        lines += [f"{verdict.checked} linked rows looked at.", f"Head: {ends.head} ({spoken(ends.head.at)} UTC)"]
    value = {
        "ok": not verdict.findings,
        "checked": verdict.checked,
        "waiting": verdict.waiting,
        "waiting_since": moment(verdict.waiting_since),
        "swept_to": ends.floor.position if ends else None,
        "head": str(ends.head) if ends else None,
        "head_at": moment(ends.head.at) if ends else None,
        "unknown_heads": [str(head) for head in verdict.unknown],
        "findings": [_finding(found) for found in verdict.findings],
    }
    words = "The audit is as it was written." if not verdict.findings else "The audit is NOT as it was written:"
    return Answer(value, "\n".join([words, *lines]), is_failure=bool(verdict.findings))


@audit_log.command("restart")
@click.option("--yes", is_flag=True, help="Do not ask.")
@on_services
async def restart(desk: Desk, *, yes: bool) -> Answer:
    """Begin a new chain with the rows as they are, when the old one is beyond repair. What `verify` says of them now is lost."""
    confirm("Take all rows as they are from now on? Keep what `ostiary audit verify` says first.", yes=yes)
    async with desk.begin() as ctx:
        rows = await audit_chain.restart(ctx)
    return Answer({"rows": rows}, f"A new chain begins; a running server links {rows} rows within seconds.")


async def _follow(desk: Desk, wanted: Picked, seen: set[str]) -> None:
    while True:
        async with desk.begin() as ctx:
            rows = await audit.latest(ctx, **wanted, since=ctx.now - LOOK_BACK, most=MOST_AT_ONCE)
        for row in reversed(rows):
            if row.id not in seen:
                click.echo(_line(row))
        seen = {row.id for row in rows}
        await asyncio.sleep(LOOK_SECONDS)


async def _wanted(ctx: Context, picked: dict[str, str | None]) -> Picked:
    # The trace outlives the account, so an id is taken as it is.
    name = picked["account"]
    account_id = (await accounts.named(ctx, name)).id if name and "@" in name else name
    return {"account_id": account_id, "event": picked["event"], "address": picked["address"], "reason": picked["reason"]}


def _line(row: AuditEvent) -> str:
    words = (spoken(row.at), row.event, row.reason, row.account_id, row.address)
    return "  ".join(printable(word) for word in words if word)


def _described(row: AuditEvent) -> dict[str, Any]:
    return {
        "id": row.id,
        "number": row.position,
        "at": moment(row.at),
        "event": row.event,
        "reason": row.reason,
        "account_id": row.account_id,
        "address": row.address,
        "device": row.device,
        "user_agent": row.user_agent,
        "request_id": row.request_id,
        "detail": json.loads(row.detail),
    }


def _finding(found: Finding) -> dict[str, Any]:
    return {
        "kind": found.kind,
        "first": found.first,
        "last": found.last,
        "after": moment(found.after),
        "before": moment(found.before),
        "rows": list(found.rows),
        "text": _spoken(found),
    }


_WORDS = {
    "removed": "removed",
    "changed": "changed since written, or not written by this server",
    "moved": "not in the place where they were linked, or a row before them was exchanged",
    "foreign": "put in: this server did not write or link them",
}
_ENDS = {
    "missing": "The record of the chain's ends is missing: it was removed, or no server has run on this database yet.",
    "changed": "The record of the chain's ends is not signed under this OSTIARY_ROOT_KEY: it was changed, or the key is another.",
    "head": "Head {number} is not in this chain: rows up to it were removed or exchanged, or an older backup was brought back.",
}


def _spoken(found: Finding) -> str:
    """A finding in a person's words."""
    if found.kind == "ends":
        return _ENDS[found.reason].format(number=found.first)
    numbers = "a row without a number" if found.first is None else f"row {found.first}"
    if found.last != found.first:
        numbers = f"rows {found.first} to {found.last}"
    words = [f"{numbers}: {_WORDS[found.kind]}"]
    if found.after is not None:
        words.append(f"between {spoken(found.after)} and {spoken(found.before) if found.before else 'now'} UTC")
    if found.rows:
        words.append(f"ids {' '.join(printable(row) for row in found.rows)}")
    return ", ".join(words)
