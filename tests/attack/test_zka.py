"""ZKA: key accounts, whose password the server never sees (catalogue 4.10)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.attack.harness import Caller, somewhere
from tests.attack.people import OTHER_PASSWORD, KeyOwner, key_owner
from tests.conftest import MakeHouse
from tests.dialects.librepass import owner as librepass
from tests.dialects.librepass.owner import private_key, public_hex, shared_hex
from tests.served import Served
from tests.vectors import LIBREPASS

POINTS = [row["publicKey"] for row in LIBREPASS["low_order_points"]]


@pytest.mark.parametrize("point", POINTS)
def test_zka_01_a_low_order_key_is_refused_everywhere(site: Served, point: str) -> None:
    owner, zero = key_owner(site.url), "00" * 32
    nobody = KeyOwner(site.url, somewhere())

    registered = nobody.register(publicKey=point, sharedKey=zero)
    changed = owner.ask("PATCH", "/api/user/password", owner.change_form("x", newPublicKey=point, newSharedKey=zero))
    moved = owner.ask("PATCH", "/api/user/email", owner.address_form("z@example.org", newPublicKey=point, newSharedKey=zero))

    assert [reply.status for reply in (registered, changed, moved)] == [400] * 3
    assert nobody.login(sharedKey=zero).status == 400
    assert owner.elsewhere().login().status == 200


def test_zka_02_a_key_has_one_spelling(site: Served) -> None:
    owner = KeyOwner(site.url, somewhere())
    raw = bytes.fromhex(public_hex(private_key(owner.email, owner.password)))
    other_spelling = (raw[:-1] + bytes([raw[-1] | 0x80])).hex()

    assert owner.register(publicKey=other_spelling).status == 201

    assert owner.login().json()["verified"] is True


@pytest.mark.parametrize("byte", [0, 15, 31])
def test_zka_04_a_shared_key_wrong_in_one_byte_is_refused_alike(site: Served, byte: int) -> None:
    owner = key_owner(site.url)
    right = bytearray.fromhex(owner.shared_key())
    right[byte] ^= 1

    wrong = owner.elsewhere().login(sharedKey=right.hex())

    assert wrong.told == owner.elsewhere().login(sharedKey="ab" * 32).told


async def test_zka_05_a_restart_keeps_the_servers_key(make_house: MakeHouse) -> None:
    before = await make_house()
    owner = await librepass.registered(before)
    key = await owner.server_key(owner.email)
    proof = shared_hex(owner.key, key)

    after = await make_house()

    there = librepass.owner(after)
    assert await there.server_key(owner.email) == key
    assert (await there.login(sharedKey=proof)).status_code == 200


def test_zka_07_a_proof_is_for_its_own_account(site: Served) -> None:
    one, other = key_owner(site.url), key_owner(site.url)

    assert KeyOwner(site.url, somewhere(), email=other.email).login(sharedKey=one.shared_key()).status == 400


PARAMETERS: list[dict[str, Any]] = [
    *({"parallelism": value} for value in (0, -1, 11, 2**31, 1.5, "3", None, True)),
    *({"memory": value} for value in (0, 8, 20479, 153601, 2**31, "65536")),
    *({"iterations": value} for value in (0, -1, 11, 2**63, 4.5, [4])),
]


@pytest.mark.parametrize("members", PARAMETERS, ids=str)
def test_zka_08_parameters_out_of_range_are_refused(site: Served, members: dict[str, Any]) -> None:
    owner = KeyOwner(site.url, somewhere())

    assert owner.register(**members).status == 400
    assert owner.login().status == 400


def test_zka_10_a_new_password_needs_every_proof_and_the_whole_vault(site: Served) -> None:
    owner, other = key_owner(site.url), key_owner(site.url)
    assert owner.ask("PUT", "/api/cipher", owner.row(1)).status == 201
    assert other.ask("PUT", "/api/cipher", other.row(2)).status == 201
    own, foreign = ({"id": owner.row(number)["id"], "data": "aa"} for number in (1, 2))

    forms: list[dict[str, Any]] = [
        {"oldSharedKey": "ab" * 32, "ciphers": [own]},
        {"newSharedKey": "ab" * 32, "ciphers": [own]},
        {"ciphers": []},
        {"ciphers": [own, foreign]},
        {"ciphers": [foreign]},
        {"ciphers": [own, own]},
    ]
    for members in forms:
        refused = owner.ask("PATCH", "/api/user/password", owner.change_form(OTHER_PASSWORD, **members))
        assert refused.status == 400, members

    assert owner.get("/api/cipher").json()[0]["protectedData"] == "00ff"
    assert owner.elsewhere().login().status == 200


def test_zka_11_the_old_key_dies_with_the_change(site: Served) -> None:
    owner = key_owner(site.url)
    old = owner.bearer

    assert owner.ask("PATCH", "/api/user/password", owner.change_form(OTHER_PASSWORD)).status == 200

    assert Caller(site.url, bearer=old).get("/api/cipher").status == 401
    assert owner.elsewhere().login().status == 400
