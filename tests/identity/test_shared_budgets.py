"""Budgets that strangers share, by neighbourhood and for the whole server; and spraying, which is noticed."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import bindparam, insert

from ostiary.identity import accounts, audit, invitations, throttle
from ostiary.identity.audit import AuditEvent
from ostiary.storage import tables
from ostiary.storage.statements import Statement
from tests.conftest import MakeHouse
from tests.dialects.librechat.browser import EMAIL, PASSWORD, browser, parameters_of, signed_in
from tests.dialects.librepass import owner as librepass
from tests.house import House

WINDOW = 15 * 60
TOO_MANY = "Too many login attempts, please try again after {} minutes."


@pytest.fixture(params=["sqlite"])
def engine(request: pytest.FixtureRequest) -> str:
    """Counters are no rows; what is read of rows here is read in tests/identity/test_places.py on both engines."""
    return str(request.param)


async def small(make_house: MakeHouse, **settings: str) -> House:
    """A house whose budgets are soon spent."""
    given = {"OSTIARY_LOGIN_NETWORK_MAX": "4", "OSTIARY_LOGIN_SERVER_MAX": "8", "OSTIARY_SPRAY_NETWORK": "3"}
    return await make_house(**{"RATE_LIMITS": "on", "LOGIN_MAX": "100", **given, "OSTIARY_SPRAY_SERVER": "6", **settings})


async def failing(house: House, address: str, email: str) -> int:
    return (await browser(house, address).login(email, "wrong password")).status_code


async def spend_server(house: House) -> None:
    """Eight failures of eight names from as many neighbourhoods, and whoever was one of them is turned away."""
    found = [await failing(house, f"198.51.{number}.1", f"nobody{number}@example.org") for number in range(8)]
    assert found == [404] * 8
    assert await failing(house, "198.51.0.2", "somebody@example.org") == 429


async def events(house: House, event: audit.Event) -> list[AuditEvent]:
    async with house.begin() as ctx:
        return await audit.latest(ctx, event=event)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("192.0.2.1", "192.0.2.0/24"),
        ("::ffff:192.0.2.1", "192.0.2.0/24"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1::/48"),
        ("fe80::1%eth0", "fe80::/48"),
        ("no:address", "no:address"),
        ("unix", "unix"),
        ("", ""),
    ],
)
def test_a_neighbourhood_is_a_24_or_a_48(address: str, expected: str) -> None:
    assert throttle.neighbourhood(address) == expected


async def test_failures_of_one_neighbourhood_are_limited_together_and_others_are_not(make_house: MakeHouse) -> None:
    house = await small(make_house)
    found = [await failing(house, f"198.51.100.{number}", f"nobody{number}@example.org") for number in range(5)]
    answer = await browser(house, "198.51.100.200").login("nobody@example.org", "wrong password")

    assert found == [404] * 4 + [429]
    assert (answer.status_code, answer.json()) == (429, {"message": TOO_MANY.format(15)})
    assert (answer.headers["retry-after"], answer.headers["x-ratelimit-limit"]) == (str(WINDOW), "4")
    assert await failing(house, "198.51.101.1", "nobody@example.org") == 404


async def test_right_proofs_cost_a_neighbourhood_nothing_and_clear_nothing(make_house: MakeHouse) -> None:
    house = await small(make_house)
    await browser(house, "203.0.113.1").register()
    for number in range(3):
        await failing(house, f"198.51.100.{number}", f"nobody{number}@example.org")

    for number in range(20):
        assert (await browser(house, f"198.51.100.{100 + number}").login()).status_code == 200

    assert await failing(house, "198.51.100.7", "nobody7@example.org") == 404
    assert await failing(house, "198.51.100.8", "nobody8@example.org") == 429


async def test_a_spent_server_lets_in_known_devices_known_places_and_newcomers(make_house: MakeHouse) -> None:
    house = await small(make_house)
    at_home = await signed_in(house, address="203.0.113.1")
    await browser(house, "203.0.113.9").register("other@example.org")
    device = f"ostiary_device={at_home.client.cookies['ostiary_device']}"
    await spend_server(house)

    there = [
        browser(house, "198.51.0.3", cookie=device),
        browser(house, "203.0.113.1"),
    ]
    assert [(await someone.login()).status_code for someone in there] == [200, 200]
    assert (await browser(house, "192.0.2.1").login("other@example.org", PASSWORD)).status_code == 200
    assert (await browser(house, "198.51.0.4").login("other@example.org", PASSWORD)).status_code == 429


async def test_a_known_client_of_a_key_account_gets_in_when_all_budgets_are_spent(make_house: MakeHouse) -> None:
    house = await small(make_house, OSTIARY_LOGIN_NETWORK_MAX="2")
    someone = await librepass.signed_in(house)
    await spend_server(house)
    for number in range(2):
        await failing(house, f"127.0.0.{100 + number}", f"nobody{number}@example.org")

    assert (await someone.login()).status_code == 200
    stranger = librepass.owner(house, address="127.0.0.200")
    assert librepass.refused(await stranger.login()) == (429, "LP-RateLimit")


async def test_newcomers_share_a_quarter_of_the_servers_budget(make_house: MakeHouse) -> None:
    house = await small(make_house)
    await spend_server(house)

    found = [await failing(house, f"192.0.{number}.1", f"new{number}@example.org") for number in range(3)]

    assert found == [404, 404, 429]


async def test_the_servers_budget_fills_by_and_by(make_house: MakeHouse) -> None:
    house = await small(make_house)
    await spend_server(house)
    answer = await browser(house, "198.51.0.2").login("somebody@example.org", "wrong password")

    house.clock.advance(int(answer.headers["retry-after"]))

    assert answer.json() == {"message": TOO_MANY.format(2)}
    assert int(answer.headers["retry-after"]) == -(-WINDOW // 8)
    assert await failing(house, "198.51.0.2", "somebody@example.org") == 404
    assert await failing(house, "198.51.0.2", "somebody@example.org") == 429


async def test_tries_that_one_budget_refuses_cost_the_others_nothing(make_house: MakeHouse) -> None:
    """Else whoever hammers at one locked account would shut the server for all strangers."""
    house = await small(make_house, OSTIARY_LOCKOUT_MAX="2")
    for number in range(2):
        await failing(house, f"198.51.{number}.1", EMAIL)
    for number in range(50):
        assert await failing(house, f"198.51.{number}.1", EMAIL) == 429

    found = [await failing(house, f"192.0.{number}.1", f"nobody{number}@example.org") for number in range(6)]

    assert found == [404] * 6


async def test_a_spent_server_is_told_once(make_house: MakeHouse) -> None:
    house = await small(make_house)
    await spend_server(house)
    for _ in range(5):
        await failing(house, "198.51.0.2", "somebody@example.org")

    assert [event.reason for event in await events(house, audit.Event.BUDGET_SPENT)] == ["login.server"]


async def test_names_tried_in_rows_are_noticed_once_by_neighbourhood_and_once_for_the_server(make_house: MakeHouse) -> None:
    house = await small(make_house, OSTIARY_LOGIN_NETWORK_MAX="100", OSTIARY_LOGIN_SERVER_MAX="100")
    for number in range(5):
        await failing(house, f"198.51.100.{number}", f"nobody{number}@example.org")
    for number in range(5):
        await failing(house, f"192.0.{number}.1", f"someone{number}@example.org")

    found = await events(house, audit.Event.SPRAY_SUSPECTED)

    assert {(event.reason, event.detail) for event in found} == {
        ("spray.network", '{"names":3,"network":"198.51.100.0/24"}'),
        ("spray.server", '{"names":6,"network":""}'),
    }
    assert len(found) == 2
    assert b'ostiary_events_total{event="spray:suspected"} 2.0' in house.services.metrics.render()


async def test_one_name_tried_often_is_no_spraying_and_neither_are_right_proofs(make_house: MakeHouse) -> None:
    house = await small(make_house)
    for number in range(8):
        await browser(house, f"203.0.113.{number}").register(f"a{number}@example.org")
        assert (await browser(house, f"192.0.{number}.1").login(f"a{number}@example.org")).status_code == 200
    for number in range(4):
        await failing(house, f"198.51.{number}.1", EMAIL)

    assert await events(house, audit.Event.SPRAY_SUSPECTED) == []


async def test_registrations_are_limited_by_neighbourhood_and_for_the_server_and_the_invited_are_not(
    make_house: MakeHouse,
) -> None:
    house = await make_house(RATE_LIMITS="on", OSTIARY_REGISTER_NETWORK_MAX="2", OSTIARY_REGISTER_SERVER_MAX="4")

    async def registers(address: str) -> int:
        return (await browser(house, address).register(f"{address}@example.org")).status_code

    same = [await registers(f"198.51.100.{number}") for number in range(3)]
    others = [await registers(f"198.51.{number}.1") for number in range(2)]
    newcomers = [await registers(f"192.0.{number}.1") for number in range(2)]
    key = await librepass.owner(house, address="198.51.100.9").register()
    async with house.begin() as ctx:
        token = parameters_of(await invitations.create(ctx, "ada@example.org"))["token"]
    invited = await browser(house, "198.51.100.9").register("ada@example.org", token=token)

    assert (same, others, newcomers) == ([200, 200, 429], [200, 200], [200, 429])
    assert (librepass.refused(key), invited.status_code) == ((429, "LP-RateLimit"), 200)
    assert [event.reason for event in await events(house, audit.Event.BUDGET_SPENT)] == ["register.newcomers"]


async def test_mails_asked_for_by_one_neighbourhood_are_limited(make_house: MakeHouse) -> None:
    house = await make_house(RATE_LIMITS="on", OSTIARY_MAIL_NETWORK_MAX="3")

    async def asks(address: str) -> int:
        body = {"email": f"{address}@example.org"}
        return (await house.client_at(address).post("/api/auth/requestPasswordReset", json=body)).status_code

    assert [await asks(f"198.51.100.{number}") for number in range(4)] == [200, 200, 200, 429]
    assert await asks("198.51.101.1") == 200


async def test_without_limits_no_budget_is_shared_and_lockout_stays(make_house: MakeHouse) -> None:
    house = await small(make_house, RATE_LIMITS="off")

    found = [await failing(house, f"198.51.100.{number}", f"nobody{number}@example.org") for number in range(20)]
    locked = [await failing(house, f"198.51.101.{number}", "nobody@example.org") for number in range(11)]

    assert found == [404] * 20
    assert locked == [404] * 10 + [429]


async def test_without_lockout_the_shared_budgets_stay(make_house: MakeHouse) -> None:
    house = await small(make_house, LOCKOUT="off")

    assert [await failing(house, "198.51.100.1", EMAIL) for _ in range(5)] == [404] * 4 + [429]


async def test_every_limit_is_shown_with_its_numbers_before_anybody_meets_it(make_house: MakeHouse) -> None:
    house = await small(make_house)
    shown = (await house.client.get("/metrics")).text

    for rule in house.services.rules:
        assert f'ostiary_limited_total{{limit="{rule.name}"}} 0.0' in shown
        assert f'ostiary_limit_capacity{{limit="{rule.name}"}} {float(rule.capacity)}' in shown
    await spend_server(house)
    assert 'ostiary_limited_total{limit="login.server"} 1.0' in (await house.client.get("/metrics")).text


async def test_the_budget_of_the_server_grows_with_the_accounts_unless_it_is_set(make_house: MakeHouse) -> None:
    """Else a tenth of a big site's people, at new places and with the typing errors of a morning, would spend it for all."""
    grown, fixed = await make_house(RATE_LIMITS="on"), await make_house(RATE_LIMITS="on", OSTIARY_LOGIN_SERVER_MAX="8")
    async with grown.begin() as ctx:
        many = [accounts.fresh(ctx, f"m{number}@example.org", "M") for number in range(12_000)]
        rows = [{column.name: getattr(one, column.name) for column in tables.accounts.c} for one in many]
        await ctx.db.run_many(Statement(insert(tables.accounts).values({name: bindparam(name) for name in rows[0]})), rows)
    before = grown.services.rules.logins.server.capacity

    for house in (grown, fixed):
        await house.jobs.fit_limits()

    logins = grown.services.rules.logins
    assert (before, logins.server.capacity, logins.newcomers.capacity) == (300, 360, 90)
    assert fixed.services.rules.logins.server.capacity == 8
    assert 'ostiary_limit_capacity{limit="login.server"} 360.0' in (await grown.client.get("/metrics")).text


@pytest.mark.parametrize(("there", "steps"), [(0, [0]), (4, [2, 2, 0]), (5, [2, 2, 1])])
async def test_accounts_are_counted_a_step_at_a_time_and_others_go_between(
    house: House, monkeypatch: pytest.MonkeyPatch, there: int, steps: list[int]
) -> None:
    """A million counted at once would hold up everybody for as long."""
    monkeypatch.setattr(accounts, "COUNT_STEP", 2)
    async with house.begin() as ctx:
        for number in range(there):
            await accounts.insert_account(ctx, accounts.fresh(ctx, f"m{number}@example.org", "M"))
    found, after = [], None
    async with house.begin() as ctx:
        while after != "":
            number, after = await accounts.count(ctx, after or "")
            found.append(number)

    counting, others = asyncio.ensure_future(house.jobs.fit_limits()), 0
    while not counting.done():
        others += 1
        await asyncio.sleep(0)

    assert found == steps
    assert others > len(steps)
