"""The handshake: server keys by period, the same everywhere and after a restart; a captured shared key dies with its period."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import MakeHouse
from tests.dialects.librepass.owner import (
    DEFAULTS,
    EMAIL,
    INVALID_BODY,
    SHARED_SECRET,
    Authenticator,
    Owner,
    flipped,
    owner,
    private_key,
    public_hex,
    refused,
    registered,
    signed_in,
)
from tests.house import House, open_house

PERIOD = 300


async def test_one_key_serves_a_whole_period_and_the_next_period_has_another(house: House) -> None:
    someone = owner(house)
    house.clock.now -= house.clock.now % (PERIOD * 1_000_000)

    first = await someone.server_key()
    house.clock.advance(PERIOD - 1)
    last = await someone.server_key()
    house.clock.advance(1)

    assert first == last
    assert await someone.server_key() != first


async def test_the_key_is_the_same_for_every_address_known_or_not(house: House) -> None:
    someone = await registered(house)

    assert await someone.server_key() == await someone.server_key(EMAIL) == await someone.server_key("nobody@example.com")


async def test_a_shared_key_is_good_for_its_period_and_one_more(house: House) -> None:
    someone = await registered(house)
    house.clock.now -= house.clock.now % (PERIOD * 1_000_000)
    captured = await someone.shared_key()

    house.clock.advance(2 * PERIOD - 1)
    assert (await someone.login(sharedKey=captured)).status_code == 200
    house.clock.advance(1)
    assert refused(await someone.login(sharedKey=captured)) == SHARED_SECRET


async def test_the_period_is_a_setting(make_house: MakeHouse) -> None:
    house = await make_house(OSTIARY_HANDSHAKE_PERIOD="20")
    someone = await registered(house)
    captured = await someone.shared_key()

    house.clock.advance(40)

    assert refused(await someone.login(sharedKey=captured)) == SHARED_SECRET


async def test_a_restart_with_the_same_root_key_changes_nothing(database_url: str, tmp_path: Path) -> None:
    """A client that asked before the restart signs in after it; so does one whose preLogin another node answered."""
    async with open_house(database_url, tmp_path, {}) as house:
        before = await (await registered(house)).shared_key()

    async with open_house(database_url, tmp_path, {}) as house:
        assert (await owner(house).login(sharedKey=before)).status_code == 200


async def test_another_root_key_is_another_server(database_url: str, tmp_path: Path) -> None:
    async with open_house(database_url, tmp_path, {"OSTIARY_ROOT_KEY": "0123456789abcdef" * 4}) as house:
        before = await (await registered(house)).shared_key()

    async with open_house(database_url, tmp_path, {"OSTIARY_ROOT_KEY": "fedcba9876543210" * 4}) as house:
        assert refused(await owner(house).login(sharedKey=before)) == SHARED_SECRET


CALLS = ["change_email", "change_password", "set_up", "delete"]


async def account_call(house: House, someone: Owner, call: str, proof: str) -> httpx.Response:
    """An account call whose proof of the present key is this one; proofs of new keys are fresh."""
    match call:
        case "change_email":
            return await someone.change_email("other@example.com", oldSharedKey=proof)
        case "change_password":
            return await someone.change_password("another", oldSharedKey=proof)
        case "set_up":
            return await someone.set_up(Authenticator(house.clock), sharedKey=proof)
        case _:
            return await someone.delete(sharedKey=proof)


@pytest.mark.parametrize("call", CALLS)
async def test_a_session_may_go_on_using_the_server_key_of_its_sign_in(house: House, call: str) -> None:
    """iOS keeps the preLogin answer of its sign-in for every later account call (librepass-wire 16)."""
    someone = await registered(house)
    at_sign_in = await someone.shared_key()
    assert (await someone.login(sharedKey=at_sign_in)).status_code == 200

    house.clock.advance(10 * 24 * 3600)

    assert (await account_call(house, someone, call, at_sign_in)).status_code == 200


@pytest.mark.parametrize("call", CALLS)
async def test_the_server_key_of_another_sign_in_is_no_use(house: House, call: str) -> None:
    """A shared key captured at one sign-in opens nothing in a session that began in another period."""
    captured = await (await signed_in(house)).shared_key()
    house.clock.advance(10 * PERIOD)
    later = owner(house)
    assert (await later.login()).status_code == 200

    assert refused(await account_call(house, later, call, captured)) == SHARED_SECRET
    assert refused(await owner(house).login(sharedKey=captured)) == SHARED_SECRET


@pytest.mark.parametrize("call", CALLS)
async def test_a_wrong_proof_changes_nothing(house: House, call: str) -> None:
    someone = await signed_in(house)

    answer = await account_call(house, someone, call, flipped(await someone.shared_key()))

    assert refused(answer) == SHARED_SECRET
    assert (await someone.sync()).status_code == 200
    again = await owner(house).login()
    assert (again.status_code, again.json()["verified"]) == (200, True)


@pytest.mark.parametrize("call", ["change_email", "change_password"])
async def test_a_new_key_must_be_proven_too(house: House, call: str) -> None:
    someone = await signed_in(house)
    unproven: dict[str, Any] = {"newPublicKey": public_hex(private_key("x", "y"))}

    assert refused(await someone.change(call, "other@example.com", **unproven)) == SHARED_SECRET
    assert (await owner(house).login()).status_code == 200


async def test_the_shared_key_of_one_account_opens_no_other(house: House) -> None:
    one, other = await registered(house), await registered(house, "other@example.com")

    assert refused(await one.login(email=other.email)) == SHARED_SECRET


async def test_an_unknown_address_gets_the_answer_of_a_wrong_key(house: House) -> None:
    someone = await registered(house)
    wrong = flipped(await someone.shared_key())

    known = await someone.login(sharedKey=wrong)
    unknown = await someone.login(email="nobody@example.com", sharedKey=wrong)
    password_account = {
        "name": "Somebody",
        "email": "p@example.com",
        "password": "lamp-at-noon",
        "confirm_password": "lamp-at-noon",
    }
    await house.client.post("/api/auth/register", json=password_account)
    keyless = await someone.login(email="p@example.com", sharedKey=wrong)

    assert known.content == unknown.content == keyless.content
    assert refused(known) == SHARED_SECRET
    assert [*known.headers] == [*unknown.headers] == [*keyless.headers]


async def test_an_unknown_address_has_the_default_parameters_every_time(house: House) -> None:
    answers = [(await house.client.get(f"/api/auth/preLogin?email=ghost{n % 2}@example.com")).json() for n in range(4)]

    assert all(answer == answers[0] for answer in answers)
    assert {name: answers[0][name] for name in DEFAULTS} == DEFAULTS


@pytest.mark.parametrize("query", ["", "?email=", "?other=x"])
async def test_pre_login_without_an_address_has_the_defaults(house: House, query: str) -> None:
    answer = await house.client.get(f"/api/auth/preLogin{query}")

    assert list(answer.json()) == ["parallelism", "memory", "iterations", "serverPublicKey"]
    assert {name: answer.json()[name] for name in DEFAULTS} == DEFAULTS


@pytest.mark.parametrize(
    "parameters",
    [(0, 65536, 4), (11, 65536, 4), (3, 20479, 4), (3, 153601, 4), (3, 65536, 0), (3, 65536, 11), (-1, 65536, 4), (3, 2**40, 4)],
)
async def test_parameters_outside_the_declared_ranges_are_refused(house: House, parameters: tuple[int, int, int]) -> None:
    chosen: dict[str, Any] = dict(zip(DEFAULTS, parameters, strict=True))
    someone = owner(house)

    assert refused(await someone.register(**chosen)) == INVALID_BODY
    assert (await someone.register()).status_code == 201
    assert (await someone.login()).status_code == 200
    assert refused(await someone.change_password("another", **chosen)) == INVALID_BODY


@pytest.mark.parametrize("parameters", [(1, 20480, 1), (10, 153600, 10), (3, 65535, 4)])
async def test_parameters_at_the_ends_of_the_ranges_are_kept(house: House, parameters: tuple[int, int, int]) -> None:
    chosen: dict[str, Any] = dict(zip(DEFAULTS, parameters, strict=True))
    someone = await registered(house, **chosen)

    answer = (await someone.get(f"/api/auth/preLogin?email={EMAIL.upper()}")).json()

    assert {name: answer[name] for name in DEFAULTS} == chosen
