"""Signing in and out: e-mail and password (or a directory's name), the second factor, and the ways over other providers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from starlette.responses import Response

from ostiary.federation import vouched
from ostiary.http import cookies
from ostiary.http.calls import Call, Header, redirect
from ostiary.identity import audit, bans, challenges, credentials, directory, provider_sessions, sessions, sign_in, violations
from ostiary.identity.context import Context
from ostiary.identity.factors import AnyCode
from ostiary.identity.passwords import Password
from ostiary.identity.refusals import (
    AddressUnverified,
    ChallengeGone,
    CodeRefused,
    DirectoryRefused,
    DomainRefused,
    FederationRefused,
    GroupRefused,
    MethodClosed,
    ProofRefused,
    Refusal,
)
from ostiary.identity.sign_in import FactorRequired, SignedIn
from ostiary.web import codes, forms, key_sign_in, mail_checks, visitors
from ostiary.web.rendering import page, see
from ostiary.web.visitors import Visit

NOTICES = frozenset({"signed_out", "reset_done", "verified", "registered", "deleted", "password_changed"})
"""What the sign-in page may be asked to say, by `?notice=`: nothing else in an address reaches a page's text."""


DIRECTORY = {
    "not_at_this_time": "login.directory.time",
    "not_at_this_workstation": "login.directory.workstation",
    "password_expired": "login.directory.expired",
    "password_must_change": "login.directory.expired",
    "account_disabled": "login.directory.closed",
    "account_expired": "login.directory.closed",
    "account_locked": "login.directory.locked",
    "retry_limit": "login.directory.locked",
}
"""Why a directory refuses somebody, beyond a wrong password: the text for it."""


async def home(call: Call) -> Response:
    """`/`: the account page, or the sign-in page."""
    async with call.begin() as ctx:
        who = await visitors.visitor(call, ctx)
    return see(visitors.HOME if who else visitors.LOGIN)


async def form(call: Call) -> Response:
    """The sign-in page; whoever is signed in goes on. `error=` is how a sign-in elsewhere says that it failed (16.7)."""
    async with call.begin() as ctx:
        who = await visitors.visitor(call, ctx)
    if who is not None:
        return see(visitors.way_back(call))
    settings = call.settings
    wants_provider = settings.openid.is_configured and settings.openid.auto_redirect and call.query("redirect") != "false"
    if wants_provider and "openid" in call.services.redirect_providers:
        return redirect("/oauth/openid")
    notice = call.query("notice")
    problem = "login.elsewhere_failed" if call.query("error") else ""
    return _page(call, notice=f"notice.{notice}" if notice in NOTICES else "", problem=problem)


async def submit(call: Call) -> Response:
    """One answer for a wrong password, an unknown address and an account without a password."""
    typed = forms.posted(call)
    email, password, visit = typed.text("email"), typed.secret("password"), Visit.new()
    asks_address_first = key_sign_in.asks_address_first(call)
    if asks_address_first and not password:
        return await key_sign_in.address_submit(call, email)
    try:
        async with call.begin() as ctx:
            call.show_limit(await violations.take_sign_in(ctx, email))
            await bans.check_arrival(ctx, email, credentials.PASSWORD)
            outcome = await _first_proof(ctx, call, email, password, visit)
            await visitors.leave(call, ctx)
    except AddressUnverified:
        return mail_checks.go(call, email, "unverified")
    except (ProofRefused, FederationRefused, DomainRefused) as refusal:
        if asks_address_first:
            return key_sign_in.password_page(call, email, 422, "login.refused")
        return _page(call, 422, email=email, problem=_problem(refusal))
    return visitors.entered(call, ctx, outcome, visit, visitors.way_back(call))


def _problem(refusal: Refusal) -> str:
    """What a directory says of a name and a password that it knows may be said; of every other reason nothing."""
    if isinstance(refusal, GroupRefused):
        return "login.directory.group"
    return DIRECTORY.get(refusal.reason, "login.refused") if isinstance(refusal, DirectoryRefused) else "login.refused"


