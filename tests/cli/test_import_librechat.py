"""`ostiary import librechat`: an export as `mongoexport` writes it, and accounts that go on signing in with what they had."""

from __future__ import annotations

import asyncio
import json
import os
from hashlib import sha256
from pathlib import Path
from typing import Any

import bcrypt
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7

from ostiary.crypto import otp
from ostiary.identity import credentials
from ostiary.identity.accounts import named
from tests.cli.conftest import PASSWORD, Operator, sign_in
from tests.conftest import MakeHouse
from tests.house import House

CREDS_KEY = "00112233445566778899aabbccddeeffffeeddccbbaa99887766554433221100"
SECRET = "JBSWY3DPEHPK3PXP"
LONG = "x" * 71 + "\N{LATIN SMALL LETTER E WITH ACUTE}" + "beyond bcrypt"


def hashed(password: str) -> str:
    """As bcryptjs writes it; its input ends after 72 bytes."""
    return "$2a$" + bcrypt.hashpw(password.encode()[:72], bcrypt.gensalt(4)).decode()[4:]


def sealed_v3(secret: str, key: str = CREDS_KEY) -> str:
    iv = os.urandom(16)
    encryptor = Cipher(algorithms.AES(bytes.fromhex(key)), modes.CTR(iv)).encryptor()
    return f"v3:{iv.hex()}:{(encryptor.update(secret.encode()) + encryptor.finalize()).hex()}"


def sealed_v2(secret: str) -> str:
    iv, padder = os.urandom(16), PKCS7(128).padder()
    encryptor = Cipher(algorithms.AES(bytes.fromhex(CREDS_KEY)), modes.CBC(iv)).encryptor()
    padded = padder.update(secret.encode()) + padder.finalize()
    return f"{iv.hex()}:{(encryptor.update(padded) + encryptor.finalize()).hex()}"


def code(text: str, *, used: bool = False) -> dict[str, Any]:
    used_at = {"$date": "2024-06-01T00:00:00Z"} if used else None
    return {"codeHash": sha256(text.encode()).hexdigest(), "used": used, "usedAt": used_at}


def user(number: int, **fields: Any) -> dict[str, Any]:
    """A document of the collection, as the export has it."""
    return {
        "_id": {"$oid": f"{number:024x}"},
        "name": f"User {number}",
        "username": f"user{number}",
        "email": f"user{number}@example.org",
        "emailVerified": True,
        "password": hashed(PASSWORD),
        "avatar": None,
        "provider": "local",
        "role": "USER",
        "plugins": [],
        "twoFactorEnabled": False,
        "termsAccepted": False,
        "personalization": {"memories": True},
        "backupCodes": [],
        "pendingBackupCodes": [],
        "refreshToken": [],
        "favorites": [],
        "createdAt": {"$date": "2024-05-01T12:00:00.123Z"},
        "updatedAt": {"$date": "2024-05-02T12:00:00.123Z"},
        "__v": 0,
        **fields,
    }


@pytest.fixture
def export(tmp_path: Path, operator: Operator) -> Path:
    """Where the export lies."""
    operator.environment["CREDS_KEY"] = CREDS_KEY
    return tmp_path / "users.jsonl"


def write(file: Path, *documents: dict[str, Any]) -> Path:
    file.write_text("".join(json.dumps(document) + "\n" for document in documents), encoding="utf-8")
    return file


def move_in(operator: Operator, file: Path, *words: str) -> Any:
    return operator.json("import", "librechat", "--from", str(file), *words)


async def open_house(make_house: MakeHouse) -> House:
    return await make_house(CREDS_KEY=CREDS_KEY)


async def test_a_password_account_signs_in_as_before(operator: Operator, export: Path, make_house: MakeHouse) -> None:
    write(export, user(1, role="ADMIN", termsAccepted=True, avatar="/images/a.png"), user(2, password=hashed(LONG)))

    report = await asyncio.to_thread(move_in, operator, export)

    house = await open_house(make_house)
    answer = await sign_in(house, "USER1@example.org")
    assert report["moved"] == {"accounts": 2, "passwords": 2}
    assert answer.status_code == 200
    found = answer.json()["user"]
    assert found["_id"] == f"{1:024x}"
    assert (found["name"], found["username"], found["role"], found["avatar"]) == ("User 1", "user1", "ADMIN", "/images/a.png")
    assert (found["emailVerified"], found["termsAccepted"]) == (True, True)
    assert found["createdAt"] == "2024-05-01T12:00:00.123Z"
    assert (await sign_in(house, "user2@example.org", LONG)).status_code == 200
    assert (await sign_in(house, "user1@example.org", "wrong horse")).status_code == 404


