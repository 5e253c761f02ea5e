"""`ostiary import librepass`: a database as its server makes it, and accounts that go on signing in with their keys."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from ostiary.crypto import otp
from tests.cli.conftest import Operator
from tests.house import House
from tests.services.postgres import PostgresServer

# What Spring's default naming makes of the server's entities.
TABLES = """
CREATE TABLE user_table (
    email_verified boolean NOT NULL, iterations integer NOT NULL, memory integer NOT NULL, parallelism integer NOT NULL,
    two_factor_enabled boolean NOT NULL, created timestamp(6), email_verification_code_expires_at timestamp(6),
    last_modified timestamp(6), last_password_change timestamp(6), id uuid PRIMARY KEY, email TEXT UNIQUE,
    email_verification_code varchar(255), password_hint TEXT, public_key varchar(255),
    two_factor_recovery_code varchar(255), two_factor_secret varchar(255));
CREATE TABLE token_table (
    confirmed boolean NOT NULL, created timestamp(6), last_used timestamp(6), owner uuid, last_ip varchar(255),
    token varchar(255) PRIMARY KEY);
CREATE TABLE cipher_table (
    favorite boolean NOT NULL, re_prompt boolean NOT NULL, type integer NOT NULL, version integer NOT NULL,
    created timestamp(6), last_modified timestamp(6), last_server_sync timestamp(6), collection uuid, id uuid PRIMARY KEY,
    owner uuid, {data} TEXT);
CREATE TABLE collection_table (
    created timestamp(6), last_modified timestamp(6), id uuid PRIMARY KEY, owner uuid, name varchar(255));
CREATE TABLE email_change_table (
    code_expires_at timestamp(6), owner uuid PRIMARY KEY, code varchar(255), new_ciphers TEXT, new_email TEXT UNIQUE);
"""
NOW = datetime.now(UTC).replace(tzinfo=None, microsecond=0)
SECRET = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
RECOVERY = "3f2b8c1e-5d1f-4c7e-9a53-0b7c1d2e3f40"
LOW_ORDER = "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"


class Original:
    """A LibrePass server's database."""

    def __init__(self, url: str, connection: asyncpg.Connection[asyncpg.Record]) -> None:
        self.url = url
        self.connection = connection

    async def add(self, table: str, **row: Any) -> None:
        names, places = ", ".join(row), ", ".join(f"${number}" for number in range(1, len(row) + 1))
        await self.connection.execute(f"INSERT INTO {table} ({names}) VALUES ({places})", *row.values())  # noqa: S608

    async def add_user(self, email: str, **columns: Any) -> UUID:
        row = {
            "id": uuid4(),
            "email": email,
            "email_verified": True,
            "iterations": 4,
            "memory": 65536,
            "parallelism": 3,
            "two_factor_enabled": False,
            "created": NOW - timedelta(days=100),
            "last_modified": NOW - timedelta(days=90),
            "last_password_change": NOW - timedelta(days=100),
            "public_key": public_key(email),
            **columns,
        }
        await self.add("user_table", **row)
        return UUID(str(row["id"]))

    async def add_token(self, owner: UUID, **columns: Any) -> str:
        token = "lp_" + hashlib.sha256(uuid4().bytes).hexdigest()
        times = {"created": NOW - timedelta(days=50), "last_used": NOW - timedelta(days=1)}
        await self.add(
            "token_table", **{"token": token, "owner": owner, "confirmed": True, "last_ip": "203.0.113.7", **times, **columns}
        )
        return token

    async def add_cipher(self, owner: UUID, column: str = "data", data: str = "c0ffee", **columns: Any) -> UUID:
        row = {
            "id": uuid4(), "owner": owner, "type": 0, "favorite": True, "re_prompt": False, "version": 1,
            "created": NOW - timedelta(days=40), "last_modified": NOW - timedelta(days=30), column: data, **columns,
        }  # fmt: skip
        await self.add("cipher_table", **row)
        return UUID(str(row["id"]))


@pytest.fixture(params=["data"])
def data_column(request: pytest.FixtureRequest) -> str:
    """The column that holds a row's contents; its name changed between releases."""
    return str(request.param)


@pytest.fixture
async def original(postgres: PostgresServer, data_column: str) -> AsyncIterator[Original]:
    """Its tables, empty."""
    url = postgres.create_database(f"librepass_{uuid4().hex}")
    connection = await asyncpg.connect(url)
    await connection.execute(TABLES.replace("{data}", data_column))
    yield Original(url, connection)
    await connection.close()


