"""Federated routes when no provider is configured (librechat-wire 8, 10), and the page's `/api/auth/<provider>`."""

from __future__ import annotations

from starlette.responses import Response

from ostiary.dialects.http import Call, json_response, redirect
from ostiary.dialects.librechat import deps
from ostiary.identity import throttle

PROVIDERS = ("google", "facebook", "github", "discord", "apple", "openid", "saml")


def failure_url(call: Call) -> str:
    """Where the client shows that a sign-in elsewhere did not work (16.7)."""
    return f"{call.settings.server.public_client_url}/login?redirect=false&error=auth_failed"


async def start_or_return(call: Call) -> Response:
    """No provider is configured: back to the sign-in page with its error."""
    async with call.begin() as ctx:
        await throttle.take(ctx, ctx.services.rules.login, f"navigation:{throttle.network(call.client.address)}")
    return redirect(failure_url(call))


async def error(call: Call) -> Response:
    """Section 8.2: always back to the sign-in page."""
    return redirect(failure_url(call))


async def documented_start(call: Call) -> Response:
    """Section 15, row 18: the page lists these under `/api/auth`."""
    return redirect(f"{call.settings.server.public_server_url}/oauth/{call.path.rpartition('/')[2]}")


async def graph_token(call: Call) -> Response:
    """Section 10, first check: nobody here has signed in with Entra."""
    async with call.begin() as ctx:
        await deps.principal(call, ctx)
    return json_response({"message": "Microsoft Graph access requires Entra ID authentication"}, 403)
