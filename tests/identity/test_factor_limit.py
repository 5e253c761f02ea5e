"""The limit on a factor's tries."""

from __future__ import annotations

import pytest

from ostiary.identity import accounts, factors
from tests.conftest import MakeHouse


async def test_tries_are_forgotten_once_the_right_code_is_durable_and_not_before(make_house: MakeHouse) -> None:
    house = await make_house()
    limits, rule = house.services.limits, house.services.rules.factor_account
    async with house.begin() as ctx:
        account = accounts.fresh(ctx, "ada@example.org", "Ada")
        await accounts.insert_account(ctx, account)
        await factors.count_try(ctx, account, None)

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
        await factors.count_try(ctx, account, None)

    async def fail_behind_it() -> None:
        async with house.begin() as ctx:
            await factors.succeeded(ctx, account)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail_behind_it()

    taken = await house.services.limits.take(house.services.rules.factor_account, account.id, house.clock())
    assert taken.remaining == taken.rule.capacity - 2