async def _first_proof(ctx: Context, call: Call, email: str, password: str, visit: Visit) -> SignedIn | FactorRequired:
    policy, theirs = ctx.settings.policy, ctx.services.directory
    if not (policy.allow_email_login or policy.allow_email_login_override):
        raise MethodClosed
    if not email or not password:
        raise ProofRefused("missing")
    if theirs is not None:
        return await directory.sign_in(ctx, theirs, email, password, visit.ticket(call))
    return await sign_in.sign_in(ctx, Password(email, password), visit.ticket(call))


async def factor_form(call: Call) -> Response:
    """A provider's way leads here with `tempToken` in the address, for clients of that wire; the page has a cookie for it."""
    if call.query("tempToken") is not None:
        return see(visitors.FACTOR)
    if not cookies.read(call, cookies.CHALLENGE):
        return see(visitors.LOGIN)
    return _factor_page(call)


async def factor_submit(call: Call) -> Response:
    """A code of the authenticator, or a backup code: the field takes both."""
    typed = forms.posted(call)
    secret, visit = cookies.read(call, cookies.CHALLENGE), Visit.new()
    if not secret:
        return see(visitors.LOGIN)
    code = codes.typed_in(typed)
    waiting = challenges.browser_hash(call.services, call.client, secret)
    try:
        async with call.begin() as ctx:
            call.show_limit(await violations.take_answer(ctx, waiting))
            await violations.check_answer(ctx, waiting)
            # By digest: the store of counters, which others may read, must not hold what a challenge is answered with.
            call.show_limit(await violations.take(ctx, ctx.services.rules.factor_challenge, "logins", key=waiting.hex()))
            stored = sessions.page_hash(call.services, visit.token)
            outcome = await sign_in.answer(ctx, waiting, AnyCode(code), token_hash=stored)
            await provider_sessions.hand_over(ctx, waiting.hex(), outcome.session)
            await visitors.leave(call, ctx)
    except CodeRefused:
        return _factor_page(call, 422, problem="factor.refused")
    except ChallengeGone:
        return _page(call, 422, [cookies.dropped(call, cookies.CHALLENGE)], problem="login.challenge_gone")
    return visitors.entered(call, ctx, outcome, visit, visitors.way_back(call))


async def sign_out(call: Call) -> Response:
    """The session ends, for every wire. Where a provider vouched for it, the page tells how to sign out there as well."""
    forms.posted(call)
    by = None
    async with call.begin() as ctx:
        who = await visitors.visitor(call, ctx)
        if who is not None:
            by = await vouched.of(ctx, who)
            await vouched.forget(ctx, who.session.id)
            if await sessions.end(ctx, who.session):
                await audit.record(ctx, audit.Event.SIGNED_OUT, who.account.id, session=who.session.id)
    gone = [cookies.dropped(call, cookies.SESSION)]
    url = await vouched.logout_url(call.settings, by)
    if by is None or not url:
        return see("/login?notice=signed_out", gone)
    return page(call, "signed_out.html", headers=gone, url=url, label=by[0].label)


def providers(call: Call) -> list[tuple[str, str, str]]:
    """The ways over others: address, what it is called, and the operator's own text of the button."""
    if "librechat" not in call.settings.server.dialects:
        return []
    found = call.services.redirect_providers
    return [(f"/oauth/{name}", provider.label, provider.button) for name, provider in found.items()]


def _page(call: Call, status: int = 200, headers: Iterable[Header] = (), **values: Any) -> Response:  # noqa: ANN401 - texts
    policy, has_directory = call.settings.policy, call.services.directory is not None
    if key_sign_in.has_keys_alone(call):
        return key_sign_in.key_page(call, status, headers, **values)
    return page(
        call,
        "login.html",
        status,
        headers,
        **{"email": call.query("email") or "", **values},
        providers=providers(call),
        has_directory=has_directory,
        has_password=key_sign_in.has_passwords(call.settings),
        has_keys=key_sign_in.has_keys(call.settings),
        asks_address_first=key_sign_in.asks_address_first(call),
        may_register=policy.allow_registration and not has_directory,
        may_reset=policy.allow_password_reset and not has_directory,
    )


def _factor_page(call: Call, status: int = 200, **values: Any) -> Response:  # noqa: ANN401 - texts
    return page(call, "login_2fa.html", status, is_backup=call.query("way") == "backup", **values)
