"""DEP: what happens while a neighbour is away, slow or empty, and when the clock jumps (catalogue 4.14)."""

from __future__ import annotations

import asyncio
import re
import secrets
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

import httpx
import pytest
from redis.asyncio import Redis

from ostiary.app import documented
from ostiary.identity import bans
from ostiary.mail import outbox
from ostiary.storage.migrate import migrate
from tests.attack.conftest import OPEN, mail_settings
from tests.attack.harness import SECONDS, somewhere
from tests.attack.people import OTHER_PASSWORD, Person
from tests.conftest import MakeHouse
from tests.dialects.librechat import browser as librechat
from tests.dialects.librepass import owner as librepass
from tests.house import House, open_house, text_of
from tests.served import served
from tests.services.postgres import PostgresServer, StandbyServer
from tests.services.redis import RedisServer
from tests.services.relay import Relay
from tests.services.smtp import MailServer

WRONG = "certainly-Not-it-99"
OUTAGE_SECONDS = 2
PROBES = {"/health", "/readyz", "/actuator/health"}


@asynccontextmanager
async def house_behind(relay: Relay, folder: Path, database: str, **environment: str) -> AsyncIterator[House]:
    """A house whose PostgreSQL is at the other end of a path that the test owns."""
    async with open_house(f"postgresql://postgres@127.0.0.1:{relay.port}/{database}", folder, environment) as house:
        yield house


async def every_answer(someone: librechat.Browser) -> dict[tuple[str, str], tuple[httpx.Response, float]]:
    """What each documented path answers to somebody who is signed in, and after how long."""
    found = {}
    for path, operations in documented()["paths"].items():
        for method in operations:
            target = path.replace("{id}", "00000000-0000-4000-8000-000000000001").replace("{name}", "x")
            started = time.monotonic()
            answer = await someone.client.request(
                method.upper(),
                target,
                json={"email": librechat.EMAIL, "password": librechat.PASSWORD, "sharedKey": "ab" * 32},
                headers={"Authorization": f"Bearer {someone.token}"},
            )
            found[method, path] = answer, time.monotonic() - started
    return found


async def test_dep_02_while_the_database_is_away_every_path_says_so_at_once(tmp_path: Path, postgres: PostgresServer) -> None:
    name = await database_of(postgres)
    async with Relay(postgres.port) as relay, house_behind(relay, tmp_path, name, LOCKOUT="false") as house:
        someone, owner = await librechat.signed_in(house), await librepass.signed_in(house)
        await relay.down()
        answers = await every_answer(someone)
        vault = await owner.get("/api/cipher")
        await relay.up()
        after = await someone.login()

    away = {path for (_, path), (answer, _) in answers.items() if answer.status_code == 503}
    assert {"/api/auth/login", "/api/auth/refresh", "/api/user", "/health", "/readyz"} <= away
    assert (vault.status_code, vault.headers["retry-after"].isdigit()) == (503, True)
    for (method, path), (answer, seconds) in answers.items():
        assert answer.status_code < 500 or answer.status_code == 503, (method, path)
        assert "refreshToken=" not in answer.headers.get("set-cookie", "")
        assert seconds <= OUTAGE_SECONDS, (method, path)
        if answer.status_code == 503 and path not in PROBES and "NOT_CONFIGURED" not in answer.text:
            assert answer.headers["retry-after"].isdigit(), (method, path)
            assert answer.headers["content-type"].startswith("application/json"), (method, path)
    assert after.status_code == 200


async def test_dep_02_a_database_that_falls_silent_hangs_nobody_for_ever(tmp_path: Path, postgres: PostgresServer) -> None:
    name = await database_of(postgres)
    async with Relay(postgres.port) as relay, house_behind(relay, tmp_path, name) as house:
        someone = await librechat.signed_in(house)
        relay.mode = "silent"
        async with asyncio.timeout(30):
            answers = await asyncio.gather(*(someone.get("/api/user") for _ in range(8)), someone.refresh())
        relay.mode = "pass"
        await relay.down()
        await relay.up()
        after = await someone.login()

    assert {answer.status_code for answer in answers} == {503}
    assert all(answer.headers["retry-after"].isdigit() for answer in answers)
    assert after.status_code == 200


