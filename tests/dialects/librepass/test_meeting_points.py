"""Where both wires know a path, what is presented decides (contract, "Both wires on one origin")."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conftest import MakeHouse
from tests.dialects.librepass.owner import DEFAULTS, EMAIL, Owner, enrolled, owner, public_hex, refused, shared_hex, signed_in
from tests.house import House

PASSWORD_ACCOUNT = {"name": "Somebody", "email": "p@example.com", "password": "lamp-at-noon", "confirm_password": "lamp-at-noon"}


async def jwt_of(house: House, email: str = "p@example.com") -> str:
    """The access token of a password account."""
    assert (await house.client.post("/api/auth/register", json={**PASSWORD_ACCOUNT, "email": email})).status_code == 200
    answer = await house.client.post("/api/auth/login", json={"email": email, "password": "lamp-at-noon"})
    return str(answer.json()["token"])


async def test_each_body_registers_at_its_own_wire_without_any_header(house: House) -> None:
    someone = owner(house)
    someone.headers = {}

    key = await someone.register()
    password = await house.client.post("/api/auth/register", json=PASSWORD_ACCOUNT)

    assert (key.status_code, key.content) == (201, b"{}")
    assert password.status_code == 200
    assert "message" in password.json()


async def test_a_body_with_both_credentials_is_refused_in_librechats_words(house: House) -> None:
    someone = owner(house)
    server_key = await someone.server_key()
    keys = {"publicKey": public_hex(someone.key), "sharedKey": shared_hex(someone.key, server_key), **DEFAULTS}

    answer = await house.client.post("/api/auth/register", json={**PASSWORD_ACCOUNT, **keys}, headers={"X-API": "1"})

    assert 400 <= answer.status_code < 500
    assert "error" not in answer.json()
    assert refused(await someone.login(email="p@example.com"))[0] == 400


@pytest.mark.parametrize(
    ("headers", "is_key_wire"),
    [({}, False), ({"X-API": "1"}, True), ({"Authorization": "Bearer lp_x"}, True), ({"Authorization": "Bearer eyJ"}, False)],
)
@pytest.mark.parametrize("target", ["/api/nothing", "/api/user/nothing", "/api/auth/nothing"])
async def test_an_unknown_path_sounds_like_the_wire_that_it_looks_like(
    house: House, target: str, headers: dict[str, str], *, is_key_wire: bool
) -> None:
    answer = await house.client.get(target, headers=headers)

    assert answer.status_code == 404
    assert ("error" in answer.json()) == is_key_wire


BODIES = [{"sharedKey": "00" * 32}, {"publicKey": "x"}, {"token": "000000"}, {}]
# An access token with the other two bodies is the other wire's own call.
MIXED = [(bearer, body) for bearer in ("key", "jwt", "none") for body in (BODIES if bearer != "jwt" else BODIES[:2])]


@pytest.mark.parametrize(("bearer", "body"), MIXED)
async def test_deleting_with_somebody_elses_means_deletes_nothing(house: House, body: dict[str, str], bearer: str) -> None:
    """A key with the other wire's body, an access token with this wire's body, and no token at all."""
    someone, token = await signed_in(house), await jwt_of(house)
    headers = {"key": {"Authorization": f"Bearer {someone.token}"}, "jwt": {"Authorization": f"Bearer {token}"}, "none": {}}[
        bearer
    ]

    answer = await house.client.request("DELETE", "/api/user/delete", json=body, headers=headers)

    assert answer.status_code in {400, 401}
    assert (await someone.sync()).status_code == 200
    assert (await house.client.get("/api/user", headers={"Authorization": f"Bearer {token}"})).status_code == 200


async def test_each_wire_deletes_its_own_account(house: House) -> None:
    someone, token = await signed_in(house), await jwt_of(house)
    someone.headers = {}

    assert (await someone.delete()).content == b"{}"
    answer = await house.client.request("DELETE", "/api/user/delete", json={}, headers={"Authorization": f"Bearer {token}"})

    assert answer.status_code == 200
    assert "message" in answer.json()


async def test_a_key_is_no_access_token_and_an_access_token_no_key(house: House) -> None:
    someone, token = await signed_in(house), await jwt_of(house)

    for target in ("/api/user", "/api/user/terms"):
        assert (await someone.get(target)).status_code == 401
    assert (await someone.post("/api/auth/2fa/enable", {})).status_code == 401
    other = Owner(house.client, token=token)
    assert refused(await other.get("/api/cipher")) == (401, "LP-Invalid-Token")
    assert refused(await other.post("/api/user/setup/2fa", {})) == (401, "LP-Invalid-Token")


async def test_a_pending_key_answers_no_sign_in_of_the_other_wire(house: House) -> None:
    _, app, _ = await enrolled(house)
    halfway = owner(house)
    await halfway.login()

    answer = await house.client.post("/api/auth/2fa/verify-temp", json={"tempToken": halfway.token, "token": app.code()})

    assert answer.status_code == 401
    assert (await halfway.answer(app.code())).status_code == 200


@pytest.mark.parametrize("first", ["key", "password"])
async def test_one_address_has_one_owner_over_both_wires(house: House, first: str) -> None:
    someone = owner(house)

    async def register(kind: str) -> Any:
        if kind == "key":
            return await someone.register()
        return await house.client.post("/api/auth/register", json={**PASSWORD_ACCOUNT, "email": EMAIL})

    await register(first)
    await register("password" if first == "key" else "key")

    key = await someone.login()
    password = await house.client.post("/api/auth/login", json={"email": EMAIL, "password": "lamp-at-noon"})
    assert [key.status_code == 200, password.status_code == 200] == [first == "key", first == "password"]


async def test_one_wire_alone_answers_everything_in_its_words(make_house: MakeHouse) -> None:
    house = await make_house(OSTIARY_DIALECTS="librepass")

    assert refused(await house.client.post("/api/auth/login", json={})) == (404, "LP-404")
    assert refused(await house.client.post("/api/auth/register", json={})) == (400, "LP-Invalid-Body")
    assert refused(await house.client.get("/nothing")) == (404, "LP-404")
    assert (await signed_in(house)).token


async def test_a_wire_with_a_host_of_its_own_is_on_no_other(make_house: MakeHouse) -> None:
    house = await make_house(OSTIARY_LIBREPASS_HOST="pass.example.org")
    there = {"host": "pass.example.org:3080"}

    assert (await house.client.get("/api/auth/preLogin", headers=there)).status_code == 200
    assert refused(await house.client.post("/api/auth/login", json={}, headers=there)) == (404, "LP-404")
    elsewhere = await house.client.get("/api/auth/preLogin")
    assert (elsewhere.status_code, "error" in elsewhere.json()) == (404, False)
    keys = {"publicKey": "00" * 32, "sharedKey": "00" * 32, "email": EMAIL, **DEFAULTS}
    assert "error" not in (await house.client.post("/api/auth/register", json=keys)).json()
    assert refused(await house.client.post("/api/auth/register", json=keys, headers=there))[1] == "LP-Invalid-Shared-Secret"


async def test_the_other_wire_with_a_host_of_its_own_leaves_the_rest_to_this_one(make_house: MakeHouse) -> None:
    house = await make_house(OSTIARY_LIBRECHAT_HOST="chat.example.org")
    someone = owner(house)
    someone.headers = {}

    assert (await someone.register()).status_code == 201
    assert refused(await house.client.post("/api/auth/login", json={})) == (404, "LP-404")
    chat = await house.client.post("/api/auth/register", json=PASSWORD_ACCOUNT, headers={"host": "chat.example.org"})
    assert chat.status_code == 200


@pytest.mark.parametrize("origin", ["http://127.0.0.1:3080", "https://app.example.org"])
async def test_pages_of_known_origins_may_call(make_house: MakeHouse, origin: str) -> None:
    """The web client's content type forces a pre-flight on every call (librepass-wire 2)."""
    house = await make_house(CORS_ALLOWED_ORIGINS="https://app.example.org")
    asked = {
        "origin": origin,
        "access-control-request-method": "PATCH",
        "access-control-request-headers": "authorization,content-type",
    }

    flight = await house.client.options("/api/user/password", headers=asked)
    answer = await house.client.get("/api/auth/preLogin", headers={"origin": origin})

    assert flight.status_code in {200, 204}
    assert "PATCH" in flight.headers["access-control-allow-methods"]
    assert flight.headers["access-control-allow-headers"] == "authorization,content-type"
    assert flight.headers["access-control-max-age"] == "1800"
    assert answer.headers["access-control-allow-origin"] == origin
    refusal = await house.client.options("/api/user/password", headers={**asked, "origin": "https://evil.example"})
    assert refused_origin(refusal)


def refused_origin(answer: Any) -> bool:
    return (
        answer.status_code == 403
        and "access-control-allow-origin" not in answer.headers
        and isinstance(answer.json()["error"], str)
    )
