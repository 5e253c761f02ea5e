"""The extension with which an owner sees and ends sessions, on LibreChat's wire."""

from __future__ import annotations

from tests.house import House

FIELDS = {"name": "Ada Lovelace", "email": "ada@example.org", "password": "lamp-at-noon", "confirm_password": "lamp-at-noon"}
LOGIN = {"email": "ada@example.org", "password": "lamp-at-noon"}
PATH = "/api/auth/sessions"


async def _bearer(house: House, address: str) -> dict[str, str]:
    answer = await house.client_at(address, **{"User-Agent": f"browser at {address}"}).post("/api/auth/login", json=LOGIN)
    return {"Authorization": f"Bearer {answer.json()['token']}"}


async def test_an_owner_lists_the_sessions_and_ends_one_with_its_access_token(house: House) -> None:
    await house.client.post("/api/auth/register", json=FIELDS)
    here, there = await _bearer(house, "127.0.0.1"), await _bearer(house, "203.0.113.9")

    listed = (await house.client.get(PATH, headers=here)).json()
    other = next(session for session in listed if not session["current"])
    ended = await house.client.delete(f"{PATH}/{other['id']}", headers=here)

    assert [session["address"] for session in listed if session["current"]] == ["127.0.0.1"]
    assert (other["address"], other["userAgent"]) == ("203.0.113.9", "browser at 203.0.113.9")
    assert ended.json() == {"message": "Session ended"}
    assert (await house.client.get("/api/user", headers=there)).status_code == 401
    assert (await house.client.get("/api/user", headers=here)).status_code == 200


async def test_nobody_ends_a_strangers_session_or_one_that_is_not(house: House) -> None:
    await house.client.post("/api/auth/register", json=FIELDS)
    await house.client.post("/api/auth/register", json={**FIELDS, "email": "eve@example.org"})
    ada = await _bearer(house, "127.0.0.1")
    session = (await house.client.get(PATH, headers=ada)).json()[0]["id"]
    answer = await house.client.post("/api/auth/login", json={**LOGIN, "email": "eve@example.org"})
    eve = {"Authorization": f"Bearer {answer.json()['token']}"}

    strangers = await house.client.delete(f"{PATH}/{session}", headers=eve)
    nobodys = await house.client.delete(f"{PATH}/nothing", headers=ada)
    nameless = await house.client.get(PATH)

    assert (strangers.status_code, nobodys.status_code, nameless.status_code) == (404, 404, 401)
    assert (await house.client.get("/api/user", headers=ada)).status_code == 200
