"""What several endpoints need: the body, the principal, limits, and the check for foreign sites."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ostiary.dialects.librechat import reuse, tokens
from ostiary.dialects.librechat.errors import BearerRefused, ForeignOrigin
from ostiary.http.calls import Call, MalformedBodyError
from ostiary.identity import sessions, violations
from ostiary.identity.context import Context
from ostiary.identity.sessions import Principal
from ostiary.limits.store import Rule

FORM = "application/x-www-form-urlencoded"


def read_body(call: Call) -> Mapping[str, Any]:
    """The body's fields; nothing sent, or something of another type, is an empty object (section 1.1). Raises MalformedBodyError.

    A form is read as the original does, but not from another site: a form is what a foreign page can send without asking.
    """
    if not call.body:
        return {}
    media_type = (call.header(b"content-type") or "").partition(";")[0].strip().lower()
    if media_type == FORM:
        require_own_site(call)
        return call.form()
    if media_type != "application/json":
        return {}
    body = call.json()
    if not isinstance(body, dict | list):
        raise MalformedBodyError
    return body if isinstance(body, dict) else {}


def require_own_site(call: Call) -> None:
    """Raises ForeignOrigin when a browser says that a page of another site asks (section 15, row 29)."""
    origin = call.header(b"origin")
    if origin is not None:
        if origin not in call.settings.browser_origins:
            raise ForeignOrigin
    elif (call.header(b"sec-fetch-site") or "") == "cross-site":
        raise ForeignOrigin
    token = call.header(b"x-csrf-token")
    if token is not None and not tokens.is_csrf_token(call, token):
        raise ForeignOrigin("csrf_token")
    if token is None and call.settings.policy.csrf_token_required:
        raise ForeignOrigin("csrf_token_missing")


async def principal(call: Call, ctx: Context) -> Principal:
    """Who acts: the bearer's live session and its account (section 1.3). Raises BearerRefused."""
    bearer = call.bearer()
    if bearer is None:
        raise BearerRefused("No auth token")
    if (vouched := await reuse.principal(call, ctx)) is not None:
        return vouched
    session_id = tokens.read_access(call.services, bearer, ctx.now)
    found = await sessions.by_id(ctx, session_id)
    if found is None:
        raise BearerRefused("Unauthorized")
    return found


async def optional_principal(call: Call, ctx: Context) -> Principal | None:
    """The same where a stale bearer means nobody."""
    try:
        return await principal(call, ctx)
    except BearerRefused:
        return None


async def limited(
    call: Call, ctx: Context, rule: Rule, kind: violations.Kind, *, email: object = None, key: str | None = None
) -> None:
    """Count this request, show the limit's headers; over it, score a violation of this kind. Raises Throttled."""
    call.show_limit(await violations.take(ctx, rule, kind, email=email, key=key))
