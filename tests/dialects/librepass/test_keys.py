"""`lp_…` keys: opaque, digested at rest, good only when confirmed, and ended by time, by password change, by hand."""

from __future__ import annotations

import pytest
from fastapi.routing import APIRoute
from sqlalchemy import select

from ostiary.dialects.librepass import LibrePass
from ostiary.identity.context import Context
from ostiary.storage import tables
from ostiary.storage.statements import Query
from tests.conftest import MakeHouse
from tests.dialects.librepass.owner import (
    TOKEN,
    Authenticator,
    Owner,
    enrolled,
    link_of,
    owing,
    owner,
    refused,
    signed_in,
)
from tests.house import House

DAY = 24 * 3600
ID = "7d8f4a3e-0000-4000-8000-000000000000"
EVERYWHERE = [
    ("PATCH", "/api/user/email"),
    ("PATCH", "/api/user/password"),
    ("POST", "/api/user/setup/2fa"),
    ("POST", "/api/user/disable/2fa"),
    ("DELETE", "/api/user/delete"),
    ("GET", "/api/auth/sessions"),
    ("DELETE", f"/api/auth/sessions/{ID}"),
    ("PUT", "/api/cipher"),
    ("GET", "/api/cipher"),
    ("GET", "/api/cipher/sync?lastSync=0"),
    ("POST", "/api/cipher/sync"),
    ("GET", f"/api/cipher/{ID}"),
    ("PATCH", f"/api/cipher/{ID}"),
    ("DELETE", f"/api/cipher/{ID}"),
    ("PUT", "/api/collection"),
    ("GET", "/api/collection"),
    ("GET", f"/api/collection/{ID}"),
    ("DELETE", f"/api/collection/{ID}"),
]


def test_the_list_of_guarded_calls_is_whole() -> None:
    """Whatever a later version serves under these paths must be refused here without a key."""
    guarded = ("/api/user", "/api/cipher", "/api/collection", "/api/auth/sessions")
    open_paths = {"/api/user/verifyNewEmail", "/api/cipher/icon"}

    routes = [route for route in LibrePass().app.routes if isinstance(route, APIRoute) and route.path.startswith(guarded)]

    served = {(method, route.path) for route in routes for method in route.methods or () if route.path not in open_paths}
    assert {(method, path.partition("?")[0].replace(ID, "{id}")) for method, path in EVERYWHERE} == served


@pytest.mark.parametrize(("method", "path"), EVERYWHERE)
async def test_an_unconfirmed_key_opens_nothing(house: House, method: str, path: str) -> None:
    await enrolled(house)
    halfway = await owing(house)

    assert refused(await halfway.call(method, path, {})) == TOKEN


@pytest.mark.parametrize(
    "presented",
    [
        "",
        "Bearer",
        "Bearer ",
        "Bearer  ",
        "bearer {}",
        "Token {}",
        "Bearer  {}",
        "Bearer {}x",
        "Bearer {} ",
        "Bearer lp_" + "0" * 64,
        "Bearer eyJhbGciOiJIUzI1NiJ9.e30.x",
        "{}\x7f",
        "Bearer " + "lp_" * 8_000,
    ],
)
async def test_only_the_key_itself_is_accepted(house: House, presented: str) -> None:
    someone = await signed_in(house)

    answer = await house.client.get("/api/cipher", headers={"Authorization": presented.format(someone.token)})

    assert refused(answer) == TOKEN


async def test_two_authorization_headers_are_refused(house: House) -> None:
    someone = await signed_in(house)
    twice = [("Authorization", f"Bearer {someone.token}"), ("Authorization", f"Bearer {someone.token}")]

    assert refused(await house.client.get("/api/cipher", headers=twice)) == (400, "LP-Invalid-Body")


async def test_a_key_in_the_query_is_not_looked_at(house: House) -> None:
    someone = await signed_in(house)

    assert refused(await house.client.get(f"/api/cipher?access_token={someone.token}")) == TOKEN


