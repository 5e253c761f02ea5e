"""Known answers for what clients compute (Argon2id) and what this server computes (X25519, TOTP)."""

from __future__ import annotations

from typing import Any

import pytest
from argon2.low_level import Type, hash_secret_raw

from ostiary.crypto import otp, x25519
from tests.vectors import LIBREPASS

TOTP = LIBREPASS["totp"]
ITERATED = LIBREPASS["x25519_iterated"]
BASE_POINT = "09" + 31 * "00"


def agreed(scalar: str, u: str) -> str | None:
    secret = x25519.agree(x25519.private_key(bytes.fromhex(scalar)), bytes.fromhex(u))
    return None if secret is None else secret.hex()


@pytest.mark.parametrize("row", LIBREPASS["derivation"], ids=lambda row: row["id"])
def test_a_password_and_an_address_as_typed_give_the_key(row: dict[str, Any]) -> None:
    chosen = row["argon2id"]

    derived = hash_secret_raw(
        row["password"].encode(),
        row["email"].encode(),
        time_cost=chosen["iterations"],
        memory_cost=chosen["memory"],
        parallelism=chosen["parallelism"],
        hash_len=chosen["hashLength"],
        type=Type.ID,
        version=chosen["version"],
    ).hex()

    assert derived == row["argon2idHash"] == row["userPrivateKey"]


@pytest.mark.parametrize("row", LIBREPASS["derivation"], ids=lambda row: row["id"])
def test_both_sides_agree_on_the_shared_key(row: dict[str, Any]) -> None:
    server = x25519.private_key(bytes.fromhex(row["serverPrivateKey"]))

    assert x25519.public_hex(server) == row["serverPublicKey"]
    assert x25519.public_hex(x25519.private_key(bytes.fromhex(row["userPrivateKey"]))) == row["userPublicKey"]
    assert agreed(row["serverPrivateKey"], row["userPublicKey"]) == row["sharedKey"]
    assert agreed(row["userPrivateKey"], row["serverPublicKey"]) == row["sharedKey"]
    assert agreed(row["userPrivateKey"], row["userPublicKey"]) == row["aesKey"]


@pytest.mark.parametrize(
    "row", LIBREPASS["x25519_reference"] + LIBREPASS["x25519_noncanonical_accepted"], ids=lambda row: row["name"]
)
def test_the_curve_gives_the_reference_values(row: dict[str, Any]) -> None:
    assert agreed(row["scalar"], row["u"]) == row["result"]


def test_a_thousand_rounds_of_the_curve_give_the_published_value() -> None:
    k = u = BASE_POINT
    found: dict[int, str] = {}
    for count in range(1, 1001):
        result = agreed(k, u)
        assert result is not None
        u, k = k, result
        found[count] = result

    assert found[1] == ITERATED["after_1"]
    assert found[1000] == ITERATED["after_1000"]


@pytest.mark.parametrize("row", LIBREPASS["low_order_points"], ids=lambda row: row["name"])
def test_a_low_order_point_agrees_on_nothing(row: dict[str, Any]) -> None:
    assert agreed("77" * 32, row["publicKey"]) is None


@pytest.mark.parametrize("row", LIBREPASS["low_order_lookalikes_not_low_order"], ids=lambda row: row["name"])
def test_a_point_that_only_looks_low_order_is_an_ordinary_one(row: dict[str, Any]) -> None:
    assert agreed("77" * 32, row["publicKey"]) is not None


@pytest.mark.parametrize("row", LIBREPASS["x25519_noncanonical_accepted"], ids=lambda row: row["name"])
def test_every_spelling_of_a_point_has_one_canonical_form(row: dict[str, Any]) -> None:
    assert x25519.canonical(bytes.fromhex(row["u"])).hex() == BASE_POINT


@pytest.mark.parametrize("row", LIBREPASS["hsauth"]["accept"], ids=["as sent", "upper case"])
def test_the_shared_key_is_accepted_in_either_case(row: dict[str, Any]) -> None:
    assert is_accepted(row)


@pytest.mark.parametrize("row", LIBREPASS["hsauth"]["reject"], ids=lambda row: row["why"])
def test_any_other_shared_key_is_refused(row: dict[str, Any]) -> None:
    assert not is_accepted(row)


def is_accepted(row: dict[str, Any]) -> bool:
    public_key = x25519.decode_key(row["userPublicKey"])
    if public_key is None:
        return False
    secret = x25519.agree(x25519.private_key(bytes.fromhex(row["serverPrivateKey"])), public_key)
    return x25519.matches(secret, x25519.decode_key(row["sharedKey"]))


@pytest.mark.parametrize("digits", ["٣" * 64, "a" * 63, "a" * 65, " " + "a" * 63, "0x" + "a" * 62, "_" * 64, ""])
def test_a_key_is_exactly_64_ascii_hex_digits(digits: str) -> None:
    assert x25519.decode_key(digits) is None


@pytest.mark.parametrize("row", TOTP["codes"], ids=lambda row: f"{row['unixTime']}")
def test_the_code_of_a_moment_is_the_published_one(row: dict[str, Any]) -> None:
    secret = otp.decode_secret(row["secretBase32"])

    assert secret is not None
    assert otp.code_at(secret, row["unixTime"] // 30) == row["code"]


@pytest.mark.parametrize("row", TOTP["window"], ids=lambda row: f"{row['stepOffset']:+d}")
def test_one_step_either_way_is_accepted_and_no_more(row: dict[str, Any]) -> None:
    secret = otp.decode_secret(row["secretBase32"])

    assert secret is not None
    found = otp.matching_step(secret, row["code"], row["serverUnixTime"])
    assert (found is not None) == row["accept"]
    if found is not None:
        assert found == row["serverUnixTime"] // 30 + row["stepOffset"]


@pytest.mark.parametrize(
    "row",
    [*TOTP["reject"], {"why": "the right six and a letter beyond ASCII", "code": TOTP["window"][0]["code"] + "\u00e9"}],
    ids=lambda row: row["why"],
)
def test_anything_but_six_digits_is_no_code(row: dict[str, Any]) -> None:
    secret = otp.decode_secret(TOTP["window"][0]["secretBase32"])

    assert secret is not None
    assert otp.matching_step(secret, row["code"], TOTP["window"][0]["serverUnixTime"]) is None


@pytest.mark.parametrize("spelling", ["jbsw y3dp-ehpk 3pxp", "JBSWY3DPEHPK3PXP====", "JBSW1Y3D8PEHPK3PXP"])
def test_a_secret_is_read_in_any_spelling(spelling: str) -> None:
    assert otp.decode_secret(spelling) == otp.decode_secret("JBSWY3DPEHPK3PXP")
