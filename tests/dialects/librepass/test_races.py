"""Races: of many callers at the same moment exactly one gets what there is once, and nothing is left half done."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import httpx
import pytest

from tests.conftest import MakeHouse
from tests.dialects.librepass.owner import (
    EMAIL,
    SMTP,
    Authenticator,
    Owner,
    enrolled,
    flipped,
    link_of,
    owing,
    owner,
    refused,
    registered,
    signed_in,
)
from tests.house import House

MANY = 32


async def halfway(house: House) -> list[Owner]:
    """Many sign-ins of one account that owe a factor."""
    return [await owing(house, address=f"10.0.0.{n}") for n in range(MANY)]


def statuses(answers: list[httpx.Response]) -> Counter[int]:
    assert all(answer.status_code < 500 for answer in answers), [answer.text for answer in answers]
    return Counter(answer.status_code for answer in answers)


async def test_one_recovery_code_signs_in_once_of_many(make_house: MakeHouse) -> None:
    house = await make_house(LOCKOUT="off")
    _, _, recovery = await enrolled(house)
    pending = await halfway(house)

    answers = await asyncio.gather(*(someone.answer(recovery) for someone in pending))

    assert statuses(answers)[200] == 1
    alive = await asyncio.gather(*(someone.sync() for someone in pending))
    assert statuses(alive)[200] == 1


async def test_one_code_signs_in_once_of_many(make_house: MakeHouse) -> None:
    house = await make_house(LOCKOUT="off")
    _, app, _ = await enrolled(house)
    pending = await halfway(house)

    answers = await asyncio.gather(*(someone.answer(app.code()) for someone in pending))

    assert statuses(answers)[200] == 1


async def test_one_pending_sign_in_becomes_one_session(make_house: MakeHouse) -> None:
    """Two right answers to one challenge: the recovery code and the authenticator's code."""
    house = await make_house(LOCKOUT="off")
    _, app, recovery = await enrolled(house)
    someone = await owing(house)

    await asyncio.gather(*(someone.answer(code) for code in (app.code(), recovery) * 8))

    listed = (await someone.get("/api/auth/sessions")).json()
    assert len([session for session in listed if session["current"]]) == 1


async def test_guesses_at_one_second_factor_are_counted_before_they_are_looked_at(house: House) -> None:
    _, app, _ = await enrolled(house)
    pending = await halfway(house)

    answers = await asyncio.gather(*(someone.answer(app.wrong_code()) for someone in pending))

    assert statuses(answers)[400] == 10


async def test_one_address_is_registered_once_of_many(house: House) -> None:
    async def attempt(n: int) -> httpx.Response:
        someone = owner(house, address=f"10.0.0.{n}")
        someone.password = f"password {n}"
        return await someone.register()

    answers = await asyncio.gather(*(attempt(n) for n in range(MANY)))

    assert statuses(answers)[201] == 1


@pytest.mark.parametrize("call", ["change_password", "change_email"])
async def test_many_changes_at_once_leave_one_key_and_its_vault(house: House, call: str) -> None:
    """Whoever loses finds the session ended, or the key another, and never a vault under two keys."""
    someone = await signed_in(house)
    rows = [someone.row() for _ in range(5)]
    await someone.sync(updated=rows)
    clients = [owner(house, address=f"10.0.0.{n}") for n in range(8)]
    for client in clients:
        assert (await client.login()).status_code == 200

    async def attempt(n: int, client: Owner) -> httpx.Response:
        listed = [{"id": row["id"], "data": f"{n:02x}"} for row in rows]
        if call == "change_email":
            return await client.change_email(f"new{n}@example.com", listed)
        return await client.change_password(f"new {n}", listed)

    answers = await asyncio.gather(*(attempt(n, client) for n, client in enumerate(clients)))

    counted = statuses(answers)
    assert (counted[200], counted[400] + counted[401]) == (1, 7)
    winner = next(n for n, answer in enumerate(answers) if answer.status_code == 200)
    again = owner(house, f"new{winner}@example.com") if call == "change_email" else owner(house)
    again.password = f"new {winner}" if call == "change_password" else again.password
    assert (await again.login()).status_code == 200
    assert {row["protectedData"] for row in (await again.get("/api/cipher")).json()} == {f"{winner:02x}"}


