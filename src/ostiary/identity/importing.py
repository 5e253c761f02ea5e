"""Moving in: accounts of another server, in this core's terms. They go on signing in with what they had."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from sqlalchemy import bindparam, insert

from ostiary.crypto.passwords import PasswordHash
from ostiary.identity import accounts, audit, backup_codes, credentials, factors, passwords, policy, public_keys, sessions, totp
from ostiary.identity.accounts import Account
from ostiary.identity.context import Context, micros, new_id
from ostiary.identity.federated import Config as Identity
from ostiary.identity.public_keys import Parameters
from ostiary.identity.refusals import AddressTaken
from ostiary.identity.sessions import Session
from ostiary.storage import tables
from ostiary.storage.statements import Statement

_add_session = Statement(insert(tables.sessions).values({column.name: bindparam(column.name) for column in tables.sessions.c}))
_add_cipher = Statement(insert(tables.ciphers).values({column.name: bindparam(column.name) for column in tables.ciphers.c}))
_add_collection = Statement(
    insert(tables.collections).values({column.name: bindparam(column.name) for column in tables.collections.c}),
)


class OldKey(msgspec.Struct, frozen=True):
    """A key account's public key (64 hex digits, checked) and what else its credential holds."""

    public_key: str
    parameters: Parameters
    hint: str | None = None


class OldToken(msgspec.Struct, frozen=True):
    """A session of the other server: its API key in the clear, which nobody here keeps."""

    token: str
    address: str
    created_at: int
    last_used_at: int


class Newcomer(msgspec.Struct, frozen=True):
    """An account to be moved in. `traits` are further columns of `accounts`."""

    id: str
    email: str
    name: str
    created_at: int
    traits: Mapping[str, Any] = msgspec.field(default_factory=dict)
    password_hash: PasswordHash | None = None
    """As the other server made it (`crypto.passwords.imported`)."""
    key: OldKey | None = None
    totp_secret: str | None = None
    backup_codes: tuple[str, ...] = ()
    """SHA-256 of each, hex; the unspent ones alone."""
    identities: tuple[Identity, ...] = ()
    tokens: tuple[OldToken, ...] = ()
    ciphers: tuple[Mapping[str, Any], ...] = ()
    collections: tuple[Mapping[str, Any], ...] = ()


class Company(msgspec.Struct):
    """Who moves in with this import: what a rehearsal must know of those before, since it writes nothing."""

    emails: set[str] = msgspec.field(default_factory=set)
    identities: set[str] = msgspec.field(default_factory=set)


async def is_here(ctx: Context, newcomer: Newcomer) -> bool:
    """Whether this very account has moved in before."""
    return await accounts.by_id(ctx, newcomer.id) is not None


async def obstacle(ctx: Context, newcomer: Newcomer, company: Company) -> str | None:
    """Why the account cannot move in, in plain words; None when it can. Writes nothing."""
    email = accounts.canonical(newcomer.email)
    if email in company.emails:
        return "another account of this import has the same address in another spelling"
    if await accounts.by_email(ctx, email) is not None:
        return "an account here has that address already"
    if not policy.allows_domain(ctx, email):
        return "addresses of that domain may not have accounts here (OSTIARY_ALLOWED_DOMAINS)"
    found = {_identifier(each) for each in newcomer.identities}
    for each in found:
        if each in company.identities or await credentials.by_identifier(ctx, credentials.FEDERATED, each) is not None:
            return "another account has the same identity at a provider"
    company.emails.add(email)
    company.identities |= found
    return None


async def settle(ctx: Context, newcomer: Newcomer, origin: str) -> Account:
    """Store the account with all that came along. No stranger becomes the first administrator after it. Raises AddressTaken."""
    account = accounts.fresh(
        ctx,
        newcomer.email,
        newcomer.name,
        id=newcomer.id,
        created_at=newcomer.created_at,
        **newcomer.traits,
    )
    if not await accounts.insert_account(ctx, account):
        raise AddressTaken
    await accounts.claim_first_admin(ctx, account.id)
    await _store_credentials(ctx, account, newcomer)
    await _store_factors(ctx, account, newcomer)
    await ctx.db.run_many(_add_session, [_session(ctx, account, token) for token in newcomer.tokens])
    await ctx.db.run_many(_add_collection, [{**row, "owner_id": account.id} for row in newcomer.collections])
    await ctx.db.run_many(_add_cipher, [{**row, "owner_id": account.id, "written_at": ctx.now} for row in newcomer.ciphers])
    await audit.record(ctx, audit.Event.IMPORTED, account.id, origin)
    return account


async def _store_credentials(ctx: Context, account: Account, newcomer: Newcomer) -> None:
    if newcomer.password_hash is not None:
        config = passwords.Config(newcomer.password_hash.scheme, newcomer.password_hash.text)
        await credentials.add(ctx, account.id, credentials.PASSWORD, msgspec.json.encode(config).decode())
    if newcomer.key is not None:
        hint = public_keys.seal_hint(ctx, account.id, newcomer.key.hint)
        stored = public_keys.Config(newcomer.key.public_key, newcomer.key.parameters, hint)
        await credentials.add(ctx, account.id, credentials.PUBLIC_KEY, public_keys.encoded(stored))
    for each in newcomer.identities:
        encoded = msgspec.json.encode(each).decode()
        await credentials.add(ctx, account.id, credentials.FEDERATED, encoded, _identifier(each))


async def _store_factors(ctx: Context, account: Account, newcomer: Newcomer) -> None:
    rows = []
    if newcomer.totp_secret is not None:
        sealed = totp.seal_secret(ctx, account.id, newcomer.totp_secret)
        rows.append(factors.row(account.id, factors.TOTP, ctx.now, config=sealed))
        rows += [
            factors.row(
                account.id, factors.BACKUP_CODE, ctx.now, identifier=backup_codes.identifier(ctx.services, account.id, digest)
            )
            for digest in dict.fromkeys(newcomer.backup_codes)
        ]
    await ctx.db.run_many(factors.insert_row, [{**row, "confirmed_at": ctx.now} for row in rows])


def _identifier(identity: Identity) -> str:
    return f"{identity.issuer}|{identity.subject}"


def _session(ctx: Context, account: Account, moved: OldToken) -> dict[str, Any]:
    life = micros(ctx.settings.sessions.key_max_age)
    session = Session(
        id=new_id(),
        account_id=account.id,
        kind=sessions.KEY,
        token_hash=sessions.key_hash(ctx.services, moved.token),
        amr="pop",
        epoch=0,
        generation=0,
        rotations="[]",
        handshake_epoch=None,
        last_step=0,
        address=moved.address,
        user_agent="",
        created_at=moved.created_at,
        proved_at=moved.created_at,
        last_used_at=moved.last_used_at,
        expires_at=moved.created_at + life,
        revoked_at=None,
    )
    return msgspec.structs.asdict(session)
