"""Registration of a password account, with or without an invitation. A taken address is answered as a free one."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from ostiary.http.calls import Call
from ostiary.identity import (
    accounts,
    addresses,
    audit,
    bans,
    credentials,
    invitations,
    registration,
    sign_in,
    verification,
    violations,
)
from ostiary.identity.accounts import Account
from ostiary.identity.context import Context
from ostiary.identity.methods import Verified
from ostiary.identity.refusals import AddressInvalid, InvitationRefused, PasswordRefused, Refusal, RegistrationClosed
from ostiary.identity.sign_in import FactorRequired, SignedIn
from ostiary.web import forms, key_sign_in, mail_checks, notes, visitors
from ostiary.web.forms import Form
from ostiary.web.rendering import page, see
from ostiary.web.visitors import Visit

PATH = "/register"
NOTE = "invitation"
MOST_NAME = 80
PASSWORD_RULES = frozenset({"nul", "short", "long", "blank", "common", "own_words", "breached"})


class NameRefused(Refusal):
    """No name was given, or one that is too long."""

    code = "name_refused"


class TermsRefused(Refusal):
    """The terms were not accepted."""

    code = "terms_refused"


async def form(call: Call) -> Response:
    """The invitation in the link goes into a note, out of the address."""
    token = call.query("token")
    if token is not None:
        return see(PATH, [notes.kept(call, NOTE, {"token": token[:256]})])
    if not key_sign_in.has_passwords(call.settings) and key_sign_in.has_keys(call.settings):
        return see("/register/key")
    invitation = notes.read(call, NOTE).get("token")
    async with call.begin() as ctx:
        email = await _opened(ctx, invitation)
    return _page(call, email=email, is_invited=bool(email))


async def submit(call: Call) -> Response:
    """What becomes of it, the mailbox's owner learns; where no address must be verified, the next sign-in."""
    typed, visit = forms.posted(call), Visit.new()
    invitation = notes.read(call, NOTE).get("token")
    email = typed.text("email")
    outcome: SignedIn | FactorRequired | None = None
    try:
        async with call.begin() as ctx:
            call.show_limit(await violations.take(ctx, ctx.services.rules.register, "registrations", email=email))
            await bans.check_address(ctx)
            await _opened(ctx, invitation)
            account = await registration.register(ctx, _applicant(ctx, typed, invitation), verification.STYLE)
            if account is not None:
                outcome = await _welcomed(call, ctx, account, visit)
    except PasswordRefused as refusal:
        return _page(call, 422, **_typed(typed), problem=password_problem(refusal))
    except (AddressInvalid, NameRefused, TermsRefused, InvitationRefused) as refusal:
        return _page(call, 422, **_typed(typed), problem=f"register.{refusal.code}")
    if outcome is not None:
        return visitors.entered(call, ctx, outcome, visit)
    gone = notes.dropped(call, NOTE)
    if call.settings.requires_verification and invitation is None:
        return mail_checks.go(call, email, "registered")
    return see("/login?notice=registered", [gone])


def password_problem(refusal: PasswordRefused) -> str:
    """What the page says about the core's rule for new passwords."""
    return f"password.{refusal.reason if refusal.reason in PASSWORD_RULES else 'otherwise'}"


async def _opened(ctx: Context, invitation: str | None) -> str:
    """The address that is invited, if one is. Raises RegistrationClosed, InvitationRefused."""
    if ctx.services.directory is not None or "librechat" not in ctx.settings.server.dialects:
        raise RegistrationClosed
    if invitation is not None:
        email = await invitations.invited(ctx, invitation)
        if not email:
            raise InvitationRefused
        return email
    if not ctx.settings.policy.allow_registration:
        raise RegistrationClosed
    return ""


def _applicant(ctx: Context, typed: Form, invitation: str | None) -> registration.Applicant:
    email, name = typed.text("email"), " ".join(typed.text("name").split())
    if not addresses.is_usual(email):
        raise AddressInvalid
    if not 0 < len(name) <= MOST_NAME or not name.isprintable():
        raise NameRefused
    if ctx.settings.policy.terms_version and typed.text("terms") != "accepted":
        raise TermsRefused
    return registration.Applicant(email, name, "", typed.secret("password"), invitation)


async def _welcomed(call: Call, ctx: Context, account: Account, visit: Visit) -> SignedIn | FactorRequired | None:
    """Note the terms accepted with the form, and sign in where the operator wants that (REGISTER_AUTO_LOGIN)."""
    policy = ctx.settings.policy
    if policy.terms_version:
        await accounts.accept_terms(ctx, account.id, policy.terms_version)
        await audit.record(ctx, audit.Event.TERMS_ACCEPTED, account.id)
    if not (account.is_verified and policy.register_auto_login):
        return None
    candidate = await accounts.candidate_by_id(ctx, account.id, credentials.PASSWORD)
    return await sign_in.admit(ctx, Verified(candidate, ("pwd",)), visit.ticket(call)) if candidate is not None else None


def _typed(typed: Form) -> dict[str, str]:
    return {"email": typed.text("email"), "name": typed.text("name")}


def _page(call: Call, status: int = 200, **values: Any) -> Response:  # noqa: ANN401 - texts
    least, has_keys = call.settings.passwords.min_length, key_sign_in.has_keys(call.settings)
    return page(call, "register.html", status, **{"name": "", "is_invited": False, **values}, least=least, has_keys=has_keys)