async def test_the_same_key_becomes_good_when_the_factor_is_answered(house: House) -> None:
    _, app, _ = await enrolled(house)
    halfway = await owing(house)
    key = halfway.token

    answer = await halfway.answer(app.code())

    assert (answer.status_code, answer.content) == (200, b"{}")
    assert halfway.token == key
    assert (await halfway.sync()).status_code == 200


async def test_a_good_key_is_confirmed_again_whatever_the_code(house: House) -> None:
    someone = await signed_in(house)

    assert (await someone.answer("")).content == b"{}"


async def test_an_unknown_key_is_not_confirmed(house: House) -> None:
    assert refused(await owner(house).answer("123456", "lp_x")) == TOKEN


async def test_use_keeps_a_key_alive_up_to_180_days(house: House) -> None:
    someone = await signed_in(house)
    for _ in range(8):
        house.clock.advance(22 * DAY)
        assert (await someone.sync()).status_code == 200

    house.clock.advance(4 * DAY)

    assert refused(await someone.sync()) == TOKEN


async def test_thirty_idle_days_end_a_key(house: House) -> None:
    someone = await signed_in(house)

    house.clock.advance(30 * DAY - 1)
    assert (await someone.sync()).status_code == 200
    house.clock.advance(30 * DAY)
    assert refused(await someone.sync()) == TOKEN


async def test_the_longest_life_is_a_setting(make_house: MakeHouse) -> None:
    house = await make_house(OSTIARY_KEY_SESSION_MAX_AGE="3600")
    someone = await signed_in(house)

    house.clock.advance(3600)

    assert refused(await someone.sync()) == TOKEN


async def test_a_pending_key_dies_after_five_minutes(house: House) -> None:
    _, app, _ = await enrolled(house)
    halfway = await owing(house)

    house.clock.advance(5 * 60)

    assert refused(await halfway.answer(app.code())) == TOKEN


async def test_a_pending_key_dies_with_a_password_change(house: House) -> None:
    someone, app, _ = await enrolled(house)
    halfway = await owing(house)
    assert (await someone.change_password("another")).status_code == 200

    assert refused(await halfway.answer(app.code())) == TOKEN


async def test_nothing_stored_is_a_key(house: House) -> None:
    """The table holds a keyed digest: whoever reads it can neither use it nor test a guess."""
    someone = await signed_in(house)
    async with house.begin() as ctx:
        rows = await everything(ctx)

    assert someone.token not in rows
    assert someone.token.removeprefix("lp_") not in rows


async def everything(ctx: Context) -> str:
    """All that the database says about sessions, links and mails."""
    found: list[str] = []
    for table in (tables.sessions, tables.challenges, tables.links, tables.outbox, tables.audit_events, tables.credentials):
        found += [repr(row) for row in await ctx.db.all(Query(lambda *row: row, select(table)))]
    return "\n".join(found)


async def test_a_key_is_listed_and_ended_by_its_owner(house: House) -> None:
    someone = await signed_in(house)
    other = owner(house, address="10.0.0.7")
    other.headers["User-Agent"] = "LibrePass/1.3"
    await other.login()

    listed = (await someone.get("/api/auth/sessions")).json()

    assert len(listed) == 2
    mine = next(session for session in listed if session["current"])
    theirs = next(session for session in listed if not session["current"])
    assert theirs["address"] == "10.0.0.7"
    assert theirs["userAgent"] == "LibrePass/1.3"
    assert theirs["kind"] == mine["kind"] == "key"
    assert theirs["created"] == theirs["lastUsed"] == house.clock.now // 1_000_000
    assert theirs["expires"] - theirs["created"] == 180 * DAY

    ended = await someone.call("DELETE", f"/api/auth/sessions/{theirs['id']}")
    assert (ended.status_code, ended.content) == (200, b"{}")
    assert refused(await other.sync()) == TOKEN
    assert [session["id"] for session in (await someone.get("/api/auth/sessions")).json()] == [mine["id"]]
    assert refused(await someone.call("DELETE", f"/api/auth/sessions/{theirs['id']}")) == (404, "LP-404")


