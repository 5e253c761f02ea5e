"""The limits on a factor's tries: so many in a while, and so many in a row."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from sqlalchemy import bindparam, select, update

from ostiary.identity import accounts, audit, factors
from ostiary.storage import tables
from ostiary.storage.statements import Query, Statement
from tests.conftest import MakeHouse
from tests.dialects.librechat.browser import enrolled, owing, signed_in
from tests.house import House

AT_ONCE = 16
LEFT = 5
_had = Statement(update(tables.factors).where(tables.factors.c.kind == factors.TOTP).values(failures=bindparam("value")))
_has = Query(int, select(tables.factors.c.failures).where(tables.factors.c.kind == factors.TOTP))


async def failures(house: House) -> int | None:
    """How many wrong codes in a row are noted."""
    async with house.begin() as ctx:
        return await ctx.db.one(_has)


async def have_failures(house: House, value: int) -> None:
    """So many wrong codes in a row came before."""
    async with house.begin() as ctx:
        await ctx.db.run(_had, value=value)


async def test_tries_are_forgotten_once_the_right_code_is_durable_and_not_before(make_house: MakeHouse) -> None:
    house = await make_house()
    limits, rule = house.services.limits, house.services.rules.factor_account
    async with house.begin() as ctx:
        account = accounts.fresh(ctx, "ada@example.org", "Ada")
        await accounts.insert_account(ctx, account)
        await factors.count_try(ctx, account)

    async with house.begin() as ctx:
        await factors.succeeded(ctx, account)
        during = await limits.take(rule, account.id, ctx.now)
        await limits.give_back(rule, account.id, ctx.now)
    after = await limits.take(rule, account.id, house.clock())

    assert (during.remaining, after.remaining) == (rule.capacity - 2, rule.capacity - 1)


async def test_tries_stay_counted_when_the_right_code_comes_to_nothing(make_house: MakeHouse) -> None:
    house = await make_house()
    async with house.begin() as ctx:
        account = accounts.fresh(ctx, "ada@example.org", "Ada")
        await accounts.insert_account(ctx, account)
        await factors.count_try(ctx, account)

    async def fail_behind_it() -> None:
        async with house.begin() as ctx:
            await factors.succeeded(ctx, account)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail_behind_it()

    taken = await house.services.limits.take(house.services.rules.factor_account, account.id, house.clock())
    assert taken.remaining == taken.rule.capacity - 2


async def test_tries_at_once_get_no_more_of_a_hundred_than_are_left(make_house: MakeHouse) -> None:
    house = await make_house(LOCKOUT="off")
    app = await enrolled(house, await signed_in(house))
    waiting = [await owing(house) for _ in range(AT_ONCE)]
    await have_failures(house, factors.MOST_CONSECUTIVE_FAILURES - LEFT)

    answers = await asyncio.gather(*(someone.prove(pending, token=app.wrong_code()) for someone, pending in waiting))

    assert Counter(answer.status_code for answer in answers) == {401: LEFT, 429: AT_ONCE - LEFT}
    assert await failures(house) == factors.MOST_CONSECUTIVE_FAILURES
    async with house.begin() as ctx:
        assert len(await audit.latest(ctx, event=audit.Event.FACTOR_LOCKED)) == 1
    assert len([mail for mail in await house.mails() if "codes" in mail["Subject"] and "locked" in mail["Subject"]]) == 1


async def test_only_a_right_code_that_is_spent_makes_good_what_was_wrong_before(house: House) -> None:
    owner = await signed_in(house)
    app = await enrolled(house, owner)
    await have_failures(house, 7)

    assert (await owner.post("/api/auth/2fa/verify", {"backupCode": app.codes[0]})).status_code == 200
    tried_out = await failures(house)
    assert (await owner.post("/api/auth/2fa/verify", {"backupCode": "00000000"})).status_code == 400
    wrong = await failures(house)
    someone, pending = await owing(house)
    assert (await someone.prove(pending, backupCode=app.codes[0])).status_code == 200

    assert (tried_out, wrong, await failures(house)) == (7, 8, 0)
