"""Refresh families against a model: what a token of any generation may do at any time; and two hundred racers with one token."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ostiary.identity import accounts, bans, sessions
from ostiary.identity.context import Context
from ostiary.identity.refusals import RefreshReused, SessionGone
from ostiary.identity.sessions import BROWSER, Refreshed, Session, SessionRequest
from ostiary.storage.migrate import migrate
from tests.house import House, open_house

GRACE = 30
LIFE = 7 * 24 * 3600


async def _family(house: House) -> Session:
    async with house.begin() as ctx:
        account = accounts.fresh(ctx, "ada@example.org", "Ada")
        await accounts.insert_account(ctx, account)
        return await sessions.open_session(ctx, account, SessionRequest(kind=BROWSER), ("pwd",))


async def _present(ctx: Context, session: Session, generation: int) -> Refreshed:
    tag = sessions.refresh_tag(ctx.services, session.id, generation)
    return await sessions.rotate(ctx, session.id, session.account_id, generation, tag)


async def _refresh(house: House, session: Session, generation: int) -> Refreshed:
    async with house.begin() as ctx:
        return await _present(ctx, session, generation)


class Families(RuleBasedStateMachine):
    """One account, one family, a clock. The model: when each generation was rotated, and whether the family has ended."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = Path(tempfile.mkdtemp())
        self.stack = AsyncExitStack()
        self.house = self.loop.run_until_complete(self._open())
        self.rotated_at: list[float] = []
        self.started_at = 0.0
        self.is_over = False

    async def _open(self) -> House:
        url = f"sqlite:///{self.folder / 'ostiary.db'}"
        await migrate(url)
        return await self.stack.enter_async_context(open_house(url, self.folder, {}))

    def teardown(self) -> None:
        self.loop.run_until_complete(self.stack.aclose())
        self.loop.close()
        shutil.rmtree(self.folder)

    @property
    def seconds(self) -> float:
        return self.house.clock.now / 1_000_000

    @property
    def newest(self) -> int:
        return len(self.rotated_at)

    @property
    def is_alive(self) -> bool:
        return not self.is_over and self.seconds < self.started_at + LIFE

    @initialize()
    def sign_in(self) -> None:
        self.session = self.loop.run_until_complete(_family(self.house))
        self.started_at = self.seconds

    @rule(seconds=st.sampled_from([0, 1, GRACE - 1, GRACE, GRACE + 1, 600, LIFE // 2]))
    def wait(self, seconds: int) -> None:
        self.house.clock.advance(seconds)

    @rule(back=st.integers(0, 4))
    def present(self, back: int) -> None:
        generation = max(0, self.newest - back)
        was_alive = self.is_alive
        try:
            refreshed = self.loop.run_until_complete(_refresh(self.house, self.session, generation))
        except RefreshReused:
            assert was_alive
            assert generation < self.newest
            assert self.seconds - self.rotated_at[generation] > GRACE
            self.is_over = True
            return
        except SessionGone:
            assert not was_alive
            return
        assert was_alive
        if generation == self.newest:
            self.rotated_at.append(self.seconds)
        else:
            assert self.seconds - self.rotated_at[generation] <= GRACE
        assert refreshed.principal.session.generation == self.newest
        assert refreshed.issued_at == int(self.rotated_at[-1] * 1_000_000)
        assert refreshed.principal.session.expires_at == self.session.expires_at

    @precondition(lambda self: self.is_alive)
    @rule(how=st.sampled_from(["end", "end_all", "ban"]))
    def end(self, how: str) -> None:
        self.loop.run_until_complete(self._end(how))
        self.is_over = True

    async def _end(self, how: str) -> None:
        async with self.house.begin() as ctx:
            if how == "end":
                await sessions.end(ctx, self.session)
            elif how == "end_all":
                await sessions.end_all(ctx, self.session.account_id)
            else:
                await bans.add(ctx, bans.ACCOUNT, self.session.account_id, "test", None)

    @invariant()
    def only_a_live_family_opens_doors(self) -> None:
        if hasattr(self, "session"):
            assert (self.loop.run_until_complete(self._principal()) is not None) == self.is_alive

    async def _principal(self) -> object:
        async with self.house.begin() as ctx:
            return await sessions.by_id(ctx, self.session.id)


TestFamilies = Families.TestCase
TestFamilies.settings = settings(
    max_examples=25, stateful_step_count=20, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)


async def test_two_hundred_racers_with_one_token_get_one_and_the_same_successor(house: House) -> None:
    session = await _family(house)

    refreshed = await asyncio.gather(*(_refresh(house, session, 0) for _ in range(200)))

    assert {each.principal.session.generation for each in refreshed} == {1}
    assert len({each.issued_at for each in refreshed}) == 1


async def test_racers_with_a_token_from_before_the_grace_end_the_family_once(house: House) -> None:
    session = await _family(house)
    await _refresh(house, session, 0)
    house.clock.advance(GRACE + 1)

    results = await asyncio.gather(*(_refresh(house, session, 0) for _ in range(20)), return_exceptions=True)

    assert all(isinstance(result, SessionGone) for result in results)
    with pytest.raises(SessionGone):
        await _refresh(house, session, 1)


async def test_a_token_that_this_server_did_not_issue_is_refused_and_ends_nothing(house: House) -> None:
    session = await _family(house)

    async with house.begin() as ctx:
        with pytest.raises(SessionGone):
            await sessions.rotate(ctx, session.id, session.account_id, 0, "0" * 32)

    assert (await _refresh(house, session, 0)).principal.session.generation == 1


async def test_a_sign_in_that_was_hashing_while_every_session_ended_gets_none(house: House) -> None:
    session = await _family(house)
    async with house.begin() as ctx:
        account = await accounts.by_id(ctx, session.account_id)
    assert account is not None
    async with house.begin() as ctx:
        await sessions.end_all(ctx, account.id)

    async with house.begin() as ctx:
        with pytest.raises(Exception, match="changed_meanwhile"):
            await sessions.open_session(ctx, account, SessionRequest(kind=BROWSER), ("pwd",))


async def test_a_right_tag_does_not_make_another_accounts_token_of_it(house: House) -> None:
    """The tag is for the session and the generation alone."""
    session = await _family(house)
    async with house.begin() as ctx:
        other = accounts.fresh(ctx, "grace@example.org", "Grace")
        await accounts.insert_account(ctx, other)

    async with house.begin() as ctx:
        with pytest.raises(SessionGone):
            await sessions.rotate(ctx, session.id, other.id, 0, sessions.refresh_tag(ctx.services, session.id, 0))

    assert (await _refresh(house, session, 0)).principal.session.generation == 1


async def test_a_generation_that_another_has_just_rotated_is_not_rotated_again(house: House) -> None:
    """Between what is read and what is written another may come: the write looks at the generation itself."""
    session = await _family(house)
    async with house.begin() as ctx:
        read = await sessions.by_id(ctx, session.id)
    assert read is not None
    await _refresh(house, session, 0)

    async with house.begin() as ctx:
        second = await sessions._advance(ctx, read, [])

    assert second is None
    async with house.begin() as ctx:
        found = await sessions.by_id(ctx, session.id)
    assert found is not None
    assert found.session.generation == 1
