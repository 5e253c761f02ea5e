"""Accounts: the person's record here."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import (
    ColumnElement,
    Integer,
    Select,
    Table,
    Text,
    and_,
    bindparam,
    case,
    delete,
    exists,
    func,
    insert,
    or_,
    select,
    update,
)

from ostiary.identity.context import Context, new_id
from ostiary.identity.refusals import AccountGone, SessionGone
from ostiary.storage.statements import Query, Statement
from ostiary.storage.tables import accounts, bans, credentials, factors, markers, sessions

USER = "USER"
ADMIN = "ADMIN"
FIRST_ADMIN = "first_admin"
COUNT_STEP = 5000


class Account(msgspec.Struct, frozen=True):
    """A row, and whether a second factor guards it."""

    id: str
    email: str
    name: str
    username: str | None
    avatar: str | None
    role: str
    provider: str
    epoch: int
    verified_at: int | None
    terms_accepted_at: int | None
    terms_version: str | None
    created_at: int
    updated_at: int
    expires_at: int | None
    has_factor: bool | int

    @property
    def is_verified(self) -> bool:
        """Whether the owner proved to read the address's mail."""
        return self.verified_at is not None

    def has_accepted(self, terms_version: str) -> bool:
        """Whether the owner accepted the terms, in this version."""
        return self.terms_accepted_at is not None and self.terms_version == terms_version


class Candidate(msgspec.Struct, frozen=True):
    """All that a sign-in needs to know of an identifier, from one look-up."""

    account: Account
    credential_id: str | None
    config: str | None
    is_banned: bool
    live_sessions: int


class Arrival(msgspec.Struct, frozen=True):
    """Whom a sign-in's identifier names, looked up before the proof was looked at (`bans.check_arrival`)."""

    address: str
    kind: str
    candidate: Candidate | None


def canonical(email: str) -> str:
    """The one spelling of an address: trimmed, lower-cased; tags, dots and Unicode forms stay (librechat-wire 5.1)."""
    return email.strip().lower()


_has_factor = exists().where(
    factors.c.account_id == accounts.c.id,
    factors.c.kind == "totp",
    factors.c.confirmed_at.is_not(None),
)
COLUMNS = (*accounts.c, _has_factor.label("has_factor"))
WIDTH = len(COLUMNS)


def candidate_of(*row: object) -> Candidate:
    """The row of a `CANDIDATE`."""
    account = Account(*row[:WIDTH])  # type: ignore[arg-type]
    credential_id, config, ban_id, live = row[WIDTH:]
    return Candidate(account, credential_id, config, ban_id is not None, live)  # type: ignore[arg-type]


def _select_candidate(where: object) -> Select[Any]:
    live = (
        select(func.count())
        .select_from(sessions)
        .where(
            sessions.c.account_id == accounts.c.id,
            sessions.c.revoked_at.is_(None),
            sessions.c.epoch == accounts.c.epoch,
        )
        .scalar_subquery()
    )
    ban = and_(
        bans.c.kind == "account",
        bans.c.subject == accounts.c.id,
        or_(bans.c.expires_at.is_(None), bans.c.expires_at > bindparam("now")),
    )
    credential = and_(credentials.c.account_id == accounts.c.id, credentials.c.kind == bindparam("kind"))
    return (
        select(
            *COLUMNS,
            credentials.c.id.label("credential_id"),
            credentials.c.config,
            bans.c.id.label("ban_id"),
            live.label("live"),
        )
        .select_from(accounts.outerjoin(credentials, credential).outerjoin(bans, ban))
        .where(where)  # type: ignore[arg-type]
        .limit(1)
    )


_any = accounts.alias("any_account")


def is_nearest(email: ColumnElement[str]) -> ColumnElement[bool]:
    """For a look-up by address that finds a row whoever is asked for: its own, else the next address's, else the last one's.

    The caller throws another's away. Reading none would be quicker, and would tell that nobody has the address; so each way
    takes as many steps through the index.
    """
    last = select(func.max(_any.c.email)).scalar_subquery()
    next_one = select(func.min(_any.c.email)).where(_any.c.email >= email).scalar_subquery()
    return accounts.c.email == case((email > last, last), else_=next_one)


