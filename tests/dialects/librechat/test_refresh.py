"""`POST /api/auth/refresh` (librechat-wire 5.4): the cookie alone decides, and each refresh rotates it."""

from __future__ import annotations

import asyncio
from email.utils import parsedate_to_datetime

import httpx
import pytest

from ostiary.identity import audit
from tests.conftest import MakeHouse
from tests.dialects.librechat.browser import claims_of, cookies_of, signed_in
from tests.dialects.librechat.forging import signed
from tests.house import House

GRACE = 30
WEEK = 7 * 24 * 3600
GONE = "Refresh token expired or not found for this user"


async def with_cookie(house: House, token: str, query: str = "", **headers: str) -> httpx.Response:
    """A refresh by somebody who holds just this token."""
    sent = {"Cookie": f"refreshToken={token}", **headers}
    return await house.client_at("127.0.0.1").post(f"/api/auth/refresh{query}", headers=sent)


def issued(answer: httpx.Response) -> str:
    """The refresh token that the answer sets."""
    assert answer.status_code == 200, answer.text
    return cookies_of(answer)[0].partition(";")[0].removeprefix("refreshToken=")


async def test_a_refresh_gives_token_user_and_both_cookies(house: House) -> None:
    someone = await signed_in(house)
    before = someone.refresh_cookie

    answer = await someone.refresh()

    assert set(answer.json()) == {"token", "user"}
    assert answer.json()["user"] == (await someone.get("/api/user")).json()
    assert [header.partition("=")[0] for header in cookies_of(answer)] == ["refreshToken", "token_provider"]
    assert issued(answer) != before


async def test_the_refresh_token_is_a_jwt_with_the_originals_claims(house: House) -> None:
    someone = await signed_in(house)
    now = house.clock.now // 1_000_000

    claims = claims_of(someone.refresh_cookie)

    access = claims_of(someone.token)
    expected = {"id": access["id"], "sessionId": access["sid"], "iat": now, "exp": now + WEEK}
    assert {name: value for name, value in claims.items() if name != "jti"} == expected


async def test_rotations_of_one_second_differ(house: House) -> None:
    someone = await signed_in(house)

    tokens = [someone.refresh_cookie, *[issued(await someone.refresh()) for _ in range(3)]]

    assert len(set(tokens)) == 4


async def test_the_sessions_end_does_not_move(house: House) -> None:
    someone = await signed_in(house)
    end = house.clock.now // 1_000_000 + WEEK
    for _ in range(3):
        house.clock.advance(24 * 3600)
        answer = await someone.refresh()

        assert claims_of(issued(answer))["exp"] == end
        expires = cookies_of(answer)[0].partition("Expires=")[2].partition(";")[0]
        assert parsedate_to_datetime(expires).timestamp() == end


async def test_a_session_ends_after_exactly_seven_days(house: House) -> None:
    someone = await signed_in(house)
    house.clock.advance(WEEK - 1)
    assert (await someone.refresh()).status_code == 200
    last = someone.refresh_cookie
    house.clock.advance(1)

    answer = await with_cookie(house, last)

    assert (answer.status_code, answer.text) == (403, "Invalid refresh token")
    assert (await someone.get("/api/user")).status_code == 401


async def test_within_the_grace_the_old_token_gets_the_same_successor(house: House) -> None:
    """Two tabs, or a lost reply: nobody is signed out."""
    someone = await signed_in(house)
    old = someone.refresh_cookie
    successor = issued(await someone.refresh())

    house.clock.advance(GRACE)
    again = await with_cookie(house, old)

    assert issued(again) == successor
    assert issued(await with_cookie(house, successor)) != successor


async def test_within_the_grace_a_token_that_is_two_behind_gets_the_newest(house: House) -> None:
    someone = await signed_in(house)
    old = someone.refresh_cookie
    await someone.refresh()
    house.clock.advance(GRACE - 1)
    newest = issued(await someone.refresh())

    house.clock.advance(1)

    assert issued(await with_cookie(house, old)) == newest


async def test_after_the_grace_reuse_ends_the_family_and_is_audited(house: House) -> None:
    someone = await signed_in(house)
    other = await signed_in(house, "other@example.com")
    stolen = someone.refresh_cookie
    await someone.refresh()
    house.clock.advance(GRACE + 1)

    answer = await with_cookie(house, stolen)

    assert (answer.status_code, answer.text) == (401, GONE)
    assert (await with_cookie(house, someone.refresh_cookie)).status_code == 401
    assert (await someone.get("/api/user")).json() == {"message": "Unauthorized"}
    assert (await other.refresh()).status_code == 200
    async with house.begin() as ctx:
        events = await audit.latest(ctx, event=audit.Event.REFRESH_REUSED)
    assert [event.account_id for event in events] == [claims_of(stolen)["id"]]


async def test_the_owner_is_told_once_of_a_reuse(house: House) -> None:
    someone = await signed_in(house)
    stolen = someone.refresh_cookie
    await someone.refresh()
    house.clock.advance(GRACE + 1)

    answers = await asyncio.gather(*(with_cookie(house, stolen) for _ in range(8)))

    assert [answer.status_code for answer in answers] == [401] * 8
    told = [mail for mail in await house.mails() if "A session of yours was ended" in mail["Subject"]]
    assert [mail["To"] for mail in told] == ["Test User <u@example.com>"]
    assert stolen not in told[0].as_string()
    async with house.begin() as ctx:
        assert len(await audit.latest(ctx, event=audit.Event.REFRESH_REUSED)) == 1


