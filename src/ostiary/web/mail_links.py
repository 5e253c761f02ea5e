"""Where links in mails lead: each shows a button first, since mail scanners open links, and some of them run scripts."""

from __future__ import annotations

from starlette.responses import Response

from ostiary.http.calls import Call
from ostiary.identity import accounts, session_links, throttle, verification, violations
from ostiary.identity.refusals import LinkRefused
from ostiary.web import forms, notes
from ostiary.web.rendering import page, see

VERIFY = "/verify"
END_SESSION = "/end-session"


async def verify_form(call: Call) -> Response:
    """Somebody who registers a stranger's address must not have it verified by the stranger's mail scanner."""
    token = call.query("token")
    if token is not None:
        email = call.query("email", plus_is_blank=False) or ""
        return see(VERIFY, [notes.kept(call, "verify", {"token": token[:256], "email": email[:320]})])
    note = notes.read(call, "verify")
    if not note:
        raise LinkRefused
    return page(call, "verify.html", email=note["email"])


async def verify(call: Call) -> Response:
    """The same link goes on succeeding until it expires."""
    forms.posted(call)
    note = notes.read(call, "verify")
    async with call.begin() as ctx:
        call.show_limit(await violations.take(ctx, ctx.services.rules.verification, "verify_email_limit"))
        account = await accounts.by_email(ctx, note.get("email", ""))
        await verification.confirm(ctx, account, note.get("token", ""))
    return see("/login?notice=verified", [notes.dropped(call, "verify")])


async def verified(call: Call) -> Response:
    """Where LibrePass's links end, when they have done their work (librepass-wire 6.6)."""
    return page(call, "verified.html")


async def end_session_form(call: Call) -> Response:
    """From the mails that tell of what a stranger may have done."""
    code = call.query("code")
    if code is not None:
        return see(END_SESSION, [notes.kept(call, "end", {"code": code[:256], "user": (call.query("user") or "")[:64]})])
    note = notes.read(call, "end")
    async with call.begin() as ctx:
        await throttle.take(ctx, ctx.services.rules.navigation, throttle.network(call.client.address))
        await session_links.check(ctx, note.get("user", ""), note.get("code", ""))
    return page(call, "end_session.html", is_done=False)


async def end_session(call: Call) -> Response:
    """A repeat succeeds until the link expires."""
    forms.posted(call)
    note = notes.read(call, "end")
    async with call.begin() as ctx:
        await throttle.take(ctx, ctx.services.rules.navigation, throttle.network(call.client.address))
        await session_links.end(ctx, note.get("user", ""), note.get("code", ""))
    return page(call, "end_session.html", is_done=True)
