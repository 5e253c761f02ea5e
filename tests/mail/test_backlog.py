"""What waits leaves in one go, however much it is."""

from __future__ import annotations

import pytest

from ostiary.identity import notices
from tests.house import House


@pytest.mark.parametrize("engine", ["sqlite"])
async def test_a_backlog_leaves_in_one_go(house: House) -> None:
    async with house.begin() as ctx:
        for number in range(45):
            await notices.send_to(ctx, "test", f"ada{number}@example.org", "")

    assert await house.jobs.dispatch() == 45
    assert await house.jobs.dispatch() == 0
