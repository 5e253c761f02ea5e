"""Windows and buckets, in this process and in Redis: the same verdicts from both."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from ostiary.limits.memory import MemoryLimits
from ostiary.limits.redis import RedisLimits
from ostiary.limits.store import LimitStore, Rule
from tests.services.redis import RedisServer

SECOND = 1_000_000
NOW = 1_900_000_000 * SECOND
WINDOW = Rule("test.window", 3, 60 * SECOND)
BUCKET = Rule("test.bucket", 20, 120 * SECOND, "bucket")


@pytest.fixture(scope="module")
def redis_server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture(params=["memory", "redis"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[LimitStore]:
    made: LimitStore = MemoryLimits()
    if request.param == "redis":
        server: RedisServer = request.getfixturevalue("redis_server")
        made = RedisLimits(server.url)
    yield made
    for rule in (WINDOW, BUCKET):
        for key in ("a", "b"):
            await made.forget(rule, key)
    await made.close()


async def test_a_window_allows_its_capacity_and_opens_again_when_it_is_over(store: LimitStore) -> None:
    taken = [await store.take(WINDOW, "a", NOW + number * SECOND) for number in range(4)]
    later = await store.take(WINDOW, "a", NOW + 60 * SECOND)

    assert [each.is_allowed for each in taken] == [True, True, True, False]
    assert [each.remaining for each in taken] == [2, 1, 0, 0]
    assert taken[3].retry_after == 57
    assert taken[3].reset_at == NOW + 60 * SECOND
    assert later.is_allowed


async def test_keys_do_not_share_a_window(store: LimitStore) -> None:
    for _ in range(4):
        await store.take(WINDOW, "a", NOW)

    assert (await store.take(WINDOW, "b", NOW)).is_allowed


async def test_a_bucket_starts_full_and_fills_one_every_six_seconds(store: LimitStore) -> None:
    taken = [(await store.take(BUCKET, "a", NOW)).is_allowed for _ in range(21)]
    too_early = await store.take(BUCKET, "a", NOW + 5 * SECOND)
    in_time = await store.take(BUCKET, "a", NOW + 6 * SECOND)

    assert taken == [True] * 20 + [False]
    assert (too_early.is_allowed, too_early.retry_after) == (False, 1)
    assert in_time.is_allowed


async def test_what_is_given_back_can_be_taken_again(store: LimitStore) -> None:
    for _ in range(3):
        await store.take(WINDOW, "a", NOW)
    await store.give_back(WINDOW, "a", NOW)

    assert (await store.take(WINDOW, "a", NOW)).is_allowed
    assert not (await store.take(WINDOW, "a", NOW)).is_allowed


@pytest.mark.parametrize("rule", [WINDOW, BUCKET], ids=["window", "bucket"])
async def test_a_window_does_not_remember_what_was_given_back(store: LimitStore, rule: Rule) -> None:
    """Else a stranger, locked out, hears by his waiting time that the owner signed in a while before."""
    await store.take(rule, "an owner's", NOW)
    await store.give_back(rule, "an owner's", NOW)

    later = NOW + 30 * SECOND
    answers = [[await store.take(rule, key, later) for _ in range(21)] for key in ("an owner's", "nobody's")]

    assert answers[0] == answers[1]


async def test_a_forgotten_key_starts_anew(store: LimitStore) -> None:
    for _ in range(4):
        await store.take(WINDOW, "a", NOW)
    await store.forget(WINDOW, "a")

    assert (await store.take(WINDOW, "a", NOW)).remaining == 2


async def test_a_clock_that_went_back_locks_nobody_for_ever(store: LimitStore) -> None:
    for _ in range(4):
        await store.take(WINDOW, "a", NOW + 3600 * SECOND)

    refused = await store.take(WINDOW, "a", NOW)
    a_minute_later = await store.take(WINDOW, "a", NOW + 60 * SECOND)

    assert refused.retry_after <= 60
    assert a_minute_later.is_allowed


async def test_a_hundred_takers_at_once_get_no_more_than_there_is(store: LimitStore) -> None:
    taken = await asyncio.gather(*(store.take(WINDOW, "a", NOW) for _ in range(100)))

    assert sum(each.is_allowed for each in taken) == 3


async def test_each_of_several_counts_or_none_does(store: LimitStore) -> None:
    for _ in range(3):
        await store.take(WINDOW, "a", NOW)

    refused = await store.take_each([(BUCKET, "a"), (WINDOW, "a"), (WINDOW, "b")], NOW)
    allowed = await store.take_each([(BUCKET, "a"), (WINDOW, "b")], NOW)

    assert [each.is_allowed for each in refused] == [True, False, True]
    assert [each.remaining for each in allowed] == [19, 2]


async def test_each_of_several_is_given_back(store: LimitStore) -> None:
    several = [(BUCKET, "a"), (WINDOW, "b")]
    await store.take_each(several, NOW)

    await store.give_back_each([*several, (WINDOW, "a")], NOW)

    assert [each.remaining for each in await store.take_each(several, NOW)] == [19, 2]


async def test_what_is_refused_does_not_count(store: LimitStore) -> None:
    """Else what is given back by those who were let in would be eaten by those who were not."""
    for _ in range(9):
        await store.take(WINDOW, "a", NOW)
    await store.give_back(WINDOW, "a", NOW)

    assert (await store.take(WINDOW, "a", NOW)).is_allowed


async def test_several_that_race_get_no_more_than_there_is(store: LimitStore) -> None:
    several = [(BUCKET, "a"), (WINDOW, "a")]

    taken = await asyncio.gather(*(store.take_each(several, NOW) for _ in range(100)))

    assert sum(all(each.is_allowed for each in both) for both in taken) == 3
    assert (await store.take(BUCKET, "a", NOW)).remaining == 16


async def test_redis_is_told_no_names(redis_server: RedisServer) -> None:
    store = RedisLimits(redis_server.url, b"secret")
    await store.take(WINDOW, "ada@example.org", NOW)
    await store.close()

    async with Redis.from_url(redis_server.url) as reader:
        keys = [key async for key in reader.scan_iter("ostiary:*")]

    assert keys
    assert not [key for key in keys if b"ada" in key]


async def test_without_redis_the_process_counts_for_itself_more_strictly() -> None:
    store = RedisLimits("redis://127.0.0.1:1/0")

    taken = [(await store.take(WINDOW, "a", NOW)).is_allowed for _ in range(3)]

    assert taken == [True, False, False]
    await store.close()


@settings(max_examples=60, deadline=None)
@given(
    steps=st.lists(st.tuples(st.integers(0, 90), st.sampled_from(["take", "give_back"])), max_size=40),
    rule=st.sampled_from([WINDOW, BUCKET]),
)
def test_no_more_is_allowed_than_capacity_and_refill(steps: list[tuple[int, str]], rule: Rule) -> None:
    async def told() -> None:
        store, now, allowed, given = MemoryLimits(), NOW, [], 0
        for wait, step in steps:
            now += wait * SECOND
            if step == "give_back":
                await store.give_back(rule, "a", now)
                given += 1
            elif (await store.take(rule, "a", now)).is_allowed:
                allowed.append(now)
        for start in allowed:
            within = [at for at in allowed if start <= at < start + rule.period]
            # Two windows can meet within one period; a bucket can be full at its start and refill once.
            assert len(within) <= 2 * rule.capacity + given

    asyncio.run(told())
