"""The vectors against the wire: a server with the vectors' own keys accepts what the real engines and the real client sent."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from ostiary.crypto.handshake import Handshake
from ostiary.identity import credentials, public_keys
from tests.dialects.librepass.owner import (
    DEFAULTS,
    INVALID_BODY,
    SHARED_SECRET,
    TOKEN,
    TWO_FACTOR,
    Owner,
    enrolled,
    flipped,
    public_hex,
    refused,
    shared_hex,
    signed_in,
)
from tests.house import House
from tests.vectors import LIBREPASS

RECORDED = LIBREPASS["real_client_requests"]
IN_RANGE = [row for row in LIBREPASS["derivation"] if row["argon2id"]["memory"] >= 20480]


def take_key(house: House, private: str) -> None:
    """From now on the server's key is this one, in every period."""
    house.services.handshake = Handshake(lambda _purpose: bytes.fromhex(private), house.services.handshake.period)


def registration(row: dict[str, Any]) -> dict[str, Any]:
    chosen = {name: row["argon2id"][name] for name in DEFAULTS}
    return {"email": row["email"], "sharedKey": row["sharedKey"], "publicKey": row["userPublicKey"], **chosen}


@pytest.mark.parametrize("row", IN_RANGE, ids=lambda row: row["id"])
async def test_a_derived_key_registers_and_signs_in(house: House, row: dict[str, Any]) -> None:
    take_key(house, row["serverPrivateKey"])
    before = (await house.client.get("/api/auth/preLogin", params={"email": row["email"]})).json()

    made = await house.client.post("/api/auth/register", json=registration(row))
    after = (await house.client.get("/api/auth/preLogin", params={"email": row["email"]})).json()
    login = {"email": row["email"], "sharedKey": row["sharedKey"]}
    answer = await house.client.post("/api/auth/oauth?grantType=login", json=login)

    assert before == {**DEFAULTS, "serverPublicKey": row["serverPublicKey"]}
    assert (made.status_code, made.content) == (201, b"{}")
    assert after == {name: row["argon2id"][name] for name in DEFAULTS} | {"serverPublicKey": row["serverPublicKey"]}
    assert answer.json()["verified"] is True


async def test_parameters_below_the_declared_range_register_nobody(house: House) -> None:
    row = next(row for row in LIBREPASS["derivation"] if row["argon2id"]["memory"] < 20480)
    take_key(house, row["serverPrivateKey"])

    answer = await house.client.post("/api/auth/register", json=registration(row))

    assert refused(answer) == INVALID_BODY
    assert answer.json()["message"] == "validation error"


@pytest.mark.parametrize("row", LIBREPASS["hsauth"]["accept"], ids=["as sent", "upper case"])
async def test_hex_of_either_case_is_accepted(house: House, row: dict[str, Any]) -> None:
    take_key(house, row["serverPrivateKey"])
    body = {"email": "x@example.com", **DEFAULTS, "sharedKey": row["sharedKey"], "publicKey": row["userPublicKey"]}

    assert (await house.client.post("/api/auth/register", json=body)).status_code == 201
    login = {"email": "x@example.com", "sharedKey": row["sharedKey"].swapcase()}
    assert (await house.client.post("/api/auth/oauth?grantType=login", json=login)).status_code == 200


@pytest.mark.parametrize("row", LIBREPASS["hsauth"]["reject"], ids=lambda row: row["why"])
async def test_a_wrong_shared_key_is_refused_in_the_expected_words(house: House, row: dict[str, Any]) -> None:
    """What is not 64 hex digits is no shared key at all: LP-Invalid-Body; else it is a wrong one."""
    take_key(house, row["serverPrivateKey"])
    body = {"email": "x@example.com", **DEFAULTS, "sharedKey": row["sharedKey"], "publicKey": row["userPublicKey"]}
    is_key = len(row["sharedKey"]) == len(row["userPublicKey"]) == 64 and "z" not in row["sharedKey"]

    assert refused(await house.client.post("/api/auth/register", json=body)) == (SHARED_SECRET if is_key else INVALID_BODY)


@pytest.mark.parametrize("row", LIBREPASS["engine_differences"][:1], ids=lambda row: row["id"])
async def test_an_account_that_only_one_engine_can_derive_is_served(house: House, row: dict[str, Any]) -> None:
    key = Owner(house.client, row["email"])
    made = await key.register(**{name: row["argon2id"][name] for name in DEFAULTS})

    assert made.status_code == 201
    assert (await key.login()).status_code == 200


@pytest.mark.parametrize("row", LIBREPASS["low_order_points"], ids=lambda row: row["name"])
async def test_s_4_a_low_order_point_is_refused_at_every_entry(house: House, row: dict[str, Any]) -> None:
    someone = await signed_in(house)
    zeros = "00" * 32
    point = {"publicKey": row["publicKey"], "sharedKey": zeros}
    new = {"newPublicKey": row["publicKey"], "newSharedKey": zeros}

    stranger = Owner(house.client, "low@example.com")
    assert refused(await stranger.register(**point)) == SHARED_SECRET
    assert refused(await someone.change_password("another", **new)) == SHARED_SECRET
    assert refused(await someone.change_email("low@example.com", **new)) == SHARED_SECRET
    assert (await someone.sync()).status_code == 200
    assert refused(await stranger.login(sharedKey=zeros)) == SHARED_SECRET


