"""Ids that stand in the index in the order in which their rows were made."""

from __future__ import annotations

from uuid import RFC_4122, UUID

from ostiary.storage.ids import ordered_id

NOW = 1_790_000_000_123_456
MILLISECOND = 1000


def test_an_id_is_a_uuid_that_says_when_it_was_made() -> None:
    for _ in range(64):
        found = UUID(ordered_id(NOW))

        assert (found.version, found.variant, found.int >> 80) == (7, RFC_4122, NOW // MILLISECOND)


def test_ids_stand_in_the_order_of_their_milliseconds() -> None:
    made = [ordered_id(NOW + MILLISECOND * step) for step in range(1000)]

    assert made == sorted(made)


def test_ids_of_one_moment_stand_in_the_order_of_their_making() -> None:
    made = [ordered_id(NOW + MILLISECOND * 2000) for _ in range(4096)]

    assert made == sorted(made)


def test_ids_of_one_moment_differ() -> None:
    assert len({ordered_id(NOW) for _ in range(10_000)}) == 10_000
