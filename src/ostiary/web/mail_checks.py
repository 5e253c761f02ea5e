"""Check your mail: what every page leads to that has, perhaps, had a mail sent; and another mail for whoever got none."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, get_args

from starlette.responses import Response

from ostiary.http.calls import Call, Header
from ostiary.identity import asks, bans, recovery, violations
from ostiary.identity.context import Context
from ostiary.web import forms, mailbox, notes
from ostiary.web.rendering import page, see

PATH = "/check-mail"
NOTE = "mail"
VERIFICATION = "verification"
RESET = "reset"
KEY_VERIFICATION = "key_verification"
HINT = "hint"
About = Literal["registered", "unverified", "asked", "reset", "hint"]
ABOUT = frozenset(get_args(About))
_KINDS = frozenset({VERIFICATION, RESET, KEY_VERIFICATION, HINT})


def go(call: Call, email: str, about: About, kind: str = VERIFICATION, headers: Iterable[Header] = ()) -> Response:
    """On to the page, which remembers whose mail it speaks of and of what kind it is (`identity.asks`)."""
    return see(PATH, [_note(call, email, about, kind), *headers])


async def show(call: Call) -> Response:
    """The same for every address: whether a mail was sent, only its owner learns. Without a note it asks for the address."""
    note = notes.read(call, NOTE)
    return page(
        call,
        "check_mail.html",
        email=note.get("email", ""),
        about=f"check_mail.{note['about']}" if note.get("about") in ABOUT else "",
        notice="check_mail.again" if call.query("notice") == "again" else "",
        has_mailbox=mailbox.is_open(call),
    )


async def again(call: Call) -> Response:
    """Another mail, under the limits of the first."""
    typed = forms.posted(call)
    note = notes.read(call, NOTE)
    email = typed.text("email") or note.get("email", "")
    kind = note.get("kind", VERIFICATION)
    async with call.begin() as ctx:
        await _ask(call, ctx, email, kind if kind in _KINDS else VERIFICATION)
    about: About = "reset" if kind == RESET else "hint" if kind == HINT else "asked"
    return see(f"{PATH}?notice=again", [_note(call, email, about, kind)])


async def ask_reset(call: Call, email: str) -> None:
    """A reset mail, if there is such an account. Raises Throttled, Banned, ResetClosed."""
    async with call.begin() as ctx:
        await _ask(call, ctx, email, RESET)


async def _ask(call: Call, ctx: Context, email: str, kind: str) -> None:
    rules = ctx.services.rules
    if kind == RESET:
        call.show_limit(await violations.take(ctx, rules.reset_request, "reset_password_limit", email=email))
        await bans.check_address(ctx)
        await recovery.ask(ctx, email)
        return
    call.show_limit(await violations.take(ctx, rules.verification_mail, "verify_email_limit", email=email))
    await bans.check_address(ctx)
    await asks.put(ctx, kind, email)


def _note(call: Call, email: str, about: str, kind: str) -> Header:
    return notes.kept(call, NOTE, {"email": email[:320], "about": about, "kind": kind})
