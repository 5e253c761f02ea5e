"""The mark of a known device: made here alone, naming nobody, for a handful of accounts."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ostiary.identity import devices
from ostiary.identity.context import Client, Context
from tests.house import House


def context(house: House, presented: str = "") -> Context:
    """What a request with this cookie works with."""
    return Context(house.services, Client("127.0.0.1", device=presented), house.services.database.unit(), house.clock.now)


async def test_a_mark_is_known_for_the_accounts_that_signed_in_there(house: House) -> None:
    first = devices.remember(context(house), "account one")
    both = devices.remember(context(house, first), "account two")

    assert devices.known(context(house, first), "account one")
    assert devices.known(context(house, first), "account two") is None
    assert devices.known(context(house, both), "account one") == devices.known(context(house, both), "account two")


async def test_signing_in_again_changes_nothing(house: House) -> None:
    mark = devices.remember(context(house), "account one")

    assert devices.remember(context(house, mark), "account one") == mark


async def test_two_browsers_have_two_marks(house: House) -> None:
    one, two = devices.remember(context(house), "account"), devices.remember(context(house), "account")

    assert one.partition(".")[0] != two.partition(".")[0]
    assert devices.known(context(house, f"{one.partition('.')[0]}.{two.partition('.')[2]}"), "account") is None


async def test_a_browser_of_many_remembers_the_last_eight(house: House) -> None:
    mark = ""
    for number in range(12):
        mark = devices.remember(context(house, mark), f"account {number}")

    known = [number for number in range(12) if devices.known(context(house, mark), f"account {number}")]

    assert known == list(range(4, 12))
    assert len(mark) < 300


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True)
@given(presented=st.text(max_size=400) | st.from_regex(r"[0-9a-f]{32}(\.[0-9a-f]{24}){0,12}", fullmatch=True))
async def test_nothing_that_is_made_up_is_known_or_a_fault(house: House, presented: str) -> None:
    made_up = context(house, presented)

    assert devices.known(made_up, "account") is None
    assert devices.known(context(house, devices.remember(made_up, "account")), "account")