async def database_of(server: PostgresServer) -> str:
    """The name of a fresh database with this version's tables."""
    name = f"dep_{secrets.token_hex(4)}"
    await migrate(server.create_database(name))
    return name


async def test_dep_03_a_promoted_replica_takes_over_without_a_restart(tmp_path: Path) -> None:
    with PostgresServer() as primary, StandbyServer(primary) as standby:
        await migrate(primary.create_database("ostiary"))
        async with Relay(primary.port) as relay, house_behind(relay, tmp_path, "ostiary") as house:
            someone, owner = await librechat.signed_in(house), await librepass.signed_in(house)
            standby.wait_until_level()
            primary.stop()
            during = await someone.login()
            standby.promote()
            await relay.down()
            relay.target = standby.port
            await relay.up()
            back = await until_it_answers(someone)
            after = [await someone.refresh(), await owner.get("/api/cipher"), await someone.login()]

    assert during.status_code == 503
    assert (back.status_code, [answer.status_code for answer in after]) == (200, [200, 200, 200])


async def until_it_answers(someone: librechat.Browser) -> httpx.Response:
    """Ask until it is no outage any more."""
    async with asyncio.timeout(SECONDS):
        while (answer := await someone.get("/api/user")).status_code == 503:
            assert answer.headers["retry-after"].isdigit()
    return answer


async def test_dep_05_without_redis_sign_ins_work_and_are_limited_more_strictly(make_house: MakeHouse) -> None:
    with RedisServer() as redis:
        async with Relay(redis.port) as relay:
            house = await make_house(REDIS_URL=f"redis://127.0.0.1:{relay.port}/0", RATE_LIMITS="on", LOCKOUT="false")
            someone = await librechat.signed_in(house, address="127.0.0.9")
            before = house.services.hasher.done
            await relay.down()

            guesses = [(await librechat.browser(house, "198.51.100.7").login(password=WRONG)).status_code for _ in range(12)]
            checked = house.services.hasher.done - before
            elsewhere = await librechat.browser(house, "203.0.113.7").login()
            health, ready, actuator = [await house.client.get(path) for path in ("/health", "/readyz", "/actuator/health")]
            await relay.up()
            house.clock.advance(600)
            healed = await librechat.browser(house, "198.51.100.7").login()

    assert someone.token
    assert set(guesses) == {404, 429}
    assert 1 <= checked <= 7
    assert guesses[-1] == 429
    assert elsewhere.status_code == 200
    assert (health.status_code, ready.status_code, actuator.status_code) == (200, 200, 200)
    assert ready.json()["limits"]["ok"] is False
    assert healed.status_code == 200


async def test_dep_06_a_redis_that_forgot_everything_opens_no_door(make_house: MakeHouse) -> None:
    with RedisServer() as redis:
        house = await make_house(REDIS_URL=redis.url)
        someone = await librechat.signed_in(house)
        app = await librechat.enrolled(house, someone)
        ended, pending = await librechat.owing(house, address="127.0.0.8")
        spent = app.code(1)
        assert (await ended.prove(pending, token=spent)).status_code == 200
        cookie, token = ended.refresh_cookie, ended.token
        assert (await ended.post("/api/auth/logout")).status_code == 200
        async with house.begin() as ctx:
            await bans.add(ctx, bans.ADDRESS, "198.51.100.9", "test", None)

        async with Redis.from_url(redis.url) as emptied:
            await emptied.flushall()

        ended.client.cookies.set("refreshToken", cookie)
        ended.token = token
        there, pending = await librechat.owing(house, address="127.0.0.7")
        probes = [
            await there.prove(pending, token=spent),
            await ended.get("/api/user"),
            await ended.refresh(),
            await librechat.browser(house, "198.51.100.9").login(),
        ]

    assert [answer.status_code in (401, 403) for answer in probes] == [True] * len(probes), probes


