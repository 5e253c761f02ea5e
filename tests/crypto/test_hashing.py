"""Hashing as a service: bounded, fair between addresses and between accounts, and honest about how long it would take."""

from __future__ import annotations

import asyncio
import os
import threading

import pytest

from ostiary.crypto import hashing
from ostiary.crypto.desks import HAS_LANES, Width, fair_threads
from ostiary.crypto.foreign import ForeignTask, read
from ostiary.crypto.hashing import NICE, Asker, Bcrypt, HashingBusyError, HashingPool
from ostiary.crypto.passwords import NOBODY, PasswordHasher

SETTING = b"$2b$04$CCCCCCCCCCCCCCCCCCCCC."
QUICK_ARGON2ID = "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4"


def bcrypt_of(cost: int) -> Bcrypt:
    return Bcrypt(b"x", b"$2b$%02d$CCCCCCCCCCCCCCCCCCCCC." % cost)


async def order_of(*tasks: tuple[Bcrypt | ForeignTask, str]) -> list[str]:
    """The names of these askers, who ask one after the other, as one thread answers them."""
    pool = HashingPool(1, 50)
    order: list[str] = []

    async def ask(task: Bcrypt | ForeignTask, name: str) -> None:
        await pool.compute(task, Asker(name))
        order.append(name)

    async with asyncio.TaskGroup() as asking:
        for task, name in tasks:
            asking.create_task(ask(task, name))
            await asyncio.sleep(0)
    pool.close()
    return order


async def test_a_broken_hash_is_nobody_elses_failure() -> None:
    pool = HashingPool(1, 50)
    setting = b"$2b$04$CCCCCCCCCCCCCCCCCCCCC."

    found = await asyncio.gather(
        *(pool.hash(b"x", setting if number != 3 else b"$2b$04$broken", NOBODY) for number in range(6)), return_exceptions=True
    )

    assert [type(each) for each in found] == [bytes, bytes, bytes, ValueError, bytes, bytes]
    pool.close()


async def test_hashes_share_a_thread_and_the_queue_is_bounded() -> None:
    hasher = PasswordHasher(4, threads=1, queue=3)
    taken = Width.lanes + 3

    found = await asyncio.gather(*(hasher.make(f"password {number}") for number in range(12)), return_exceptions=True)

    made = [each for each in found if not isinstance(each, BaseException)]
    assert len(made) == taken
    assert sum(isinstance(each, HashingBusyError) for each in found) == 12 - taken
    assert hasher.lane_seconds > 1.5 * hasher.thread_seconds or not HAS_LANES
    assert (hasher.waiting, hasher.computing) == (0, 0)
    for number, stored in enumerate(made):
        assert (await hasher.verify(f"password {number}", stored)).is_right
        assert not (await hasher.verify("another", stored)).is_right
    hasher.close()


async def test_one_source_does_not_hold_up_another() -> None:
    pool = HashingPool(1, 100)
    order: list[str] = []

    async def ask(source: str) -> None:
        await pool.hash(b"x", b"$2b$04$CCCCCCCCCCCCCCCCCCCCC.", Asker(source))
        order.append(source)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(60):
            tasks.create_task(ask("greedy"))
        tasks.create_task(ask("modest"))

    assert order.index("modest") < 20
    pool.close()


async def test_who_stops_waiting_frees_the_place() -> None:
    pool = HashingPool(1, 20)
    waiters = [asyncio.create_task(pool.hash(b"x", b"$2b$06$CCCCCCCCCCCCCCCCCCCCC.", NOBODY)) for _ in range(18)]
    await asyncio.sleep(0)
    begun = pool.computing

    for waiter in waiters[begun:]:
        waiter.cancel()
    await asyncio.gather(*waiters, return_exceptions=True)

    assert begun == Width.lanes
    assert [waiter.cancelled() for waiter in waiters] == [False] * begun + [True] * (18 - begun)
    assert (pool.waiting, pool.computing) == (0, 0)
    pool.close()


async def test_the_memory_of_turns_is_bounded_while_the_queue_never_empties() -> None:
    pool = HashingPool(1, 4)
    first = asyncio.create_task(pool.hash(b"x", b"$2b$09$CCCCCCCCCCCCCCCCCCCCC.", Asker("first")))
    await asyncio.sleep(0)
    for number in range(300):
        brief = asyncio.create_task(pool.hash(b"x", b"$2b$04$CCCCCCCCCCCCCCCCCCCCC.", Asker(f"source {number}")))
        await asyncio.sleep(0)
        brief.cancel()
        await asyncio.gather(brief, return_exceptions=True)

    assert len(pool._turns) < 100
    await first
    pool.close()


async def test_out_of_memory_is_an_answer_and_the_next_hash_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = HashingPool(1, 10)
    monkeypatch.setattr(hashing, "_work", lambda *_: (_ for _ in ()).throw(MemoryError))

    found = await asyncio.gather(
        *(pool.hash(b"x", b"$2b$04$CCCCCCCCCCCCCCCCCCCCC.", NOBODY) for _ in range(3)), return_exceptions=True
    )
    monkeypatch.undo()

    assert [type(each) for each in found] == [HashingBusyError] * 3
    assert (await pool.hash(b"x", b"$2b$04$CCCCCCCCCCCCCCCCCCCCC.", NOBODY)).startswith(b"$2b$04$")
    pool.close()


