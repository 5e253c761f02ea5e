"""What limits are keyed by, and how an operator's unlocking reaches counters that the command line does not see."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ostiary.identity import accounts, operators, throttle
from ostiary.identity.refusals import LockedOut, Throttled
from tests.conftest import MakeHouse
from tests.house import House


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
        ("no:address", "no:address"),
        ("unix", "unix"),
        ("", ""),
    ],
)
def test_a_household_is_one_network(address: str, expected: str) -> None:
    assert throttle.network(address) == expected


@pytest.mark.parametrize(
    "spelling",
    ["ada@example.org", "ADA@EXAMPLE.ORG", " ada@example.org ", '"ada@example.org"', "\uff41da@example.org"],
)
def test_spellings_that_could_be_taken_for_one_another_share_a_key(spelling: str) -> None:
    assert throttle.folded(spelling) == "ada@example.org"


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.text(max_size=2000))
def test_a_key_is_bounded_and_folding_it_again_changes_nothing_of_its_case(email: str) -> None:
    key = throttle.folded(email)

    assert len(key) <= 320
    assert key == throttle.folded(email.upper().lower()) or key.casefold() == key


async def test_a_limit_is_asked_where_limits_are_on_alone(make_house: MakeHouse) -> None:
    on, off = await make_house(RATE_LIMITS="on"), await make_house(RATE_LIMITS="off")
    for _ in range(on.services.rules.login.capacity):
        async with on.begin() as ctx:
            assert await throttle.count(ctx, ctx.services.rules.login, "key") is not None

    async with on.begin() as ctx:
        with pytest.raises(Throttled) as caught:
            await throttle.take(ctx, ctx.services.rules.login, "key")
    async with off.begin() as ctx:
        assert await throttle.count(ctx, ctx.services.rules.login, "key") is None
    assert (caught.value.taken.remaining, caught.value.taken.retry_after) == (0, 300)


async def test_an_unlocking_by_another_process_is_seen_by_this_one(house: House) -> None:
    """The counters live in the server's memory; what the command line leaves is a line of the audit."""
    async with house.begin() as ctx:
        account = accounts.fresh(ctx, "ada@example.org", "Ada")
        await accounts.insert_account(ctx, account)
    await _locked(house, account.email)
    house.clock.advance(1)
    elsewhere = type(house.services.limits)()
    here, house.services.limits = house.services.limits, elsewhere
    async with house.begin() as ctx:
        await operators.unlock(ctx, account)
    house.services.limits = here
    house.clock.advance(1)

    async with house.begin("203.0.113.9") as ctx:
        candidate = await accounts.candidate(ctx, account.email, "password")
        assert await throttle.attempt(ctx, account.email, candidate) is not None


async def _locked(house: House, email: str) -> None:
    for number in range(11):
        async with house.begin(f"198.51.100.{number}") as ctx:
            candidate = await accounts.candidate(ctx, email, "password")
            if number < 10:
                await throttle.attempt(ctx, email, candidate)
            else:
                with pytest.raises(LockedOut):
                    await throttle.attempt(ctx, email, candidate)
