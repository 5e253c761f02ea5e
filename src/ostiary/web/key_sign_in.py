"""Signing in with a key account. Where addresses are of both kinds, the address comes first and says what is asked for next.

A page for a password that must stay in the browser has no field that a browser would send it in; what is sent is the shared key
that `static/key_worker.js` makes of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from starlette.responses import Response

from ostiary.http import cookies
from ostiary.http.calls import Call, Header, json_response
from ostiary.identity import addresses, bans, credentials, kinds, sign_in, throttle, violations
from ostiary.identity.context import Context
from ostiary.identity.public_keys import Parameters, SharedKey
from ostiary.identity.refusals import AddressUnverified, ProofRefused, Refusal
from ostiary.settings import Settings
from ostiary.web import forms, mail_checks, notes, problems, visitors
from ostiary.web.rendering import page, see
from ostiary.web.visitors import Visit

SECOND_STEP = "/login/password"
KEY_PAGE = "/login/key"
MARK_COOKIE = "ostiary_key_mark"
MARK_SECONDS = 24 * 3600
USED_COOKIE = "ostiary_keys"
"""That key accounts are used in this browser: nobody's in particular."""
USED_SECONDS = 365 * 24 * 3600
NOTE = "address"


class ScriptNeeded(Refusal):
    """The form came without what the page's script makes: the browser has no other way to keep the password to itself."""

    code = "script_needed"


def has_keys(settings: Settings) -> bool:
    """Whether there are key accounts here."""
    return "librepass" in settings.server.dialects


def has_passwords(settings: Settings) -> bool:
    """Whether there are passwords that the server checks."""
    policy = settings.policy
    return "librechat" in settings.server.dialects and (policy.allow_email_login or policy.allow_email_login_override)


def asks_address_first(call: Call) -> bool:
    """Whether an address may be of either kind. A directory's names are none of ours: it has its page, keys have theirs."""
    return has_keys(call.settings) and has_passwords(call.settings) and call.services.directory is None


def has_keys_alone(call: Call) -> bool:
    """Whether a key is the one way in here."""
    settings = call.settings
    is_other = has_passwords(settings) or call.services.directory is not None or bool(call.services.redirect_providers)
    return has_keys(settings) and not is_other


async def address_submit(call: Call, email: str) -> Response:
    """The first step: whose address it is, or of what kind one would be that is nobody's (docs/decisions/012-kinds.md)."""
    if not 0 < len(email) <= addresses.MOST_CHARACTERS:
        return see(visitors.LOGIN)
    async with call.begin() as ctx:
        await _limited(ctx, email)
        found = await kinds.of_address(ctx, email, cookies.read(call, MARK_COOKIE) or "")
    values = {"email": email, "kind": found.kind}
    if cookies.read(call, USED_COOKIE) and not found.is_known:
        values["must_agree"] = "yes"
    return see(f"{SECOND_STEP}{visitors.back_query(call)}", [notes.kept(call, NOTE, values)])


async def second_step(call: Call) -> Response:
    """The password, for whoever checks it."""
    noted = notes.read(call, NOTE)
    if not noted or not asks_address_first(call):
        return see(visitors.LOGIN)
    if noted["kind"] == credentials.PUBLIC_KEY:
        return key_page(call, email=noted["email"], is_fixed=True)
    return password_page(call, noted["email"])


def password_page(call: Call, email: str, status: int = 200, problem: str = "") -> Response:
    """Asks for a password that the server checks, of one address alone: for another it might be one that stays in the browser."""
    noted = notes.read(call, NOTE)
    return page(
        call,
        "login_password.html",
        status,
        email=email,
        problem=problem,
        must_agree=noted.get("email") == email and noted.get("must_agree") == "yes",
        may_reset=call.settings.policy.allow_password_reset,
        back=visitors.back_query(call),
    )


async def form(call: Call) -> Response:
    """Address and password in one page: for who knows that theirs is a key account."""
    if not has_keys(call.settings):
        return see(visitors.LOGIN)
    async with call.begin() as ctx:
        who = await visitors.visitor(call, ctx)
    return see(visitors.way_back(call)) if who else key_page(call)


async def submit(call: Call) -> Response:
    """The shared key. One answer for a wrong one, an unknown address and an account without a key."""
    typed, visit = forms.posted(call), Visit.new()
    email, shared_key = typed.text("email"), typed.text("shared_key")
    if not has_keys(call.settings):
        return see(visitors.LOGIN)
    if not shared_key:
        raise ScriptNeeded
    try:
        async with call.begin() as ctx:
            call.show_limit(await violations.take_sign_in(ctx, email))
            await bans.check_arrival(ctx, email, credentials.PUBLIC_KEY)
            outcome = await sign_in.sign_in(ctx, SharedKey(email, shared_key), visit.ticket(call))
            await visitors.leave(call, ctx)
    except AddressUnverified:
        return mail_checks.go(call, email, "unverified", mail_checks.KEY_VERIFICATION)
    except ProofRefused:
        return key_page(call, 422, email=email, is_fixed=notes.read(call, NOTE).get("email") == email, problem="key.refused")
    return visitors.entered(call, ctx, outcome, visit, visitors.way_back(call), [used(call), notes.dropped(call, NOTE)])


async def derivation(call: Call) -> Response:
    """How a key is made for an address, for our own script: preLogin (librepass-wire 6.2) with the address in no URL."""
    try:
        email = forms.posted(call).text("email")
        async with call.begin() as ctx:
            await _limited(ctx, email)
            found = (await kinds.of_address(ctx, email)).parameters
    except Refusal as refusal:
        return told(call, refusal)
    return json_response({**described(found), "serverPublicKey": call.services.handshake.current(ctx.now).public})


def described(parameters: Parameters) -> dict[str, int]:
    """The parameters as the script reads them."""
    return {name: getattr(parameters, name) for name in ("parallelism", "memory", "iterations")}


def told(call: Call, refusal: Refusal) -> Response:
    """A refusal for our own script: the text that a page would show."""
    status, text = problems.words(call, refusal)
    return json_response({"problem": text}, status)


def used(call: Call) -> Header:
    """The mark that key accounts are used in this browser."""
    return cookies.kept(call, USED_COOKIE, "1", USED_SECONDS)


async def _limited(ctx: Context, email: str) -> None:
    """In the buckets of preLogin and of the address (librepass-wire 10). Raises Throttled, Banned."""
    here, rule = throttle.network(ctx.client.address), ctx.services.rules.standard
    await throttle.take(ctx, rule, f"ip {here}")
    if email:
        await throttle.take(ctx, rule, f"email {throttle.folded(email)} {here}")
    await bans.check_address(ctx)


def key_page(
    call: Call,
    status: int = 200,
    headers: Iterable[Header] = (),
    *,
    is_fixed: bool = False,
    **values: Any,  # noqa: ANN401 - texts
) -> Response:
    """Asks for a password that stays in the browser."""
    return page(
        call,
        "login_key.html",
        status,
        headers,
        **{"email": call.query("email") or "", **values},
        is_fixed=is_fixed,
        back=visitors.back_query(call),
        may_register=call.settings.policy.allow_registration,
    )