async def test_dep_08_a_reset_is_whole_though_no_mail_leaves(make_house: MakeHouse) -> None:
    with MailServer() as mails:
        house = await make_house(**mail_settings(mails), ALLOW_UNVERIFIED_EMAIL_LOGIN="true")
        someone = await librechat.signed_in(house)
        await someone.post("/api/auth/requestPasswordReset", {"email": librechat.EMAIL})
        await house.jobs.dispatch()
        mail = await mails.wait_for(librechat.EMAIL, "Password Reset")
    link = {
        **librechat.parameters_of(next(word for word in text_of(mail).split() if word.startswith("http"))),
        "password": OTHER_PASSWORD,
    }
    stranger = librechat.browser(house, "127.0.0.5")

    done, again = [await stranger.post("/api/auth/resetPassword", link) for _ in range(2)]
    before = [await someone.get("/api/user"), await someone.refresh(), await someone.login()]
    after = await stranger.login(password=OTHER_PASSWORD)
    await house.jobs.dispatch()
    async with house.begin() as ctx:
        waiting = [row.kind for row in await outbox.listed(ctx.db) if row.status == "queued"]

    assert (done.status_code, again.status_code, after.status_code) == (200, 400, 200)
    assert [answer.status_code for answer in before] == [401, 401, 404]
    assert waiting


def test_dep_09_a_mail_server_that_never_speaks_holds_nobody_up(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as tarpit:
        environment = {**OPEN, "EMAIL_HOST": "127.0.0.1", "EMAIL_PORT": str(tarpit.getsockname()[1]), "EMAIL_ENCRYPTION": "none"}
        with served(tmp_path, {**environment, "EMAIL_FROM": "ostiary@example.org", "EMAIL_NEW_LOGIN": "true"}) as place:
            waits = []
            for _ in range(12):
                person, started = Person(place.url, somewhere()), time.monotonic()
                assert person.register().status == 200
                assert person.login().status == 200
                assert person.post("/api/auth/requestPasswordReset", {"email": person.email}).status == 200
                waits.append(time.monotonic() - started)
            tarpit.settimeout(30)
            tarpit.accept()[0].close()

    # Whoever waited for a mail would have waited ten seconds each time.
    assert sum(waits) < 120


@pytest.mark.parametrize("jump", [3600, -3600, 30, 1, -1, -86_400], ids=lambda jump: f"{jump:+d} s")
async def test_dep_11_a_clock_that_jumps_locks_nobody_out_for_ever(make_house: MakeHouse, jump: int) -> None:
    house = await make_house(RATE_LIMITS="on", LOCKOUT="false")
    someone = await librechat.signed_in(house)
    while (refused := await librechat.browser(house, "198.51.100.4").login(password=WRONG)).status_code != 429:
        assert refused.status_code == 404

    house.clock.advance(jump)
    refreshed, inside = await someone.refresh(), await someone.get("/api/user")
    limited = await librechat.browser(house, "198.51.100.4").login(password=WRONG)
    house.clock.advance(6 * 60)
    open_again = await librechat.browser(house, "198.51.100.4").login()

    assert (refreshed.status_code, inside.status_code, open_again.status_code) == (200, 200, 200)
    if limited.status_code == 429:
        assert 0 < int(limited.headers["retry-after"]) <= 5 * 60
    expiries = [
        parsedate_to_datetime(found) for found in re.findall(r"Expires=([^;]+)", "; ".join(librechat.cookies_of(refreshed)))
    ]
    assert expiries
    assert all(expiry.timestamp() * 1_000_000 > house.clock.now for expiry in expiries)


@pytest.mark.parametrize("year", [2038, 2039, 2107])
async def test_dep_11_the_end_of_32_bits_is_a_day_like_others(make_house: MakeHouse, year: int) -> None:
    house = await make_house()
    house.clock.now = int(datetime(year, 1, 19, 3, 14, tzinfo=UTC).timestamp() * 1_000_000)
    someone = await librechat.signed_in(house)
    app = await librechat.enrolled(house, someone)

    there, pending = await librechat.owing(house, address="127.0.0.6")
    proved = await there.prove(pending, token=app.code(1))
    house.clock.advance(14 * 60)

    assert proved.status_code == 200
    assert (await there.get("/api/user")).status_code == 200
    assert (await there.refresh()).status_code == 200
    house.clock.advance(16 * 60)
    assert (await there.get("/api/user")).status_code == 401
