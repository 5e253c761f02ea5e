"""BF: guessing, spraying, limits, lockout, bans (catalogue 4.2)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from itertools import cycle, repeat
from pathlib import Path

import httpx
import pytest

from ostiary.identity import accounts, audit, bans
from tests.attack.harness import ROUNDS, Caller, checks, fresh_email, metric, race, somewhere
from tests.attack.people import PASSWORD, WRONG_PASSWORD, KeyOwner, Person, signed_in
from tests.conftest import MakeHouse
from tests.dialects.librechat import browser as librechat
from tests.house import House
from tests.served import Served, served
from tests.services.redis import RedisServer

LOGIN_MAX = 7
LOCKOUT_MAX = 10
NETWORK_MAX = 100
QUARTER = 15 * 60


def _wrong_login(url: str, address: str, _number: int) -> int:
    return Person(url, address).login(WRONG_PASSWORD).status


def test_bf_02_many_addresses_get_ten_checks_of_one_account_and_the_owner_gets_in(guarded: Served) -> None:
    owner = signed_in(guarded.url)
    before = checks(guarded)

    wrong = [Person(guarded.url, somewhere(), email=owner.email).login(WRONG_PASSWORD) for _ in range(60)]
    right = owner.elsewhere().login()

    assert checks(guarded) - before <= LOCKOUT_MAX
    assert [reply.status for reply in wrong] == [404] * LOCKOUT_MAX + [429] * 50
    assert right.status == 429
    assert all((reply.header("retry-after") or "").isdigit() for reply in wrong[LOCKOUT_MAX:])
    assert owner.login().status == 200


def _sprayed(place: Served, addresses: Iterator[str], accounts: int = 500) -> tuple[float, list[int]]:
    """One password tried on so many accounts: how many were checked, and what came back."""
    before = checks(place)
    statuses = [Person(place.url, next(addresses)).login(WRONG_PASSWORD, fresh_email("spray")).status for _ in range(accounts)]
    return checks(place) - before, statuses


def test_bf_03_one_address_gets_seven_checks_of_one_password(tmp_path: Path) -> None:
    with served(tmp_path, {"RATE_LIMITS": "on"}) as place:
        checked, statuses = _sprayed(place, repeat(somewhere()))

    assert checked == LOGIN_MAX
    assert statuses == [404] * LOGIN_MAX + [429] * (500 - LOGIN_MAX)


def test_bf_03_one_network_gets_a_hundred_checks_is_noticed_and_shuts_nobody_else_out(tmp_path: Path) -> None:
    with served(tmp_path, {"RATE_LIMITS": "on"}) as place:
        owner = Person(place.url, "127.99.7.200")
        owner.register()
        assert owner.login().status == 200

        checked, statuses = _sprayed(place, cycle([f"127.99.7.{number}" for number in range(1, 51)]))

        assert checked <= NETWORK_MAX
        assert statuses.count(429) == 500 - checked
        # Of the network, and at the hundredth name of the server.
        assert metric(place, "ostiary_events_total", event="spray:suspected") == 2
        assert metric(place, "ostiary_limited_total", limit="login.network") > 0
        assert owner.login().status == 200
        assert owner.elsewhere().login().status == 200


def test_bf_03_many_networks_get_what_the_server_has_and_owners_still_get_in(tmp_path: Path) -> None:
    with served(tmp_path, {"RATE_LIMITS": "on", "OSTIARY_LOGIN_SERVER_MAX": "120"}) as place:
        owner, absent = signed_in(place.url), Person(place.url, somewhere())
        absent.register()

        checked, statuses = _sprayed(place, cycle([f"127.98.{1 + number % 100}.{1 + number // 100}" for number in range(200)]))

        assert 120 <= checked < 300
        assert statuses.count(429) == 500 - checked
        assert metric(place, "ostiary_events_total", event="spray:suspected") == 1
        assert metric(place, "ostiary_events_total", event="limit:server_budget_spent") == 1
        assert owner.login().status == 200
        assert Person(place.url, somewhere(), cookies=owner.cookies, email=owner.email).login().status == 200
        assert absent.login().status == 200


def test_bf_05_a_right_password_does_not_clear_the_addresss_window(guarded: Served) -> None:
    victim, own = signed_in(guarded.url), signed_in(guarded.url)
    address = somewhere()
    before = checks(guarded)

    for _ in range(10):
        for _ in range(6):
            Person(guarded.url, address, email=victim.email).login(WRONG_PASSWORD)
        Person(guarded.url, address, email=own.email).login(PASSWORD)

    assert checks(guarded) - before <= LOGIN_MAX


async def test_bf_06_every_spelling_counts_against_one_account(house: House) -> None:
    await librechat.signed_in(house, "ada.k@example.org", address="192.0.2.1")
    wide = "".join(chr(ord(letter) + 0xFEE0) if letter.isalpha() else letter for letter in "ada.k")
    spellings = ["ada.k@example.org", "ADA.K@example.org", " ada.k@example.org ", "Ada.\u212a@Example.org", f"{wide}@example.org"]

    before = house.services.hasher.done
    for number in range(60):
        await librechat.browser(house, f"198.51.100.{number}").login(spellings[number % 5], WRONG_PASSWORD)
    last = await librechat.browser(house, "203.0.113.1").login("ada.k@example.org", WRONG_PASSWORD)

    assert house.services.hasher.done - before <= LOCKOUT_MAX
    assert last.status_code == 429


@pytest.mark.parametrize("are_two_lines", [False, True])
async def test_bf_08_behind_a_believed_proxy_the_last_hop_is_limited(make_house: MakeHouse, are_two_lines: bool) -> None:
    house = await make_house(RATE_LIMITS="on", TRUSTED_PROXIES="127.0.0.1/32")
    found = []
    for number in range(30):
        hops = [f"198.51.100.{number}", "203.0.113.9"]
        lines = [("X-Forwarded-For", hop) for hop in hops] if are_two_lines else [("X-Forwarded-For", ", ".join(hops))]
        answer = await house.client.post("/api/auth/login", json={}, headers=httpx.Headers(lines))
        found.append(answer.status_code)

    other = await house.client.post("/api/auth/login", json={}, headers={"X-Forwarded-For": "203.0.113.10"})

    assert set(found[:LOGIN_MAX]) == {404}
    assert set(found[LOGIN_MAX:]) == {429}
    assert other.status_code == 404


@pytest.mark.parametrize(
    "value",
    ["a", "999.1.1.1", "1.2.3.4:80", "[::1]:1", "::1%eth0", "x" * 10_000, "", "\x01", "1.2.3.4:80:90", "[::1", "\u0661.2.3.4"],
)
async def test_bf_09_a_malformed_address_is_never_a_fault_nor_a_way_past_the_password(make_house: MakeHouse, value: str) -> None:
    house = await make_house(TRUSTED_PROXIES="127.0.0.1/32")
    await librechat.browser(house).register()
    body = {"email": librechat.EMAIL, "password": librechat.PASSWORD}
    headers = httpx.Headers([(b"X-Forwarded-For", value.encode())])

    right = await house.client.post("/api/auth/login", json=body, headers=headers)
    wrong = await house.client.post("/api/auth/login", json={**body, "password": WRONG_PASSWORD}, headers=headers)

    assert (right.status_code, wrong.status_code) == (200, 404)


def test_bf_11_no_spelling_of_the_path_gets_round_the_limit(guarded: Served) -> None:
    email, address = signed_in(guarded.url).email, somewhere()
    before = checks(guarded)
    paths = [
        "//api/auth/login", "/api/auth/login/", "/api/auth/%6cogin", "/api/./auth/login", "/api/auth/login;a=1",
        "/API/auth/login", "/api/auth/login?x", "/api/auth/x/../login", "/api/auth/login%2f", "/api/auth//login",
    ]  # fmt: skip

    statuses = set()
    for _ in range(5):
        for path in paths:
            reply = Person(guarded.url, address).post(path, {"email": email, "password": WRONG_PASSWORD})
            statuses.add(reply.status)

    assert checks(guarded) - before <= LOGIN_MAX
    assert statuses <= {404, 405, 400, 429}
    assert 429 in statuses


def test_bf_12_64_at_once_from_one_address_get_seven_checks(guarded: Served) -> None:
    for _ in range(min(ROUNDS, 5)):
        before = checks(guarded)

        statuses = race(64, partial(_wrong_login, guarded.url, somewhere()))

        assert checks(guarded) - before <= LOGIN_MAX
        assert statuses.count(404) <= LOGIN_MAX
        assert set(statuses) == {404, 429}


def test_bf_12_and_cfg_14_several_processes_count_as_one(tmp_path: Path) -> None:
    """Each process has metrics of its own; so the answers are counted: what was not 429 was checked."""
    workers = "4" if ROUNDS > 1 else "2"
    with RedisServer() as redis:
        settings = {"REDIS_URL": redis.url, "OSTIARY_WORKERS": workers, "RATE_LIMITS": "on"}
        with served(tmp_path, settings) as place:
            statuses = race(64, partial(_wrong_login, place.url, "127.0.3.1"))

            assert statuses.count(404) == LOGIN_MAX
            assert statuses.count(429) == 64 - LOGIN_MAX


async def test_bf_14_a_hundred_wrong_codes_in_a_row_close_the_factor(house: House) -> None:
    """NIST SP 800-63B-4 section 3.2.2, over however long a time."""
    app = await librechat.enrolled(house, await librechat.signed_in(house))
    wrong = (401, {"message": "Invalid 2FA code or backup code"})
    refused = 0
    while refused < 100:
        someone, pending = await librechat.owing(house)
        for _ in range(5):
            answer = await someone.prove(pending, token=app.wrong_code())
            assert (answer.status_code, answer.json()) == wrong
            refused += 1
        house.clock.advance(QUARTER)
    someone, pending = await librechat.owing(house)

    found = await someone.prove(pending, token=app.code())

    text = "Too many verification attempts. Use a password reset or ask your administrator."
    assert (found.status_code, found.json()) == (429, {"message": text})
    assert "retry-after" not in found.headers, "no wait opens it"
    assert (await someone.prove(pending, backupCode=app.codes[0])).status_code == 429
    async with house.begin() as ctx:
        assert len(await audit.latest(ctx, event=audit.Event.FACTOR_LOCKED)) == 1


async def test_bf_15_all_routes_share_one_counter_of_tries(house: House) -> None:
    """Ten tries in a quarter of an hour, wherever; then the right code does not help."""
    someone = await librechat.signed_in(house)
    app = await librechat.enrolled(house, someone)
    whats = [f"/api/auth/2fa/{what}" for what in ("verify", "confirm", "disable", "enable", "backup/regenerate")]
    too_many = {"message": "Too many verification attempts, please try again after 15 minutes."}
    for number in range(9):
        assert (await someone.post(whats[number % 5], {"token": app.wrong_code()})).status_code in (400, 401)
    assert (await someone.delete("/api/user/delete", {"token": app.wrong_code()})).status_code == 401

    found = [await someone.post(what, {"token": app.code()}) for what in whats]
    found.append(await someone.delete("/api/user/delete", {"backupCode": app.codes[0]}))

    assert [(answer.status_code, answer.json()) for answer in found] == [(429, too_many)] * 6
    house.clock.advance(QUARTER)
    await someone.refresh()
    assert (await someone.post("/api/auth/2fa/disable", {"token": app.code()})).status_code == 200


async def test_bf_17_one_address_registers_five_and_what_nobody_verifies_goes(make_house: MakeHouse) -> None:
    house = await make_house(RATE_LIMITS="on", EMAIL_VERIFICATION_REQUIRED="true")
    someone = librechat.browser(house, "198.51.100.1")
    emails = [fresh_email("flood") for _ in range(6)]
    found = [(await someone.register(email)).status_code for email in emails]
    async with house.begin() as ctx:
        before = [await accounts.by_email(ctx, email) for email in emails]

    house.clock.advance(30 * 24 * 3600)
    await house.jobs.sweep()

    assert found == [200] * 5 + [429]
    assert [account is not None for account in before] == [True] * 5 + [False]
    async with house.begin() as ctx:
        assert [await accounts.by_email(ctx, email) for email in emails] == [None] * 6


async def test_bf_18_nobody_floods_a_mailbox(make_house: MakeHouse) -> None:
    house = await make_house(RATE_LIMITS="on")
    await librechat.browser(house, "192.0.2.1").register()
    before = len(await house.mails())
    statuses = set()
    for number in range(50):
        client = house.client_at(f"198.51.100.{number}")
        asks = [
            client.post("/api/auth/requestPasswordReset", json={"email": librechat.EMAIL}),
            client.post("/api/user/verify/resend", json={"email": librechat.EMAIL}),
            client.get(f"/api/auth/passwordHint?email={librechat.EMAIL}"),
        ]
        statuses.add((await asks[number % 3]).status_code)
        for ask in asks:
            ask.close()

    assert statuses == {200}
    assert len(await house.mails()) - before <= 3


async def test_bf_20_a_ban_ends_live_sessions_at_once_and_outlives_a_restart(make_house: MakeHouse) -> None:
    house = await make_house()
    someone = await librechat.signed_in(house)
    async with house.begin() as ctx:
        await bans.add(ctx, bans.ACCOUNT, (await accounts.named(ctx, librechat.EMAIL)).id, "test", None)

    at_once = [(await someone.get("/api/user")).status_code, (await someone.refresh()).status_code]
    restarted = await make_house()
    there = librechat.Browser(restarted.client, someone.token)
    there.client.cookies.set("refreshToken", someone.refresh_cookie)
    later = [(await there.get("/api/user")).status_code, (await there.refresh()).status_code, (await there.login()).status_code]

    assert set(at_once) <= {401, 403}
    assert set(later) <= {401, 403}


def test_bf_21_names_without_end_do_not_fill_the_memory(guarded: Served) -> None:
    """Each name and each address is a key of a limiter. A million keys are counted in tests/limits."""

    def resident() -> int:
        status = Path(f"/proc/{guarded.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+) kB", status)
        assert found is not None
        return int(found[1])

    before = resident()
    for number in range(100 * ROUNDS):
        caller = Caller(guarded.url, somewhere())
        caller.post("/api/auth/login", {"email": fresh_email("key"), "password": WRONG_PASSWORD})
        caller.get(f"/api/auth/preLogin?email={fresh_email('key')}")
        if number % 10 == 0:
            KeyOwner(guarded.url, somewhere()).post(
                "/api/auth/oauth?grantType=login", {"email": fresh_email(), "sharedKey": "ab" * 32}
            )

    assert resident() - before < 64 * 1024