_by_email = Query(Account, select(*COLUMNS).where(accounts.c.email == bindparam("email")))
_by_id = Query(Account, select(*COLUMNS).where(accounts.c.id == bindparam("id")))
CANDIDATE = _select_candidate(is_nearest(bindparam("email", type_=Text)))
"""The account with this address or one of its neighbours, with what a sign-in needs to know of it."""
_candidate_nearest_email = Query(candidate_of, CANDIDATE)
_candidate_by_id = Query(candidate_of, _select_candidate(accounts.c.id == bindparam("id")))
_page = Query(
    Account,
    select(*COLUMNS).where(accounts.c.email > bindparam("after")).order_by(accounts.c.email).limit(bindparam("most")),
)
_next_to_count = Query(
    str,
    select(accounts.c.id)
    .where(accounts.c.id > bindparam("after"))
    .order_by(accounts.c.id)
    .offset(bindparam("between", type_=Integer))
    .limit(1),
)
_rest = Query(int, select(func.count()).select_from(accounts).where(accounts.c.id > bindparam("after")))
_admin = Query(str, select(accounts.c.id).where(accounts.c.role == ADMIN).limit(1))
_insert = Statement(
    lambda insert_or: (
        insert_or(accounts)
        .values({column.name: bindparam(column.name) for column in accounts.c if column.name != "epoch"})
        .on_conflict_do_nothing(index_elements=["email"])
    ),
)
_change = {
    name: Statement(
        update(accounts)
        .where(accounts.c.id == bindparam("b_id"))
        .values({name: bindparam("value"), "updated_at": bindparam("now")}),
    )
    for name in ("role", "name", "username", "avatar")
}
_verify = Statement(
    update(accounts)
    .where(accounts.c.id == bindparam("b_id"), accounts.c.verified_at.is_(None))
    .values(verified_at=bindparam("now"), expires_at=None, updated_at=bindparam("now")),
)
_other = accounts.alias("other")
_change_email = Statement(
    update(accounts)
    .where(
        accounts.c.id == bindparam("b_id"),
        ~exists().where(_other.c.email == bindparam("new_email"), _other.c.id != bindparam("b_id")),
    )
    .values(email=bindparam("new_email"), verified_at=bindparam("verified_at"), updated_at=bindparam("now")),
)
_hold = Statement(
    update(accounts)
    .where(accounts.c.id == bindparam("b_id"), accounts.c.epoch == bindparam("b_epoch"))
    .values(epoch=accounts.c.epoch),
)
_hold_to_delete = Query(
    str,
    select(accounts.c.id).where(accounts.c.id == bindparam("id"), accounts.c.epoch == bindparam("epoch")).with_for_update(),
)
_by_id_to_stay = select(accounts.c.id).with_for_update(read=True, key_share=True)
_stays = Query(str, _by_id_to_stay.where(accounts.c.id == bindparam("id")))
_hold_any = Statement(update(accounts).where(accounts.c.id == bindparam("b_id")).values(epoch=accounts.c.epoch))
_accept_terms = Statement(
    update(accounts)
    .where(
        accounts.c.id == bindparam("b_id"),
        or_(accounts.c.terms_accepted_at.is_(None), accounts.c.terms_version != bindparam("version")),
    )
    .values(terms_accepted_at=bindparam("now"), terms_version=bindparam("version"), updated_at=bindparam("now")),
)
_raise_epoch = Query(
    int,
    update(accounts)
    .where(accounts.c.id == bindparam("b_id"))
    .values(epoch=accounts.c.epoch + 1, updated_at=bindparam("now"))
    .returning(accounts.c.epoch),
)
_delete = Statement(delete(accounts).where(accounts.c.id == bindparam("b_id")))
_delete_unverified = Statement(
    delete(accounts).where(accounts.c.id == bindparam("b_id"), accounts.c.verified_at.is_(None)),
)
_expired = Query(
    str,
    select(accounts.c.id).where(accounts.c.expires_at < bindparam("now"), accounts.c.verified_at.is_(None)).limit(500),
)
_claim = Statement(
    lambda insert_or: (
        insert_or(markers)
        .values(name=bindparam("name"), value=bindparam("value"), created_at=bindparam("now"))
        .on_conflict_do_nothing(index_elements=["name"])
    ),
)
_unclaim = Statement(delete(markers).where(markers.c.name == bindparam("b_name"), markers.c.value == bindparam("b_value")))


