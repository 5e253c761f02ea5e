"""`ostiary user …`: accounts, named by e-mail or id."""

from __future__ import annotations

import re
import secrets
import sys
from typing import Any

import click

from ostiary.cli.desk import Desk, on_services
from ostiary.cli.fields import registration
from ostiary.cli.output import Answer, TroubleError, confirm, facts, moment, note, spoken, table
from ostiary.identity import accounts, bans, credentials, deletion, factors, operators, recovery, sessions
from ostiary.identity.accounts import Account
from ostiary.identity.context import micros
from ostiary.identity.passwords import MOST_CHARACTERS
from ostiary.identity.refusals import SessionGone
from ostiary.settings import Settings

GENERATED_LENGTH = 24
PAGE = 1000
_ROLE = re.compile(r"[A-Z][A-Z0-9_-]{0,63}")
_account = click.argument("name", metavar="ACCOUNT")
_yes = click.option("--yes", "-y", is_flag=True, help="Do not ask.")
_password_stdin = click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")


class Role(click.ParamType[str]):
    """A role's name, in capital letters as it is stored."""

    name = "role"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:  # noqa: ANN401
        """Raises UsageError."""
        role = str(value).strip().upper()
        if not _ROLE.fullmatch(role):
            self.fail(f"{value!r} is not a role such as USER or ADMIN.", param, ctx)
        return role


@click.group(name="user")
def user() -> None:
    """Accounts: create, look at, change, end. ACCOUNT is an e-mail or an id."""


@user.command("create")
@click.argument("email")
@click.option("--name", default="", help="The person's name; without it, from the address.")
@click.option("--username", default=None, help="A handle that others see.")
@click.option("--role", type=Role(), default=None, help="USER or ADMIN; without it, the first account is ADMIN.")
@click.option("--unverified", is_flag=True, help="The owner must still prove to read the address's mail.")
@_password_stdin
@on_services
async def create(
    desk: Desk,
    email: str,
    name: str,
    username: str | None,
    role: str | None,
    *,
    unverified: bool,
    password_stdin: bool,
) -> Answer:
    """Make a password account, by the rules of registration.

    The password comes from standard input, or is asked for on a terminal, or is made up and shown once.
    """
    password, is_generated = _read_password(desk.settings, from_stdin=password_stdin)
    fields = registration(desk.settings, email=email, name=name, username=username, password=password)
    wanted = operators.Appointment(**fields, role=role, is_verified=not unverified)
    async with desk.begin() as ctx:
        made = await operators.create(ctx, wanted)
    value = described(made)
    text = f"Made {made.email}, role {made.role}" + ("" if made.is_verified else ", not verified")
    if is_generated:
        value["password"] = password
        text += f"\nPassword, shown this once: {password}"
    return Answer(value, text)


@user.command("list")
@on_services
async def list_accounts(desk: Desk) -> Answer:
    """All accounts, by address."""
    found: list[Account] = []
    async with desk.begin() as ctx:
        while page := await accounts.page(ctx, after=found[-1].email if found else "", most=PAGE):
            found += page
    rows = [
        (
            each.email,
            each.role,
            each.provider,
            "yes" if each.is_verified else "no",
            "yes" if each.has_factor else "no",
            spoken(each.created_at),
            each.id,
        )
        for each in found
    ]
    headings = ("email", "role", "provider", "verified", "two-factor", "created", "id")
    return Answer([described(each) for each in found], table(headings, rows, "No accounts. `ostiary user create` makes one."))