async def test_an_old_hash_is_renewed_at_the_first_sign_in(operator: Operator, export: Path, make_house: MakeHouse) -> None:
    await asyncio.to_thread(move_in, operator, write(export, user(2, password=hashed(LONG))))
    house = await open_house(make_house)

    await sign_in(house, "user2@example.org", LONG)

    cut_off = LONG.encode()[:72].decode(errors="ignore")
    assert (await sign_in(house, "user2@example.org", LONG)).status_code == 200
    assert (await sign_in(house, "user2@example.org", cut_off)).status_code == 404


@pytest.mark.parametrize("stored", [sealed_v3(SECRET), sealed_v2(SECRET), SECRET], ids=["v3", "v2", "bare"])
async def test_a_second_factor_guards_as_before(operator: Operator, export: Path, make_house: MakeHouse, stored: str) -> None:
    codes = [code("0badcafe"), code("12345678", used=True)]
    document = user(1, twoFactorEnabled=True, totpSecret=stored, backupCodes=codes)

    report = await asyncio.to_thread(move_in, operator, write(export, document))

    house = await open_house(make_house)
    raw = otp.decode_secret(SECRET)
    assert raw is not None
    assert report["moved"] == {"accounts": 1, "passwords": 1, "second_factors": 1, "backup_codes": 1}
    assert await _answer(house, token="000000") == 401
    assert await _answer(house, token=otp.code_at(raw, house.clock.now // 30_000_000)) == 200
    assert await _answer(house, backupCode="12345678") == 401
    assert await _answer(house, backupCode="0BADCAFE") == 200
    assert await _answer(house, backupCode="0badcafe") == 401


async def _answer(house: House, **proof: str) -> int:
    pending = (await sign_in(house, "user1@example.org")).json()
    assert pending["twoFAPending"] is True
    answer = await house.client.post("/api/auth/2fa/verify-temp", json={"tempToken": pending["tempToken"], **proof})
    return answer.status_code


@pytest.mark.parametrize(
    "fields",
    [{"totpSecret": sealed_v3(SECRET, "ff" * 32)}, {"totpSecret": None}, {"totpSecret": "v3:zz:zz"}, {"totpSecret": "!"}, {}],
)
def test_no_account_comes_without_its_second_factor(operator: Operator, export: Path, fields: dict[str, Any]) -> None:
    report = move_in(operator, write(export, user(1, twoFactorEnabled=True, **fields), user(2)))

    assert [each["account"] for each in report["left_behind"]] == ["user1@example.org"]
    assert "CREDS_KEY" in report["left_behind"][0]["reason"]
    assert [each["email"] for each in operator.json("user", "list")] == ["user2@example.org"]


async def test_identities_at_providers_are_kept_under_issuer_and_subject(
    operator: Operator, export: Path, make_house: MakeHouse
) -> None:
    write(
        export,
        user(1, provider="google", googleId="1234", password=None),
        user(2, provider="openid", openidId="sub", openidIssuer="https://id.example.com", password=None),
        user(5, provider="openid", openidId="sub", openidIssuer="https://id.example.net", password=None),
        user(6, provider="openid", openidId="old", password=None),
        user(3, provider="saml", samlId="name-id", password=None),
        user(4, provider="ldap", ldapId="uid4", password=None),
    )

    issuers = ("--issuer", "ldap=ldap:ou=people", "--issuer", "openid=https://id.example.com/")
    report = await asyncio.to_thread(move_in, operator, export, *issuers)

    house = await open_house(make_house)
    found: dict[int, list[str | None]] = {}
    async with house.begin() as ctx:
        for number in range(1, 7):
            account = await named(ctx, f"user{number}@example.org")
            found[number] = [each.identifier for each in await credentials.all_of_account(ctx, account.id)]
    assert found == {
        1: ["https://accounts.google.com|1234"],
        2: ["https://id.example.com/|sub"],
        3: [],
        4: ["ldap:ou=people|uid4"],
        5: ["https://id.example.net|sub"],
        6: ["https://id.example.com/|old"],
    }
    notes = {(each["account"], each["note"].partition(":")[0]) for each in report["notes"]}
    assert notes == {
        ("user3@example.org", "its saml identity was left behind"),
        ("user3@example.org", "it has no way in"),
    }


def test_a_rehearsal_reports_the_same_and_writes_nothing(operator: Operator, export: Path) -> None:
    write(export, user(1), user(2, email="USER1@example.org"), user(3, email="no address"))

    rehearsed = move_in(operator, export, "--dry-run")
    assert operator.json("user", "list") == []
    done = move_in(operator, export)

    assert (rehearsed.pop("dry_run"), done.pop("dry_run")) == (True, False)
    assert [each["reason"] for each in done["left_behind"]] == [
        "another account of this import has the same address in another spelling",
        "it has no e-mail address",
    ]
    done["remarks"] = [remark for remark in done["remarks"] if "ADMIN" not in remark]
    assert rehearsed == done


def test_repeating_an_import_moves_what_is_not_here_yet(operator: Operator, export: Path) -> None:
    move_in(operator, write(export, user(1)))

    report = move_in(operator, write(export, user(1), user(2)))

    assert (report["already_here"], report["moved"]["accounts"], report["left_behind"]) == (1, 1, [])


def test_an_account_that_was_made_here_keeps_its_address(operator: Operator, export: Path) -> None:
    operator.json("user", "create", "user1@example.org")

    report = move_in(operator, write(export, user(1)))

    assert report["left_behind"] == [{"account": "user1@example.org", "reason": "an account here has that address already"}]


async def test_after_an_import_no_stranger_becomes_the_administrator(
    operator: Operator, export: Path, make_house: MakeHouse
) -> None:
    report = await asyncio.to_thread(move_in, operator, write(export, user(1)))
    house = await open_house(make_house)

    body = {"name": "Eve", "email": "eve@example.org", "password": PASSWORD, "confirm_password": PASSWORD}
    await house.client.post("/api/auth/register", json=body)

    assert (await asyncio.to_thread(operator.json, "user", "show", "eve@example.org"))["role"] == "USER"
    assert "Nobody is ADMIN yet" in str(report["remarks"])


def test_what_is_changed_on_the_way_is_noted(operator: Operator, export: Path) -> None:
    documents = user(1, role="no role", tenantId="t1"), user(2, password="plain", backupCodes=[{"codeHash": "x"}])

    report = move_in(operator, write(export, *documents))

    assert {each["note"].partition(":")[0] for each in report["notes"]} == {
        "its role 'no role' is no name of a role",
        "it belonged to a tenant; there are none here",
        "its password hash is not bcrypt, Argon2id or scrypt",
        "it has no way in",
    }
    assert "no role" in operator.text("import", "librechat", "--from", str(export), "--dry-run")


def test_a_hash_too_dear_to_check_is_left_behind_and_named(operator: Operator, export: Path) -> None:
    dear = hashed(PASSWORD).replace("$04$", "$31$")

    report = move_in(operator, write(export, user(1, password=dear)))

    assert "cost of 31, beyond 16" in str(report["notes"])
    assert "passwords" not in report["moved"]


def test_an_array_and_canonical_dates_are_read_too(operator: Operator, export: Path) -> None:
    canonical = user(1, createdAt={"$date": {"$numberLong": "1714564800123"}})
    export.write_text("\N{BYTE ORDER MARK}" + json.dumps([canonical]), encoding="utf-8")

    move_in(operator, export)

    assert operator.json("user", "show", f"{1:024x}")["created_at"] == "2024-05-01T12:00:00Z"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("{", "JSON is broken"),
        ('"text"\n', "a document without _id"),
        ('{"a": 1}', "a document without _id"),
        ("\xff", "cannot be read"),
    ],
)
def test_a_file_of_another_kind_is_named_as_such(operator: Operator, export: Path, content: str, expected: str) -> None:
    export.write_bytes(content.encode("latin-1"))

    assert expected in operator.complaint("import", "librechat", "--from", str(export))


def test_an_issuer_for_an_unknown_provider_is_refused(operator: Operator, export: Path) -> None:
    write(export, user(1))

    assert "--issuer takes" in operator.complaint("import", "librechat", "--from", str(export), "--issuer", "google=x")
