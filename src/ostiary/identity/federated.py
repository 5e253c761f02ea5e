"""Identities vouched for elsewhere: who an assertion belongs to, when it may make or change an account, and linking.

An account is matched by (issuer, subject) and by nothing else, with two exceptions for addresses that the issuer says it
verified: an account of the same provider that has no identity stored yet takes this one; and an account that nobody ever
verified gives way, since whoever registered it never showed that the address is theirs (librechat-wire W-43, W-51).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

import msgspec
from sqlalchemy import bindparam, delete, func, select, update

from ostiary.identity import accounts, arrivals, audit, credentials, links, notices, pictures, policy, sign_in
from ostiary.identity.accounts import Account
from ostiary.identity.context import Context
from ostiary.identity.credentials import FEDERATED, Credential
from ostiary.identity.methods import Verified
from ostiary.identity.pictures import Picture
from ostiary.identity.provider_sessions import Grant
from ostiary.identity.refusals import DomainRefused, FederationRefused, LastWayIn, Refusal
from ostiary.identity.sessions import Principal
from ostiary.identity.sign_in import FactorRequired, SignedIn, Ticket
from ostiary.storage.statements import Query, Statement
from ostiary.storage.tables import credentials as table


class Once(msgspec.Struct, frozen=True):
    """What marks an assertion that may be presented once only, and until when (microseconds) it could be presented again."""

    key: str
    until: int


class Assertion(msgspec.Struct, frozen=True):
    """What a provider or directory says of the person, already verified by whoever built this."""

    provider: str
    """Which of ours: `google`, `openid`, `ldap`, …; also the account's `provider`."""
    issuer: str
    subject: str
    email: str | None
    is_email_verified: bool
    name: str
    username: str | None = None
    avatar: str | None = None
    """The address of a picture, at the provider's word."""
    picture: Callable[[], Awaitable[Picture]] | None = None
    """Fetches it, where we keep our own (`pictures`). Raises FederationRefused."""
    role: str | None = None
    """The role that the provider decides, set at every sign-in; None leaves it alone."""
    keeps_admin: bool = False
    """Whether an administrator made here stays one, whatever the role above."""
    amr: tuple[str, ...] = ("fed",)
    claims: Mapping[str, Any] = msgspec.field(default_factory=dict)
    once: Once | None = None
    """Set for a bearer's proof such as SAML's, which whoever sees it could present again."""
    grant: Grant | None = None
    """The provider's tokens and its own session, to be kept with ours."""

    @property
    def identifier(self) -> str:
        """How the identity is stored."""
        return f"{self.issuer}|{self.subject}"