@pytest.fixture
async def here(running: House) -> House:
    """The server into which they move, on time."""
    running.clock.now = time.time_ns() // 1000
    return running


def private_key(email: str) -> X25519PrivateKey:
    """What a client would derive from the password."""
    return X25519PrivateKey.from_private_bytes(hashlib.sha256(email.lower().encode()).digest())


def public_key(email: str) -> str:
    return private_key(email).public_key().public_bytes_raw().hex()


async def move_in(operator: Operator, original: Original, *words: str) -> Any:
    return await operator.meanwhile("import", "librepass", "--from", original.url, *words)


async def sign_in(house: House, email: str) -> httpx.Response:
    """As the client does: ask for the server's key, agree, send the shared key."""
    asked = (await house.client.get("/api/auth/preLogin", params={"email": email})).json()
    server = X25519PublicKey.from_public_bytes(bytes.fromhex(asked["serverPublicKey"]))
    body = {"email": email, "sharedKey": private_key(email).exchange(server).hex()}
    return await house.client.post("/api/auth/oauth", params={"grantType": "login"}, json=body)


async def ciphers(house: House, token: str) -> httpx.Response:
    return await house.client.get("/api/cipher", headers={"Authorization": f"Bearer {token}"})


async def test_an_account_signs_in_with_its_key_and_finds_its_vault(operator: Operator, original: Original, here: House) -> None:
    owner = await original.add_user("grace@example.org", parallelism=2, memory=30000, iterations=5, password_hint="the cat")
    collection = uuid4()
    await original.add("collection_table", id=collection, owner=owner, name="Work", created=NOW, last_modified=NOW)
    row = await original.add_cipher(owner, collection=collection)

    report = await move_in(operator, original)

    answer = await sign_in(here, "grace@example.org")
    assert report["moved"] == {"accounts": 1, "keys": 1, "vault_rows": 1, "collections": 1}
    assert answer.status_code == 200
    assert answer.json()["userId"] == str(owner)
    asked = (await here.client.get("/api/auth/preLogin", params={"email": "grace@example.org"})).json()
    assert (asked["parallelism"], asked["memory"], asked["iterations"]) == (2, 30000, 5)
    [found] = (await ciphers(here, answer.json()["apiKey"])).json()
    assert (found["id"], found["owner"], found["collection"]) == (str(row), str(owner), str(collection))
    assert (found["protectedData"], found["favorite"], found["rePrompt"], found["type"]) == ("c0ffee", True, False, 0)
    assert found["created"] == int((NOW - timedelta(days=40)).replace(tzinfo=UTC).timestamp())
    bearer = {"Authorization": f"Bearer {answer.json()['apiKey']}"}
    assert (await here.client.get("/api/collection", headers=bearer)).json()[0]["name"] == "Work"


@pytest.mark.parametrize("data_column", ["protected_data"], indirect=True)
async def test_the_tables_of_another_release_are_read_too(operator: Operator, original: Original, data_column: str) -> None:
    await original.add_cipher(await original.add_user("grace@example.org"), data_column)

    assert (await move_in(operator, original))["moved"]["vault_rows"] == 1


async def test_a_hint_is_mailed_to_its_owner_as_before(operator: Operator, original: Original, here: House) -> None:
    await original.add_user("grace@example.org", password_hint="the cat's name")
    await move_in(operator, original)

    await here.client.get("/api/auth/passwordHint", params={"email": "grace@example.org"})

    assert "the cat's name" in str((await here.last_mail("password hint")).get_body(("plain",)))


async def test_api_keys_go_on_working_where_they_would_have_there(operator: Operator, original: Original, here: House) -> None:
    owner = await original.add_user("grace@example.org", last_password_change=NOW - timedelta(days=60))
    live = await original.add_token(owner)
    dead = [
        await original.add_token(owner, confirmed=False),
        await original.add_token(owner, created=NOW - timedelta(days=61)),
        await original.add_token(owner, last_used=NOW - timedelta(days=31)),
    ]

    report = await move_in(operator, original)

    assert (await ciphers(here, live)).status_code == 200
    assert [(await ciphers(here, token)).status_code for token in dead] == [401, 401, 401]
    assert report["moved"]["sessions"] == 1
    assert report["notes"][0]["note"].startswith("3 of its 4 API keys")
    assert (await operator.meanwhile("user", "sessions", "grace@example.org"))[0]["kind"] == "key"


