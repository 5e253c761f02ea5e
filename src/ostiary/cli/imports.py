"""`ostiary import …`: accounts of a LibreChat or a LibrePass server move in and go on signing in with what they had."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import click
import msgspec

from ostiary.cli import from_librechat, from_librepass
from ostiary.cli.desk import Desk, on_services
from ostiary.cli.output import Answer, table
from ostiary.cli.readings import Reading
from ostiary.identity import accounts, importing
from ostiary.identity.context import Context
from ostiary.identity.importing import Company, Newcomer
from ostiary.identity.refusals import AddressTaken

_dry_run = click.option("--dry-run", is_flag=True, help="Read and check everything, and write nothing.")


class Report(msgspec.Struct):
    """What came of an import: counts of what moved, and account by account what did not, and why."""

    is_rehearsal: bool
    read: int = 0
    already_here: int = 0
    moved: Counter[str] = msgspec.field(default_factory=Counter)
    left_behind: list[dict[str, str]] = msgspec.field(default_factory=list)
    notes: list[dict[str, str]] = msgspec.field(default_factory=list)
    remarks: list[str] = msgspec.field(default_factory=list)

    def answer(self) -> Answer:
        """For programs and for people."""
        value: dict[str, Any] = {
            "dry_run": self.is_rehearsal,
            "read": self.read,
            "moved": dict(self.moved),
            "already_here": self.already_here,
            "left_behind": self.left_behind,
            "notes": self.notes,
            "remarks": self.remarks,
        }
        verb = "would move" if self.is_rehearsal else "moved"
        what = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in self.moved.items()) or "nothing"
        parts = [f"Read {self.read} accounts; {verb}: {what}. Here already: {self.already_here}."]
        if self.left_behind:
            rows = [(each["account"], each["reason"]) for each in self.left_behind]
            parts.append(table(("left behind", "why"), rows, ""))
        if self.notes:
            parts.append(table(("account", "note"), [(each["account"], each["note"]) for each in self.notes], ""))
        return Answer(value, "\n\n".join([*parts, *self.remarks]))


@click.group(name="import")
def import_accounts() -> None:
    """Move accounts in from another server. Repeating an import moves what is not here yet."""


@import_accounts.command("librechat")
@click.option("--from", "file", required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path), help="users.jsonl")
@click.option(
    "--issuer", "issuers", multiple=True, metavar="PROVIDER=ISSUER", help="For openid, saml and ldap accounts that name none."
)
@_dry_run
@on_services
async def librechat(desk: Desk, file: Path, issuers: tuple[str, ...], *, dry_run: bool) -> Answer:
    """Accounts of LibreChat, from `mongoexport --collection users --out users.jsonl`.

    With CREDS_KEY as LibreChat had it, second factors move along. Account ids stay.
    """
    readings = from_librechat.read(file, desk.services.keys.creds_key, from_librechat.issuers(desk.settings, issuers))
    report = await _move_in(desk, readings, "librechat", is_rehearsal=dry_run)
    report.remarks.append("Sessions are not in the export: everyone signs in once more.")
    return report.answer()


@import_accounts.command("librepass")
@click.option("--from", "url", required=True, metavar="postgresql://…", help="Its database; the password better in PGPASSWORD.")
@_dry_run
@on_services
async def librepass(desk: Desk, url: str, *, dry_run: bool) -> Answer:
    """Accounts of LibrePass, from its PostgreSQL database, with vaults and API keys. Nothing is written there."""
    report = await _move_in(desk, from_librepass.read(desk, url), "librepass", is_rehearsal=dry_run)
    report.remarks.append("E-mail changes and verifications under way were not moved: their owners ask again.")
    return report.answer()


async def _move_in(desk: Desk, readings: AsyncIterator[Reading], origin: str, *, is_rehearsal: bool) -> Report:
    report, company = Report(is_rehearsal), Company()
    async for reading in readings:
        report.read += 1
        report.notes += [{"account": reading.label, "note": note} for note in reading.notes]
        if reading.newcomer is None:
            report.left_behind.append({"account": reading.label, "reason": reading.reason})
            continue
        async with desk.begin() as ctx:
            await _move_one(ctx, reading.newcomer, company, origin, report)
    async with desk.begin() as ctx:
        if not is_rehearsal and not await accounts.has_admin(ctx):
            report.remarks.append("Nobody is ADMIN yet: ostiary user set-role ACCOUNT ADMIN")
    return report


async def _move_one(ctx: Context, newcomer: Newcomer, company: Company, origin: str, report: Report) -> None:
    if await importing.is_here(ctx, newcomer):
        report.already_here += 1
        return
    reason = await importing.obstacle(ctx, newcomer, company)
    if reason is None and not report.is_rehearsal:
        try:
            await importing.settle(ctx, newcomer, origin)
        except AddressTaken:
            reason = "an account here took that address at this moment"
    if reason is not None:
        report.left_behind.append({"account": newcomer.email, "reason": reason})
        return
    report.moved += Counter(
        accounts=1,
        passwords=int(newcomer.password_hash is not None),
        keys=int(newcomer.key is not None),
        second_factors=int(newcomer.totp_secret is not None),
        backup_codes=len(newcomer.backup_codes),
        provider_identities=len(newcomer.identities),
        sessions=len(newcomer.tokens),
        vault_rows=len(newcomer.ciphers),
        collections=len(newcomer.collections),
    )