class Directory(Protocol):
    """A directory that checks names and passwords in place of our own."""

    name: str

    async def authenticate(self, ctx: Context, identifier: str, password: str) -> Assertion:
        """Who this is. Raises ProofRefused (its reason may be a text that the wire shows), FederationRefused."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...


class Config(msgspec.Struct, frozen=True):
    """What a federated credential holds."""

    provider: str
    issuer: str
    subject: str
    email: str | None = None


_by_identifier = Query(
    Credential,
    select(table).where(table.c.kind == FEDERATED, table.c.identifier == bindparam("identifier")),
)
_of_account = Query(
    Credential,
    select(table).where(table.c.kind == FEDERATED, table.c.account_id == bindparam("account_id")).order_by(table.c.created_at),
)
_used = Statement(update(table).where(table.c.id == bindparam("b_id")).values(last_used_at=bindparam("now")))
_ways_in = Query(int, select(func.count()).select_from(table).where(table.c.account_id == bindparam("account_id")))
_unlink = Statement(delete(table).where(table.c.id == bindparam("b_id"), table.c.account_id == bindparam("b_account_id")))


async def enter(
    ctx: Context,
    assertion: Assertion,
    ticket: Ticket,
    *,
    may_create: bool,
    first_is_admin: bool = False,
) -> SignedIn | FactorRequired:
    """Find or make the account, bring it up to date, admit. Raises FederationRefused, DomainRefused, and what `admit` raises."""
    try:
        await _spend(ctx, assertion)
        account = await _found_or_made(ctx, assertion, may_create=may_create, first_is_admin=first_is_admin)
    except Refusal as refusal:
        await audit.record(ctx, audit.Event.SIGN_IN_REFUSED, None, refusal.reason or refusal.code, **arrivals.detail(assertion))
        raise
    candidate = await accounts.candidate_by_id(ctx, account.id, FEDERATED)
    if candidate is None:
        raise FederationRefused("changed_meanwhile")
    return await sign_in.admit(ctx, Verified(candidate, assertion.amr, detail=arrivals.detail(assertion)), ticket)


async def link(ctx: Context, who: Principal, assertion: Assertion, label: str) -> None:
    """Let the signed-in owner come in this way too; a mail tells them, with the provider's name for people.

    Raises FederationRefused when it is somebody's already.
    """
    if not await accounts.stays(ctx, who.account.id):
        raise FederationRefused("changed_meanwhile")
    await _spend(ctx, assertion)
    known = await ctx.db.one(_by_identifier, identifier=assertion.identifier)
    if known is not None:
        if known.account_id == who.account.id:
            return
        raise FederationRefused("linked_elsewhere")
    await _store(ctx, who.account.id, assertion)
    await audit.record(ctx, audit.Event.IDENTITY_LINKED, who.account.id, assertion.provider)
    await notices.warn(ctx, "identity_linked", who.account, provider=label)


async def unlink(ctx: Context, who: Principal, credential_id: str) -> bool:
    """Take this way in away, and tell the owner; False when there is none such.

    Raises LastWayIn when nothing else would let the owner in.
    """
    # Held: of two that are taken away at one moment the second must see that it is the last.
    await accounts.held(ctx, who.account.id)
    found = {identity.id: identity for identity in await linked(ctx, who.account.id)}.get(credential_id)
    if found is None:
        return False
    if (await ctx.db.one(_ways_in, account_id=who.account.id) or 0) < 2:  # noqa: PLR2004 - this one and another
        raise LastWayIn
    await ctx.db.run(_unlink, b_id=credential_id, b_account_id=who.account.id)
    provider = msgspec.json.decode(found.config, type=Config).provider
    await audit.record(ctx, audit.Event.IDENTITY_UNLINKED, who.account.id, provider)
    await notices.warn(ctx, "identity_unlinked", who.account, provider=provider)
    return True


async def linked(ctx: Context, account_id: str) -> list[Credential]:
    """The account's identities elsewhere, the oldest first."""
    return await ctx.db.all(_of_account, account_id=account_id)


async def _spend(ctx: Context, assertion: Assertion) -> None:
    once = assertion.once
    if once is not None and not await links.claim(ctx, f"assertion {assertion.provider}", once.key, once.until):
        raise FederationRefused("replayed")


async def _found_or_made(ctx: Context, assertion: Assertion, *, may_create: bool, first_is_admin: bool) -> Account:
    try:
        return await _account_for(ctx, assertion, may_create=may_create, first_is_admin=first_is_admin)
    except FederationRefused:
        # Two first sign-ins of one person at one moment: the other one has made the account since we looked.
        if await ctx.db.one(_by_identifier, identifier=assertion.identifier) is None:
            raise
    return await _account_for(ctx, assertion, may_create=may_create, first_is_admin=first_is_admin)


