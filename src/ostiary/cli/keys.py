"""`ostiary keys …`: the roots of what is sealed, signed and agreed on."""

from __future__ import annotations

from typing import Any

import click

from ostiary.cli.desk import Desk, on_services
from ostiary.cli.output import Answer, TroubleError, confirm, moment, spoken, table
from ostiary.identity import key_ring
from ostiary.identity.context import Context
from ostiary.identity.key_ring import Purpose, RotationUnderWayError, Row

JWT = (Purpose.ACCESS, Purpose.REFRESH)
SETTINGS = {Purpose.ACCESS: "JWT_SECRET", Purpose.REFRESH: "JWT_REFRESH_SECRET"}


@click.group(name="keys")
def keys() -> None:
    """Keys: put fresh ones in place while the server runs."""


@keys.command("rotate")
@click.option(
    "--only",
    type=click.Choice([purpose.value for purpose in Purpose]),
    multiple=True,
    help="Rotate this one alone; may be given several times. Without it: all.",
)
@click.option("--now", "at_once", is_flag=True, help="After a leak: access tokens signed until now are refused at once.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@on_services
async def rotate(desk: Desk, only: tuple[str, ...], *, at_once: bool, yes: bool) -> Answer:
    """Put fresh keys in place. Running servers take them up by themselves, and nobody is signed out.

    What earlier keys signed stays good until it expires, and what they sealed is sealed anew in the background. With --now,
    clients get one 401 and refresh, which they do by themselves; sessions go on.
    """
    purposes = [purpose for purpose in Purpose if not only or purpose.value in only]
    if at_once and Purpose.ACCESS not in purposes:
        text = "--now is about access tokens. Leave --only away, or add --only access-tokens."
        raise click.UsageError(text)
    if at_once:
        confirm("Refuse every access token signed until now? Clients will refresh.", yes=yes)
    try:
        async with desk.begin() as ctx:
            made = await key_ring.rotate(ctx, purposes, at_once=at_once)
    except RotationUnderWayError as error:
        text = f"Keys made a moment ago take over at {spoken(error.args[0])} UTC. Rotate again after that."
        raise TroubleError(text) from error
    value = [{"purpose": row.purpose, "number": row.number, "active_from": moment(row.active_from)} for row in made]
    lines = [f"{row.purpose}: key {row.number} takes over at {spoken(row.active_from)} UTC." for row in made]
    lines.append("Back the database up after that: the keys are in it, sealed under OSTIARY_ROOT_KEY, which stays as it is.")
    return Answer({"keys": value}, "\n".join(lines))


@keys.command("list")
@on_services
async def list_keys(desk: Desk) -> Answer:
    """Which keys there are and what they are used for now. The keys themselves are not shown."""
    async with desk.begin() as ctx:
        found = await key_ring.rows(ctx)
        value = [entry for purpose in Purpose for entry in _described(ctx, purpose, found)]
    lines = [(entry["purpose"], entry["number"], entry["from"], entry["state"], entry["active_from"]) for entry in value]
    return Answer(value, table(("purpose", "number", "from", "state", "active from"), lines, "No keys."))


def _described(ctx: Context, purpose: Purpose, found: list[Row]) -> list[dict[str, Any]]:
    mine = key_ring.of_purpose(ctx.services.keys, found, purpose)
    used = key_ring.current(mine, ctx.now)
    number = used.number if used else 0
    first = {"purpose": purpose.value, "number": 0, "from": SETTINGS.get(purpose, "OSTIARY_ROOT_KEY"), "active_from": None}
    later = [
        {"purpose": purpose.value, "number": row.number, "from": "keys rotate", "active_from": moment(row.active_from)}
        for row in mine
    ]
    return [{**entry, "state": _state(ctx, purpose, mine, int(str(entry["number"])), number)} for entry in (first, *later)]


def _state(ctx: Context, purpose: Purpose, mine: list[Row], number: int, used: int) -> str:
    if number == used:
        return "in use"
    if number > used:
        return "waits"
    end = key_ring.good_until(mine, number)
    if purpose in JWT and end is not None:
        return f"good until {spoken(end)} UTC" if end > ctx.now else "over"
    return "opens what it sealed" if purpose is Purpose.SEALING else "good for sessions from before"
