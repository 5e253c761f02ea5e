"""The audit's chain: it stays whole through all that the server does, and names whatever somebody else did to it."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, func, select, update

from ostiary.identity import audit, audit_chain
from ostiary.identity.audit import Event
from ostiary.identity.audit_chain import BATCH, PAGE, BrokenChainError, Verdict
from ostiary.identity.audit_walk import Place
from ostiary.identity.context import Client
from ostiary.jobs import DAY
from ostiary.storage.migrate import migrate
from ostiary.storage.statements import Query, Statement
from ostiary.storage.tables import audit_events, markers
from tests.conftest import MakeHouse
from tests.house import House, open_house
from tests.identity.tampering import TAMPERINGS, alter, put, rows_of, unsealed

NOBODY = Client("", "test")
HOW_MANY = Query(int, select(func.count()).select_from(audit_events))
ODD = "zoë \U0001f5dd 5:x'\\\n"


async def write(house: House, how_many: int = 1) -> None:
    """Events a second apart; in one transaction, which is quicker."""
    async with house.begin() as ctx:
        for number in range(how_many):
            ctx.now = house.clock.now
            ctx.client = Client(f"203.0.113.{number % 250}", "test")
            await audit.record(ctx, Event.SIGN_IN_REFUSED, None if number % 3 else f"account {number}", ODD, number=number)
            house.clock.advance(1)


async def link(house: House) -> Place:
    return await audit_chain.link_waiting(house.services, NOBODY)


async def sweep(house: House, seconds: int) -> int:
    return await audit_chain.sweep(house.services, NOBODY, house.clock.now - seconds * 1_000_000)


async def verified(house: House, *heads: Place) -> Verdict:
    async with house.begin() as ctx:
        return await audit_chain.verify(ctx, heads)


async def tampered(house: House, name: str, which: int) -> set[int | str]:
    async with house.begin() as ctx:
        return await TAMPERINGS[name](ctx, await rows_of(ctx), which)


def named(verdict: Verdict) -> set[int | str]:
    """The numbers and ids that findings name."""
    found: set[int | str] = {row for finding in verdict.findings for row in finding.rows}
    for finding in verdict.findings:
        if finding.kind == "ends":
            found.add("ends")
        elif finding.first is not None and finding.last is not None:
            found |= set(range(finding.first, finding.last + 1))
    return found


async def test_what_the_server_wrote_verifies(house: House) -> None:
    await write(house, 5)
    await link(house)
    await write(house, 2)

    verdict = await verified(house)

    assert verdict.findings == ()
    assert (verdict.checked, verdict.waiting) == (5, 2)
    assert verdict.ends is not None
    assert verdict.ends.head.position == 5


async def test_more_rows_than_one_transaction_takes_are_linked_in_one_go(house: House) -> None:
    await write(house, 2 * BATCH + 3)

    head = await link(house)

    assert head.position == 2 * BATCH + 3
    assert (await verified(house)).findings == ()


@pytest.mark.parametrize("name", TAMPERINGS)
async def test_what_somebody_else_did_is_named(house: House, name: str) -> None:
    await write(house, 9)
    await link(house)
    await sweep(house, 7)

    touched = await tampered(house, name, 3)

    verdict = await verified(house)
    assert touched <= named(verdict)


@pytest.mark.parametrize("name", ["another event", "another link", "removed", "exchanged", "forged"])
async def test_rows_beside_the_one_that_was_touched_are_not_accused(house: House, name: str) -> None:
    await write(house, 9)
    await link(house)

    touched = await tampered(house, name, 3)

    numbers = {number for number in named(await verified(house)) if isinstance(number, int)}
    assert numbers <= {4, 5, 6}
    assert touched <= named(await verified(house))


async def test_a_finding_says_between_what_times(house: House) -> None:
    await write(house, 9)
    await link(house)
    async with house.begin() as ctx:
        rows = await rows_of(ctx)
    await tampered(house, "removed", 3)
    await tampered(house, "another reason", 5)

    gone, altered = (await verified(house)).findings

    assert (gone.kind, gone.first, gone.last, gone.after, gone.before) == ("removed", 4, 4, rows[2].at, rows[4].at)
    assert (altered.kind, altered.rows, altered.after, altered.before) == ("changed", (rows[6].id,), rows[5].at, rows[7].at)


async def test_a_row_that_was_changed_before_it_was_linked_is_named_then_and_later(house: House) -> None:
    await link(house)
    await write(house, 3)
    async with house.begin() as ctx:
        row = (await audit.latest(ctx))[1]
        await alter(ctx, row, reason="operator")

    early = await verified(house)
    await link(house)
    await link(house)

    assert named(early) == {row.id}
    assert row.id in named(await verified(house))
    async with house.begin() as ctx:
        told = await audit.latest(ctx, event=Event.CHAIN_BROKEN)
    assert [(event.reason, msgspec.json.decode(event.detail)) for event in told] == [("foreign", {"row": row.id})]


async def test_rows_of_before_the_chain_are_taken_in_once(house: House) -> None:
    await write(house, PAGE + 2)
    async with house.begin() as ctx:
        await ctx.db.run(Statement(update(audit_events).values(seal=None)))
    first = await verified(house)

    await link(house)
    async with house.begin() as ctx:
        late = await unsealed(ctx, await rows_of(ctx), 0)
    await link(house)

    assert {finding.kind for finding in first.findings} == {"ends", "foreign"}
    verdict = await verified(house)
    assert verdict.checked == PAGE + 3
    assert late <= named(verdict)
    assert {row for finding in verdict.findings for row in finding.rows} == late


async def test_what_retention_swept_is_not_missed(house: House) -> None:
    await write(house, 3)
    old = await link(house)
    house.clock.advance(365 * 24 * 3600)
    await write(house, 4)
    head = await link(house)
    await house.jobs.sweep()

    verdict = await verified(house, old, head)

    assert (verdict.findings, verdict.checked, verdict.unknown) == ((), 4, ())
    assert verdict.ends is not None
    assert verdict.ends.floor.position == 3
    async with house.begin() as ctx:
        assert len(await audit.latest(ctx)) == 4


async def test_retention_is_a_setting(make_house: MakeHouse) -> None:
    house = await make_house(OSTIARY_AUDIT_DAYS="30")
    await write(house)
    await link(house)
    house.clock.now += 30 * DAY
    await house.jobs.sweep()

    async with house.begin() as ctx:
        assert await audit.latest(ctx) == []
    assert (await verified(house)).findings == ()


async def test_a_row_that_waits_is_not_swept(house: House) -> None:
    await write(house)
    house.clock.now += 366 * DAY
    await house.jobs.sweep()

    async with house.begin() as ctx:
        assert len(await audit.latest(ctx)) == 1


async def test_a_sweep_tells_of_a_row_that_does_not_fit_before_it_goes(house: House) -> None:
    await write(house, 5)
    await link(house)
    await tampered(house, "another reason", 1)
    await tampered(house, "removed", 3)

    assert await sweep(house, 0) == 4

    async with house.begin() as ctx:
        told = await audit.latest(ctx, event=Event.CHAIN_BROKEN)
    found = sorted((event.reason or "", msgspec.json.decode(event.detail)["first"]) for event in told)
    assert found == [("changed", 2), ("removed", 4)]


async def test_a_head_kept_elsewhere_tells_an_older_backup_from_the_chain_itself(house: House) -> None:
    await write(house, 3)
    await link(house)
    async with house.begin() as ctx:
        backup = await rows_of(ctx), await ctx.db.one(Query(str, select(markers.c.value)))
    await write(house, 3)
    head = await link(house)
    async with house.begin() as ctx:
        await ctx.db.run(Statement(delete(audit_events)))
        for row in backup[0]:
            await put(ctx, row)
        await ctx.db.run(Statement(update(markers).values(value=backup[1])))

    assert (await verified(house)).findings == ()
    assert [(found.kind, found.reason, found.first) for found in (await verified(house, head)).findings] == [("ends", "head", 6)]


async def test_an_earlier_head_is_found_in_the_chain_and_another_is_not(house: House) -> None:
    await write(house, 3)
    early = await link(house)
    await write(house, 3)
    await link(house)

    assert (await verified(house, early)).findings == ()
    wrong = Place(early.position, "0" * 64, 0)
    assert named(await verified(house, wrong)) == {"ends"}
    await sweep(house, 2)
    assert (await verified(house, wrong)).unknown == (wrong,)


async def test_without_its_ends_a_chain_is_neither_continued_nor_swept(house: House) -> None:
    await write(house, 3)
    await link(house)
    await tampered(house, "without ends", 0)
    await write(house)

    with pytest.raises(BrokenChainError):
        await link(house)
    assert await sweep(house, 0) == 0
    for _ in range(3):
        await house.jobs.link_audit()

    async with house.begin() as ctx:
        assert [event.reason for event in await audit.latest(ctx, event=Event.CHAIN_BROKEN)] == ["missing"]


async def test_another_root_key_does_not_vouch_for_the_rows(make_house: MakeHouse) -> None:
    house = await make_house()
    await write(house, 3)
    await link(house)
    other = await make_house(OSTIARY_ROOT_KEY="another root key, of forty characters.. ")

    found = {(finding.kind, finding.reason) for finding in (await verified(other)).findings}

    assert found == {("ends", "changed"), ("changed", "")}


async def test_a_new_chain_takes_the_rows_as_they_are_and_says_so(house: House) -> None:
    await write(house, 5)
    await link(house)
    await tampered(house, "removed", 2)
    await tampered(house, "another reason", 0)

    async with house.begin() as ctx:
        assert await audit_chain.restart(ctx) == 4
    await link(house)

    assert (await verified(house)).findings == ()
    async with house.begin() as ctx:
        [told] = await audit.latest(ctx, event=Event.CHAIN_RESTARTED)
    assert (told.reason, told.position) == ("operator", 5)


async def test_many_write_while_several_link_sweep_and_verify(make_house: MakeHouse) -> None:
    """Nodes of one deployment, each with a pool of its own: every row gets one number, and nobody sees a misfit meanwhile."""
    houses = [await make_house() for _ in range(3)]
    await link(houses[0])
    is_over = asyncio.Event()

    async def writing(house: House) -> None:
        for _ in range(15):
            await write(house)

    async def linking(house: House) -> None:
        while not is_over.is_set():
            await link(house)
            await asyncio.sleep(0)

    async def verifying(house: House) -> list[Verdict]:
        verdicts = []
        while not is_over.is_set():
            verdicts.append(await verified(house))
            await asyncio.sleep(0)
        return verdicts

    async def sweeping(house: House) -> None:
        while not is_over.is_set():
            await sweep(house, 20)
            await asyncio.sleep(0)

    others = [asyncio.create_task(linking(house)) for house in houses]
    others.append(asyncio.create_task(sweeping(houses[1])))
    watching = asyncio.create_task(verifying(houses[2]))
    await asyncio.gather(*(writing(house) for house in houses for _ in range(3)))
    is_over.set()
    await asyncio.gather(*others)
    head = await link(houses[0])

    assert head.position == 135
    assert {verdict.findings for verdict in await watching} == {()}
    verdict = await verified(houses[0])
    assert (verdict.findings, verdict.waiting) == ((), 0)
    assert verdict.ends is not None
    assert verdict.checked == 135 - verdict.ends.floor.position


@pytest.fixture(scope="module")
def stage() -> Iterator[tuple[asyncio.Runner, House]]:
    """A house whose audit each example of a property empties."""
    folder = Path(tempfile.mkdtemp())
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        url = f"sqlite:///{folder / 'ostiary.db'}"
        runner.run(migrate(url))
        yield runner, runner.run(stack.enter_async_context(open_house(url, folder, {})))
        runner.run(stack.aclose())
    shutil.rmtree(folder)


async def history(house: House, steps: list[tuple[str, int]]) -> None:
    """Empty the audit, then live through this."""
    async with house.begin() as ctx:
        await ctx.db.run(Statement(delete(audit_events)))
        await ctx.db.run(Statement(delete(markers)))
    for what, number in steps:
        match what:
            case "write":
                await write(house, number)
            case "link":
                await link(house)
            case "sweep":
                await sweep(house, number)


STEPS = st.lists(
    st.tuples(st.just("write"), st.integers(1, 12))
    | st.tuples(st.just("link"), st.just(0))
    | st.tuples(st.just("sweep"), st.integers(0, 20)),
    max_size=12,
)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(steps=STEPS)
def test_any_history_verifies(stage: tuple[asyncio.Runner, House], steps: list[tuple[str, int]]) -> None:
    runner, house = stage

    async def tell() -> tuple[Verdict, int]:
        await history(house, [*steps, ("link", 0)])
        verdict = await verified(house)
        async with house.begin() as ctx:
            return verdict, await ctx.db.one(HOW_MANY) or 0

    verdict, there = runner.run(tell())

    assert verdict.findings == ()
    assert (verdict.checked, verdict.waiting) == (there, 0)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(steps=STEPS, name=st.sampled_from(sorted(TAMPERINGS)), which=st.integers(0, 100), later=st.integers(0, 3))
def test_in_any_history_what_somebody_did_is_named(
    stage: tuple[asyncio.Runner, House], steps: list[tuple[str, int]], name: str, which: int, later: int
) -> None:
    runner, house = stage

    async def tell() -> tuple[Verdict, set[int | str]]:
        await history(house, [*steps, ("write", 3), ("link", 0)])
        async with house.begin() as ctx:
            rows = await rows_of(ctx)
        touched = await tampered(house, name, 1 + which % (len(rows) - 1))
        if later and "ends" not in touched:
            # The server goes on, and numbers what it finds.
            await write(house, later)
            await link(house)
        return await verified(house), touched

    verdict, touched = runner.run(tell())

    assert touched <= named(verdict)
