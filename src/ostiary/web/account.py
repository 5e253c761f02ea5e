"""The account page of whoever is signed in."""

from __future__ import annotations

from starlette.responses import Response

from ostiary.http.calls import Call
from ostiary.web import visitors
from ostiary.web.rendering import page


async def show(call: Call) -> Response:
    """Who they are here."""
    async with call.begin() as ctx:
        who = await visitors.owner(call, ctx)
    return page(call, "account.html", who=who.account)
