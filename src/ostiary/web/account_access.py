"""Where the account is open: its sessions, and its identities at other providers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec
from starlette.responses import Response

from ostiary.http import cookies
from ostiary.http.calls import Call, Header
from ostiary.identity import audit, federated, sessions, step_up
from ostiary.identity.credentials import Credential
from ostiary.identity.federated import Config
from ostiary.identity.refusals import CodeMissing, CodeRefused, LastWayIn
from ostiary.identity.sessions import Principal
from ostiary.web import codes, forms, visitors
from ostiary.web.rendering import page, see

Departure = Callable[[Call, str, Principal], Awaitable[tuple[str, Header]]]
"""Where to send an owner's browser to link an identity at the named provider, and the cookie that makes the way back theirs."""
DEPARTURE = "ostiary.departure"


def config_of(row: Credential) -> Config:
    """What an identity's credential says."""
    return msgspec.json.decode(row.config, type=Config)


def providers(call: Call) -> list[tuple[str, str]]:
    """Name and label of what can be linked."""
    if "librechat" not in call.settings.server.dialects:
        return []
    return [(name, each.label) for name, each in call.services.redirect_providers.items()]


async def end_session(call: Call) -> Response:
    """End one session, or with `others` every other; this one too, if it is named."""
    typed = forms.posted(call)
    async with call.begin() as ctx:
        who = await visitors.owner(call, ctx)
        if typed.text("session") == "others":
            await sessions.end_all(ctx, who.account.id, keep=who.session.id)
            await audit.record(ctx, audit.Event.SESSIONS_ENDED, who.account.id, "owner")
            return see("/account?notice=sessions_ended")
        ended = typed.text("session")
        if await sessions.end_by_id(ctx, who.account.id, ended):
            await audit.record(ctx, audit.Event.SIGNED_OUT, who.account.id, session=ended)
    if ended == who.session.id:
        return see("/login?notice=signed_out", [cookies.dropped(call, cookies.SESSION)])
    return see("/account?notice=session_ended")


async def unlink(call: Call) -> Response:
    """Take an identity away; never the last way in. Where a factor is on, a code is needed."""
    typed = forms.posted(call)
    identity = typed.text("identity")
    try:
        async with call.begin() as ctx:
            who = await visitors.owner(call, ctx)
            found = {row.id: row for row in await federated.linked(ctx, who.account.id)}.get(identity)
            if found is None:
                return see(visitors.HOME)
            await step_up.require_code(ctx, who, codes.proof_in(typed))
            await federated.unlink(ctx, who, found.id)
    except (CodeRefused, CodeMissing) as refusal:
        return _code_page(call, refusal, "unlink", identity=identity)
    except LastWayIn:
        return page(call, "account_identity.html", 422, problem="account.identity.last", what="", values={})
    return see("/account?notice=identity_removed")


async def link(call: Call) -> Response:
    """A page with the way to the provider: a form's answer may not lead a browser to another site (CSP, form-action)."""
    typed = forms.posted(call)
    name = typed.text("provider")
    known = dict(providers(call))
    departure: Departure | None = call.scope[DEPARTURE]
    if name not in known or departure is None:
        return see(visitors.HOME)
    try:
        async with call.begin() as ctx:
            who = await visitors.owner(call, ctx)
            await step_up.require_code(ctx, who, codes.proof_in(typed))
    except (CodeRefused, CodeMissing) as refusal:
        return _code_page(call, refusal, "link", provider=name)
    url, cookie = await departure(call, name, who)
    return page(call, "account_link.html", headers=[cookie], url=url, label=known[name])


def _code_page(call: Call, refusal: CodeRefused | CodeMissing, what: str, **values: str) -> Response:
    problem = "factor.refused" if isinstance(refusal, CodeRefused) else ""
    return page(call, "account_identity.html", 422 if problem else 200, problem=problem, what=what, values=values)