@pytest.mark.parametrize("row", LIBREPASS["low_order_points"], ids=lambda row: row["name"])
async def test_an_imported_low_order_key_opens_for_nobody(house: House, row: dict[str, Any]) -> None:
    """The original let such accounts register; whoever sent 64 zeros was in."""
    someone = await signed_in(house)
    config = public_keys.encoded(public_keys.Config(row["publicKey"], public_keys.DEFAULTS))
    async with house.begin() as ctx:
        await credentials.replace(ctx, someone.id, credentials.PUBLIC_KEY, config)

    assert refused(await someone.login(sharedKey="00" * 32)) == SHARED_SECRET
    for method, path in (("DELETE", "/api/user/delete"), ("POST", "/api/user/disable/2fa")):
        assert refused(await someone.call(method, path, {"sharedKey": "00" * 32})) == SHARED_SECRET


class Replay:
    """The recorded requests, byte for byte, with the key of the account that each was recorded for."""

    def __init__(self, house: House) -> None:
        self.client = house.client
        self.token = ""

    async def send(self, index: int) -> httpx.Response:
        request = RECORDED["requests"][index]
        headers = dict(request["headers"])
        if "Authorization" in headers:
            headers["Authorization"] = headers["Authorization"].replace("lp_tok", self.token)
        body = request.get("bodyText")
        return await self.client.request(
            request["method"], request["target"], headers=headers, content=body.encode() if body else None
        )

    async def sign_in(self, email: str, shared_key: str) -> None:
        login = {"email": email, "sharedKey": shared_key}
        answer = await self.client.post("/api/auth/oauth?grantType=login", json=login)
        assert answer.status_code == 200, answer.text
        self.token = answer.json()["apiKey"]


@pytest.fixture
def replay(house: House) -> Replay:
    take_key(house, RECORDED["serverPrivateKey"])
    return Replay(house)


def shared_key_of(index: int, member: str = "sharedKey") -> str:
    body: dict[str, str] = httpx.Response(200, content=RECORDED["requests"][index]["bodyText"]).json()
    return body[member]


async def test_the_recorded_client_registers_and_signs_in(replay: Replay) -> None:
    answers = [await replay.send(index) for index in range(7)]

    assert [answer.status_code for answer in answers] == [200, 200, 201, 200, 201, 200, 200]
    assert answers[1].json() == {**DEFAULTS, "serverPublicKey": RECORDED["serverPublicKey"]}
    assert answers[2].content == answers[4].content == b"{}"
    assert answers[6].json()["verified"] is True


async def test_the_recorded_client_is_refused_in_words_that_it_reads(replay: Replay) -> None:
    """An address cut off at `&`, a key that is none, an empty address."""
    assert refused(await replay.send(7)) == INVALID_BODY
    assert refused(await replay.send(8)) == TOKEN
    assert refused(await replay.send(10)) == INVALID_BODY
    assert (await replay.send(9)).content == b"{}"


async def test_the_recorded_client_changes_its_address(replay: Replay) -> None:
    await replay.send(4)
    await replay.sign_in("x@example.com", shared_key_of(4))

    answers = [await replay.send(index) for index in (11, 12, 13)]

    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert answers[1].json() == {"ids": [], "ciphers": []}
    assert answers[2].content == b"{}"
    await replay.sign_in("new@example.com", shared_key_of(13, "newSharedKey"))


async def test_the_recorded_client_changes_its_password(replay: Replay) -> None:
    await replay.send(4)
    await replay.sign_in("x@example.com", shared_key_of(4))

    answers = [await replay.send(index) for index in (14, 15, 16)]

    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert refused(await replay.send(12)) == TOKEN
    await replay.sign_in("x@example.com", shared_key_of(16, "newSharedKey"))


async def test_the_recorded_client_gets_no_weak_second_factor(replay: Replay) -> None:
    """It was recorded with a secret of 80 bits and a made-up code."""
    await replay.send(4)
    await replay.sign_in("x@example.com", shared_key_of(4))

    assert (await replay.send(17)).status_code == 200
    assert refused(await replay.send(18)) == INVALID_BODY


async def test_the_recorded_client_deletes_its_account(replay: Replay) -> None:
    await replay.send(4)
    await replay.sign_in("x@example.com", shared_key_of(4))

    assert (await replay.send(19)).status_code == 200
    assert (await replay.send(20)).content == b"{}"
    assert refused(await replay.send(20)) == TOKEN


async def test_the_recorded_deletion_with_a_made_up_code_deletes_nothing(house: House) -> None:
    someone, app, _ = await enrolled(house, "x@example.com")
    assert (await someone.answer(app.code())).status_code == 200

    assert refused(await someone.delete(code=app.wrong_code())) == TWO_FACTOR
    assert refused(await someone.delete()) == TWO_FACTOR
    assert (await someone.sync()).status_code == 200


async def test_every_other_shared_key_is_refused(replay: Replay) -> None:
    await replay.send(4)
    login = {"email": "x@example.com", "sharedKey": flipped(shared_key_of(4))}

    assert refused(await replay.client.post("/api/auth/oauth?grantType=login", json=login)) == SHARED_SECRET


async def test_a_key_with_bit_255_set_is_the_same_identity(house: House) -> None:
    """Stored in its one canonical spelling; the proof is the same for both."""
    someone = Owner(house.client)
    raw = bytearray.fromhex(public_hex(someone.key))
    raw[31] |= 0x80

    made = await someone.register(publicKey=raw.hex(), sharedKey=shared_hex(someone.key, await someone.server_key()))

    assert made.status_code == 201
    assert (await someone.login()).status_code == 200