async def test_a_second_factor_guards_as_before(operator: Operator, original: Original, here: House) -> None:
    factor = {"two_factor_enabled": True, "two_factor_secret": SECRET, "two_factor_recovery_code": RECOVERY}
    await original.add_user("grace@example.org", **factor)

    report = await move_in(operator, original)

    raw = otp.decode_secret(SECRET)
    assert raw is not None
    assert report["moved"]["second_factors"] == 1
    assert await _answer(here, "000000") == 400
    assert await _answer(here, otp.code_at(raw, here.clock.now // 30_000_000)) == 200
    assert await _answer(here, RECOVERY) == 200
    assert await _answer(here, RECOVERY) == 400


async def _answer(house: House, code: str) -> int:
    pending = (await sign_in(house, "grace@example.org")).json()
    assert pending["verified"] is False
    body = {"apiKey": pending["apiKey"], "code": code}
    return (await house.client.post("/api/auth/oauth", params={"grantType": "2fa"}, json=body)).status_code


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"public_key": LOW_ORDER}, "of low order"),
        ({"public_key": "00" * 32}, "of low order"),
        ({"public_key": "c0ffee"}, "not 64 hex digits"),
        ({"two_factor_enabled": True, "two_factor_secret": None}, "second factor cannot be read"),
        ({"two_factor_enabled": True, "two_factor_secret": "018"}, "second factor cannot be read"),
    ],
)
async def test_accounts_that_would_stand_open_are_left_behind(
    operator: Operator, original: Original, columns: dict[str, Any], reason: str
) -> None:
    await original.add_user("grace@example.org", **columns)
    await original.add_user("other@example.org")

    report = await move_in(operator, original)

    assert [each["account"] for each in report["left_behind"]] == ["grace@example.org"]
    assert reason in report["left_behind"][0]["reason"]
    assert report["moved"]["accounts"] == 1


async def test_what_is_odd_is_noted(operator: Operator, original: Original, here: House) -> None:
    owner = await original.add_user("Grace@Example.org", memory=10, email_verified=False)
    await original.add_cipher(owner, data="not hex")
    await original.add(
        "email_change_table", owner=owner, new_email="g@example.org", code="x", code_expires_at=NOW, new_ciphers="[]"
    )
    await original.add_token(uuid4())

    report = await move_in(operator, original)

    notes = " / ".join(each["note"] for each in report["notes"])
    assert len(report["notes"]) == 4
    for oddity in ("lower case", "change of address", "usual range", "hold hex"):
        assert oddity in notes
    assert report["left_behind"] == [{"account": "token_table: 1 row(s)", "reason": "their owner does not exist"}]
    assert (await sign_in(here, "Grace@Example.org")).status_code == 200
    assert (await operator.meanwhile("user", "show", "grace@example.org"))["verified"] is False


async def test_two_spellings_of_an_address_are_one(operator: Operator, original: Original) -> None:
    await original.add_user("grace@example.org", created=NOW - timedelta(days=200))
    await original.add_user("GRACE@example.org")

    for words in (("--dry-run",), ()):
        report = await move_in(operator, original, *words)
        assert [each["account"] for each in report["left_behind"]] == ["GRACE@example.org"]
        assert report["moved"]["accounts"] == 1


async def test_a_rehearsal_writes_nothing_and_a_repetition_nothing_twice(operator: Operator, original: Original) -> None:
    await original.add_cipher(await original.add_user("grace@example.org"))

    rehearsed = await move_in(operator, original, "--dry-run")
    assert await operator.meanwhile("user", "list") == []
    done = await move_in(operator, original)
    again = await move_in(operator, original)

    assert rehearsed["moved"] == done["moved"]
    assert (again["moved"], again["already_here"]) == ({}, 1)


async def test_a_database_of_another_kind_is_named_as_such(operator: Operator, postgres: PostgresServer) -> None:
    empty = postgres.create_database(f"empty_{uuid4().hex}")

    def complaint(url: str) -> str:
        return operator.complaint("import", "librepass", "--from", url)

    assert "has no user_table" in await asyncio.to_thread(complaint, empty)
    assert "cannot be opened" in await asyncio.to_thread(complaint, "postgresql://postgres@127.0.0.1:1/x")
    assert "cannot be opened" in await asyncio.to_thread(complaint, "nonsense")