def there(account_id: ColumnElement[str], *also: ColumnElement[bool]) -> ColumnElement[bool]:
    """For a statement that writes a row of an account: whether the account is there. It stays until that unit ends (`stays`)."""
    return _by_id_to_stay.where(accounts.c.id == account_id, *also).exists()


def insert_while_there(table: Table, *also: ColumnElement[bool]) -> Statement:
    """Insert a row with an `account_id`; no row is touched when there is no such account any more."""
    row: Select[Any] = select(*(bindparam(column.name, type_=column.type) for column in table.c))
    where = there(bindparam("account_id", type_=Text), *also)
    return Statement(insert(table).from_select(list(table.c.keys()), row.where(where)))


async def by_email(ctx: Context, email: str) -> Account | None:
    """The account with this address, in any spelling of its case. Nobody has one with NUL, which not every engine looks for."""
    if "\0" in email:
        return None
    return await ctx.db.one(_by_email, email=canonical(email))


async def by_id(ctx: Context, account_id: str) -> Account | None:
    """The account with this id."""
    return await ctx.db.one(_by_id, id=account_id)


async def named(ctx: Context, name: str) -> Account:
    """The account that an operator names by e-mail or id. Raises AccountGone."""
    account = await (by_email(ctx, name) if "@" in name else by_id(ctx, name))
    if account is None:
        raise AccountGone
    return account


async def candidate(ctx: Context, email: str, kind: str) -> Candidate | None:
    """The account with this address, its credential of this kind, its ban and its sessions."""
    address = canonical(email)
    found = await ctx.db.one(_candidate_nearest_email, email=address, kind=kind, now=ctx.now)
    return found if found is not None and found.account.email == address else None


async def candidate_by_id(ctx: Context, account_id: str, kind: str) -> Candidate | None:
    """The same by id."""
    return await ctx.db.one(_candidate_by_id, id=account_id, kind=kind, now=ctx.now)


async def page(ctx: Context, after: str = "", most: int = 1000) -> list[Account]:
    """Accounts in the order of their addresses."""
    return await ctx.db.all(_page, after=after, most=most)


async def count(ctx: Context, after: str) -> tuple[int, str]:
    """How many of the next COUNT_STEP accounts behind this id there are, and the last of them; "" when there are no more.

    To count a million at once would hold up everybody for as long: rows of SQLite are counted on the event loop.
    """
    last = await ctx.db.one(_next_to_count, after=after, between=COUNT_STEP - 1)
    return (COUNT_STEP, last) if last is not None else (await ctx.db.one(_rest, after=after) or 0, "")


async def has_admin(ctx: Context) -> bool:
    """Whether anybody is ADMIN."""
    return await ctx.db.one(_admin) is not None


async def insert_account(ctx: Context, account: Account) -> bool:
    """Add it; False when the address is taken."""
    row = {column.name: getattr(account, column.name) for column in accounts.c if column.name != "epoch"}
    return await ctx.db.run(_insert, **row) == 1


async def claim_first_admin(ctx: Context, account_id: str) -> bool:
    """Whether this account is the deployment's first: true for exactly one, however many try at once."""
    return await ctx.db.run(_claim, name=FIRST_ADMIN, value=account_id, now=ctx.now) == 1