async def test_one_account_does_not_hold_up_another_however_many_addresses_ask() -> None:
    pool = HashingPool(1, 100)
    order: list[str] = []

    async def ask(address: str, account: str) -> None:
        await pool.hash(b"x", SETTING, Asker(address, account))
        order.append(account)

    async with asyncio.TaskGroup() as tasks:
        for number in range(60):
            tasks.create_task(ask(f"address {number}", "besieged"))
        tasks.create_task(ask("elsewhere", "quiet"))

    assert order.index("quiet") < 20
    pool.close()


async def test_a_full_queue_turns_away_whoever_floods_and_not_who_comes_last() -> None:
    pool, lanes = HashingPool(1, 20), Width.lanes
    flood = [asyncio.create_task(pool.hash(b"x", b"$2b$07$CCCCCCCCCCCCCCCCCCCCC.", Asker("flood"))) for _ in range(40)]
    await asyncio.sleep(0)

    modest = await pool.hash(b"x", SETTING, Asker("modest"))
    found = await asyncio.gather(*flood, return_exceptions=True)

    assert modest.startswith(SETTING)
    assert sum(isinstance(each, HashingBusyError) for each in found) == pool.shed["full"] == 40 + 1 - 20 - lanes
    assert pool.waiting == 0
    pool.close()


async def test_who_would_wait_too_long_is_told_at_once_when_to_come_again() -> None:
    pool = HashingPool(1, 2000, patience=60)
    await pool.hash(b"x", b"$2b$08$CCCCCCCCCCCCCCCCCCCCC.", NOBODY)
    assert pool._pace > 0
    # As if a unit took a second, whatever this machine takes: then 240 of these hashes, of a quarter each, fill the minute.
    pool._pace = 1.0
    refused: list[HashingBusyError] = []

    async def ask(source: str) -> bytes:
        try:
            return await pool.hash(b"x", b"$2b$08$CCCCCCCCCCCCCCCCCCCCC.", Asker(source))
        except HashingBusyError as error:
            refused.append(error)
            raise

    flood = [asyncio.create_task(ask("flood")) for _ in range(1500)]
    await asyncio.sleep(0)
    at_once = len(refused)
    modest = await ask("modest")
    found = await asyncio.gather(*flood, return_exceptions=True)

    made = [each for each in found if isinstance(each, bytes)]
    assert modest in made
    assert at_once == 1500 - 241
    assert all(error.reason == "late" and error.retry_after >= 1 for error in refused)
    assert pool.estimated_wait() == 0
    pool.close()


async def test_who_hung_up_is_not_hashed_for() -> None:
    pool = HashingPool(1, 50)
    gone = Asker("phone", "", lambda: True)
    first = asyncio.create_task(pool.hash(b"x", b"$2b$07$CCCCCCCCCCCCCCCCCCCCC.", NOBODY))
    await asyncio.sleep(0)

    found = await asyncio.gather(*(pool.hash(b"x", SETTING, gone) for _ in range(5)), return_exceptions=True)

    assert [str(each) for each in found] == ["gone"] * 5
    assert (pool.computing, pool.shed["gone"]) == (1, 5)
    await first
    pool.close()


async def test_what_is_cheap_does_not_wait_for_what_is_dear() -> None:
    cheap = [(bcrypt_of(4), f"cheap {number}") for number in range(5)]

    order = await order_of((bcrypt_of(6), "first"), (bcrypt_of(10), "dear"), *cheap)

    assert order[-1] == "dear"


async def test_memory_is_shared_by_those_that_run_at_once() -> None:
    recipe = read(QUICK_ARGON2ID)
    assert recipe is not None
    pool = HashingPool(3, 50, memory=recipe.memory + 1)
    running, most = 0, 0
    lock = threading.Lock()

    class Watched(ForeignTask):
        def compute(self) -> bytes:
            nonlocal running, most
            with lock:
                running += 1
                most = max(most, running)
            made = super().compute()
            with lock:
                running -= 1
            return made

    found = await asyncio.gather(*(pool.compute(Watched(recipe, "password"), Asker(str(number))) for number in range(12)))

    assert (set(found), most) == ({recipe.digest}, 1)
    pool.close()


async def test_lanes_are_not_filled_again_before_what_is_computed_alone_had_its_turn() -> None:
    recipe = read(QUICK_ARGON2ID)
    assert recipe is not None

    order = await order_of(
        (bcrypt_of(9), "running"), (ForeignTask(recipe, "password"), "alone"), (bcrypt_of(8), "later and sooner over")
    )

    assert order == ["running", "alone", "later and sooner over"]


async def test_a_newcomer_joins_a_thread_that_has_a_lane_free() -> None:
    order = await order_of((bcrypt_of(10), "dear"), *((bcrypt_of(4), f"cheap {number}") for number in range(3)))

    assert order[-1] == "dear" or not HAS_LANES


async def test_hashing_threads_let_others_go_first() -> None:
    pool = HashingPool(1, 5)
    await pool.hash(b"x", SETTING, NOBODY)

    niceness = await asyncio.get_running_loop().run_in_executor(
        pool._pool, lambda: os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    )

    assert niceness >= NICE
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) < niceness
    pool.close()


def test_processes_share_the_cores_out_and_each_can_hash() -> None:
    cores = len(os.sched_getaffinity(0))

    assert [fair_threads(processes) for processes in (1, cores, 64 * cores)] == [cores, 1, 1]
