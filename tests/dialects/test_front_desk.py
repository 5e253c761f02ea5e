"""Which wire answers: by path, by contents, by host name; and what all answers share."""

from __future__ import annotations

import asyncio

import pytest

from ostiary.crypto.desks import Width
from ostiary.crypto.passwords import NOBODY
from tests.conftest import MakeHouse
from tests.house import ORIGIN, House

KEY_BODY = {
    "email": "k@example.org",
    "publicKey": "00" * 32,
    "sharedKey": "00" * 32,
    "parallelism": 3,
    "memory": 65536,
    "iterations": 4,
}
PASSWORD_BODY = {"name": "Ada Lovelace", "email": "a@example.org", "password": "lamp-at-noon", "confirm_password": "lamp-at-noon"}


async def test_a_registration_with_a_key_goes_to_the_key_wire_and_one_with_a_password_to_the_other(house: House) -> None:
    key = await house.client.post("/api/auth/register", json=KEY_BODY)
    password = await house.client.post("/api/auth/register", json=PASSWORD_BODY)

    assert key.json()["error"] == "LP-Invalid-Shared-Secret"
    assert password.json() == {"message": "Please check your email to verify your email address."}


async def test_a_registration_with_both_credentials_is_refused_in_the_password_wires_words(house: House) -> None:
    answer = await house.client.post("/api/auth/register", json={**KEY_BODY, **PASSWORD_BODY})

    assert answer.status_code in {400, 404}
    assert set(answer.json()) == {"message"}


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, "message"),
        ({"Authorization": "Bearer lp_x"}, "error"),
        ({"X-API": "1"}, "error"),
        ({"Authorization": "Bearer x.y.z"}, "message"),
    ],
)
async def test_an_unknown_path_is_answered_in_the_words_of_the_wire_that_it_looks_like(
    house: House, headers: dict[str, str], expected: str
) -> None:
    answer = await house.client.get("/api/nowhere", headers=headers)

    assert answer.status_code == 404
    assert expected in answer.json()


async def test_a_wire_with_a_host_name_of_its_own_is_served_there_alone(make_house: MakeHouse) -> None:
    house = await make_house(OSTIARY_LIBREPASS_HOST="vault.example.org", OSTIARY_ALLOWED_HOSTS="id.example.org")

    there = await house.client.get("/api/auth/preLogin", headers={"Host": "vault.example.org"})
    elsewhere = await house.client.get("/api/auth/preLogin", headers={"Host": "id.example.org"})
    other_there = await house.client.get("/api/config", headers={"Host": "vault.example.org"})

    assert there.status_code == 200
    assert elsewhere.json() == {"message": "Endpoint not found"}
    assert other_there.json()["error"] == "LP-404"


async def test_one_dialect_alone_answers_everything(make_house: MakeHouse) -> None:
    house = await make_house(OSTIARY_DIALECTS="librechat")

    answer = await house.client.post("/api/auth/register", json=KEY_BODY)

    assert "message" in answer.json()


async def test_every_answer_carries_the_shared_headers_and_a_request_id_of_its_own(house: House) -> None:
    one, other = await house.client.get("/api/config"), await house.client.get("/api/nowhere")

    for answer in (one, other):
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-robots-tag"] == "noindex"
    assert one.headers["x-request-id"] != other.headers["x-request-id"]


@pytest.mark.parametrize("origin", ["https://evil.test", "null", f"{ORIGIN}.evil.test", ORIGIN.upper()])
async def test_a_foreign_origin_gets_no_cors_headers_and_no_preflight(house: House, origin: str) -> None:
    plain = await house.client.get("/api/config", headers={"Origin": origin})
    preflight = await house.client.options("/api/auth/login", headers={"Origin": origin, "Access-Control-Request-Method": "POST"})

    assert "access-control-allow-origin" not in plain.headers
    assert plain.headers["vary"] == "Origin"
    assert preflight.status_code == 403


async def test_an_own_origin_may_send_credentials(house: House) -> None:
    preflight = await house.client.options(
        "/api/auth/login",
        headers={"Origin": ORIGIN, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"},
    )

    assert preflight.status_code == 204
    assert preflight.headers["access-control-allow-origin"] == ORIGIN
    assert preflight.headers["access-control-allow-credentials"] == "true"
    assert preflight.headers["access-control-allow-headers"] == "content-type"


@pytest.mark.parametrize("path", ["/api/auth/login", "/api/auth/oauth?grantType=login"])
async def test_a_body_over_the_limit_is_refused_before_it_is_read(house: House, path: str) -> None:
    answer = await house.client.post(path, content=b"x" * 10_000_000, headers={"Content-Type": "application/json"})

    assert answer.status_code == 413
    assert answer.json()


async def test_metrics_are_for_this_machine_alone(house: House) -> None:
    here = await house.client.get("/metrics")
    elsewhere = await house.client_at("203.0.113.9").get("/metrics")
    forwarded = await house.client.get("/metrics", headers={"X-Forwarded-For": "203.0.113.9"})

    assert "ostiary_events_total" in here.text
    assert elsewhere.status_code == 403
    assert forwarded.status_code == 403


async def test_metrics_with_a_token_are_for_its_bearer_alone(make_house: MakeHouse) -> None:
    house = await make_house(OSTIARY_METRICS_TOKEN="m" * 32)

    assert (await house.client.get("/metrics")).status_code == 403
    assert (await house.client.get("/metrics", headers={"Authorization": "Bearer " + "m" * 32})).status_code == 200


async def test_the_metrics_tell_what_waits_to_be_hashed_and_how_full_the_lanes_are(house: House) -> None:
    hasher = house.services.hasher
    setting = b"$2b$10$CCCCCCCCCCCCCCCCCCCCC."
    asked = [asyncio.create_task(hasher.hash(b"x", setting, NOBODY)) for _ in range(hasher.threads * Width.lanes + 1)]
    await asyncio.sleep(0)

    busy = (await house.client.get("/metrics")).text
    await asyncio.gather(*asked)
    done = {
        line.split()[0]: float(line.split()[1])
        for line in (await house.client.get("/metrics")).text.splitlines()
        if line[0] != "#"
    }

    assert f"ostiary_hashing_waiting {len(asked)}.0" in busy
    assert f"ostiary_hashing_running {len(asked) - 1}.0" in busy
    assert (done["ostiary_hashing_waiting"], done["ostiary_hashing_running"]) == (0, 0)
    assert done["ostiary_hashing_lane_seconds"] >= done["ostiary_hashing_thread_seconds"] > 0


async def test_health_live_and_ready_say_what_they_see(house: House) -> None:
    health, live, ready = [await house.client.get(path) for path in ("/health", "/livez", "/readyz")]

    assert (health.status_code, health.text) == (200, "OK")
    assert live.status_code == 200
    assert ready.json() == {"status": "ready", "database": {"ok": True}, "limits": {"ok": True}}
