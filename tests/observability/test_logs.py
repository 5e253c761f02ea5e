"""One event per outcome, the same keys everywhere, and nothing in it that gives access."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.conftest import MakeHouse

CANARY = "canary-Passw0rd-7f3a"
EMAIL = "canary.address@example.org"
FIELDS = {"name": "Ada Lovelace", "email": EMAIL, "password": CANARY, "confirm_password": CANARY}


def _events(written: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in written.splitlines()]


async def test_each_outcome_is_one_json_line_with_account_address_and_request_id(
    make_house: MakeHouse, capsys: pytest.CaptureFixture[str]
) -> None:
    house = await make_house(OSTIARY_LOG_FORMAT="json", OSTIARY_LOG_LEVEL="info")

    await house.client.post("/api/auth/register", json=FIELDS)
    answer = await house.client.post("/api/auth/login", json={"email": EMAIL, "password": CANARY})
    refused = await house.client.post("/api/auth/login", json={"email": EMAIL, "password": "wrong-password"})

    by_event = {event["event"]: event for event in _events(capsys.readouterr().err)}
    signed_in, sign_in_refused = by_event["account:sign_in:succeeded"], by_event["account:sign_in:refused"]
    assert signed_in["account"] == answer.json()["user"]["id"]
    assert signed_in["address"] == "127.0.0.1"
    assert signed_in["request_id"] == answer.headers["x-request-id"]
    assert (sign_in_refused["level"], sign_in_refused["reason"]) == ("warning", "mismatch")
    assert sign_in_refused["request_id"] == refused.headers["x-request-id"]


async def test_no_secret_and_no_whole_address_reaches_the_log(make_house: MakeHouse, capsys: pytest.CaptureFixture[str]) -> None:
    house = await make_house(OSTIARY_LOG_FORMAT="json", OSTIARY_LOG_LEVEL="debug")

    await house.client.post("/api/auth/register", json=FIELDS)
    answer = await house.client.post("/api/auth/login", json={"email": EMAIL, "password": CANARY})
    await house.client.post("/api/auth/login", json={"email": EMAIL, "password": CANARY + "x"})
    await house.client.post("/api/auth/requestPasswordReset", json={"email": EMAIL})
    await house.client.post("/api/auth/register", json={**FIELDS, "confirm_password": CANARY + "y"})
    await house.client.post("/api/auth/refresh")
    await house.mails()

    written = capsys.readouterr().err
    cookie = answer.headers["set-cookie"].partition("refreshToken=")[2].partition(";")[0]
    assert written
    for secret in (CANARY, EMAIL, answer.json()["token"], cookie):
        assert secret not in written


async def test_logs_can_be_readable_instead(make_house: MakeHouse, capsys: pytest.CaptureFixture[str]) -> None:
    house = await make_house(OSTIARY_LOG_FORMAT="readable", OSTIARY_LOG_LEVEL="info")

    await house.client.post("/api/auth/register", json=FIELDS)

    written = capsys.readouterr().err
    assert "account:registered" in written
    assert not written.startswith("{")