async def test_the_owners_other_sessions_survive_a_reuse(house: House) -> None:
    first = await signed_in(house)
    second = await signed_in(house)
    stolen = first.refresh_cookie
    await first.refresh()
    house.clock.advance(GRACE + 1)

    await with_cookie(house, stolen)

    assert (await second.refresh()).status_code == 200


async def test_an_ended_session_is_401_and_with_retry_403(house: House) -> None:
    someone = await signed_in(house)
    cookie = someone.refresh_cookie
    await someone.post("/api/auth/logout")

    plain = await with_cookie(house, cookie)
    empty = await with_cookie(house, cookie, "?retry=")
    retried = [await with_cookie(house, cookie, f"?retry={value}") for value in ("true", "false", "0")]

    assert (plain.status_code, plain.text) == (401, GONE)
    assert (empty.status_code, empty.text) == (401, GONE)
    assert [(answer.status_code, answer.text) for answer in retried] == [(403, "No session found")] * 3
    assert all(answer.headers["content-type"] == "text/html; charset=utf-8" for answer in (plain, *retried))


async def test_retry_does_no_harm_to_a_live_session(house: House) -> None:
    someone = await signed_in(house)

    assert (await someone.refresh("?retry=true")).status_code == 200


@pytest.mark.parametrize("engine", ["sqlite"])
@pytest.mark.parametrize("cookie", ["abc", "a.b.c", "", "%zz", "=x", "a" * 8000, "null", "undefined"])
async def test_junk_in_the_cookie_is_never_a_fault(house: House, cookie: str) -> None:
    answer = await with_cookie(house, cookie)

    expected = (403, "Invalid refresh token") if cookie else (200, "Refresh token not provided")
    assert (answer.status_code, answer.text) == expected
    assert cookies_of(answer) == []


@pytest.mark.parametrize("engine", ["sqlite"])
async def test_two_different_refresh_cookies_are_none(house: House) -> None:
    """Whoever may set a cookie for a neighbouring host must not choose whose session is refreshed."""
    one, two = await signed_in(house), await signed_in(house, "two@example.com")

    for first, second in ((one, two), (two, one)):
        both = f"refreshToken={first.refresh_cookie}; refreshToken={second.refresh_cookie}"
        answer = await house.client_at("127.0.0.1").post("/api/auth/refresh", headers={"Cookie": both})
        assert answer.text == "Refresh token not provided"


@pytest.mark.parametrize("engine", ["sqlite"])
async def test_a_bearer_is_not_looked_at(house: House) -> None:
    someone = await signed_in(house)

    for bearer in ("Bearer dead", "Bearer", f"Bearer {someone.token}"):
        answer = await someone.client.post("/api/auth/refresh", headers={"Authorization": bearer})
        assert answer.status_code == 200


async def test_after_a_deletion_the_cookie_is_worth_nothing(house: House) -> None:
    someone = await signed_in(house)
    cookie = someone.refresh_cookie
    await someone.delete("/api/user/delete")

    assert (await with_cookie(house, cookie)).status_code == 401


async def test_tabs_that_refresh_at_once_all_get_the_same_successor(house: House) -> None:
    someone = await signed_in(house)
    cookie = someone.refresh_cookie

    answers = await asyncio.gather(*(with_cookie(house, cookie) for _ in range(32)))

    assert len({issued(answer) for answer in answers}) == 1
    assert (await with_cookie(house, issued(answers[0]))).status_code == 200


async def test_a_rotation_that_never_arrived_can_be_asked_for_again(house: House) -> None:
    """The reply was lost, the browser still has the old cookie."""
    someone = await signed_in(house)
    old = someone.refresh_cookie
    await with_cookie(house, old)

    house.clock.advance(5)
    answer = await someone.refresh()

    assert answer.status_code == 200
    assert someone.refresh_cookie != old
    house.clock.advance(3600)
    assert (await someone.refresh()).status_code == 200


async def test_a_signed_refresh_token_that_was_never_issued_changes_nothing(house: House) -> None:
    """Whoever learns JWT_REFRESH_SECRET still cannot make a token of a session, nor end one."""
    someone = await signed_in(house)
    claims = claims_of(someone.refresh_cookie)
    secret = house.services.keys.jwt_refresh_secret

    for jti in ("0", "0.", "1.x", "-1.x", "x.y", "", "99999999999999999999.x", "0.é", 5, None, ["0.x"]):
        answer = await with_cookie(house, signed({**claims, "jti": jti}, secret))
        assert answer.status_code == 401, jti
    assert (await someone.refresh()).status_code == 200


async def test_a_hundred_and_one_sessions_end_the_oldest(house: House) -> None:
    first = await signed_in(house)
    house.clock.advance(1)
    second = await signed_in(house)
    for _ in range(99):
        house.clock.advance(1)
        await second.login()

    assert (await first.get("/api/user")).status_code == 401
    assert (await second.refresh()).status_code == 200


async def test_refreshing_is_limited_generously(make_house: MakeHouse) -> None:
    house = await make_house(RATE_LIMITS="on")
    someone = await signed_in(house)
    allowed = [(await someone.refresh()).status_code for _ in range(600)]

    answer = await someone.refresh()

    assert set(allowed) == {200}
    assert (answer.status_code, answer.json()) == (429, {"message": "Too many attempts, please try again after 1 minute(s)"})
