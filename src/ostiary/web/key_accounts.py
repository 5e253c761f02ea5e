"""Key accounts, beyond signing in: a new one, another password, the hint."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import msgspec
from starlette.responses import Response

from ostiary.crypto.tokens import random_hex
from ostiary.http import cookies
from ostiary.http.calls import Call, MalformedBodyError, json_response
from ostiary.identity import addresses, asks, bans, key_accounts, kinds, registration, throttle, vault, verification, violations
from ostiary.identity.key_accounts import Replacement
from ostiary.identity.links import LinkStyle
from ostiary.identity.public_keys import DEFAULTS, NewKey, Parameters
from ostiary.identity.refusals import AddressTaken, DomainRefused, ProofRefused, Refusal, RegistrationClosed, RowsMismatched
from ostiary.identity.registration import KeyApplicant
from ostiary.identity.vault import Rewritten
from ostiary.web import forms, key_sign_in, mail_checks, visitors
from ostiary.web.forms import Form
from ostiary.web.rendering import page, see

MOST_HINT = 256
"""Characters; the documentation of LibrePass names 100 (librepass-wire 4)."""
STYLE = LinkStyle(
    purpose=verification.PURPOSE,
    life=timedelta(hours=24),
    new_token=random_hex,
    url=lambda settings, _account, email, token: (
        f"{settings.server.public_client_url}/verify?token={token}&email={quote(email, safe='')}"
    ),
)
"""A key account's, as long as its wire's is good (librepass-wire 12)."""
_NUMBER = re.compile(r"[0-9]{1,6}", re.ASCII)
_rows = msgspec.json.Decoder(list[dict[str, str]])


async def sign_up_form(call: Call) -> Response:
    """What a key account is, and the form for one."""
    _require_open(call)
    return _sign_up_page(call, email=call.query("email") or "", hint="")


async def sign_up(call: Call) -> Response:
    """One answer for a free address and a taken one, where mail can tell its owner."""
    typed = forms.posted(call)
    _require_open(call)
    email, hint = typed.text("email"), typed.text("hint")
    if not typed.text("shared_key"):
        raise key_sign_in.ScriptNeeded
    if not addresses.is_usual(email):
        return _sign_up_page(call, 422, email=email, hint=hint, problem="key.bad_address")
    if len(hint) > MOST_HINT:
        return _sign_up_page(call, 422, email=email, hint=hint, problem="key.long_hint")
    applicant = KeyApplicant(email, _new_key(typed), _parameters(typed), hint or None)
    try:
        async with call.begin() as ctx:
            call.show_limit(await violations.take(ctx, ctx.services.rules.register, "registrations", email=email))
            await bans.check_address(ctx)
            await registration.register_key(ctx, applicant, STYLE)
            mark = kinds.mark_of(ctx, email)
    except DomainRefused:
        return _sign_up_page(call, 422, email=email, hint=hint, problem="key.domain_refused")
    except AddressTaken:
        return _sign_up_page(call, 422, email=email, hint=hint, problem="key.taken")
    headers = [cookies.kept(call, key_sign_in.MARK_COOKIE, mark, key_sign_in.MARK_SECONDS), key_sign_in.used(call)]
    if not call.settings.requires_verification:
        return see("/login?notice=registered", headers)
    return mail_checks.go(call, email, "registered", mail_checks.KEY_VERIFICATION, headers)


async def password_form(call: Call) -> Response:
    """Another password, for whoever is signed in with a key account."""
    async with call.begin() as ctx:
        who = await visitors.owner(call, ctx)
        await key_accounts.held_key(ctx, who)
    return _password_page(call, email=who.account.email, hint="")


async def password_submit(call: Call) -> Response:
    """The new key and the vault under it, in place of the old ones. Every session ends, this one too."""
    # A vault is large: for nobody's it is not even read.
    async with call.begin() as ctx:
        who = await visitors.owner(call, ctx)
        await throttle.take(ctx, ctx.services.rules.standard, f"account {who.account.id}")
    typed = forms.posted(call)
    email, hint = typed.text("email"), typed.text("hint")
    if len(hint) > MOST_HINT:
        return _password_page(call, 422, email=email, hint=hint, problem="key.long_hint")
    new, rows = _new_key(typed), _rewritten(typed)
    try:
        async with call.begin() as ctx:
            who = await visitors.owner(call, ctx)
            await key_accounts.prove(ctx, who, typed.text("old_shared_key"))
            await key_accounts.change_key(ctx, who, Replacement(new, rows), _parameters(typed), hint or None)
    except ProofRefused:
        return _password_page(call, 422, email=email, hint=hint, problem="key.old_refused")
    except RowsMismatched:
        return _password_page(call, 422, email=email, hint=hint, problem="key.vault_changed")
    return see("/login?notice=password_changed", [cookies.dropped(call, cookies.SESSION)])


async def vault_state(call: Call) -> Response:
    """For our own script: how the present key is made and how the next one is, and the rows to write anew."""
    try:
        forms.posted(call)
        async with call.begin() as ctx:
            who = await visitors.owner(call, ctx)
            await throttle.take(ctx, ctx.services.rules.vault, f"account {who.account.id}")
            config = await key_accounts.held_key(ctx, who)
            rows = await vault.listed(ctx, who.account.id)
    except Refusal as refusal:
        return key_sign_in.told(call, refusal)
    return json_response(
        {
            "parameters": key_sign_in.described(config.parameters),
            "newParameters": key_sign_in.described(DEFAULTS),
            "serverPublicKey": call.services.handshake.current(ctx.now).public,
            "rows": [{"id": row.id, "data": row.protected_data} for row in rows],
        }
    )


async def hint_form(call: Call) -> Response:
    """Where to ask for the hint. Nobody can reset a password that the server never saw."""
    return page(call, "password_hint.html", email=call.query("email") or "")


async def hint_submit(call: Call) -> Response:
    """Always the same answer; the owner alone gets the mail."""
    email = forms.posted(call).text("email")
    if not addresses.is_usual(email):
        return page(call, "password_hint.html", 422, email=email, problem="key.bad_address")
    async with call.begin() as ctx:
        here = throttle.network(ctx.client.address)
        for rule in (ctx.services.rules.standard, ctx.services.rules.mail):
            await throttle.take(ctx, rule, f"ip {here}")
            await throttle.take(ctx, rule, f"email {throttle.folded(email)} {here}")
        await bans.check_address(ctx)
        await asks.put(ctx, "hint", email)
    return mail_checks.go(call, email, "hint", mail_checks.HINT)


def _require_open(call: Call) -> None:
    if not call.settings.policy.allow_registration:
        raise RegistrationClosed


def _new_key(typed: Form) -> NewKey:
    return NewKey(typed.text("public_key"), typed.text("shared_key"))


def _parameters(typed: Form) -> Parameters:
    values = [typed.text(name) for name in ("parallelism", "memory", "iterations")]
    if not all(_NUMBER.fullmatch(value) for value in values):
        raise MalformedBodyError
    return Parameters(*map(int, values))


def _rewritten(typed: Form) -> list[Rewritten]:
    try:
        found = [Rewritten(row["id"].lower(), row["data"]) for row in _rows.decode(typed.text("rows"))]
    except (msgspec.DecodeError, KeyError) as error:
        raise MalformedBodyError from error
    for row in found:
        vault.check_contents(row.data)
    return found


def _sign_up_page(call: Call, status: int = 200, **values: Any) -> Response:  # noqa: ANN401 - texts
    return page(call, "register_key.html", status, **values, has_passwords=key_sign_in.has_passwords(call.settings))


def _password_page(call: Call, status: int = 200, **values: Any) -> Response:  # noqa: ANN401 - texts
    return page(call, "account_key.html", status, **values)