async def test_ending_the_own_session_signs_out(house: House) -> None:
    someone = await signed_in(house)
    mine = (await someone.get("/api/auth/sessions")).json()[0]["id"]

    assert (await someone.call("DELETE", f"/api/auth/sessions/{mine}")).status_code == 200
    assert refused(await someone.sync()) == TOKEN


async def test_nobody_ends_a_strangers_session(house: House) -> None:
    someone, stranger = await signed_in(house), await signed_in(house, "stranger@example.com")
    theirs = (await someone.get("/api/auth/sessions")).json()[0]["id"]

    assert refused(await stranger.call("DELETE", f"/api/auth/sessions/{theirs}")) == (404, "LP-404")
    assert refused(await stranger.call("DELETE", "/api/auth/sessions/x")) == (400, "LP-Invalid-Body")
    assert (await someone.sync()).status_code == 200


async def test_a_sign_in_is_told_with_a_link_that_ends_every_session(make_house: MakeHouse) -> None:
    house = await make_house(OSTIARY_PAGES="false")
    first = await signed_in(house)
    second = owner(house, address="10.0.0.7")
    await second.login()
    link = await link_of(house, "New Login")
    mail = await house.last_mail("New Login")
    assert "10.0.0.7" in str(mail.get_body(("plain",)))

    page = await house.client.get(link)
    head = await house.client.head(link)

    assert (page.status_code, head.status_code) == (200, 200)
    assert "<form method=post>" in page.text
    assert "form-action 'self'" in page.headers["content-security-policy"]
    assert (await second.sync()).status_code == 200

    done = await house.client.post(link)
    again = await house.client.post(link)

    assert (done.status_code, again.status_code) == (200, 200)
    assert refused(await second.sync()) == TOKEN
    assert refused(await first.sync()) == TOKEN


async def test_a_made_up_end_link_ends_nothing(house: House) -> None:
    someone = await signed_in(house)
    link = f"/api/auth/endSession?user={someone.id}&code={'0' * 64}"

    assert refused(await house.client.get(link)) == (400, "LP-Email-Invalid-Code")
    assert refused(await house.client.post(link)) == (400, "LP-Email-Invalid-Code")
    assert (await someone.sync()).status_code == 200


async def test_a_sign_in_that_owes_a_factor_is_told_when_it_is_through(house: House) -> None:
    _, app, _ = await enrolled(house)
    before = len(await new_login_mails(house))
    halfway = await owing(house, address="10.0.0.7")
    assert len(await new_login_mails(house)) == before

    await halfway.answer(app.code())

    assert len(await new_login_mails(house)) == before + 1


async def test_the_new_login_mail_can_be_switched_off(make_house: MakeHouse) -> None:
    house = await make_house(EMAIL_NEW_LOGIN="false")
    await signed_in(house)

    assert await new_login_mails(house) == []


async def new_login_mails(house: House) -> list[object]:
    return [mail for mail in await house.mails() if "New Login" in mail["Subject"]]


async def test_a_hundred_keys_and_no_more(make_house: MakeHouse) -> None:
    """The oldest gives way, so that rows do not grow without bound."""
    house = await make_house(OSTIARY_SESSIONS_PER_ACCOUNT="3", EMAIL_NEW_LOGIN="false")
    keys: list[Owner] = []
    for _ in range(4):
        keys.append(await signed_in(house) if not keys else owner(house))
        await keys[-1].login()
        house.clock.advance(1)

    assert refused(await keys[0].sync()) == TOKEN
    assert (await keys[-1].sync()).status_code == 200


async def test_two_factor_set_up_ends_every_other_key(house: House) -> None:
    someone = await signed_in(house)
    other = owner(house)
    await other.login()

    assert (await someone.set_up(Authenticator(house.clock))).status_code == 200

    assert refused(await other.sync()) == TOKEN
    assert (await someone.sync()).status_code == 200
