"""Links and codes sent to someone: kept as digests, checked for expiry on use, spent by one statement."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import msgspec
from sqlalchemy import bindparam, delete, insert, select, update

from ostiary.identity.context import Context, micros
from ostiary.settings import Settings
from ostiary.storage.ids import ordered_id
from ostiary.storage.statements import Query, Statement
from ostiary.storage.tables import links


class LinkStyle(msgspec.Struct, frozen=True):
    """How one wire writes a link: its life, its token, its address (settings, account id, e-mail, token)."""

    purpose: str
    life: timedelta
    new_token: Callable[[], str]
    url: Callable[[Settings, str, str, str], str]


class Link(msgspec.Struct, frozen=True):
    """A row."""

    id: str
    account_id: str | None
    purpose: str
    token_hash: bytes
    email: str
    config: str
    created_at: int
    expires_at: int
    used_at: int | None


_insert = Statement(insert(links).values({column.name: bindparam(column.name) for column in links.c}))
_insert_once = Statement(
    lambda insert: insert(links).values({column.name: bindparam(column.name) for column in links.c}).on_conflict_do_nothing(),
)
_usable = (
    links.c.purpose == bindparam("b_purpose"),
    links.c.token_hash == bindparam("b_token_hash"),
    links.c.expires_at > bindparam("now"),
    links.c.used_at.is_(None),
)
_find = Query(Link, select(links).where(*_usable))
_spend = Query(Link, update(links).where(*_usable).values(used_at=bindparam("now")).returning(*links.c))
_forget = Statement(
    delete(links).where(links.c.purpose == bindparam("b_purpose"), links.c.account_id == bindparam("b_account_id")),
)
_forget_email = Statement(
    delete(links).where(
        links.c.purpose == bindparam("b_purpose"), links.c.email == bindparam("b_email"), links.c.used_at.is_(None)
    ),
)
_empty = Statement(update(links).where(links.c.id == bindparam("b_id")).values(config="{}"))
_list = Query(
    Link,
    select(links)
    .where(links.c.purpose == bindparam("purpose"), links.c.expires_at > bindparam("now"), links.c.used_at.is_(None))
    .order_by(links.c.created_at),
)
_sweep = Statement(delete(links).where(links.c.expires_at < bindparam("before")))


async def issue(
    ctx: Context,
    style: LinkStyle,
    email: str,
    account_id: str | None = None,
    config: str = "{}",
    *,
    replace: bool = True,
) -> str:
    """A fresh link's address; earlier ones of the purpose (of the account, or of the address) stop working.

    Whoever issues one for an account holds it (`accounts.held`), or has just made it: else of two at once both would work.
    """
    token = await issue_token(ctx, style, email, account_id, config, replace=replace)
    return style.url(ctx.settings, account_id or "", email, token)


async def issue_token(
    ctx: Context,
    style: LinkStyle,
    email: str,
    account_id: str | None = None,
    config: str = "{}",
    *,
    replace: bool = True,
) -> str:
    """The same, answering the bare token."""
    token = style.new_token()
    if replace and account_id is not None:
        await ctx.db.run(_forget, b_purpose=style.purpose, b_account_id=account_id)
    elif replace:
        await ctx.db.run(_forget_email, b_purpose=style.purpose, b_email=email)
    await ctx.db.run(
        _insert,
        id=ordered_id(ctx.now),
        account_id=account_id,
        purpose=style.purpose,
        token_hash=_digest(ctx, style.purpose, account_id, token),
        email=email,
        config=config,
        created_at=ctx.now,
        expires_at=ctx.now + micros(style.life),
        used_at=None,
    )
    return token


async def claim(ctx: Context, purpose: str, token: str, until: int) -> bool:
    """Note that this was presented; False when it was before. It is remembered until then (and a day, until the sweep)."""
    touched = await ctx.db.run(
        _insert_once,
        id=ordered_id(ctx.now),
        account_id=None,
        purpose=purpose,
        token_hash=_digest(ctx, purpose, None, token),
        email="",
        config="{}",
        created_at=ctx.now,
        expires_at=until,
        used_at=ctx.now,
    )
    return touched == 1


async def find(ctx: Context, purpose: str, token: str, account_id: str | None = None) -> Link | None:
    """The usable link with this token; spends nothing."""
    return await ctx.db.one(_find, b_purpose=purpose, b_token_hash=_digest(ctx, purpose, account_id, token), now=ctx.now)


async def spend(ctx: Context, purpose: str, token: str, account_id: str | None = None) -> Link | None:
    """Spend it; the row for exactly one caller, None for all others."""
    digest = _digest(ctx, purpose, account_id, token)
    return await ctx.db.run_returning(_spend, b_purpose=purpose, b_token_hash=digest, now=ctx.now)


async def empty(ctx: Context, link: Link) -> None:
    """Forget what the link carries. It goes on being found until it expires, so that a second opening can say "done"."""
    await ctx.db.run(_empty, b_id=link.id)


async def forget(ctx: Context, purpose: str, account_id: str) -> None:
    """Make every link of the purpose useless for the account."""
    await ctx.db.run(_forget, b_purpose=purpose, b_account_id=account_id)


async def forget_email(ctx: Context, purpose: str, email: str) -> int:
    """Make every unspent link of the purpose useless for the address; how many there were."""
    return await ctx.db.run(_forget_email, b_purpose=purpose, b_email=email)


async def usable(ctx: Context, purpose: str) -> list[Link]:
    """All links of the purpose that still work."""
    return await ctx.db.all(_list, purpose=purpose, now=ctx.now)


async def sweep(ctx: Context, before: int) -> int:
    """Delete what expired before then."""
    return await ctx.db.run(_sweep, before=before)


def _digest(ctx: Context, purpose: str, account_id: str | None, token: str) -> bytes:
    # The account is part of what is digested, so that a token works for its own account alone.
    return ctx.services.digester.digest(f"link {purpose}", f"{account_id or ''}:{token}")
