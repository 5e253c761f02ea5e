"""What the audit is told of those who were not even looked at: each once in a while, so that nobody can fill it."""

from __future__ import annotations

import msgspec
import pytest
from sqlalchemy import bindparam, insert, update

from ostiary.identity import accounts, audit, bans, factors
from ostiary.identity.audit import AuditEvent, Event
from ostiary.storage import tables
from ostiary.storage.statements import Statement
from tests.conftest import MakeHouse
from tests.dialects.librechat.browser import EMAIL, browser, enrolled, owing, signed_in
from tests.house import House

WINDOW = 15 * 60
NOBODY = "nobody@example.org"
_had = Statement(update(tables.factors).where(tables.factors.c.kind == factors.TOTP).values(failures=bindparam("value")))
_ban = Statement(insert(tables.bans).values({column.name: bindparam(column.name) for column in tables.bans.c}))


@pytest.fixture(params=["sqlite"])
def engine(request: pytest.FixtureRequest) -> str:
    """What is new here are counters, and rows of a table that other tests write on both engines."""
    return str(request.param)


async def told(house: House, event: Event) -> list[AuditEvent]:
    """The oldest first."""
    async with house.begin() as ctx:
        return (await audit.latest(ctx, event=event))[::-1]


def said(event: AuditEvent) -> dict[str, object]:
    found: dict[str, object] = msgspec.json.decode(event.detail)
    return found


async def test_a_locked_door_is_told_once_for_each_account_and_window_and_alike_for_a_name_of_none(make_house: MakeHouse) -> None:
    house = await make_house(OSTIARY_LOCKOUT_MAX="2")
    await signed_in(house)
    async with house.begin() as ctx:
        account = await accounts.named(ctx, EMAIL)

    async def knock(email: str) -> list[int]:
        return [(await browser(house, f"198.51.{n}.1").login(email, "wrong password")).status_code for n in range(6)]

    assert await knock(EMAIL) == await knock(NOBODY) == [404, 404, 429, 429, 429, 429]
    house.clock.advance(WINDOW)
    await knock(EMAIL)

    found = await told(house, Event.SIGN_IN_TURNED_AWAY)
    assert [(event.account_id, event.reason) for event in found] == [
        (account.id, "lockout.account"),
        (None, "lockout.account"),
        (account.id, "lockout.account"),
    ]
    assert found[0].address == "198.51.2.1"
    assert len({said(event)["name"] for event in found}) == 2


async def test_spent_budgets_are_told_once_for_each_network_and_each_route(make_house: MakeHouse) -> None:
    house = await make_house(
        RATE_LIMITS="on", LOGIN_MAX="4", OSTIARY_LOGIN_NETWORK_MAX="2", REGISTER_MAX="99", OSTIARY_REGISTER_NETWORK_MAX="1"
    )
    for number in range(30):
        # Two of the neighbourhood are looked at; then it is turned away, and then each address is over its own limit.
        await browser(house, "198.51.100.1").login(f"nobody{number}@example.org", "wrong password")
        await browser(house, "198.51.100.2").register(f"somebody{number}@example.org")
        await house.client.get(f"/api/auth/preLogin?email=nobody{number}@example.org", headers={"x-api": "1"})

    away = await told(house, Event.SIGN_IN_TURNED_AWAY)
    assert [(event.reason, said(event)) for event in away] == [("login.network", {"network": "198.51.100.0/24"})]
    registrations = await told(house, Event.REGISTRATION_REFUSED)
    assert [(event.reason, said(event)) for event in registrations] == [("register.network", {"network": "198.51.100.0/24"})]
    violations = [event.reason for event in await told(house, Event.VIOLATION)]
    assert {reason: violations.count(reason) for reason in violations} == {"logins": bans.MOST_TOLD, "standard": 1}


async def test_a_factor_that_takes_no_more_is_told_once_in_a_while(make_house: MakeHouse) -> None:
    house = await make_house()
    app = await enrolled(house, await signed_in(house))
    waiting = [await owing(house) for _ in range(3)]
    for someone, pending in waiting:
        for _ in range(5):
            await someone.prove(pending, token=app.wrong_code())
    house.clock.advance(WINDOW)
    async with house.begin() as ctx:
        await ctx.db.run(_had, value=factors.MOST_CONSECUTIVE_FAILURES)

    someone, pending = await owing(house)
    assert [(await someone.prove(pending, token=app.code())).status_code for _ in range(3)] == [429] * 3

    away = await told(house, Event.FACTOR_TURNED_AWAY)
    assert [event.reason for event in away] == ["factor.account", "factor_locked"]
    assert len({event.account_id for event in away}) == 1


async def test_a_ban_says_whom_it_shuts_out_by_whom_and_why_and_is_told_once_a_day_when_met(make_house: MakeHouse) -> None:
    house = await make_house(RATE_LIMITS="on", BAN_VIOLATIONS="true", LOGIN_MAX="1", BAN_INTERVAL="3")
    for _ in range(9):
        await browser(house, "198.51.100.1").login(NOBODY, "wrong password")
    async with house.begin() as ctx:
        await bans.add(ctx, bans.ADDRESS, "203.0.113.9", "scraping", None)
    for address in ("198.51.100.1", "203.0.113.9"):
        for _ in range(2):
            answer = await browser(house, address).post("/api/auth/requestPasswordReset", {"email": NOBODY})
            assert answer.status_code == 403

    made, met = await told(house, Event.BANNED), await told(house, Event.BAN_MET)
    assert [(event.reason, said(event)["subject"], said(event)["by"]) for event in made] == [
        ("logins", "198.51.100.1", "limits"),
        ("scraping", "203.0.113.9", "operator"),
    ]
    assert [(event.reason, event.address, said(event)["subject"]) for event in met] == [
        ("logins", "198.51.100.1", "198.51.100.1"),
        ("scraping", "203.0.113.9", "203.0.113.9"),
    ]


async def test_a_ban_that_is_met_behind_the_first_proof_is_told(house: House) -> None:
    app = await enrolled(house, await signed_in(house))
    someone, pending = await owing(house)
    async with house.begin() as ctx:
        account = await accounts.named(ctx, EMAIL)
        # As another server's tables bring it: no session was ended with it.
        await ctx.db.run(_ban, id="b", kind="account", subject=account.id, reason="", created_at=ctx.now, expires_at=None)

    assert [(await someone.prove(pending, token=app.code())).status_code for _ in range(3)] == [403] * 3

    found = [event for event in await told(house, Event.SIGN_IN_REFUSED) if event.reason == "banned"]
    assert [event.account_id for event in found] == [account.id]
