"""The way to the directory: encryption that fails closed (LDP-05), outages (LDP-07), and connections that are kept."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.conftest import MakeHouse
from tests.dialects.librechat.browser import browser
from tests.federation.test_ldap_sign_in import RIGHT, login, said
from tests.house import House
from tests.services.hostile_directory import BIND, HostileDirectory
from tests.services.relay import Relay
from tests.services.slapd import STRANGE, SlapdServer

DOWN = (500, "An unknown error occurred.")
QUICK = {"OSTIARY_LDAP_TIMEOUT": "0.3"}


@pytest.fixture
async def relay(slapd: SlapdServer) -> AsyncIterator[Relay]:
    """The way to slapd's plain port."""
    async with Relay(slapd.port) as relay:
        yield relay


@pytest.fixture
async def tls_relay(slapd: SlapdServer) -> AsyncIterator[Relay]:
    """The way to slapd's TLS port."""
    async with Relay(slapd.tls_port) as relay:
        yield relay


def by(relay: Relay, slapd: SlapdServer, scheme: str = "ldap", **changes: str) -> dict[str, str]:
    """Settings that go through the relay."""
    return slapd.settings(LDAP_URL=f"{scheme}://{relay.host}:{relay.port}", **changes)


async def is_down(house: House, name: str) -> bool:
    """Whether a sign-in is answered as the wire answers when the directory cannot be asked."""
    answer = await login(house, name)
    return (answer.status_code, answer.text) == DOWN


async def test_ldp_05_ldaps_with_the_right_authority(make_house: MakeHouse, slapd: SlapdServer, tls_relay: Relay) -> None:
    house = await make_house(**by(tls_relay, slapd, "ldaps", LDAP_CA_CERT_PATH=str(slapd.authority)))

    assert (await login(house, slapd.add_person())).status_code == 200
    assert tls_relay.connections == 2


async def test_ldp_05_starttls_before_anything_is_said(make_house: MakeHouse, slapd: SlapdServer, relay: Relay) -> None:
    settings = by(relay, slapd, LDAP_STARTTLS="true", LDAP_CA_CERT_PATH=str(slapd.authority))
    house = await make_house(**settings)
    uid = slapd.add_person()

    answer = await login(house, uid)

    assert answer.status_code == 200
    assert not any(secret in relay.sent for secret in (RIGHT.encode(), uid.encode(), b"reader", b"userPassword"))


async def test_ldp_05_a_lost_connection_is_not_opened_again_in_the_clear(
    make_house: MakeHouse, slapd: SlapdServer, relay: Relay
) -> None:
    settings = by(relay, slapd, LDAP_STARTTLS="true", LDAP_CA_CERT_PATH=str(slapd.authority))
    house = await make_house(**settings)
    uid = slapd.add_person()
    assert (await login(house, uid)).status_code == 200

    await relay.down()
    await relay.up()
    again = await login(house, uid)

    assert (again.status_code, relay.connections) == (200, 4)
    assert RIGHT.encode() not in relay.sent


@pytest.mark.parametrize("scheme", ["ldaps", "starttls"])
async def test_ldp_05_an_authority_that_nobody_knows(
    make_house: MakeHouse, slapd: SlapdServer, relay: Relay, tls_relay: Relay, scheme: str
) -> None:
    settings = by(tls_relay, slapd, "ldaps") if scheme == "ldaps" else by(relay, slapd, LDAP_STARTTLS="true")
    house = await make_house(**settings)

    assert await is_down(house, slapd.add_person())
    assert RIGHT.encode() not in relay.sent + tls_relay.sent


@pytest.mark.parametrize("scheme", ["ldaps", "starttls"])
async def test_ldp_05_a_certificate_for_another_host(make_house: MakeHouse, slapd: SlapdServer, scheme: str) -> None:
    target = slapd.tls_port if scheme == "ldaps" else slapd.port
    changes = {"LDAP_CA_CERT_PATH": str(slapd.authority), **({"LDAP_STARTTLS": "true"} if scheme == "starttls" else {})}
    async with Relay(target, STRANGE) as relay:
        house = await make_house(**by(relay, slapd, "ldaps" if scheme == "ldaps" else "ldap", **changes))

        assert await is_down(house, slapd.add_person())
        assert RIGHT.encode() not in relay.sent