async def _account_for(ctx: Context, assertion: Assertion, *, may_create: bool, first_is_admin: bool) -> Account:
    known = await ctx.db.one(_by_identifier, identifier=assertion.identifier)
    if known is not None:
        account = await accounts.by_id(ctx, known.account_id)
        if account is None or not await accounts.stays(ctx, account.id):
            raise FederationRefused("changed_meanwhile")
        await ctx.db.run(_used, b_id=known.id, now=ctx.now)
        await _bring_up_to_date(ctx, account, assertion)
        return account
    if not assertion.email:
        raise FederationRefused("no_email")
    if not policy.allows_domain(ctx, assertion.email):
        raise DomainRefused
    existing = await accounts.by_email(ctx, assertion.email)
    if existing is not None and await _may_adopt(ctx, existing, assertion):
        await _store(ctx, existing.id, assertion)
        await audit.record(ctx, audit.Event.IDENTITY_LINKED, existing.id, assertion.provider, adopted=True)
        await notices.warn(ctx, "identity_linked", existing, provider=assertion.provider)
        await _bring_up_to_date(ctx, existing, assertion)
        return existing
    if existing is not None and assertion.is_email_verified and not existing.is_verified:
        # Registered by someone who never showed that the address is theirs: it goes, with its password and its sessions.
        await accounts.remove_unverified(ctx, existing.id)
        await audit.record(ctx, audit.Event.EXPIRED, existing.id, "address_proved_elsewhere")
    elif existing is not None:
        raise FederationRefused("address_of_another_account")
    if not may_create:
        raise FederationRefused("no_registration")
    return await _create(ctx, assertion, first_is_admin=first_is_admin)


async def _may_adopt(ctx: Context, account: Account, assertion: Assertion) -> bool:
    if account.provider != assertion.provider or not assertion.is_email_verified:
        return False
    # Held: of two first sign-ins at one moment the second must find the identity that the first has stored.
    return await accounts.held(ctx, account.id) is not None and not await linked(ctx, account.id)


async def _create(ctx: Context, assertion: Assertion, *, first_is_admin: bool) -> Account:
    account = accounts.fresh(
        ctx,
        assertion.email or "",
        assertion.name or assertion.username or (assertion.email or "").partition("@")[0],
        username=assertion.username,
        avatar=assertion.avatar if assertion.picture is None else None,
        provider=assertion.provider,
        role=assertion.role or accounts.USER,
        verified_at=ctx.now if assertion.is_email_verified else None,
    )
    if not await accounts.insert_account(ctx, account):
        raise FederationRefused("changed_meanwhile")
    await _store(ctx, account.id, assertion)
    if first_is_admin and ctx.settings.policy.bootstrap == "first-user" and await accounts.claim_first_admin(ctx, account.id):
        await accounts.change(ctx, account.id, "role", accounts.ADMIN)
    await audit.record(ctx, audit.Event.REGISTERED, account.id, kind=assertion.provider)
    return account


async def _store(ctx: Context, account_id: str, assertion: Assertion) -> None:
    config = Config(assertion.provider, assertion.issuer, assertion.subject, assertion.email)
    await credentials.add(ctx, account_id, FEDERATED, msgspec.json.encode(config).decode(), assertion.identifier)


async def _bring_up_to_date(ctx: Context, account: Account, assertion: Assertion) -> None:
    """Name, username, picture and role follow the provider whose account it is; a picture chosen here stays (`manual=true`)."""
    if account.provider != assertion.provider:
        return
    if assertion.name and assertion.name != account.name:
        await accounts.change(ctx, account.id, "name", assertion.name)
    if assertion.username and assertion.username != account.username:
        await accounts.change(ctx, account.id, "username", assertion.username)
    is_shown = assertion.avatar == account.avatar or pictures.CHOSEN in (account.avatar or "") or assertion.picture is not None
    if assertion.avatar and not is_shown:
        await accounts.change(ctx, account.id, "avatar", assertion.avatar)
    is_kept = assertion.keeps_admin and account.role == accounts.ADMIN
    if assertion.role and assertion.role != account.role and not is_kept:
        await accounts.change(ctx, account.id, "role", assertion.role)
        await audit.record(ctx, audit.Event.ROLE_CHANGED, account.id, assertion.provider, role=assertion.role)
    if assertion.email and assertion.is_email_verified and accounts.canonical(assertion.email) != account.email:
        changed = await accounts.change_email(ctx, account.id, assertion.email, verified_at=ctx.now)
        if changed:
            await audit.record(ctx, audit.Event.EMAIL_CHANGED, account.id, assertion.provider)
            await notices.warn(ctx, "email_changed", account, to=account.email, new_email=accounts.canonical(assertion.email))
    if assertion.is_email_verified and not account.is_verified:
        await accounts.verify(ctx, account.id)
