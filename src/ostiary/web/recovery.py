"""A forgotten password: asking for the link, and the page that the link leads to."""

from __future__ import annotations

from starlette.responses import Response

from ostiary.http.calls import Call
from ostiary.identity import bans, recovery, violations
from ostiary.identity.refusals import PasswordRefused, ResetClosed
from ostiary.web import forms, key_sign_in, mail_checks, notes
from ostiary.web.rendering import page, see
from ostiary.web.sign_up import password_problem

PATH = "/reset-password"
NOTE = "reset"


async def ask_form(call: Call) -> Response:
    """Where to send the link."""
    if not call.settings.policy.allow_password_reset or call.services.directory is not None:
        raise ResetClosed
    email = notes.read(call, key_sign_in.NOTE).get("email") or notes.read(call, mail_checks.NOTE).get("email", "")
    return page(call, "forgot_password.html", email=email)


async def ask(call: Call) -> Response:
    """One answer for every address."""
    email = forms.posted(call).text("email")
    await mail_checks.ask_reset(call, email)
    return mail_checks.go(call, email, "reset", mail_checks.RESET)


async def form(call: Call) -> Response:
    """The link's token goes into a note, out of the address; opening the link spends nothing."""
    token, account_id = call.query("token"), call.query("userId")
    if token is not None:
        return see(PATH, [notes.kept(call, NOTE, {"token": token[:256], "user": (account_id or "")[:64]})])
    note = notes.read(call, NOTE)
    async with call.begin() as ctx:
        email = await recovery.check(ctx, note.get("user", ""), note.get("token", ""))
    return _page(call, email)


async def submit(call: Call) -> Response:
    """The new password: every session ends, and the link with them."""
    typed, note = forms.posted(call), notes.read(call, NOTE)
    email = ""
    try:
        async with call.begin() as ctx:
            call.show_limit(await violations.take(ctx, ctx.services.rules.reset_submission, "reset_password_limit"))
            await bans.check_address(ctx)
            email = await recovery.check(ctx, note.get("user", ""), note.get("token", ""))
            await recovery.reset(ctx, note.get("user", ""), note.get("token", ""), typed.secret("password"))
    except PasswordRefused as refusal:
        return _page(call, email, 422, password_problem(refusal))
    return see("/login?notice=reset_done", [notes.dropped(call, NOTE)])


def _page(call: Call, email: str, status: int = 200, problem: str = "") -> Response:
    return page(call, "reset_password.html", status, problem=problem, email=email, least=call.settings.passwords.min_length)
