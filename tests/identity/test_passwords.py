"""Password credentials: hashes of another server, hashes made anew, and a flood that the pool does not take."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import threading

import bcrypt
import pytest

from ostiary.crypto.passwords import Asker, PasswordHash, is_affordable
from ostiary.identity import accounts, credentials
from tests.conftest import MakeHouse
from tests.dialects.librechat.browser import EMAIL, PASSWORD, browser
from tests.house import House

NEWEST = "nfc-sha256-bcrypt"
COMPOSED, DECOMPOSED = "\u00fcber den Wolken", "u\u0308ber den Wolken"
LONG = "x" * 72 + "the rest"


async def imported(house: House, password: str, prefix: bytes = b"2a", rounds: int = 4) -> None:
    """An account whose hash another server made: bcrypt over the first 72 bytes."""
    made = bcrypt.hashpw(password.encode()[:72], bcrypt.gensalt(rounds)).replace(b"$2b$", b"$" + prefix + b"$", 1)
    config = json.dumps({"scheme": "bcrypt", "hash": made.decode()})
    async with house.begin() as ctx:
        account = accounts.fresh(ctx, EMAIL, "Ada", verified_at=ctx.now)
        await accounts.insert_account(ctx, account)
        await credentials.add(ctx, account.id, credentials.PASSWORD, config)


async def made_before(house: House, password: str) -> None:
    """An account whose hash we made before passwords were composed."""
    made = bcrypt.hashpw(base64.b64encode(hashlib.sha256(password.encode()).digest()), bcrypt.gensalt(4))
    async with house.begin() as ctx:
        account = accounts.fresh(ctx, EMAIL, "Ada", verified_at=ctx.now)
        await accounts.insert_account(ctx, account)
        config = json.dumps({"scheme": "sha256-bcrypt", "hash": made.decode()})
        await credentials.add(ctx, account.id, credentials.PASSWORD, config)


async def kept(house: House) -> dict[str, str]:
    """What the credential holds."""
    async with house.begin() as ctx:
        found = await credentials.of_account(ctx, (await accounts.named(ctx, EMAIL)).id, credentials.PASSWORD)
    assert found is not None
    config: dict[str, str] = json.loads(found.config)
    return config


@pytest.mark.parametrize("prefix", [b"2a", b"2b", b"2y"])
async def test_an_imported_hash_verifies_and_is_renewed_at_the_next_sign_in(house: House, prefix: bytes) -> None:
    await imported(house, PASSWORD, prefix)
    wrong = (await browser(house).login(password="wrong password")).status_code
    before = await kept(house)

    right = (await browser(house).login()).status_code

    assert (wrong, right) == (404, 200)
    assert (before["scheme"], (await kept(house))["scheme"]) == ("bcrypt", NEWEST)
    assert (await browser(house).login()).status_code == 200


async def test_an_imported_hash_saw_72_bytes_and_its_successor_sees_all(house: House) -> None:
    await imported(house, LONG)

    other_rest = (await browser(house).login(password="x" * 72 + "another rest")).status_code
    renewed = await kept(house)

    assert other_rest == 200
    assert renewed["scheme"] == NEWEST
    assert (await browser(house).login(password=LONG)).status_code == 404
    assert (await browser(house).login(password="x" * 72 + "another rest")).status_code == 200


@pytest.mark.parametrize(("chosen", "typed"), [(COMPOSED, DECOMPOSED), (DECOMPOSED, COMPOSED)])
async def test_a_password_is_the_same_however_its_characters_are_composed(house: House, chosen: str, typed: str) -> None:
    await browser(house).register(password=chosen, confirm_password=chosen)

    assert (await browser(house).login(password=typed)).status_code == 200
    assert (await browser(house).login(password=COMPOSED.upper())).status_code == 404


async def test_a_hash_made_before_verifies_as_it_was_made_and_is_then_composed(house: House) -> None:
    await made_before(house, DECOMPOSED)
    spent = []

    statuses = []
    for typed in (COMPOSED, DECOMPOSED, COMPOSED):
        before = house.services.hasher.done
        statuses.append((await browser(house).login(password=typed)).status_code)
        spent.append(house.services.hasher.done - before)

    assert statuses == [404, 200, 200]
    assert spent == [1, 2, 1]
    assert (await kept(house))["scheme"] == NEWEST


async def test_a_hash_made_before_of_an_ascii_password_is_left_alone(house: House) -> None:
    await made_before(house, PASSWORD)
    before = await kept(house)

    assert (await browser(house).login()).status_code == 200
    assert await kept(house) == before


async def test_a_hash_of_another_cost_is_made_anew(make_house: MakeHouse) -> None:
    cheap = await make_house(BCRYPT_COST="4")
    await browser(cheap).register()
    before = (await kept(cheap))["hash"]
    dear = await make_house(BCRYPT_COST="5")

    await browser(dear).login(password="wrong password")
    after_wrong = (await kept(dear))["hash"]
    await browser(dear).login()

    assert before == after_wrong
    assert (before[:7], (await kept(dear))["hash"][:7]) == ("$2b$04$", "$2b$05$")


async def test_a_hash_that_is_right_is_left_alone(house: House) -> None:
    await browser(house).register()
    before = await kept(house)

    await browser(house).login()

    assert await kept(house) == before


async def test_renewals_at_once_leave_one_that_works(house: House) -> None:
    await imported(house, PASSWORD)

    answers = await asyncio.gather(*(browser(house).login() for _ in range(8)))

    assert [answer.status_code for answer in answers] == [200] * 8
    assert (await browser(house).login()).status_code == 200


async def test_a_broken_hash_is_a_wrong_password(house: House) -> None:
    async with house.begin() as ctx:
        account = accounts.fresh(ctx, EMAIL, "Ada", verified_at=ctx.now)
        await accounts.insert_account(ctx, account)
        await credentials.add(ctx, account.id, credentials.PASSWORD, json.dumps({"scheme": "bcrypt", "hash": "$2a$10$broken"}))

    assert (await browser(house).login()).status_code == 404


async def test_a_hash_too_dear_to_check_is_a_wrong_password(house: House) -> None:
    """A cost of 31 would hold a thread for days."""
    dear = "$2b$31$" + "C" * 21 + "." + "C" * 31
    # Asked first: who would compute it never comes to the end of this test.
    assert not is_affordable(PasswordHash("bcrypt", dear))
    async with house.begin() as ctx:
        account = accounts.fresh(ctx, EMAIL, "Ada", verified_at=ctx.now)
        await accounts.insert_account(ctx, account)
        await credentials.add(ctx, account.id, credentials.PASSWORD, json.dumps({"scheme": "bcrypt", "hash": dear}))
    before = house.services.hasher.done

    assert (await browser(house).login()).status_code == 404
    assert house.services.hasher.done == before + 1


class Held:
    """A hash that takes as long as the test wants it to."""

    kind = "held"
    units = 1.0
    memory = 0

    def __init__(self) -> None:
        self.is_over = threading.Event()

    def compute(self) -> bytes:
        self.is_over.wait()
        return b""


async def test_a_busy_server_does_not_close_the_owners_door(make_house: MakeHouse) -> None:
    house = await make_house(OSTIARY_HASHING_THREADS="1", OSTIARY_HASHING_QUEUE="1", OSTIARY_LOCKOUT_MAX="3")
    await browser(house).register()
    held = Held()
    hashing = [asyncio.create_task(house.services.hasher.compute(held, Asker("127.0.0.1"))) for _ in range(2)]
    await asyncio.sleep(0)

    statuses = [(await browser(house).login(password="wrong password")).status_code for _ in range(6)]
    held.is_over.set()
    await asyncio.gather(*hashing)

    assert statuses == [503] * 6
    assert (await browser(house).login()).status_code == 200


async def test_a_flood_is_answered_with_not_now_and_the_rest_goes_on(make_house: MakeHouse) -> None:
    house = await make_house(OSTIARY_HASHING_THREADS="1", OSTIARY_HASHING_QUEUE="2", BCRYPT_COST="8", LOCKOUT="off")
    await browser(house).register()

    answers = await asyncio.gather(*(browser(house).login() for _ in range(20)), house.client.get("/api/config"))

    *logins, config = answers
    statuses = [answer.status_code for answer in logins]
    assert set(statuses) == {200, 503}
    assert config.status_code == 200
    for answer in logins:
        if answer.status_code == 503:
            assert answer.json() == {"message": "The server is busy, please try again in a moment."}
            assert int(answer.headers["retry-after"]) >= 1
    assert (await browser(house).login()).status_code == 200


async def test_no_account_costs_the_same_hash(house: House) -> None:
    """What takes time is counted, whoever is asked for: one hash for a known address, one for an unknown one."""
    await browser(house).register()
    counted = []
    for email in (EMAIL, "nobody@example.com"):
        before = house.services.hasher.done
        await browser(house).login(email, "wrong password")
        counted.append(house.services.hasher.done - before)

    assert counted == [1, 1]


async def test_registering_a_taken_address_costs_the_same_hash(house: House) -> None:
    counted = []
    for _ in range(2):
        before = house.services.hasher.done
        await browser(house).register()
        counted.append(house.services.hasher.done - before)

    assert counted == [1, 1]
