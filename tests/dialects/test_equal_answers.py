"""What a stranger may not know is not told: every kind of account, and none, gets one answer to each question (catalogue 4.1)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

import httpx
import msgspec
import pytest

from ostiary.identity import accounts, bans, credentials, passwords, public_keys
from tests.conftest import MakeHouse
from tests.dialects.librechat.browser import PASSWORD, application
from tests.dialects.librepass.owner import DEFAULTS, SMTP, private_key, public_hex, shared_hex
from tests.house import House

Told = tuple[int, bytes, frozenset[str]]
Ask = Callable[[httpx.AsyncClient, str], Awaitable[httpx.Response]]
KINDS = ("unknown", "verified", "unverified", "federated", "banned")
WRONG_KEY = "ab" * 32
VERIFIED_AT = 1


def posting(path: str, **body: Any) -> Ask:
    async def ask(client: httpx.AsyncClient, email: str) -> httpx.Response:
        return await client.post(path, json={"email": email, **body})

    return ask


def getting(path: str) -> Ask:
    async def ask(client: httpx.AsyncClient, email: str) -> httpx.Response:
        return await client.get(path, params={"email": email})

    return ask


async def registering(client: httpx.AsyncClient, email: str) -> httpx.Response:
    return await client.post("/api/auth/register", json=application(email))


async def registering_a_key(client: httpx.AsyncClient, email: str) -> httpx.Response:
    server_key = (await client.get("/api/auth/preLogin?email=")).json()["serverPublicKey"]
    key = private_key(email, "a stranger's")
    body = {"email": email, "sharedKey": shared_hex(key, server_key), "publicKey": public_hex(key), **DEFAULTS}
    return await client.post("/api/auth/register", json=body)


QUESTIONS: dict[str, Ask] = {
    "sign-in with a password": posting("/api/auth/login", password="a wrong password"),
    "sign-in with a key": posting("/api/auth/oauth?grantType=login", sharedKey=WRONG_KEY),
    "sign-in of an administrator": posting("/api/admin/login/local", password="a wrong password"),
    "reset": posting("/api/auth/requestPasswordReset"),
    "verification mail again": posting("/api/user/verify/resend"),
    "a made-up verification": posting("/api/user/verify", token="0" * 64),
    "key account's hint": getting("/api/auth/passwordHint"),
    "key account's mail again": getting("/api/auth/resendVerificationEmail"),
    "registration": registering,
    "registration of a key": registering_a_key,
}


async def an_account(house: House, kind: str, number: int = 0) -> str:
    """The address of an account of this kind, with a password and a key unless it signs in elsewhere."""
    email = f"{kind}{number}@example.org"
    if kind == "unknown":
        return email
    async with house.begin() as ctx:
        provider = "google" if kind == "federated" else "local"
        verified_at = None if kind == "unverified" else VERIFIED_AT
        account = accounts.fresh(ctx, email, "Ada", provider=provider, verified_at=verified_at)
        config = await passwords.hashed(ctx, PASSWORD)
        await accounts.insert_account(ctx, account)
        if kind != "federated":
            key = public_keys.Config(public_hex(private_key(email)), public_keys.DEFAULTS)
            await credentials.add(ctx, account.id, credentials.PASSWORD, config)
            await credentials.add(ctx, account.id, credentials.PUBLIC_KEY, public_keys.encoded(key))
        if kind == "banned":
            await bans.add(ctx, bans.ACCOUNT, account.id, "test", None)
    return email


def told(answer: httpx.Response, email: str) -> Told:
    """What could tell one answer from another; who was asked about may not be in it."""
    assert email.encode() not in answer.content
    return answer.status_code, answer.content, frozenset(answer.headers)


@pytest.mark.parametrize("question", QUESTIONS)
async def test_every_kind_of_account_and_none_get_one_answer(make_house: MakeHouse, question: str) -> None:
    house = await make_house(**SMTP)
    client, found = house.client_at("198.51.100.1"), {}

    for kind in KINDS:
        email = await an_account(house, kind)
        found[kind] = told(await QUESTIONS[question](client, email), email)

    assert len(set(found.values())) == 1, found


@pytest.mark.parametrize("question", ["sign-in with a password", "sign-in with a key"])
async def test_every_kind_is_locked_alike_after_the_same_number_of_failures(make_house: MakeHouse, question: str) -> None:
    house = await make_house(**SMTP)
    found = {}

    for kind in KINDS:
        email = await an_account(house, kind)
        clients = [house.client_at(f"198.51.100.{number}") for number in range(12)]
        found[kind] = [told(await QUESTIONS[question](client, email), email) for client in clients]

    assert len({tuple(answers) for answers in found.values()}) == 1
    assert [status for status, _, _ in found["unknown"]].count(429) == 2


async def test_a_made_up_link_tells_nothing_of_its_account(make_house: MakeHouse) -> None:
    house = await make_house(**SMTP)
    ids = [str(uuid4())]
    for kind in KINDS[1:]:
        email = await an_account(house, kind)
        async with house.begin() as ctx:
            ids.append((await accounts.named(ctx, email)).id)

    for path in ("/api/auth/verifyEmail", "/api/user/verifyNewEmail"):
        answers = [await house.client.get(path, params={"user": each, "code": str(uuid4())}) for each in ids]
        assert len({told(answer, "@") for answer in answers}) == 1
    resets = [
        await house.client.post("/api/auth/resetPassword", json={"userId": each, "token": "0" * 64, "password": PASSWORD})
        for each in ids
    ]
    assert len({told(answer, "@") for answer in resets}) == 1


NO_ADDRESS = (404, {"message": "Email does not exist."})
NO_USER = (404, {"error": "LP-User-404", "status": 404})
WRONG_PASSWORD = (404, {"message": "Incorrect password."})
WRONG_PROOF = (400, {"error": "LP-Invalid-Shared-Secret", "status": 400})


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        (
            "sign-in with a password",
            {"unknown": NO_ADDRESS, "verified": WRONG_PASSWORD, "unverified": WRONG_PASSWORD, "federated": NO_ADDRESS},
        ),
        (
            "sign-in with a key",
            {"unknown": NO_USER, "verified": WRONG_PROOF, "unverified": WRONG_PROOF, "federated": NO_USER},
        ),
        ("key account's hint", {"unknown": NO_USER, "verified": (200, {})}),
        (
            "key account's mail again",
            {
                "unknown": NO_USER,
                "verified": (400, {"error": "LP-Invalid-Body", "status": 400, "message": "email is already verified"}),
                "unverified": (200, {}),
            },
        ),
        (
            "registration of a key",
            {
                "unknown": (201, {}),
                "verified": (400, {"error": "LP-Duplicated", "status": 400, "message": "database: duplicate key"}),
            },
        ),
    ],
)
async def test_the_originals_answers_come_back_when_the_operator_says_so(
    make_house: MakeHouse, question: str, expected: dict[str, tuple[int, Any]]
) -> None:
    house = await make_house(**SMTP, OSTIARY_REVEAL_ACCOUNTS="true")
    found = {}

    for kind in expected:
        email = await an_account(house, kind)
        answer = await QUESTIONS[question](house.client_at("198.51.100.1"), email)
        found[kind] = (answer.status_code, msgspec.json.decode(answer.content))

    assert found == expected