async def change(ctx: Context, account_id: str, field: str, value: str | None) -> None:
    """Set role, name, username or avatar."""
    await ctx.db.run(_change[field], b_id=account_id, value=value, now=ctx.now)


async def verify(ctx: Context, account_id: str) -> bool:
    """Mark the address verified; False when it already was."""
    return await ctx.db.run(_verify, b_id=account_id, now=ctx.now) == 1


async def change_email(ctx: Context, account_id: str, email: str, verified_at: int | None) -> bool:
    """Replace the address; False when another account has it."""
    return await ctx.db.run(_change_email, b_id=account_id, new_email=canonical(email), verified_at=verified_at, now=ctx.now) == 1


async def hold(ctx: Context, account: Account) -> None:
    """Keep the account as it was read until this unit ends: others who would change it wait, then find it changed.

    Raises SessionGone when its sessions were ended since, or it was deleted.
    """
    if not await is_held(ctx, account):
        raise SessionGone("ended_meanwhile")


async def is_held(ctx: Context, account: Account) -> bool:
    """The same as an answer."""
    return await ctx.db.run(_hold, b_id=account.id, b_epoch=account.epoch) == 1


async def hold_to_delete(ctx: Context, account: Account) -> None:
    """Hold it and keep everybody from its rows, before a unit that may end with its deletion takes any of them.

    Raises SessionGone.
    """
    if await ctx.db.run_returning(_hold_to_delete, id=account.id, epoch=account.epoch) is None:
        raise SessionGone("ended_meanwhile")


async def stays(ctx: Context, account_id: str) -> bool:
    """Whether it is there; nobody deletes it until this unit ends.

    To be asked before a unit writes what belongs to an account: else an account that goes meanwhile is a broken reference, and
    two units that take the account and its rows in two orders meet head-on.
    """
    return await ctx.db.run_returning(_stays, id=account_id) is not None


async def held(ctx: Context, account_id: str) -> Account | None:
    """The account as it stands now, kept so until this unit ends."""
    await ctx.db.run(_hold_any, b_id=account_id)
    return await by_id(ctx, account_id)


async def accept_terms(ctx: Context, account_id: str, version: str) -> None:
    """Note the moment; a repeat for the same version keeps the first one."""
    await ctx.db.run(_accept_terms, b_id=account_id, version=version, now=ctx.now)


async def raise_epoch(ctx: Context, account_id: str) -> int:
    """End every session and challenge of the account at once; the new epoch. Raises AccountGone."""
    epoch = await ctx.db.run_returning(_raise_epoch, b_id=account_id, now=ctx.now)
    if epoch is None:
        raise AccountGone
    return epoch


async def remove(ctx: Context, account_id: str) -> bool:
    """Delete the account with all that belongs to it."""
    return await ctx.db.run(_delete, b_id=account_id) == 1


async def remove_unverified(ctx: Context, account_id: str) -> bool:
    """Delete the account unless its address was verified meanwhile; the first administrator's place becomes free again."""
    if await ctx.db.run(_delete_unverified, b_id=account_id) == 0:
        return False
    await ctx.db.run(_unclaim, b_name=FIRST_ADMIN, b_value=account_id)
    return True


async def expired(ctx: Context) -> list[str]:
    """Unverified accounts whose time is over, some at a time."""
    return await ctx.db.all(_expired, now=ctx.now)


def fresh(ctx: Context, email: str, name: str, **traits: str | int | None) -> Account:
    """An account that is not stored yet."""
    row: dict[str, object] = {
        "id": new_id(),
        "email": canonical(email),
        "name": name,
        "username": None,
        "avatar": None,
        "role": USER,
        "provider": "local",
        "epoch": 0,
        "verified_at": None,
        "terms_accepted_at": None,
        "terms_version": None,
        "created_at": ctx.now,
        "updated_at": ctx.now,
        "expires_at": None,
        "has_factor": False,
        **traits,
    }
    return Account(**row)  # type: ignore[arg-type]
