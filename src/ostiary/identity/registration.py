"""Registration of both kinds of account. A taken address gets the same answer after the same work; its owner gets a mail."""

from __future__ import annotations

from datetime import timedelta

import msgspec

from ostiary.identity import (
    accounts,
    audit,
    credentials,
    evenness,
    invitations,
    notices,
    passwords,
    policy,
    public_keys,
    throttle,
    verification,
)
from ostiary.identity.accounts import Account
from ostiary.identity.context import Context, micros
from ostiary.identity.links import LinkStyle
from ostiary.identity.public_keys import NewKey, Parameters
from ostiary.identity.refusals import (
    AddressTaken,
    DomainRefused,
    InvitationRefused,
    ProofRefused,
    Refusal,
    RegistrationClosed,
)

PASSWORD_ACCOUNT_GRACE = timedelta(days=7)
KEY_ACCOUNT_GRACE = timedelta(hours=24)


class Applicant(msgspec.Struct, frozen=True):
    """Who wants a password account; the fields are checked by the caller."""

    email: str
    name: str
    username: str | None
    password: str
    invitation: str | None = None


class KeyApplicant(msgspec.Struct, frozen=True):
    """Who wants a key account."""

    email: str
    key: NewKey
    parameters: Parameters
    hint: str | None = None


async def check_gate(ctx: Context, email: str, invitation: str | None) -> None:
    """Whether this address may register at all. Raises InvitationRefused, RegistrationClosed."""
    try:
        if invitation is not None:
            await invitations.check(ctx, invitation, email)
        elif not ctx.settings.policy.allow_registration:
            raise RegistrationClosed
    except Refusal as refusal:
        await audit.record(ctx, audit.Event.REGISTRATION_REFUSED, None, refusal.code)
        raise


async def register(ctx: Context, applicant: Applicant, style: LinkStyle) -> Account | None:
    """A new password account, or None when the address is taken (nobody but its owner is told).

    Raises InvitationRefused, RegistrationClosed, DomainRefused, PasswordRefused, Busy.
    """
    await check_gate(ctx, applicant.email, applicant.invitation)
    if not policy.allows_domain(ctx, applicant.email):
        raise DomainRefused
    await passwords.check(ctx, applicant.password, applicant)
    if applicant.invitation is None:
        await throttle.take_registration(ctx)
    config = await passwords.hashed(ctx, applicant.password)
    settings = ctx.settings
    is_invited = applicant.invitation is not None
    is_open = not settings.mail.is_configured and not settings.requires_verification
    verified_at = ctx.now if is_invited or is_open else None
    account = accounts.fresh(
        ctx,
        applicant.email,
        applicant.name,
        username=applicant.username,
        verified_at=verified_at,
        expires_at=_expiry(ctx, verified_at, PASSWORD_ACCOUNT_GRACE),
    )
    if not await _claim_address(ctx, account):
        return None
    if settings.policy.bootstrap == "first-user" and await accounts.claim_first_admin(ctx, account.id):
        await accounts.change(ctx, account.id, "role", accounts.ADMIN)
    await credentials.add(ctx, account.id, credentials.PASSWORD, config)
    if applicant.invitation is not None:
        try:
            await invitations.spend(ctx, applicant.invitation)
        except InvitationRefused:
            # Someone used the same invitation at this moment: nothing of this registration may stay.
            await accounts.remove(ctx, account.id)
            raise
    await audit.record(ctx, audit.Event.REGISTERED, account.id, kind="password", invited=is_invited)
    if verified_at is None:
        await verification.send(ctx, account, style, "verification")
    return await accounts.by_id(ctx, account.id)


async def register_key(ctx: Context, applicant: KeyApplicant, style: LinkStyle) -> Account | None:
    """A new key account, or None when the address is taken and nobody may be told.

    Raises KeyRefused, ParametersRefused, RegistrationClosed, DomainRefused; AddressTaken where it may be told.
    """
    public_key = public_keys.accept_new(ctx, applicant.key)
    applicant.parameters.check()
    await check_gate(ctx, applicant.email, None)
    if not policy.allows_domain(ctx, applicant.email):
        raise DomainRefused
    await throttle.take_registration(ctx)
    account = accounts.fresh(ctx, applicant.email, "", provider="key", expires_at=_expiry(ctx, None, KEY_ACCOUNT_GRACE))
    if not await _claim_address(ctx, account):
        if not ctx.settings.mail.is_configured or ctx.settings.policy.reveal_accounts:
            raise AddressTaken
        return None
    hint = public_keys.seal_hint(ctx, account.id, applicant.hint)
    config = public_keys.Config(public_key, applicant.parameters, hint)
    await credentials.add(ctx, account.id, credentials.PUBLIC_KEY, public_keys.encoded(config))
    await audit.record(ctx, audit.Event.REGISTERED, account.id, kind="key")
    await verification.send(ctx, account, style, "key_verification")
    return account


def _expiry(ctx: Context, verified_at: int | None, grace: timedelta) -> int | None:
    return ctx.now + micros(grace) if verified_at is None and ctx.settings.requires_verification else None


async def _claim_address(ctx: Context, account: Account) -> bool:
    """Insert the account. An unverified one that nobody could enter gives way; the owner of any other is told by mail."""
    evenness.even_out(ctx, evenness.moment())
    existing = await accounts.by_email(ctx, account.email)
    if existing is not None and not existing.is_verified and ctx.settings.requires_verification:
        await accounts.remove_unverified(ctx, existing.id)
    if await accounts.insert_account(ctx, account):
        return True
    owner = await accounts.by_email(ctx, account.email)
    if owner is None:
        raise ProofRefused("changed_meanwhile")
    await audit.record(ctx, audit.Event.REGISTRATION_OF_TAKEN, owner.id)
    if await throttle.may_mail(ctx, owner.email):
        await notices.send(ctx, "already_registered", owner, link=f"{ctx.settings.server.public_client_url}/login")
    return False
