"""`/api/user` (librechat-wire 6)."""

from __future__ import annotations

from starlette.responses import Response

from ostiary.dialects import own_sessions
from ostiary.dialects.librechat import deps, schemas
from ostiary.dialects.librechat.errors import NO_SUCH_SESSION, SESSION_ENDED
from ostiary.http.calls import Call, json_response
from ostiary.identity import accounts, audit, deletion, session_links
from ostiary.identity.refusals import AccountGone, DeletionClosed


async def me(call: Call) -> Response:
    """The owner's record."""
    async with call.begin() as ctx:
        who = await deps.principal(call, ctx)
    return json_response(schemas.user_json(who.account, call.settings))


async def list_sessions(call: Call) -> Response:
    """An extension: the owner's live sessions on every wire, the last used first."""
    async with call.begin() as ctx:
        found = await own_sessions.listed(ctx, await deps.principal(call, ctx))
    return json_response(found)


async def end_session(call: Call) -> Response:
    """An extension: end one of them, this one too; its access token with it."""
    async with call.begin() as ctx:
        is_ended = await own_sessions.end(ctx, await deps.principal(call, ctx), call.path_params["id"])
    return json_response({"message": SESSION_ENDED}) if is_ended else json_response({"message": NO_SUCH_SESSION}, 404)


async def ask_end_sessions(call: Call) -> Response:
    """An extension: what the link "it was not me" in a mail opens. It changes nothing."""
    account_id, code = _link_of(call)
    async with call.begin() as ctx:
        await deps.limited(call, ctx, ctx.services.rules.verification, "verify_email_limit")
        await session_links.check(ctx, account_id, code)
    return own_sessions.question(call)


async def end_sessions_by_link(call: Call) -> Response:
    """An extension: the button of that page. Whoever has the link needs no session, and no page of another site has the link."""
    account_id, code = _link_of(call)
    async with call.begin() as ctx:
        await deps.limited(call, ctx, ctx.services.rules.verification, "verify_email_limit")
        await session_links.end(ctx, account_id, code)
    return own_sessions.ended(call)


def _link_of(call: Call) -> tuple[str, str]:
    """The link's account and code; nothing where one is missing, which no link has."""
    return call.query("user") or "", call.query("code") or ""


async def terms(call: Call) -> Response:
    """Whether the present version of the terms was accepted, and when."""
    async with call.begin() as ctx:
        account = (await deps.principal(call, ctx)).account
    accepted = account.has_accepted(call.settings.policy.terms_version)
    at = schemas.iso(account.terms_accepted_at) if accepted and account.terms_accepted_at else None
    return json_response({"termsAccepted": accepted, "termsAcceptedAt": at})


async def accept_terms(call: Call) -> Response:
    """A repeat keeps the first moment."""
    async with call.begin() as ctx:
        who = await deps.principal(call, ctx)
        await accounts.accept_terms(ctx, who.account.id, ctx.settings.policy.terms_version)
        await audit.record(ctx, audit.Event.TERMS_ACCEPTED, who.account.id)
        account = await accounts.by_id(ctx, who.account.id)
        if account is None or account.terms_accepted_at is None:
            raise AccountGone
    return json_response({"message": "Terms accepted successfully", "termsAcceptedAt": schemas.iso(account.terms_accepted_at)})


async def delete(call: Call) -> Response:
    """The owner leaves; with a second factor on, a code is needed."""
    body = deps.read_body(call)
    async with call.begin() as ctx:
        who = await deps.principal(call, ctx)
        if not (ctx.settings.policy.allow_account_deletion or who.account.role == accounts.ADMIN):
            raise DeletionClosed
        await deletion.by_owner(ctx, who, schemas.factor_proof(body))
    return json_response({"message": "User deleted"})