@user.command("show")
@_account
@on_services
async def show(desk: Desk, name: str) -> Answer:
    """All that is known of an account, secrets aside."""
    async with desk.begin() as ctx:
        account = await accounts.named(ctx, name)
        kinds = [each.kind for each in await credentials.all_of_account(ctx, account.id)]
        live = await sessions.of_account(ctx, account.id)
        codes = await factors.of_kind(ctx, account.id, factors.BACKUP_CODE)
        ban = await bans.of(ctx, bans.ACCOUNT, account.id)
    left = sum(code.used_at is None for code in codes)
    value = described(account) | {
        "username": account.username,
        "credentials": kinds,
        "backup_codes_left": left,
        "sessions": len(live),
        "ban": None if ban is None else {"reason": ban.reason, "expires_at": moment(ban.expires_at)},
        "terms_accepted_at": moment(account.terms_accepted_at),
        "expires_at": moment(account.expires_at),
    }
    pairs: list[tuple[str, object]] = [
        ("e-mail", account.email),
        ("id", account.id),
        ("name", account.name),
        ("username", account.username),
        ("role", account.role),
        ("provider", account.provider),
        ("verified", spoken(account.verified_at)),
        ("signs in with", ", ".join(kinds)),
        ("two-factor", f"on, {left} backup codes left" if account.has_factor else "off"),
        ("sessions", len(live)),
        ("banned", "no" if ban is None else f"{_until(ban.expires_at)}: {ban.reason}"),
        ("terms accepted", spoken(account.terms_accepted_at)),
        ("created", spoken(account.created_at)),
        ("changed", spoken(account.updated_at)),
    ]
    if account.expires_at is not None:
        pairs.append(("goes, unless verified", spoken(account.expires_at)))
    return Answer(value, facts(pairs))


@user.command("delete")
@_account
@_yes
@on_services
async def delete(desk: Desk, name: str, *, yes: bool) -> Answer:
    """Delete an account with all that belongs to it. Its sessions end at once; the audit stays."""
    async with desk.begin() as ctx:
        account = await accounts.named(ctx, name)
        confirm(f"Delete {account.email} with its sessions, second factor and vault? This cannot be undone.", yes=yes)
        await deletion.delete(ctx, account, operators.OPERATOR)
    return Answer(described(account), f"Deleted {account.email}.")


@user.command("set-password")
@_account
@_password_stdin
@on_services
async def set_password(desk: Desk, name: str, *, password_stdin: bool) -> Answer:
    """Set a password: sessions and lockouts end, and the owner gets a mail.

    `ostiary user reset-link` lets the owner choose one instead.
    """
    async with desk.begin() as ctx:
        account = await accounts.named(ctx, name)
    password, is_generated = _read_password(desk.settings, from_stdin=password_stdin)
    async with desk.begin() as ctx:
        await operators.set_password(ctx, account, password)
    value, text = described(account), f"Set the password of {account.email}; every session of it has ended."
    if is_generated:
        value["password"] = password
        text += f"\nPassword, shown this once: {password}"
    return Answer(value, text)


@user.command("set-role")
@_account
@click.argument("role", type=Role())
@on_services
async def set_role(desk: Desk, name: str, role: str) -> Answer:
    """Give an account another role: USER, ADMIN, or one of your own. It holds from the next request on."""
    async with desk.begin() as ctx:
        account = await accounts.named(ctx, name)
        await operators.set_role(ctx, account, role)
        changed = await accounts.named(ctx, account.id)
        is_headless = not await accounts.has_admin(ctx)
    if is_headless:
        note("Nobody is ADMIN any more.")
    return Answer(described(changed), f"{account.email} was {account.role} and is {role}.")


@user.command("reset-2fa")
@_account
@_yes
@on_services
async def reset_factors(desk: Desk, name: str, *, yes: bool) -> Answer:
    """Take away the second factor of someone who lost it: sessions end, and the owner gets a mail."""
    async with desk.begin() as ctx:
        account = await accounts.named(ctx, name)
        confirm(f"Let {account.email} sign in without the second factor from now on?", yes=yes)
        had_factor = await operators.reset_factors(ctx, account)
        changed = await accounts.named(ctx, account.id)
    done = "Removed the second factor; every session has ended." if had_factor else "There was no second factor to remove."
    return Answer(described(changed) | {"had_two_factor": had_factor}, f"{account.email}: {done}")


@user.command("unlock")
@_account
@on_services
async def unlock(desk: Desk, name: str) -> Answer:
    """Open an account that too many wrong passwords or codes have closed.

    Running servers look for this order when they are about to refuse, so it holds at once. Limits by network address
    (LOGIN_MAX, …) are not the account's: they end by themselves.
    """
    async with desk.begin() as ctx:
        account = await accounts.named(ctx, name)
        await operators.unlock(ctx, account)
    text = (
        f"Unlocked {account.email}. Limits by network address, if it ran into one, end by themselves; bans: `ostiary ban list`."
    )
    return Answer(described(account), text)


