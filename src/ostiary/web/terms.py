"""The terms of service: whoever has not accepted the present ones is asked before anything else."""

from __future__ import annotations

from starlette.responses import Response

from ostiary.http.calls import Call
from ostiary.identity import accounts, audit
from ostiary.web import forms, visitors
from ostiary.web.rendering import page, see


async def form(call: Call) -> Response:
    """What is to be accepted."""
    async with call.begin() as ctx:
        await visitors.owner(call, ctx, may_owe_terms=True)
    return page(call, "terms.html")


async def accept(call: Call) -> Response:
    """A repeat keeps the first moment."""
    forms.posted(call)
    async with call.begin() as ctx:
        who = await visitors.owner(call, ctx, may_owe_terms=True)
        await accounts.accept_terms(ctx, who.account.id, ctx.settings.policy.terms_version)
        await audit.record(ctx, audit.Event.TERMS_ACCEPTED, who.account.id)
    return see(visitors.HOME)
