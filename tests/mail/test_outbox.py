"""Mail as rows: written with what they speak of, sent by exactly one sender, tried again, given up after a day."""

from __future__ import annotations

import asyncio
from itertools import product
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import update

from ostiary.crypto.sealing import SealBrokenError
from ostiary.identity import notices
from ostiary.mail import outbox
from ostiary.mail.messages import Message
from ostiary.mail.outbox import GIVE_UP_AFTER, LEASE, Row
from ostiary.storage import tables
from ostiary.storage.statements import Statement
from tests.conftest import MakeHouse
from tests.house import House
from tests.services import free_port
from tests.services.smtp import MailServer

LINK = "https://id.example.org/reset-password?token=5ec7e7"


async def queue(house: House, how_many: int = 1) -> None:
    for _ in range(how_many):
        async with house.begin() as ctx:
            await notices.send_to(ctx, "reset", "ada@example.org", "Ada", link=LINK)


async def claim(house: House) -> list[Row]:
    async with house.begin() as ctx:
        return await outbox.claim_due(ctx.db, ctx.now)


async def rows(house: House) -> list[Row]:
    async with house.begin() as ctx:
        return await outbox.listed(ctx.db)


def smtp(port: int) -> dict[str, str]:
    return {
        "EMAIL_HOST": "127.0.0.1",
        "EMAIL_PORT": str(port),
        "EMAIL_ENCRYPTION": "none",
        "EMAIL_FROM": "ostiary@example.org",
    }


async def test_each_mail_is_claimed_by_exactly_one_of_many_senders(house: House) -> None:
    await queue(house, 10)

    claimed = await asyncio.gather(*(claim(house) for _ in range(8)))

    ids = [row.id for taken in claimed for row in taken]
    assert len(ids) == len(set(ids)) == 10
    assert await claim(house) == []


async def test_mails_leave_in_the_order_in_which_they_were_made(house: House) -> None:
    """Those of one moment too, wherever the engine has put their rows since."""
    await queue(house, 10)
    made = sorted(row.id for row in await rows(house))
    async with house.begin() as ctx:
        for row_id, status in product(made[::3], ("abandoned", "queued")):
            await ctx.db.run(Statement(update(tables.outbox).where(tables.outbox.c.id == row_id).values(status=status)))

    assert [row.id for row in await claim(house)] == made


async def test_a_mail_of_a_sender_that_died_is_sent_by_another(house: House) -> None:
    await queue(house)
    [taken] = await claim(house)

    house.clock.advance(LEASE / 1_000_000 + 1)

    [again] = await claim(house)
    assert (again.id, again.attempts) == (taken.id, taken.attempts + 1)


async def test_a_refused_transaction_sends_no_mail(house: House) -> None:
    class ChangedOurMindError(Exception):
        pass

    async def change_our_mind() -> None:
        async with house.begin() as ctx:
            await notices.send_to(ctx, "reset", "ada@example.org", "Ada", link=LINK)
            raise ChangedOurMindError

    with pytest.raises(ChangedOurMindError):
        await change_our_mind()

    assert await rows(house) == []


async def test_nothing_that_gives_access_lies_in_the_database(house: House, database_url: str) -> None:
    await queue(house)
    at_rest = await _bytes(database_url)
    await house.mails()
    once_sent = await rows(house)

    assert b"5ec7e7" not in at_rest
    assert b"ada@example.org" not in at_rest
    assert [(row.status, row.sealed) for row in once_sent] == [("sent", b"")]


async def _bytes(database_url: str) -> bytes:
    if database_url.startswith("sqlite"):
        file = Path(database_url.removeprefix("sqlite:///"))
        return b"".join(part.read_bytes() for part in file.parent.glob(f"{file.name}*"))
    connection = await asyncpg.connect(database_url)
    try:
        return b"".join(bytes(row["sealed"]) + str(tuple(row)).encode() for row in await connection.fetch("SELECT * FROM outbox"))
    finally:
        await connection.close()


async def test_a_row_moved_to_another_place_does_not_open(house: House) -> None:
    await queue(house, 2)
    one, other = await rows(house)
    swapped = Row(one.id, one.kind, one.status, other.sealed, 0, None, 0, 0, None)

    with pytest.raises(SealBrokenError):
        outbox.opened(house.services.sealer, swapped)
    assert outbox.opened(house.services.sealer, one) == Message("reset", "ada@example.org", "Ada", {"link": LINK})


async def test_a_mail_is_tried_again_at_growing_distances_and_given_up_after_a_day(make_house: MakeHouse) -> None:
    house = await make_house(**smtp(free_port()))
    await queue(house)
    waits: list[int] = []
    for _ in range(400):
        assert await house.jobs.dispatch() == 0
        [row] = await rows(house)
        if row.status == "abandoned":
            break
        waits.append((row.due_at - house.clock.now) // 1_000_000)
        house.clock.now = row.due_at

    [row] = await rows(house)
    assert waits[:9] == [1, 2, 4, 8, 16, 32, 64, 128, 256]
    assert set(waits[9:]) == {300}
    assert row.status == "abandoned"
    assert row.last_error is not None
    assert "nobody listens on port" in row.last_error
    assert house.clock.now - row.created_at >= GIVE_UP_AFTER
    assert await claim(house) == []


async def test_a_mail_is_not_tried_before_it_is_due(make_house: MakeHouse) -> None:
    house = await make_house(**smtp(free_port()))
    await queue(house)
    await house.jobs.dispatch()

    assert await claim(house) == []
    house.clock.advance(2)
    assert len(await claim(house)) == 1


async def test_a_mail_leaves_when_the_server_is_back(make_house: MakeHouse) -> None:
    with MailServer() as server:
        house = await make_house(**smtp(server.port))
        await queue(house)
        assert await house.jobs.dispatch() == 1
        mail = await server.wait_for("ada@example.org", "Password Reset")

    assert LINK in str(mail.get_body(("plain",)))
    assert [row.status for row in await rows(house)] == ["sent"]


async def test_what_was_given_up_can_be_made_due_again(make_house: MakeHouse) -> None:
    house = await make_house(**smtp(free_port()))
    await queue(house)
    house.clock.now += GIVE_UP_AFTER + 1
    await house.jobs.dispatch()
    assert [row.status for row in await rows(house)] == ["abandoned"]

    async with house.begin() as ctx:
        assert await outbox.retry_all(ctx.db, ctx.now) == 1

    assert len(await claim(house)) == 1


async def test_sent_mails_are_forgotten_after_a_week(house: House) -> None:
    await queue(house)
    await house.mails()
    house.clock.advance(7 * 24 * 3600 + 1)

    await house.jobs.sweep()

    assert await rows(house) == []
