"""What key accounts can do: tell how to derive a key, send the hint, take another key or another address.

Another address is another key too, since the client's salt is the address; so both rewrite the vault, whole or not at all.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from sqlalchemy import Text, and_, bindparam, select

from ostiary.crypto import x25519
from ostiary.identity import accounts, audit, credentials, links, notices, policy, public_keys, sessions, throttle, vault
from ostiary.identity.accounts import Account
from ostiary.identity.context import Context
from ostiary.identity.links import LinkStyle
from ostiary.identity.public_keys import DEFAULTS, Config, NewKey, Parameters
from ostiary.identity.refusals import AddressTaken, DomainRefused, LinkRefused, MethodClosed, ProofRefused, RowsMismatched
from ostiary.identity.sessions import Principal
from ostiary.identity.vault import Rewritten
from ostiary.storage import tables
from ostiary.storage.statements import Query

EMAIL_CHANGE = "email_change"
NO_HINT = "(no hint was set)"


class Replacement(msgspec.Struct, frozen=True):
    """A key to put in the present one's place, and the vault under it."""

    key: NewKey
    rows: Sequence[Rewritten]


class _Pending(msgspec.Struct, frozen=True):
    """An e-mail change that waits for its link. `session` asked for it and outlives it."""

    public_key: str
    rows: list[Rewritten]
    vault: str
    session: str


class _Known(msgspec.Struct, frozen=True):
    """An address, its key if it has one, and whether the address is verified."""

    email: str
    config: str | None
    verified_at: int | None


_key = and_(tables.credentials.c.account_id == tables.accounts.c.id, tables.credentials.c.kind == credentials.PUBLIC_KEY)
_config_nearest_email = Query(
    _Known,
    select(tables.accounts.c.email, tables.credentials.c.config, tables.accounts.c.verified_at)
    .select_from(tables.accounts.outerjoin(tables.credentials, _key))
    .where(accounts.is_nearest(bindparam("email", type_=Text)))
    .limit(1),
)


async def parameters(ctx: Context, email: str) -> Parameters:
    """How this address's key is derived; for an unknown one what a new account would use.

    Whoever must verify the address first counts as unknown: else a stranger could register somebody's address with parameters of
    their own, and see by them whether it was free.
    """
    address = accounts.canonical(email)
    found = await ctx.db.one(_config_nearest_email, email=address) if email else None
    if found is None or found.config is None:
        return DEFAULTS
    parameters = public_keys.decoded(found.config).parameters
    must_verify = found.verified_at is None and ctx.settings.requires_verification
    return DEFAULTS if must_verify or found.email != address else parameters


async def answer_hint(ctx: Context, email: str) -> None:
    """Mail the hint to its owner, if the address has a key account."""
    account = await accounts.by_email(ctx, email)
    config = await _config(ctx, account) if account else None
    if account is None or config is None:
        await audit.record(ctx, audit.Event.HINT_REFUSED, account.id if account else None, "no_key")
        return
    hint = public_keys.open_hint(ctx, account.id, config.hint)
    await notices.send(ctx, "hint", account, hint=NO_HINT if hint is None else hint)
    await audit.record(ctx, audit.Event.HINT_SENT, account.id)


async def held_key(ctx: Context, who: Principal) -> Config:
    """The account's key. Raises MethodClosed for one without."""
    config = await _config(ctx, who.account)
    if config is None:
        raise MethodClosed("no_key")
    return config


async def prove(ctx: Context, who: Principal, shared_key: str) -> Config:
    """The account's key, when the session's owner shows that they hold it. Raises ProofRefused."""
    config = await _config(ctx, who.account)
    raw = x25519.decode_key(config.public_key) if config else None
    used = public_keys.proves(
        public_keys.accepted_keys(ctx, who.session), raw if raw is not None else public_keys.DECOY, shared_key
    )
    if config is None or raw is None or used is None:
        await audit.record(ctx, audit.Event.PROOF_REFUSED, who.account.id, "mismatch" if config else "no_key")
        raise ProofRefused("mismatch" if config else "no_key")
    return config


async def change_key(ctx: Context, who: Principal, new: Replacement, new_parameters: Parameters, hint: str | None) -> None:
    """Put another key in place, with the vault under it. Every session ends, this one too; the owner is told.

    The caller has proved the present key. Raises KeyRefused, ParametersRefused, RowsMismatched, SessionGone.
    """
    public_key = public_keys.accept_new(ctx, new.key, who.session)
    new_parameters.check()
    account = who.account
    await accounts.hold(ctx, account)
    await vault.check_complete(ctx, account.id, new.rows)
    await vault.rewrite(ctx, account.id, new.rows)
    sealed = public_keys.seal_hint(ctx, account.id, hint)
    config = Config(public_key, new_parameters, sealed)
    await credentials.replace(ctx, account.id, credentials.PUBLIC_KEY, public_keys.encoded(config))
    await sessions.end_all(ctx, account.id)
    # A pending change of address carries a key made from the old password.
    await links.forget(ctx, EMAIL_CHANGE, account.id)
    await audit.record(ctx, audit.Event.KEY_CHANGED, account.id)
    await notices.warn(ctx, "password_changed", account)


