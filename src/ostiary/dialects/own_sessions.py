"""An owner's sessions, the same on every wire: listing them, ending one, and the page behind a mail's "it was not me"."""

from __future__ import annotations

from html import escape
from typing import Any

from starlette.responses import Response

from ostiary.http.calls import Call, raw_response
from ostiary.identity import audit, sessions
from ostiary.identity.context import MICROSECONDS, Context
from ostiary.identity.sessions import Principal

LIST_PATH = "/api/auth/sessions"
END_PATH = "/api/auth/endSession"
_HTML = b"text/html; charset=utf-8"
_POLICY = (
    b"content-security-policy",
    b"default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'",
)


async def listed(ctx: Context, who: Principal) -> list[dict[str, Any]]:
    """The owner's live sessions, the last used first; times are Unix seconds."""
    return [
        {
            "id": session.id,
            "kind": session.kind,
            "current": session.id == who.session.id,
            "address": session.address,
            "userAgent": session.user_agent,
            "created": session.created_at // MICROSECONDS,
            "lastUsed": session.last_used_at // MICROSECONDS,
            "expires": session.expires_at // MICROSECONDS,
        }
        for session in await sessions.of_account(ctx, who.account.id)
    ]


async def end(ctx: Context, who: Principal, session_id: str) -> bool:
    """End one of the owner's sessions, this one too; False when there is none such."""
    is_ended = await sessions.end_by_id(ctx, who.account.id, session_id)
    if is_ended:
        await audit.record(ctx, audit.Event.SIGNED_OUT, who.account.id, session=session_id)
    return is_ended


def question(call: Call) -> Response:
    """A page with a button: opening the link ends nothing, so that no mail scanner can. The button posts to the same address."""
    text = (
        "If what the mail tells of was not you, sign out everywhere: all sessions of your account end. Then change your password."
    )
    return _page(call, text, "<form method=post><button>Sign out everywhere</button></form>")


def ended(call: Call) -> Response:
    """What the button's reader sees."""
    return _page(call, "All sessions of your account have ended. Change your password now.", "")


def _page(call: Call, text: str, form: str) -> Response:
    title = escape(call.settings.server.product_name)
    page = (
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        "<style>body{font:1.1em/1.5 sans-serif;max-width:32em;margin:4em auto;padding:0 1em}button{font:inherit}</style>"
        f"<title>{title}</title>"
        f"<h1>{title}</h1><p>{text}</p>{form}</html>"
    )
    return raw_response(page.encode(), _HTML, headers=[_POLICY])