async def test_a_row_written_while_the_key_changes_is_not_lost_under_the_old_key(house: House) -> None:
    """Either it was in the change, or it was refused: never a row that nobody can read."""
    someone = await signed_in(house)
    rows = [someone.row() for _ in range(3)]
    await someone.sync(updated=rows)
    writers = [owner(house, address=f"10.0.0.{n}") for n in range(8)]
    for writer in writers:
        assert (await writer.login()).status_code == 200
    listed = [{"id": row["id"], "data": "beef"} for row in rows]

    change, *writes = await asyncio.gather(
        someone.change_password("another", listed), *(writer.call("PUT", "/api/cipher", writer.row()) for writer in writers)
    )

    statuses([change, *writes])
    if change.status_code == 200:
        await someone.login()
        assert {row["protectedData"] for row in (await someone.get("/api/cipher")).json()} == {"beef"}
        assert all(write.status_code == 401 for write in writes)
    else:
        assert refused(change)[1] == "LP-Missing-Cipher"


async def test_two_accounts_asking_for_one_address_get_it_once(house: House) -> None:
    people = [await signed_in(house, f"p{n}@example.com") for n in range(6)]

    answers = await asyncio.gather(*(someone.change_email("wanted@example.com") for someone in people))

    # On PostgreSQL a loser may be asked to try again, and then finds the address taken.
    assert Counter(answer.status_code for answer in answers)[200] == 1
    for someone, answer in zip(people, answers, strict=True):
        if answer.status_code != 200:
            assert refused(answer)[0] in {400, 503}
            assert refused(await someone.change_email("wanted@example.com"))[1] == "LP-Duplicated"


async def test_the_row_limit_holds_against_many_writers(make_house: MakeHouse) -> None:
    house = await make_house(LIMIT_USER_CIPHERS="5")
    someone = await signed_in(house)

    answers = await asyncio.gather(*(someone.call("PUT", "/api/cipher", someone.row()) for _ in range(MANY)))

    assert statuses(answers) == {201: 5, 400: MANY - 5}
    assert len((await someone.get("/api/cipher")).json()) == 5


async def test_a_set_up_race_leaves_one_factor(house: House) -> None:
    someone = await signed_in(house)
    other = owner(house)
    await other.login()
    apps = [Authenticator(house.clock), Authenticator(house.clock, "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ")]

    answers = list(await asyncio.gather(someone.set_up(apps[0]), other.set_up(apps[1])))

    assert statuses(answers)[200] == 1
    winner = apps[[answer.status_code for answer in answers].index(200)]
    house.clock.advance(60)
    assert (await (await owing(house)).answer(winner.code())).status_code == 200


async def test_a_sign_in_racing_a_password_change_leaves_no_key_behind(house: House) -> None:
    someone = await signed_in(house)
    proof = await someone.shared_key()
    clients = [owner(house, address=f"10.0.0.{n}") for n in range(16)]
    login = {"email": EMAIL, "sharedKey": proof}

    async def attempt(client: Owner) -> dict[str, Any]:
        answer = await client.post("/api/auth/oauth?grantType=login", login)
        assert answer.status_code < 500
        return {"token": answer.json().get("apiKey", ""), "client": client}

    change, *tries = await asyncio.gather(someone.change_password("another"), *(attempt(client) for client in clients))

    assert change.status_code == 200
    for found in tries:
        found["client"].token = found["token"]
        assert refused(await found["client"].sync()) == (401, "LP-Invalid-Token")


async def test_wrong_keys_from_one_address_are_limited_at_once(make_house: MakeHouse) -> None:
    house = await make_house(RATE_LIMITS="on", LOCKOUT="off")
    someone = await registered(house)
    wrong = {"email": EMAIL, "sharedKey": flipped(await someone.shared_key())}
    house.clock.advance(3600)

    answers = await asyncio.gather(*(someone.post("/api/auth/oauth?grantType=login", wrong) for _ in range(64)))

    assert statuses(answers) == {400: 20, 429: 44}


async def test_a_change_link_opened_many_times_at_once_applies_once(make_house: MakeHouse) -> None:
    house = await make_house(EMAIL_VERIFICATION_REQUIRED="true")
    someone = await registered(house)
    await house.client.get(await link_of(house, "Activate"))
    await someone.login()
    assert (await someone.change_email("new@example.com")).status_code == 200
    link = await link_of(house, "Email Address Change")

    answers = await asyncio.gather(*(house.client.get(link) for _ in range(8)))

    assert statuses(answers) == {302: 8}
    assert len([mail for mail in await house.mails() if "address was changed" in mail["Subject"]]) == 1


async def test_squatters_registering_at_once_leave_one_account_with_one_link(make_house: MakeHouse) -> None:
    house = await make_house(**SMTP)

    async def attempt(n: int) -> httpx.Response:
        someone = owner(house, address=f"10.0.0.{n}")
        someone.password = f"password {n}"
        return await someone.register()

    answers = await asyncio.gather(*(attempt(n) for n in range(8)))

    assert statuses(answers)[201] >= 1