async def ask_email_change(ctx: Context, who: Principal, email: str, new: Replacement, style: LinkStyle) -> None:
    """Mail a link to the new address, or change it at once where addresses need no verification.

    The caller has proved the present key. Nobody learns here whether the new address is taken, unless it may be told.
    Raises KeyRefused, RowsMismatched, DomainRefused, SessionGone, AddressTaken.
    """
    public_key = public_keys.accept_new(ctx, new.key, who.session)
    account, address = who.account, accounts.canonical(email)
    if not policy.allows_domain(ctx, address):
        raise DomainRefused
    must_verify = ctx.settings.requires_verification
    await accounts.hold(ctx, account)
    await vault.check_complete(ctx, account.id, new.rows)
    rows, stand = list(new.rows), await vault.fingerprint(ctx, account.id)
    pending = _Pending(public_key, rows, stand, who.session.id)
    if not must_verify:
        await _apply(ctx, account, address, pending, verified_at=None)
        await links.forget(ctx, EMAIL_CHANGE, account.id)
        return
    owner = await accounts.by_email(ctx, address)
    if owner is not None and owner.id != account.id:
        await _refuse_taken(ctx, owner)
        return
    link = await links.issue(ctx, style, address, account.id, msgspec.json.encode(pending).decode())
    await audit.record(ctx, audit.Event.EMAIL_CHANGE_ASKED, account.id)
    await notices.send(ctx, "email_change", account, to=address, link=link, old_email=account.email, new_email=address)


async def confirm_email_change(ctx: Context, account_id: str, token: str) -> None:
    """Change the address that the link was sent to. A repeat succeeds until the link expires.

    Raises LinkRefused, alike for an unknown account and a wrong token; RowsMismatched when the vault changed since the link was
    asked for: its copy would undo what was written meanwhile. Raises AddressTaken.
    """
    # Looked at twice, so that a made-up link holds nobody's account.
    if await links.find(ctx, EMAIL_CHANGE, token, account_id) is None:
        raise LinkRefused
    account = await accounts.held(ctx, account_id)
    link = await links.find(ctx, EMAIL_CHANGE, token, account_id)
    if account is None or link is None:
        raise LinkRefused
    if link.config == "{}":
        return
    pending = msgspec.json.decode(link.config, type=_Pending)
    if pending.vault != await vault.fingerprint(ctx, account_id):
        raise RowsMismatched("changed_since")
    await _apply(ctx, account, link.email, pending, verified_at=ctx.now)
    await links.empty(ctx, link)


async def _apply(ctx: Context, account: Account, address: str, pending: _Pending, *, verified_at: int | None) -> None:
    config = await _config(ctx, account)
    if config is None:
        raise ProofRefused("no_key")
    # An address that nobody proved to read is unverified, whatever the one before it was.
    if not await accounts.change_email(ctx, account.id, address, verified_at):
        raise AddressTaken
    await vault.rewrite(ctx, account.id, pending.rows)
    renewed = msgspec.structs.replace(config, public_key=pending.public_key)
    await credentials.replace(ctx, account.id, credentials.PUBLIC_KEY, public_keys.encoded(renewed))
    await sessions.end_all(ctx, account.id, keep=pending.session)
    await audit.record(ctx, audit.Event.EMAIL_CHANGED, account.id)
    await notices.warn(ctx, "email_changed", account, to=account.email, new_email=address)


async def _refuse_taken(ctx: Context, owner: Account) -> None:
    """Tell the address's owner instead of the asker, as registration does."""
    if not ctx.settings.mail.is_configured or ctx.settings.policy.reveal_accounts:
        raise AddressTaken
    await audit.record(ctx, audit.Event.REGISTRATION_OF_TAKEN, owner.id)
    if await throttle.may_mail(ctx, owner.email):
        link = f"{ctx.settings.server.public_client_url}/login"
        await notices.send(ctx, "already_registered", owner, link=link)


async def _config(ctx: Context, account: Account) -> Config | None:
    stored = await credentials.of_account(ctx, account.id, credentials.PUBLIC_KEY)
    return public_keys.decoded(stored.config) if stored else None