async def test_the_check_can_be_switched_off_by_name(make_house: MakeHouse, slapd: SlapdServer) -> None:
    url = f"ldaps://{STRANGE}:{slapd.tls_port}"
    house = await make_house(**slapd.settings(LDAP_URL=url, LDAP_TLS_REJECT_UNAUTHORIZED="false"))

    assert (await login(house, slapd.add_person())).status_code == 200
    assert any("LDAP_TLS_REJECT_UNAUTHORIZED" in warning for warning in house.settings.warnings())


@pytest.mark.parametrize("code", [0, 1, 2, 52])
async def test_ldp_05_starttls_refused_is_never_a_clear_bind(make_house: MakeHouse, slapd: SlapdServer, code: int) -> None:
    async with HostileDirectory(starttls_code=code) as directory:
        settings = directory.settings(
            LDAP_STARTTLS="true", LDAP_CA_CERT_PATH=str(slapd.authority), LDAP_BIND_DN="cn=x", LDAP_BIND_CREDENTIALS="y", **QUICK
        )
        house = await make_house(**settings)

        assert await is_down(house, "ada")
        assert (directory.binds, directory.searches, BIND in directory.requests) == ([], [], False)


async def test_ldp_07_a_directory_that_is_gone_comes_back_by_itself(
    make_house: MakeHouse, slapd: SlapdServer, relay: Relay
) -> None:
    house = await make_house(**by(relay, slapd))
    uid = slapd.add_person()
    await relay.down()

    assert await is_down(house, uid)
    await relay.up()
    rests = await is_down(house, uid)
    house.clock.advance(2.1)

    assert rests
    assert (await login(house, uid)).status_code == 200
    assert (await login(house, uid)).status_code == 200


async def test_ldp_07_a_restart_between_two_sign_ins_is_not_noticed(
    make_house: MakeHouse, slapd: SlapdServer, relay: Relay
) -> None:
    house = await make_house(**by(relay, slapd))
    uid = slapd.add_person()
    await login(house, uid)

    await relay.down()
    await relay.up()

    assert (await login(house, uid)).status_code == 200


@pytest.mark.parametrize("trouble", ["silent", "drips"])
async def test_ldp_07_nobody_waits_for_a_directory_that_does_not_answer(
    make_house: MakeHouse, slapd: SlapdServer, relay: Relay, trouble: str
) -> None:
    relay.mode = "silent"
    async with HostileDirectory(drips=True) as hostile:
        settings = by(relay, slapd) if trouble == "silent" else hostile.settings(LDAP_SEARCH_FILTER="uid={{username}}")
        house = await make_house(**settings, **QUICK)

        waiting = asyncio.create_task(login(house, "ada"))
        others = 0
        while not waiting.done():
            assert (await house.client.get("/api/config")).status_code == 200
            others += 1
            await asyncio.sleep(0)  # in-process calls do not give way to the loop by themselves
        answer = await waiting
        asked = relay.connections, len(hostile.requests)
        rests = await is_down(house, "ada")

        assert (answer.status_code, answer.text) == DOWN
        assert others >= 3
        assert rests
        assert (relay.connections, len(hostile.requests)) == asked, "it rests, so nobody asks it"


async def test_ldp_07_an_outage_is_nobodys_wrong_guess(make_house: MakeHouse, slapd: SlapdServer, relay: Relay) -> None:
    house = await make_house(**by(relay, slapd, OSTIARY_LOCKOUT_MAX="2"))
    uid = slapd.add_person()
    await relay.down()

    down = [await is_down(house, uid) for _ in range(5)]
    await relay.up()
    house.clock.advance(2.1)

    assert all(down)
    assert (await login(house, uid)).status_code == 200


async def test_ldp_07_the_other_wire_is_unaffected(make_house: MakeHouse, slapd: SlapdServer, relay: Relay) -> None:
    house = await make_house(**by(relay, slapd))
    await relay.down()

    answer = await house.client.get("/api/auth/preLogin", params={"email": "somebody@example.org"})

    assert answer.status_code == 200


