"""Sessions: how they end, what survives, and that nothing brings one back."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
from sqlalchemy import insert, select

from ostiary.crypto.tokens import TokenHash
from ostiary.identity import accounts, challenges, sessions
from ostiary.identity.accounts import Account
from ostiary.identity.context import Context
from ostiary.identity.refusals import ProofRefused, SessionGone
from ostiary.identity.sessions import BROWSER, KEY, Principal, Session, SessionRequest
from ostiary.storage import tables
from ostiary.storage.statements import Query, Statement
from tests.conftest import MakeHouse
from tests.house import House

DAY = 24 * 3600
BROWSER_SESSION = SessionRequest(kind=BROWSER)


async def registered(house: House, email: str = "ada@example.org") -> Account:
    async with house.begin() as ctx:
        account = accounts.fresh(ctx, email, "Ada")
        await accounts.insert_account(ctx, account)
    return account


async def opened(
    house: House, account: Account, request: SessionRequest = BROWSER_SESSION, address: str = "127.0.0.1"
) -> Session:
    async with house.begin(address) as ctx:
        current = await accounts.by_id(ctx, account.id)
        assert current is not None
        return await sessions.open_session(ctx, current, request, ("pwd",), live=len(await sessions.of_account(ctx, account.id)))


async def principal(house: House, session: Session) -> Principal | None:
    async with house.begin() as ctx:
        if session.token_hash is not None:
            return await sessions.by_token(ctx, TokenHash(session.token_hash))
        return await sessions.by_id(ctx, session.id)


async def test_a_session_is_its_accounts_until_it_ends(house: House) -> None:
    account = await registered(house)
    session = await opened(house, account)
    before = await principal(house, session)

    async with house.begin() as ctx:
        ended, again = await sessions.end(ctx, session), await sessions.end(ctx, session)

    assert before is not None
    assert (before.account.id, before.session.amr) == (account.id, "pwd")
    assert (ended, again) == (True, False)
    assert await principal(house, session) is None


async def test_nobody_ends_a_session_of_somebody_else(house: House) -> None:
    one, two = await registered(house), await registered(house, "two@example.org")
    session = await opened(house, one)

    async with house.begin() as ctx:
        assert not await sessions.end_by_id(ctx, two.id, session.id)

    assert await principal(house, session) is not None


async def test_ending_all_spares_the_one_to_keep(house: House) -> None:
    account = await registered(house)
    kept, other = await opened(house, account), await opened(house, account)

    async with house.begin() as ctx:
        await sessions.end_all(ctx, account.id, keep=kept.id)

    assert await principal(house, kept) is not None
    assert await principal(house, other) is None


@pytest.mark.parametrize("how", ["revoked", "ended by an earlier event", "of somebody else", "unknown"])
async def test_keeping_brings_nothing_back_to_life(house: House, how: str) -> None:
    account, other = await registered(house), await registered(house, "two@example.org")
    session = await opened(house, other if how == "of somebody else" else account)
    async with house.begin() as ctx:
        if how == "revoked":
            await sessions.end(ctx, session)
        elif how == "ended by an earlier event":
            await sessions.end_all(ctx, account.id)
            await sessions.end_all(ctx, account.id)

    async with house.begin() as ctx:
        await sessions.end_all(ctx, account.id, keep="no such id" if how == "unknown" else session.id)

    is_alive = await principal(house, session) is not None
    assert is_alive == (how == "of somebody else")


async def test_a_kept_session_lives_through_events_of_its_own_time_alone(house: House) -> None:
    account = await registered(house)
    kept, other = await opened(house, account), await opened(house, account)
    for keep in (kept.id, kept.id, other.id):
        async with house.begin() as ctx:
            await sessions.end_all(ctx, account.id, keep=keep)

    assert await principal(house, kept) is None
    assert await principal(house, other) is None


async def test_a_session_is_not_opened_for_an_account_that_changed_meanwhile(house: House) -> None:
    account = await registered(house)
    async with house.begin() as ctx:
        await sessions.end_all(ctx, account.id)

    async with house.begin() as ctx:
        with pytest.raises(ProofRefused):
            await sessions.open_session(ctx, account, BROWSER_SESSION, ("pwd",))
    async with house.begin() as ctx:
        await accounts.remove(ctx, account.id)
        with pytest.raises(ProofRefused):
            await sessions.open_session(ctx, account, BROWSER_SESSION, ("pwd",))


async def test_a_challenge_of_before_an_event_is_known_by_its_epoch(house: House) -> None:
    account = await registered(house)
    async with house.begin() as ctx:
        await challenges.open_challenge(ctx, account, TokenHash(b"x" * 32), ("pwd",), BROWSER_SESSION)
        await sessions.end_all(ctx, account.id)
        changed = await accounts.by_id(ctx, account.id)

        pending = await challenges.pending(ctx, TokenHash(b"x" * 32))

    assert changed is not None
    assert pending is None or pending.epoch != changed.epoch


async def test_holding_an_account_notices_what_happened_since_it_was_read(house: House) -> None:
    account = await registered(house)
    async with house.begin() as ctx:
        await accounts.hold(ctx, account)
        await sessions.end_all(ctx, account.id)

    async with house.begin() as ctx:
        with pytest.raises(SessionGone):
            await accounts.hold(ctx, account)


async def test_holders_of_one_account_take_turns(house: House) -> None:
    account = await registered(house)

    async def change() -> bool:
        async with house.begin() as ctx:
            try:
                await accounts.hold(ctx, account)
            except SessionGone:
                return False
            await sessions.end_all(ctx, account.id)
            return True

    assert sorted(await asyncio.gather(*(change() for _ in range(12)))) == [False] * 11 + [True]


async def test_the_oldest_session_makes_room(make_house: MakeHouse) -> None:
    house = await make_house(OSTIARY_SESSIONS_PER_ACCOUNT="3")
    account = await registered(house)
    made = []
    for _ in range(5):
        made.append(await opened(house, account))
        house.clock.advance(1)

    alive = [await principal(house, session) is not None for session in made]

    assert alive == [False, False, True, True, True]


async def test_sessions_are_listed_the_last_used_first(house: House) -> None:
    account = await registered(house)
    first = await opened(house, account)
    house.clock.advance(1)
    second = await opened(house, account)
    house.clock.advance(1)
    await opened(house, await registered(house, "two@example.org"))
    async with house.begin() as ctx:
        tag = sessions.refresh_tag(house.services, first.id, 0)
        await sessions.rotate(ctx, first.id, account.id, 0, tag)

    async with house.begin() as ctx:
        assert [session.id for session in await sessions.of_account(ctx, account.id)] == [first.id, second.id]


async def test_a_key_lies_unused_for_thirty_days_at_most(house: House) -> None:
    account = await registered(house)
    used, unused = [await opened(house, account, SessionRequest(kind=KEY, token_hash=TokenHash(bytes([n]) * 32))) for n in (1, 2)]
    house.clock.advance(30 * DAY - 1)
    async with house.begin() as ctx:
        assert await sessions.by_token(ctx, TokenHash(used.token_hash or b"")) is not None
    house.clock.advance(1)

    assert await principal(house, used) is not None
    assert await principal(house, unused) is None
    async with house.begin() as ctx:
        assert [session.id for session in await sessions.of_account(ctx, account.id)] == [used.id]


async def test_a_key_lives_for_a_hundred_and_eighty_days_at_most(house: House) -> None:
    account = await registered(house)
    session = await opened(house, account, SessionRequest(kind=KEY, token_hash=TokenHash(b"k" * 32)))
    for _ in range(179):
        house.clock.advance(DAY)
        assert await principal(house, session) is not None
    house.clock.advance(DAY)

    assert await principal(house, session) is None


async def test_a_key_opens_no_browser_session_and_the_other_way_round(house: House) -> None:
    account = await registered(house)
    key = await opened(house, account, SessionRequest(kind=KEY, token_hash=TokenHash(b"k" * 32)))

    async with house.begin() as ctx:
        assert await sessions.by_id(ctx, key.id) is None
        with pytest.raises(SessionGone):
            await sessions.rotate(ctx, key.id, account.id, 0, sessions.refresh_tag(house.services, key.id, 0))


async def test_the_use_of_a_key_is_noted_now_and_then(house: House) -> None:
    account = await registered(house)
    session = await opened(house, account, SessionRequest(kind=KEY, token_hash=TokenHash(b"k" * 32)))

    async def used(address: str = "127.0.0.1") -> tuple[int, str]:
        async with house.begin(address) as ctx:
            await sessions.by_token(ctx, TokenHash(b"k" * 32))
        async with house.begin() as ctx:
            (found,) = await sessions.of_account(ctx, account.id)
        return (found.last_used_at - session.created_at) // 1_000_000, found.address

    house.clock.advance(299)
    soon = await used()
    elsewhere = await used("192.0.2.7")
    house.clock.advance(300)
    later = await used("192.0.2.7")

    assert (soon, elsewhere, later) == ((0, "127.0.0.1"), (299, "192.0.2.7"), (599, "192.0.2.7"))


async def test_the_use_of_a_key_and_a_step_up_of_its_session_do_not_meet_head_on(house: House) -> None:
    account = await registered(house)
    session = await opened(house, account, SessionRequest(kind=KEY, token_hash=TokenHash(b"k" * 32)))
    is_seen, is_held = asyncio.Event(), asyncio.Event()

    async def use_it_elsewhere() -> None:
        async with house.begin("192.0.2.7") as ctx:
            who = await sessions.by_token(ctx, TokenHash(b"k" * 32))
            assert who is not None
            is_seen.set()
            await is_held.wait()
            await accounts.hold(ctx, who.account)

    async def step_up() -> None:
        await is_seen.wait()
        async with house.begin() as ctx:
            await accounts.hold(ctx, account)
            is_held.set()
            await sessions.note_step(ctx, session, 7)

    async with asyncio.timeout(60):
        await asyncio.gather(use_it_elsewhere(), step_up())

    async with house.begin() as ctx:
        (found,) = await sessions.of_account(ctx, account.id)
    assert (found.address, found.last_step) == ("192.0.2.7", 7)


async def test_a_step_is_spent_once_by_its_session(house: House) -> None:
    account = await registered(house)
    session = await opened(house, account, SessionRequest(kind=BROWSER, last_step=7))

    async def spent(step: int) -> bool:
        async with house.begin() as ctx:
            return await sessions.spend_step(ctx, session, step)

    assert [await spent(8), *sorted(await asyncio.gather(*(spent(7) for _ in range(8))))] == [False] * 8 + [True]


async def test_a_swept_session_was_dead_for_a_day(house: House) -> None:
    account = await registered(house)
    session, ended = await opened(house, account), await opened(house, account)
    async with house.begin() as ctx:
        await sessions.end(ctx, ended)
    house.clock.advance(DAY + 1)
    await house.jobs.sweep()

    async with house.begin() as ctx:
        swept = await _kept(ctx)
    assert swept == [session.id]
    house.clock.advance(8 * DAY)
    await house.jobs.sweep()
    async with house.begin() as ctx:
        assert await _kept(ctx) == []


async def test_many_sessions_are_swept_a_step_at_a_time(house: House) -> None:
    session = await opened(house, await registered(house))
    copies = [{**msgspec.structs.asdict(session), "id": f"{number:08x}-copy"} for number in range(2 * sessions.SWEEP_STEP)]
    async with house.begin() as ctx:
        await ctx.db.run_many(Statement(insert(tables.sessions)), copies)
    house.clock.advance(9 * DAY)
    ended = house.clock.now - 1_000_000

    async with house.begin() as ctx:
        reached = await sessions.sweep(ctx, ended, "")
        left = len(await _kept(ctx))
    await house.jobs.sweep()

    async with house.begin() as ctx:
        assert (reached, left, await _kept(ctx)) == (copies[sessions.SWEEP_STEP - 1]["id"], sessions.SWEEP_STEP + 1, [])


async def _kept(ctx: Context) -> list[str]:
    return await ctx.db.all(Query(str, select(tables.sessions.c.id)))