@user.command("sessions")
@_account
@on_services
async def list_sessions(desk: Desk, name: str) -> Answer:
    """An account's live sessions, the last used first."""
    async with desk.begin() as ctx:
        account = await accounts.named(ctx, name)
        live = await sessions.of_account(ctx, account.id)
    value = [
        {
            "id": each.id,
            "kind": each.kind,
            "amr": each.amr.split(),
            "address": each.address,
            "user_agent": each.user_agent,
            "created_at": moment(each.created_at),
            "last_used_at": moment(each.last_used_at),
            "expires_at": moment(each.expires_at),
        }
        for each in live
    ]
    rows = [
        (each.id, each.kind, each.address, spoken(each.created_at), spoken(each.last_used_at), each.user_agent[:40])
        for each in live
    ]
    return Answer(
        value,
        table(("id", "kind", "address", "created", "last used", "client"), rows, f"{account.email} has no live session."),
    )


@user.command("logout")
@_account
@click.option("--session", "session_id", default=None, metavar="ID", help="End this one alone (`ostiary user sessions`).")
@_yes
@on_services
async def log_out(desk: Desk, name: str, session_id: str | None, *, yes: bool) -> Answer:
    """End an account's sessions, on a running server too."""
    async with desk.begin() as ctx:
        account = await accounts.named(ctx, name)
        confirm(f"End {'this session' if session_id else 'every session'} of {account.email}?", yes=yes)
        try:
            ended = await operators.log_out(ctx, account, session_id)
        except SessionGone as error:
            raise TroubleError(f"{account.email} has no live session {session_id}.") from error
    return Answer({"id": account.id, "email": account.email, "ended": ended}, f"Ended {ended} session(s) of {account.email}.")


@user.command("reset-link")
@_account
@on_services
async def reset_link(desk: Desk, name: str) -> Answer:
    """A link with which the owner sets a new password. Hand it to nobody else: it opens the account."""
    if not desk.settings.policy.allow_password_reset:
        text = "ALLOW_PASSWORD_RESET=false: the link would be refused. Allow it, or use `ostiary user set-password`."
        raise TroubleError(text)
    async with desk.begin() as ctx:
        account = await accounts.named(ctx, name)
        link = await recovery.link_for_operator(ctx, account)
        expires_at = ctx.now + micros(recovery.STYLE.life)
    value = {"id": account.id, "email": account.email, "link": link, "expires_at": moment(expires_at)}
    return Answer(value, f"{link}\nGood until {spoken(expires_at)} UTC, once. Earlier links of {account.email} no longer work.")


def described(account: Account) -> dict[str, Any]:
    """An account for programs."""
    return {
        "id": account.id,
        "email": account.email,
        "name": account.name,
        "role": account.role,
        "provider": account.provider,
        "verified": account.is_verified,
        "two_factor": bool(account.has_factor),
        "created_at": moment(account.created_at),
        "updated_at": moment(account.updated_at),
    }


def _until(expires_at: int | None) -> str:
    return "until lifted" if expires_at is None else f"until {spoken(expires_at)}"


def _read_password(settings: Settings, *, from_stdin: bool) -> tuple[str, bool]:
    """The password, and whether it was made up here."""
    if from_stdin:
        password = sys.stdin.read().removesuffix("\n").removesuffix("\r")
        if not password:
            text = "Nothing came from standard input, where --password-stdin expects the password."
            raise TroubleError(text)
        return password, False
    if sys.stdin.isatty():
        typed: str = click.prompt(
            "Password (empty: make one up)",
            default="",
            hide_input=True,
            confirmation_prompt=True,
            show_default=False,
            err=True,
        )
        if typed:
            return typed, False
    length = min(max(GENERATED_LENGTH, settings.passwords.min_length), MOST_CHARACTERS)
    return secrets.token_urlsafe(length)[:length], True