async def test_connections_are_kept_and_shared(make_house: MakeHouse, slapd: SlapdServer, relay: Relay) -> None:
    house = await make_house(**by(relay, slapd, OSTIARY_LDAP_CONNECTIONS="3"))
    uids = [slapd.add_person() for _ in range(4)]
    browsers = [browser(house) for _ in range(24)]

    answers = await asyncio.gather(*(one.login(uids[number % 4], RIGHT) for number, one in enumerate(browsers)))
    assert {answer.status_code for answer in answers} == {200}, [answer.text for answer in answers]
    emails = [answer.json()["user"]["email"] for answer in answers]

    assert emails == [f"{uids[number % 4]}@example.org" for number in range(24)]
    assert relay.connections <= 6


async def test_no_more_wait_than_can_be_served(make_house: MakeHouse, slapd: SlapdServer, relay: Relay) -> None:
    relay.mode = "silent"
    house = await make_house(**by(relay, slapd, OSTIARY_LDAP_CONNECTIONS="1", **QUICK))

    answers = await asyncio.gather(*(login(house, f"somebody{number}") for number in range(12)))

    assert {answer.status_code for answer in answers} == {500, 503}
    assert said(next(answer for answer in answers if answer.status_code == 503))[1]["message"].startswith("The server is busy")


@pytest.fixture
async def second(slapd: SlapdServer) -> AsyncIterator[Relay]:
    """Another way to the same directory, as another server of it."""
    async with Relay(slapd.port) as relay:
        yield relay


def by_both(relay: Relay, second: Relay, slapd: SlapdServer, **changes: str) -> dict[str, str]:
    urls = " ".join(f"ldap://{each.host}:{each.port}" for each in (relay, second))
    return slapd.settings(LDAP_URL=urls, **changes)


async def test_ldp_07_the_next_server_answers_for_one_that_is_gone(
    make_house: MakeHouse, slapd: SlapdServer, relay: Relay, second: Relay
) -> None:
    house = await make_house(**by_both(relay, second, slapd))
    uid = slapd.add_person()
    statuses = [(await login(house, uid)).status_code]
    unused = second.connections

    await relay.down()
    statuses += [(await login(house, uid)).status_code for _ in range(2)]
    await relay.up()
    gone = relay.connections
    statuses.append((await login(house, uid)).status_code)
    await second.down()
    house.clock.advance(2.1)
    statuses.append((await login(house, uid)).status_code)

    assert statuses == [200] * 5
    assert (unused, relay.connections > gone) == (0, True)


async def test_ldp_07_a_silent_server_and_the_next_fit_into_the_time_of_one(
    make_house: MakeHouse, slapd: SlapdServer, relay: Relay, second: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    relay.mode = "silent"
    house = await make_house(**by_both(relay, second, slapd, OSTIARY_LDAP_TIMEOUT="5"))
    uid, timeout, given = slapd.add_person(), asyncio.timeout, list[float]()

    def noted(seconds: float) -> asyncio.Timeout:
        given.append(seconds)
        return timeout(seconds)

    monkeypatch.setattr(asyncio, "timeout", noted)
    first = await login(house, uid)
    monkeypatch.undo()
    later = await login(house, uid)

    assert (first.status_code, later.status_code) == (200, 200)
    assert (relay.connections > 0, given[-2:]) == (True, [2.5, 2.5])


async def test_ldp_07_with_no_server_left_the_answer_is_the_same_and_at_once(
    make_house: MakeHouse, slapd: SlapdServer, relay: Relay, second: Relay
) -> None:
    house = await make_house(**by_both(relay, second, slapd))
    uid = slapd.add_person()
    await relay.down()
    await second.down()

    assert [await is_down(house, uid) for _ in range(2)] == [True, True]
    await second.up()
    house.clock.advance(2.1)
    assert (await login(house, uid)).status_code == 200


async def test_a_wrong_password_is_asked_of_one_server_alone(
    make_house: MakeHouse, slapd: SlapdServer, relay: Relay, second: Relay
) -> None:
    house = await make_house(**by_both(relay, second, slapd))

    answer = await login(house, slapd.add_person(), "wrong password")

    assert answer.status_code == 404
    assert second.connections == 0
