"""Providers' tokens in the background: renewed before they end, by one node at a time, and never lost on the way to the database."""

from __future__ import annotations

import asyncio
import json

import pytest
from sqlalchemy import select

from ostiary.federation import renewal
from ostiary.federation.oidc import OpenIDProvider
from ostiary.identity import accounts, audit, provider_sessions, sessions
from ostiary.identity.provider_sessions import ProviderSession
from ostiary.identity.refusals import FederationRefused
from ostiary.storage.database import UnavailableError
from ostiary.storage.statements import Query
from ostiary.storage.tables import provider_sessions as table
from tests.conftest import MakeHouse
from tests.federation.hostile import Answer, Provider, me, walk
from tests.house import House

ALL_ROWS = Query(ProviderSession, select(table))


@pytest.fixture
def op(op: Provider) -> Provider:
    op.refreshing = True
    return op


@pytest.fixture
async def house(make_house: MakeHouse, op: Provider) -> House:
    opened = await make_house(**op.settings, OPENID_REUSE_TOKENS="true")
    op.clock = opened.clock
    await walk(opened, op)
    return opened


async def the_row(house: House) -> ProviderSession:
    async with house.begin() as ctx:
        (row,) = await ctx.db.all(ALL_ROWS)
    return row


async def kept(house: House) -> str:
    """The refresh token in the database."""
    row = await the_row(house)
    async with house.begin() as ctx:
        return provider_sessions.grant_of(ctx, row).refresh_token


def newest(op: Provider) -> str:
    return next(iter(op.granted.values()))[-1]


def our_provider(house: House) -> OpenIDProvider:
    found = house.services.redirect_providers["openid"]
    assert isinstance(found, OpenIDProvider)
    return found


async def test_tokens_are_renewed_before_they_end_and_not_sooner(house: House, op: Provider) -> None:
    house.clock.advance(2000)
    assert await house.jobs.renew() == 0
    house.clock.advance(1000)

    assert await house.jobs.renew() == 1

    assert (await kept(house), len(next(iter(op.granted.values())))) == (newest(op), 2)
    assert await house.jobs.renew() == 0


async def test_a_session_outlives_the_providers_hour_many_times_over(house: House, op: Provider) -> None:
    for _ in range(24):
        house.clock.advance(3000)
        await house.jobs.renew()

    assert (await me(house.client))["email"] == "ada@example.org"
    assert len(next(iter(op.granted.values()))) == 25


async def test_of_many_who_want_fresh_tokens_one_asks_the_provider(house: House, op: Provider) -> None:
    """Two tabs, the background and another node, whose memory is its own: a second use of the token would end the grant."""
    row, ours = await the_row(house), our_provider(house)

    async def elsewhere() -> object:
        ours.renewals.clear()
        return await renewal.renewed(house.services, ours, row)

    house.clock.advance(3000)
    await asyncio.gather(renewal.renewed(house.services, ours, row), elsewhere(), elsewhere(), house.jobs.renew())

    assert await kept(house) == newest(op)
    assert len(next(iter(op.granted.values()))) == 2


async def test_a_browser_that_gives_up_does_not_lose_the_grant(house: House, op: Provider) -> None:
    row, ours = await the_row(house), our_provider(house)
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def slow() -> Answer:
        asked.set()
        await go_on.wait()
        token = newest(op)
        return op._refreshed(token)

    op.respond["/token"] = slow
    waiting = asyncio.ensure_future(renewal.renewed(house.services, ours, row))
    await asked.wait()
    under_way = ours.renewals[row.holder]
    waiting.cancel()
    go_on.set()
    await under_way

    assert await kept(house) == newest(op)


async def test_what_the_database_did_not_take_is_written_when_it_is_back(
    house: House, op: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    row, ours = await the_row(house), our_provider(house)
    with monkeypatch.context() as patched:

        async def gone(*_: object) -> bool:
            raise UnavailableError("gone")

        patched.setattr(provider_sessions, "renew", gone)
        patched.setattr(renewal, "WRITE_PAUSES", (0.0, 0.0))
        fresh = await renewal.renewed(house.services, ours, row)
    assert (fresh.refresh_token, await kept(house) == newest(op)) == (newest(op), False)

    await house.jobs.renew()

    assert await kept(house) == newest(op)
    assert ours.unwritten == {}


async def test_a_dead_grant_is_noted_once_and_the_provider_left_in_peace(house: House, op: Provider) -> None:
    op.granted.clear()
    house.clock.advance(3000)

    for _ in range(3):
        await house.jobs.renew()
        house.clock.advance(3600)

    assert sum(each.parameters.get("grant_type") == "refresh_token" for each in op.asked) == 1
    assert (await the_row(house)).dead_at is not None
    async with house.begin() as ctx:
        assert len(await audit.latest(ctx, event=audit.Event.GRANT_DEAD, most=5)) == 1
    with pytest.raises(FederationRefused):
        await renewal.renewed(house.services, our_provider(house), await the_row(house))
    assert (await house.client.post("/api/auth/refresh")).status_code == 403


async def test_a_provider_that_is_down_is_asked_less_and_less_often(house: House, op: Provider) -> None:
    async def down() -> Answer:
        return 503, {}, json.dumps({}).encode()

    op.respond["/token"] = down
    house.clock.advance(3000)
    pauses = []
    for _ in range(5):
        assert await house.jobs.renew() == 1
        due_at = (await the_row(house)).due_at
        assert due_at is not None
        pauses.append((due_at - house.clock()) / 1_000_000)
        assert await house.jobs.renew() == 0
        house.clock.now = due_at
    assert all(22 * 2**n <= pause <= 38 * 2**n for n, pause in enumerate(pauses))
    op.respond.clear()

    await house.jobs.renew()

    assert await kept(house) == newest(op)


async def test_tokens_of_a_session_that_ended_are_forgotten_and_not_renewed(house: House, op: Provider) -> None:
    account_id = (await me(house.client))["id"]
    async with house.begin() as ctx:
        assert await accounts.by_id(ctx, account_id) is not None
        await sessions.end_all(ctx, account_id)
    house.clock.advance(3000)

    await house.jobs.renew()

    async with house.begin() as ctx:
        assert await ctx.db.all(ALL_ROWS) == []
    assert len(next(iter(op.granted.values()))) == 1
