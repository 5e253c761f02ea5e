"""The account page of whoever is signed in: who they are here, their password, and the way out for good."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from ostiary.http import cookies
from ostiary.http.calls import Call
from ostiary.identity import accounts, audit, deletion, factors, federated, password_change, sessions
from ostiary.identity.context import MICROSECONDS, Context
from ostiary.identity.credentials import Credential
from ostiary.identity.refusals import (
    CodeMissing,
    CodeRefused,
    DeletionClosed,
    PasswordRefused,
    ProofRefused,
    Refusal,
)
from ostiary.identity.sessions import Principal
from ostiary.web import account_access, agents, codes, forms, messages, visitors
from ostiary.web.forms import Form
from ostiary.web.rendering import page, see
from ostiary.web.sign_up import password_problem

NOTICES = frozenset({"saved", "password_changed", "session_ended", "sessions_ended", "factor_off", "identity_removed"})
"""What the account page may be asked to say, by `?notice=`."""
MOST_EVENTS = 8
MOST_NAME = 80
FRESH = 10 * 60 * MICROSECONDS
"""Whoever has no password here shows who they are by having signed in so lately."""


class SignInStale(Refusal):
    """Too long since the sign-in for something that cannot be undone."""

    code = "sign_in_stale"


async def show(call: Call) -> Response:
    """Everything about the account on one page."""
    async with call.begin() as ctx:
        who = await visitors.owner(call, ctx)
        values = await _overview(ctx, who)
    notice = call.query("notice")
    texts = messages.of(call)
    return page(
        call,
        "account.html",
        notice=f"account.notice.{notice}" if notice in NOTICES else "",
        who=who.account,
        here=who.session.id,
        events=[
            {
                "at": agents.moment(event.at),
                "text": texts.get(f"event.{event.event}", "event.other"),
                "from": event.address,
                "with": agents.described(event.user_agent),
            }
            for event in values.pop("events")
        ],
        may_delete=may_delete(ctx, who),
        providers=account_access.providers(call),
        **values,
    )


async def _overview(ctx: Context, who: Principal) -> dict[str, Any]:
    account_id = who.account.id
    kept = await factors.of_kind(ctx, account_id, factors.BACKUP_CODE)
    return {
        "has_password": await password_change.has_password(ctx, who.account),
        "is_key_account": who.account.provider == "key",
        "codes_left": sum(code.used_at is None for code in kept),
        "sessions": [
            {
                "id": session.id,
                "with": agents.described(session.user_agent),
                "from": session.address,
                "since": agents.moment(session.created_at),
                "last": agents.moment(session.last_used_at),
                "is_key": session.kind == sessions.KEY,
            }
            for session in await sessions.of_account(ctx, account_id)
        ],
        "identities": [_identity(ctx, row) for row in await federated.linked(ctx, account_id)],
        "events": await audit.latest(ctx, account_id=account_id, most=MOST_EVENTS),
    }


def _identity(ctx: Context, row: Credential) -> dict[str, Any]:
    config = account_access.config_of(row)
    known = ctx.services.redirect_providers.get(config.provider)
    label = known.label if known is not None else config.provider
    return {"id": row.id, "label": label, "email": config.email or "", "since": agents.moment(row.created_at)}


async def save_profile(call: Call) -> Response:
    """The name that others see. Where a provider's account is behind it, that one's name comes back with the next sign-in."""
    typed = forms.posted(call)
    name = typed.text("name")
    async with call.begin() as ctx:
        who = await visitors.owner(call, ctx)
        is_good = bool(name) and len(name) <= MOST_NAME and name.isprintable()
        if is_good and name != who.account.name:
            await accounts.change(ctx, who.account.id, "name", name)
    return see("/account?notice=saved") if is_good else see("/account")


async def password_form(call: Call) -> Response:
    """The page that asks for the present and the new password."""
    async with call.begin() as ctx:
        who = await visitors.owner(call, ctx)
        has_password = await password_change.has_password(ctx, who.account)
    return _password_page(call) if has_password else see(visitors.HOME)


async def change_password(call: Call) -> Response:
    """Sessions elsewhere end; this one stays."""
    typed = forms.posted(call)
    try:
        async with call.begin() as ctx:
            who = await visitors.owner(call, ctx)
            await password_change.change(ctx, who, typed.secret("present"), typed.secret("password"))
    except ProofRefused:
        return _password_page(call, 422, problem="account.password.wrong")
    except PasswordRefused as refusal:
        return _password_page(call, 422, problem=password_problem(refusal))
    return see("/account?notice=password_changed")


def _password_page(call: Call, status: int = 200, problem: str = "") -> Response:
    return page(call, "account_password.html", status, problem=problem, least=call.settings.passwords.min_length)


def may_delete(ctx: Context, who: Principal) -> bool:
    """Whether the operator lets owners delete their accounts."""
    return ctx.settings.policy.allow_account_deletion or who.account.role == accounts.ADMIN


async def delete_form(call: Call) -> Response:
    """What deletion takes with it, and what is asked for."""
    async with call.begin() as ctx:
        who = await visitors.owner(call, ctx)
        if not may_delete(ctx, who):
            raise DeletionClosed
        has_password = await password_change.has_password(ctx, who.account)
    return _delete_page(call, who, has_password=has_password)


async def delete(call: Call) -> Response:
    """The owner leaves: by the password, or by a fresh sign-in where there is none; and by a code where a factor is on."""
    typed = forms.posted(call)
    has_password = False
    who: Principal | None = None
    try:
        async with call.begin() as ctx:
            who = await visitors.owner(call, ctx)
            if not may_delete(ctx, who):
                raise DeletionClosed
            has_password = await password_change.has_password(ctx, who.account)
            await _prove_owner(ctx, who, typed, has_password=has_password)
            await deletion.by_owner(ctx, who, codes.proof_in(typed))
    except (ProofRefused, CodeRefused, CodeMissing, SignInStale) as refusal:
        return _delete_page(call, who, 422, has_password=has_password, problem=_PROBLEMS[type(refusal)])
    return see("/login?notice=deleted", [cookies.dropped(call, cookies.SESSION)])


_PROBLEMS: dict[type[Refusal], str] = {
    ProofRefused: "account.password.wrong",
    CodeRefused: "factor.refused",
    CodeMissing: "factor.refused",
    SignInStale: "account.delete.stale",
}


async def _prove_owner(ctx: Context, who: Principal, typed: Form, *, has_password: bool) -> None:
    if has_password:
        await password_change.prove(ctx, who, typed.secret("password"))
    elif ctx.now - who.session.proved_at > FRESH:
        raise SignInStale


def _delete_page(call: Call, who: Principal | None, status: int = 200, *, has_password: bool, problem: str = "") -> Response:
    has_factor = who is not None and bool(who.account.has_factor)
    return page(call, "account_delete.html", status, problem=problem, has_password=has_password, has_factor=has_factor)
