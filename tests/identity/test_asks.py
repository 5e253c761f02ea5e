"""A stranger's request for mail leaves one row of one shape, whoever the address belongs to."""

from __future__ import annotations

import pytest
from sqlalchemy import func, select

from ostiary.storage.statements import Query
from ostiary.storage.tables import audit_events, links, outbox
from tests.house import House

KNOWN, UNKNOWN = "ada@example.org", "nobody@example.org"
REGISTRATION = {"name": "Ada Lovelace", "email": KNOWN, "password": "lamp-at-noon", "confirm_password": "lamp-at-noon"}
COUNTS = {table.name: Query(int, select(func.count()).select_from(table)) for table in (outbox, audit_events, links)}


async def _counts(house: House) -> dict[str, int | None]:
    async with house.begin() as ctx:
        return {name: await ctx.db.one(query) for name, query in COUNTS.items()}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/auth/requestPasswordReset"),
        ("POST", "/api/user/verify/resend"),
        ("GET", "/api/auth/passwordHint"),
        ("GET", "/api/auth/resendVerificationEmail"),
    ],
)
@pytest.mark.parametrize("email", [KNOWN, UNKNOWN])
async def test_a_request_writes_one_row_and_looks_nobody_up(house: House, method: str, path: str, email: str) -> None:
    await house.client.post("/api/auth/register", json=REGISTRATION)
    before = await _counts(house)

    if method == "POST":
        answer = await house.client.post(path, json={"email": email})
    else:
        answer = await house.client.get(path, params={"email": email})

    after = await _counts(house)
    assert answer.status_code == 200
    assert {name: (after[name] or 0) - (before[name] or 0) for name in COUNTS} == {"outbox": 1, "audit_events": 0, "links": 0}


async def test_only_an_address_with_an_account_gets_mail(house: House) -> None:
    await house.client.post("/api/auth/register", json=REGISTRATION)

    for email in (KNOWN, UNKNOWN):
        await house.client.post("/api/auth/requestPasswordReset", json={"email": email})

    assert [mail["To"] for mail in await house.mails()] == [f"Ada Lovelace <{KNOWN}>"]
