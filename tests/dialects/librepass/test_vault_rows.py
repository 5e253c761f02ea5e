"""The vault: opaque rows of hex, the owner's alone, written whole or not at all (librepass-wire 9)."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from tests.conftest import MakeHouse
from tests.dialects.librepass.owner import (
    INVALID_BODY,
    INVALID_CIPHER,
    Owner,
    enrolled,
    refused,
    signed_in,
)
from tests.house import House

GONE = (404, "LP-Cipher-404")
NO_COLLECTION = (404, "LP-Collection-404")


async def put(someone: Owner, **members: Any) -> dict[str, Any]:
    """Store a row; what was sent."""
    row = someone.row(**members)
    answer = await someone.call("PUT", "/api/cipher", row)
    assert (answer.status_code, answer.json()) == (201, {"id": row["id"]}), answer.text
    return row


async def test_a_row_is_read_as_it_was_written(house: House) -> None:
    someone = await signed_in(house)
    row = await put(someone, type=2, collection=str(uuid4()), favorite=True, rePrompt=True, protectedData="ABcd01")

    assert (await someone.get(f"/api/cipher/{row['id']}")).json() == row
    assert (await someone.get("/api/cipher")).json() == [row]
    assert (await someone.sync()).json() == {"ids": [row["id"]], "ciphers": [row]}
    assert (await someone.get("/api/cipher/sync?lastSync=0")).json() == {"ids": [row["id"]], "ciphers": [row]}


async def test_a_row_in_no_collection_has_no_such_member(house: House) -> None:
    someone = await signed_in(house)
    row = await put(someone)

    answer = await someone.get(f"/api/cipher/{row['id']}")

    assert answer.json() == row
    assert b"null" not in answer.content


async def test_moments_that_the_client_leaves_out_are_now(house: House) -> None:
    someone = await signed_in(house)
    row = await put(someone, created=None, lastModified=None, favorite=None, rePrompt=None)

    found = (await someone.get(f"/api/cipher/{row['id']}")).json()

    assert found["created"] == found["lastModified"] == house.clock.now // 1_000_000
    assert found["favorite"] is found["rePrompt"] is False


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
async def test_writing_a_row_again_replaces_it(house: House, method: str) -> None:
    """As PATCH, the id in the path is not looked at (librepass-wire 9.1)."""
    someone = await signed_in(house)
    row = await put(someone, favorite=True)
    target = "/api/cipher" if method == "PUT" else f"/api/cipher/{uuid4()}"

    answer = await someone.call(method, target, {**row, "protectedData": "0102", "favorite": False})

    assert (answer.status_code, answer.json()) == (201, {"id": row["id"]})
    assert (await someone.get("/api/cipher")).json() == [{**row, "protectedData": "0102", "favorite": False}]


async def test_a_deleted_row_is_gone(house: House) -> None:
    someone = await signed_in(house)
    row = await put(someone)

    answer = await someone.call("DELETE", f"/api/cipher/{row['id']}")

    assert (answer.status_code, answer.json()) == (200, {"id": row["id"]})
    for method in ("GET", "DELETE"):
        assert refused(await someone.call(method, f"/api/cipher/{row['id']}")) == GONE
    assert (await someone.sync()).json() == {"ids": [], "ciphers": []}


async def test_a_strangers_row_is_no_row(house: House) -> None:
    """The original let anybody who learned an id overwrite its row (librepass-wire 20, W28)."""
    someone, stranger = await signed_in(house), await signed_in(house, "stranger@example.com")
    row = await put(someone)

    assert refused(await stranger.get(f"/api/cipher/{row['id']}")) == GONE
    assert refused(await stranger.call("DELETE", f"/api/cipher/{row['id']}")) == GONE
    assert refused(await stranger.call("PUT", "/api/cipher", row)) == INVALID_CIPHER
    assert (await stranger.sync(deleted=[row["id"]])).status_code == 200
    mine = await put(stranger, id=row["id"], protectedData="aaaa")
    assert (await stranger.get("/api/cipher")).json() == [mine]
    assert (await someone.get("/api/cipher")).json() == [row]


@pytest.mark.parametrize(
    "members",
    [
        {"protectedData": ""},
        {"protectedData": "xy"},
        {"protectedData": "00 ff"},
        {"protectedData": "0٣"},
        {"protectedData": "00" * 40_000},
        {"owner": "7d8f4a3e-0000-4000-8000-000000000000"},
        {"type": -1},
        {"type": 2**31},
        {"created": -1},
        {"lastModified": 2**63},
    ],
    ids=lambda members: f"{members}"[:40],
)
async def test_a_row_that_breaks_a_rule_of_form_is_not_written(house: House, members: dict[str, Any]) -> None:
    someone = await signed_in(house)
    row = someone.row(**members)

    answer = await someone.call("PUT", "/api/cipher", row)

    assert refused(answer) == INVALID_CIPHER
    assert answer.json()["message"] == "validation failed"
    assert refused(await someone.sync(updated=[someone.row(), row])) == INVALID_CIPHER
    assert (await someone.get("/api/cipher")).json() == []


@pytest.mark.parametrize(
    "members", [{"id": "x"}, {"owner": "x"}, {"collection": "x"}, {"favorite": 1}, {"type": "0"}, {"created": 1.5}]
)
async def test_a_row_of_wrong_types_is_not_readable(house: House, members: dict[str, Any]) -> None:
    someone = await signed_in(house)

    assert refused(await someone.call("PUT", "/api/cipher", someone.row(**members))) == INVALID_BODY


async def test_an_id_is_one_row_in_either_case(house: House) -> None:
    someone = await signed_in(house)
    row = await put(someone)
    again = await someone.call("PUT", "/api/cipher", {**row, "id": row["id"].upper(), "protectedData": "0a"})

    assert again.json() == {"id": row["id"]}
    assert [found["protectedData"] for found in (await someone.get("/api/cipher")).json()] == ["0a"]
    assert (await someone.get(f"/api/cipher/{row['id'].upper()}")).status_code == 200


async def test_sync_deletes_then_writes_then_answers(house: House) -> None:
    someone = await signed_in(house)
    old, kept = await put(someone), await put(someone)
    new = someone.row()

    answer = (await someone.sync(updated=[new, {**kept, "favorite": True}], deleted=[old["id"], str(uuid4())])).json()

    assert set(answer["ids"]) == {new["id"], kept["id"]}
    assert {row["id"]: row["favorite"] for row in answer["ciphers"]} == {new["id"]: False, kept["id"]: True}


async def test_sync_sends_what_was_written_since_by_the_servers_clock(house: House) -> None:
    """A row written in the same second as the last look is sent again rather than lost; ids are always all of them."""
    someone = await signed_in(house)
    old = await put(someone, lastModified=4_000_000_000)
    house.clock.advance(60)
    seen = house.clock.now // 1_000_000
    new = await put(someone, lastModified=1)

    for answer in (await someone.sync(since=seen), await someone.get(f"/api/cipher/sync?lastSync={seen}")):
        assert set(answer.json()["ids"]) == {old["id"], new["id"]}
        assert [row["id"] for row in answer.json()["ciphers"]] == [new["id"]]
    assert (await someone.sync(since=seen + 1)).json()["ciphers"] == []


async def test_one_bad_row_keeps_the_whole_sync_from_being_written(house: House) -> None:
    someone = await signed_in(house)
    row = await put(someone)

    foreign = someone.row(owner=str(uuid4()))
    assert refused(await someone.sync(updated=[someone.row(), foreign], deleted=[row["id"]])) == INVALID_CIPHER
    assert refused(await someone.sync(updated=[{**row, "protectedData": "01"}, {**row, "protectedData": "02"}])) == INVALID_CIPHER

    assert (await someone.get("/api/cipher")).json() == [row]


async def test_the_row_limit_counts_new_rows(make_house: MakeHouse) -> None:
    house = await make_house(LIMIT_USER_CIPHERS="2")
    someone = await signed_in(house)
    first, second = await put(someone), await put(someone)

    alone = await someone.call("PUT", "/api/cipher", someone.row())
    synced = await someone.sync(updated=[first, someone.row()])

    assert (refused(alone), alone.json()["message"]) == (INVALID_CIPHER, "validation failed")
    assert (refused(synced), synced.json()["message"]) == (INVALID_CIPHER, "current ciphers limit per user is 2")
    assert (await someone.call("PUT", "/api/cipher", {**second, "favorite": True})).status_code == 201
    swapped = await someone.sync(updated=[someone.row()], deleted=[first["id"]])
    assert swapped.status_code == 200
    assert len(swapped.json()["ids"]) == 2


async def test_a_lowered_limit_still_lets_an_owner_edit(make_house: MakeHouse, house: House) -> None:
    someone = await signed_in(house)
    rows = [await put(someone) for _ in range(3)]
    lower = await make_house(LIMIT_USER_CIPHERS="1")
    there = Owner(lower.client, token=someone.token, id=someone.id)

    assert (await there.call("PUT", "/api/cipher", {**rows[0], "favorite": True})).status_code == 201
    assert refused(await there.call("PUT", "/api/cipher", there.row())) == INVALID_CIPHER


@pytest.mark.parametrize("since", ["", "x", "-1", "1.5", "٣", "9" * 30])
async def test_sync_by_query_needs_whole_seconds(house: House, since: str) -> None:
    someone = await signed_in(house)

    assert refused(await someone.get(f"/api/cipher/sync?lastSync={since}")) == INVALID_BODY
    assert (await someone.get("/api/cipher/sync")).json()["message"] == "missing parameter"


async def test_an_icon_is_never_fetched(house: House) -> None:
    assert refused(await house.client.get("/api/cipher/icon?domain=example.com")) == (404, "LP-404")


async def test_a_collection_is_made_renamed_listed_and_deleted(house: House) -> None:
    someone = await signed_in(house)
    made = await someone.call("PUT", "/api/collection", {"name": "Work"})
    collection_id = made.json()["id"]
    house.clock.advance(10)

    renamed = await someone.call("PUT", "/api/collection", {"id": collection_id, "name": "Wörk 🔐"})

    assert (made.status_code, renamed.status_code, renamed.json()) == (201, 201, {"id": collection_id})
    now = house.clock.now // 1_000_000
    expected = {"id": collection_id, "name": "Wörk 🔐", "owner": someone.id, "created": now - 10, "lastModified": now}
    assert (await someone.get("/api/collection")).json() == [expected]
    assert (await someone.get(f"/api/collection/{collection_id}")).json() == expected
    gone = await someone.call("DELETE", f"/api/collection/{collection_id}")
    assert (gone.status_code, gone.json()) == (200, {"id": collection_id})
    for method in ("GET", "DELETE"):
        assert refused(await someone.call(method, f"/api/collection/{collection_id}")) == NO_COLLECTION


async def test_a_strangers_collection_is_none(house: House) -> None:
    someone, stranger = await signed_in(house), await signed_in(house, "stranger@example.com")
    collection_id = (await someone.call("PUT", "/api/collection", {"name": "Work"})).json()["id"]

    assert (await stranger.call("PUT", "/api/collection", {"id": collection_id, "name": "Mine"})).status_code == 201
    assert refused(await signed_out_look(stranger, collection_id)) == (401, "LP-Invalid-Token")
    assert (await someone.get(f"/api/collection/{collection_id}")).json()["name"] == "Work"


async def signed_out_look(someone: Owner, collection_id: str) -> Any:
    return await Owner(someone.client).get(f"/api/collection/{collection_id}")


async def test_a_collections_name_has_32_characters_at_most(house: House) -> None:
    someone = await signed_in(house)

    answer = await someone.call("PUT", "/api/collection", {"name": "x" * 33})

    assert refused(answer) == (400, "LP-Invalid-Collection")
    assert answer.json()["message"] == "name is too long"
    assert (await someone.call("PUT", "/api/collection", {"name": "x" * 32})).status_code == 201


async def test_collections_are_limited_like_rows(make_house: MakeHouse) -> None:
    someone = await signed_in(await make_house(LIMIT_USER_CIPHERS="1"))
    first = (await someone.call("PUT", "/api/collection", {"name": "one"})).json()["id"]

    assert refused(await someone.call("PUT", "/api/collection", {"name": "two"})) == (400, "LP-Invalid-Collection")
    assert (await someone.call("PUT", "/api/collection", {"id": first, "name": "two"})).status_code == 201


async def test_the_vault_goes_with_its_account(house: House) -> None:
    someone = await signed_in(house)
    await put(someone)
    await someone.call("PUT", "/api/collection", {"name": "Work"})
    assert (await someone.delete()).status_code == 200

    anew = await signed_in(house)

    assert (await anew.get("/api/cipher")).json() == []
    assert (await anew.get("/api/collection")).json() == []


async def test_the_vault_is_closed_to_a_key_that_owes_a_factor(house: House) -> None:
    someone, app, _ = await enrolled(house)
    row = await put(someone)
    halfway = Owner(house.client)
    await halfway.login()

    assert refused(await halfway.get(f"/api/cipher/{row['id']}")) == (401, "LP-Invalid-Token")
    await halfway.answer(app.code())
    assert (await halfway.get(f"/api/cipher/{row['id']}")).json() == row


async def test_a_vault_call_may_be_large_and_others_not(house: House) -> None:
    someone = await signed_in(house)
    rows = [someone.row(protectedData="ab" * 2000) for _ in range(100)]

    assert len((await someone.sync(updated=rows)).json()["ids"]) == 100
    large = await someone.post("/api/user/setup/2fa", {"sharedKey": "x" * 100_000})
    assert refused(large) == (413, "LP-Invalid-Body")
