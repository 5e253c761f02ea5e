"""Answering a pending sign-in (librechat-wire 5.12): the temporary token is single, bound, limited, and dies with events."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import null, select, update

from ostiary.identity import accounts, audit, bans
from ostiary.storage import tables
from ostiary.storage.statements import Query, Statement
from tests.conftest import MakeHouse
from tests.dialects.librechat.browser import EMAIL, STEP, Browser, browser, claims_of, cookies_of, enrolled, owing, signed_in
from tests.house import House

GONE = (401, {"message": "Invalid or expired temporary token"})
WRONG = (401, {"message": "Invalid 2FA code or backup code"})


async def proved(someone: Browser, pending: str, **proof: object) -> tuple[int, object]:
    answer = await someone.prove(pending, **proof)
    return answer.status_code, answer.json()


async def test_a_right_code_signs_in_as_a_password_alone_would_have(house: House) -> None:
    app = await enrolled(house, await signed_in(house))
    someone, pending = await owing(house)

    answer = await someone.prove(pending, token=app.code())

    assert set(answer.json()) == {"token", "user"}
    assert answer.json()["user"] == (await someone.get("/api/user")).json()
    assert (await someone.refresh()).status_code == 200


async def test_the_temporary_token_has_the_originals_claims(house: House) -> None:
    someone = await signed_in(house)
    await enrolled(house, someone)
    _, pending = await owing(house)

    claims = claims_of(pending)

    now = house.clock.now // 1_000_000
    owner = claims_of(someone.token)["id"]
    expected = {"userId": owner, "twoFAPending": True, "iat": now, "exp": now + 300}
    assert {name: value for name, value in claims.items() if name != "jti"} == expected


@pytest.mark.parametrize("field", ["backupCode", "token"])
@pytest.mark.parametrize("spelling", ["{}", " {} ", "{}\n"])
async def test_a_backup_code_signs_in_from_either_field(house: House, field: str, spelling: str) -> None:
    app = await enrolled(house, await signed_in(house))
    someone, pending = await owing(house)
    code = spelling.format(app.codes[4])

    status, _ = await proved(someone, pending, **{field: code})

    assert status == (200 if field == "backupCode" or spelling == "{}" else 401)


async def test_a_backup_code_may_be_typed_in_capitals(house: House) -> None:
    app = await enrolled(house, await signed_in(house))
    for code, field in zip(app.codes[:2], ("backupCode", "token"), strict=True):
        someone, pending = await owing(house)

        assert (await proved(someone, pending, **{field: code.upper()}))[0] == 200


async def test_the_token_wins_when_both_are_sent(house: House) -> None:
    app = await enrolled(house, await signed_in(house))
    someone, pending = await owing(house)

    assert await proved(someone, pending, token=app.wrong_code(), backupCode=app.codes[0]) == WRONG
    assert (await proved(someone, pending, backupCode=app.codes[0]))[0] == 200


async def test_neither_code_is_a_wrong_one(house: House) -> None:
    await enrolled(house, await signed_in(house))
    someone, pending = await owing(house)

    assert await proved(someone, pending) == WRONG
    assert await proved(someone, pending, token="", backupCode=None) == WRONG


async def test_a_temporary_token_is_answered_once(house: House) -> None:
    app = await enrolled(house, await signed_in(house))
    someone, pending = await owing(house)
    await someone.prove(pending, token=app.code())

    assert await proved(someone, pending, token=app.code(1)) == GONE
    assert await proved(someone, pending, backupCode=app.codes[0]) == GONE


async def test_a_code_signs_in_once(house: House) -> None:
    app = await enrolled(house, await signed_in(house))
    first, pending = await owing(house)
    second, other_pending = await owing(house)
    await first.prove(pending, token=app.code())

    assert await proved(second, other_pending, token=app.code()) == WRONG
    assert await proved(second, other_pending, token=app.code(-1)) == WRONG
    assert (await proved(second, other_pending, token=app.code(1)))[0] == 200


async def test_one_code_may_serve_two_sign_ins_where_the_operator_says_so(make_house: MakeHouse) -> None:
    house = await make_house(OSTIARY_TOTP_REUSE="per-session")
    app = await enrolled(house, await signed_in(house))
    for _ in range(2):
        someone, pending = await owing(house)
        assert (await proved(someone, pending, token=app.code()))[0] == 200
    house.clock.advance(STEP)
    someone, pending = await owing(house)
    assert (await proved(someone, pending, token=app.code()))[0] == 200

    late, pending = await owing(house)
    assert await proved(late, pending, token=app.code(-1)) == WRONG


async def test_of_32_sign_ins_with_one_code_one_gets_in(make_house: MakeHouse) -> None:
    house = await make_house(LOCKOUT="off")
    app = await enrolled(house, await signed_in(house))
    waiting = [await owing(house) for _ in range(32)]

    answers = await asyncio.gather(*(someone.prove(pending, token=app.code()) for someone, pending in waiting))

    assert sorted(answer.status_code for answer in answers) == [200] + [401] * 31


async def test_of_32_sign_ins_with_one_backup_code_one_gets_in(make_house: MakeHouse) -> None:
    house = await make_house(LOCKOUT="off")
    app = await enrolled(house, await signed_in(house))
    waiting = [await owing(house) for _ in range(32)]

    answers = await asyncio.gather(*(someone.prove(pending, backupCode=app.codes[0]) for someone, pending in waiting))

    assert sorted(answer.status_code for answer in answers) == [200] + [401] * 31


async def test_of_32_answers_to_one_temporary_token_one_gets_in(make_house: MakeHouse) -> None:
    house = await make_house(LOCKOUT="off")
    app = await enrolled(house, await signed_in(house))
    someone, pending = await owing(house)
    proofs = [{"backupCode": code} for code in app.codes] + [{"token": app.code(step)} for step in (-1, 0, 1)]

    answers = await asyncio.gather(*(someone.prove(pending, **proof) for proof in proofs))

    assert [answer.status_code for answer in answers].count(200) == 1
    async with house.begin() as ctx:
        rows = await ctx.db.all(
            Query(lambda kind, used_at: (kind, used_at), select(tables.factors.c.kind, tables.factors.c.used_at))
        )
    assert len([used for kind, used in rows if kind == "backup_code" and used is not None]) <= 1


async def test_a_temporary_token_lives_exactly_five_minutes(house: House) -> None:
    app = await enrolled(house, await signed_in(house))
    in_time, first = await owing(house)
    house.clock.advance(299.9)
    late, second = await owing(house)

    assert (await proved(in_time, first, token=app.code()))[0] == 200
    house.clock.advance(300)
    assert await proved(late, second, token=app.code()) == GONE


async def test_a_temporary_token_is_for_the_browser_that_began(house: House) -> None:
    """It travels in the address bar of the client, so in histories and logs."""
    app = await enrolled(house, await signed_in(house))
    _, pending = await owing(house)
    thief = browser(house, user_agent="another browser")

    assert await proved(thief, pending, token=app.code()) == GONE


async def test_a_temporary_token_is_for_its_own_account(house: House) -> None:
    one, two = await signed_in(house), await signed_in(house, "two@example.com")
    app = await enrolled(house, one)
    other_app = await enrolled(house, two)
    someone, pending = await owing(house)

    assert await proved(someone, pending, token=other_app.code()) == WRONG
    assert await proved(someone, pending, backupCode=other_app.codes[0]) == WRONG
    assert (await proved(someone, pending, token=app.code()))[0] == 200


async def test_after_five_wrong_answers_a_temporary_token_takes_no_more(house: House) -> None:
    app = await enrolled(house, await signed_in(house))
    someone, pending = await owing(house)
    for _ in range(5):
        assert await proved(someone, pending, token=app.wrong_code()) == WRONG

    assert await proved(someone, pending, token=app.code()) == GONE
    fresh, pending = await owing(house)
    assert (await proved(fresh, pending, token=app.code()))[0] == 200


@pytest.mark.parametrize("event", ["ban", "disable", "deletion", "re-enrolment"])
async def test_a_temporary_token_dies_with_events(house: House, event: str) -> None:
    someone = await signed_in(house)
    app = await enrolled(house, someone)
    other, pending = await owing(house)

    match event:
        case "ban":
            async with house.begin() as ctx:
                await bans.add(ctx, bans.ACCOUNT, (await accounts.named(ctx, EMAIL)).id, "test", None)
        case "disable":
            await someone.post("/api/auth/2fa/disable", {"backupCode": app.codes[0]})
        case "deletion":
            await someone.delete("/api/user/delete", {"backupCode": app.codes[0]})
        case _:
            answer = (await someone.post("/api/auth/2fa/enable", {"backupCode": app.codes[0]})).json()
            app.secret = answer["secret"]
            await someone.post("/api/auth/2fa/confirm", {"token": app.code(-1)})

    assert await proved(other, pending, token=app.code()) == GONE


@pytest.mark.parametrize("pending", ["abc", "a.b.c", 5, ["x"], {"a": 1}, True])
async def test_what_is_no_temporary_token_is_refused(house: House, pending: object) -> None:
    answer = await house.client.post("/api/auth/2fa/verify-temp", json={"tempToken": pending, "token": "123456"})

    assert (answer.status_code, answer.json()) == GONE


@pytest.mark.parametrize("pending", [None, "", 0, False])
async def test_no_temporary_token_is_called_missing(house: House, pending: object) -> None:
    answer = await house.client.post("/api/auth/2fa/verify-temp", json={"tempToken": pending, "token": "123456"})

    assert (answer.status_code, answer.json()) == (400, {"message": "Missing temporary token"})


async def test_a_wrong_password_does_not_tell_that_a_factor_is_on(house: House) -> None:
    await enrolled(house, await signed_in(house))
    await browser(house).register("plain@example.com")

    guarded = await browser(house).login(password="wrong password")
    plain = await browser(house).login("plain@example.com", "wrong password")

    assert (guarded.status_code, guarded.content) == (plain.status_code, plain.content)
    assert cookies_of(guarded) == []


async def test_a_right_code_forgets_the_wrong_ones_before_it(house: House) -> None:
    app = await enrolled(house, await signed_in(house))
    for round_ in range(30):
        someone, pending = await owing(house)
        for _ in range(4):
            assert await proved(someone, pending, token=app.wrong_code()) == WRONG
        assert (await proved(someone, pending, token=app.code()))[0] == 200, round_
        house.clock.advance(2 * STEP)


async def test_sign_ins_with_two_factors_are_audited_with_how(house: House) -> None:
    app = await enrolled(house, await signed_in(house))
    someone, pending = await owing(house)
    await someone.prove(pending, token=app.wrong_code())
    await someone.prove(pending, backupCode=app.codes[0])

    async with house.begin() as ctx:
        found = await audit.latest(ctx, event="account:sign_in:%")
        used = await audit.latest(ctx, event=audit.Event.BACKUP_CODE_USED)

    events = {event.event: event.detail for event in found}
    assert {"account:sign_in:factor_asked", "account:sign_in:factor_refused", "account:sign_in:succeeded"} <= set(events)
    assert any('"amr":"pwd otp mfa"' in event.detail for event in found)
    assert len(used) == 1


async def test_a_rule_that_came_between_the_proofs_holds_for_the_second(make_house: MakeHouse) -> None:
    """The operator now requires a verified address; sign-ins that owe a factor do not slip past it."""
    before = await make_house(EMAIL_VERIFICATION_REQUIRED="false")
    app = await enrolled(before, await signed_in(before))
    async with before.begin() as ctx:
        account = await accounts.named(ctx, EMAIL)
        await ctx.db.run(Statement(update(tables.accounts).values(verified_at=null()).where(tables.accounts.c.id == account.id)))
    _, pending = await owing(before)

    after = await make_house(EMAIL_VERIFICATION_REQUIRED="true")
    after.clock.now = before.clock.now
    refused = await browser(after).prove(pending, token=app.code())

    assert refused.status_code == 422
    assert "refreshToken" not in refused.cookies
