"""The conformance cases of librepass-wire 19, each named after its row."""

from __future__ import annotations

from uuid import uuid4

import pytest

from tests.conftest import MakeHouse
from tests.dialects.librepass.owner import (
    DUPLICATED,
    EMAIL,
    INVALID_BODY,
    MISSING_CIPHER,
    SHARED_SECRET,
    SMTP,
    TOKEN,
    Authenticator,
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

# 19.1: the original's own client tests. They use one code for several sign-ins (K-T4), so a house that serves them says so.
ORIGINAL = {"RATE_LIMIT_ENABLED": "false", "EMAIL_VERIFICATION_REQUIRED": "false", "OSTIARY_TOTP_REUSE": "per-session"}


async def test_k_c1_the_connection_check_finds_its_text(house: House) -> None:
    answer = await house.client.get("/actuator/info")

    assert answer.status_code == 200
    assert answer.content == b'{"build":{"version":"1.6.2","name":"LibrePass Server","group":"dev.medzik.librepass"}}'


async def test_k_a2_login_needs_no_verified_mail(make_house: MakeHouse) -> None:
    someone = await registered(await make_house(**ORIGINAL))

    answer = await someone.login()

    assert answer.status_code == 200
    assert answer.json()["verified"] is True
    assert answer.json()["apiKey"] == someone.token
    assert set(answer.json()) == {"userId", "apiKey", "verified"}


async def test_k_a4_a_fresh_account_may_ask_for_the_mail_again(make_house: MakeHouse) -> None:
    house = await make_house(**ORIGINAL)
    someone = await registered(house)

    answer = await someone.get(f"/api/auth/resendVerificationEmail?email={EMAIL}")

    assert (answer.status_code, answer.content) == (200, b"{}")
    assert len([mail for mail in await house.mails() if "Activate" in mail["Subject"]]) == 2


async def test_k_a6_resend_to_no_address_is_refused(make_house: MakeHouse) -> None:
    someone = owner(await make_house(**ORIGINAL))

    assert refused(await someone.get("/api/auth/resendVerificationEmail?email=test")) == INVALID_BODY


async def test_k_a8_a_deleted_account_may_register_again(make_house: MakeHouse) -> None:
    someone = await signed_in(await make_house(**ORIGINAL))

    answer = await someone.delete()

    assert (answer.status_code, answer.content) == (200, b"{}")
    assert refused(await someone.login()) == SHARED_SECRET
    assert (await someone.register()).status_code == 201


async def test_k_t2_login_with_two_factor_on_is_unconfirmed(make_house: MakeHouse) -> None:
    house = await make_house(**ORIGINAL)
    await enrolled(house)

    answer = await owner(house).login()

    assert answer.status_code == 200
    assert answer.json()["verified"] is False


async def test_k_t4_one_code_serves_set_up_two_sign_ins_and_the_deletion(make_house: MakeHouse) -> None:
    """The original's own client tests do all of this within one time step."""
    house = await make_house(**ORIGINAL)
    someone, app = await signed_in(house), Authenticator(house.clock)
    assert (await someone.set_up(app)).status_code == 200
    third = await owing(house)
    assert (await third.answer(app.code())).status_code == 200

    fourth = await owing(house)
    answer = await fourth.answer(app.code())
    gone = await fourth.delete(code=app.code())

    assert (answer.status_code, answer.content) == (200, b"{}")
    assert (gone.status_code, gone.content) == (200, b"{}")


async def test_k_u2_the_address_changes_at_once_where_no_verification_is_needed(make_house: MakeHouse) -> None:
    house = await make_house(**ORIGINAL)
    someone = await signed_in(house, "test_user@example.com")
    row = someone.row()
    assert (await someone.call("PUT", "/api/cipher", row)).status_code == 201
    assert (await someone.sync()).json()["ids"] == [row["id"]]

    answer = await someone.change_email("newemail@example.com", [{"id": row["id"], "data": "aabb"}])

    assert (answer.status_code, answer.content) == (200, b"{}")
    assert refused(await owner(house, "test_user@example.com").login()) == SHARED_SECRET
    anew = owner(house, "newemail@example.com")
    assert (await anew.login()).status_code == 200
    assert (await anew.get("/api/cipher")).json()[0]["protectedData"] == "aabb"


async def test_k_u4_the_token_of_the_change_changes_back(make_house: MakeHouse) -> None:
    someone = await signed_in(await make_house(**ORIGINAL), "test_user@example.com")
    assert (await someone.change_email("newemail@example.com")).status_code == 200
    someone.email = "newemail@example.com"

    answer = await someone.change_email("test_user@example.com")

    assert answer.status_code == 200
    someone.email = "test_user@example.com"
    assert (await someone.login()).status_code == 200


async def test_k_u6_tokens_of_one_account_live_side_by_side(make_house: MakeHouse) -> None:
    """Signing in at the very moment of registering works, too: the clock of this house stands still."""
    house = await make_house(**ORIGINAL)
    first = await signed_in(house)
    second = owner(house)
    assert (await second.login()).status_code == 200

    assert first.token != second.token
    assert (await first.sync()).status_code == 200
    assert (await second.sync()).status_code == 200


async def test_s_2_one_flipped_bit_registers_nobody(house: House) -> None:
    someone = owner(house)
    right = await someone.shared_key()

    answer = await someone.register(sharedKey=flipped(right))

    assert refused(answer) == SHARED_SECRET
    assert refused(await someone.login()) == SHARED_SECRET
    assert (await someone.register()).status_code == 201


@pytest.mark.parametrize("body", ["[]", "{", "null", "5", '"x"', '{"email":"x"} y'])
async def test_s_6_a_login_body_that_is_no_object_is_a_syntax_error(house: House, body: str) -> None:
    answer = await house.client.post("/api/auth/oauth?grantType=login", content=body)

    assert refused(answer) == INVALID_BODY
    assert answer.json()["message"] == "json syntax error"


async def test_s_8_login_reads_any_content_type(house: House) -> None:
    someone = await registered(house)
    text = f'{{"email":"{EMAIL}","sharedKey":"{await someone.shared_key()}"}}'

    answer = await house.client.post("/api/auth/oauth?grantType=login", content=text, headers={"content-type": "text/plain"})

    assert answer.status_code == 200


async def test_s_10_an_unverified_owner_is_told_so_and_nobody_else(make_house: MakeHouse) -> None:
    house = await make_house(EMAIL_VERIFICATION_REQUIRED="true")
    someone = await registered(house)

    assert refused(await someone.login()) == (401, "LP-Email-Not-Verified")
    someone.password = "guessed"
    assert refused(await someone.login()) == SHARED_SECRET


async def test_s_12_a_plus_in_the_query_stays_a_plus(house: House) -> None:
    someone = await registered(house, "a+b@x.com", parallelism=1, memory=20480, iterations=1)

    answer = await someone.get("/api/auth/preLogin?email=a+b@x.com")

    assert answer.status_code == 200
    assert answer.json()["memory"] == 20480
    assert (await someone.login()).status_code == 200


async def test_s_14_the_link_of_a_resent_mail_works(make_house: MakeHouse) -> None:
    house = await make_house(EMAIL_VERIFICATION_REQUIRED="true", WEB_URL="https://pass.example.org")
    someone = await registered(house)
    first = await link_of(house, "Activate")
    assert (await someone.get(f"/api/auth/resendVerificationEmail?email={EMAIL}")).status_code == 200
    second = await link_of(house, "Activate")

    answer = await house.client.get(second)

    assert refused(await house.client.get(first)) == (400, "LP-Email-Invalid-Code")
    assert (answer.status_code, answer.content) == (302, b"")
    assert answer.headers["location"] == "https://pass.example.org/verification/email"
    assert (await someone.login()).status_code == 200


@pytest.mark.parametrize("path", ["/api/user/setup/2fa", "/api/user/disable/2fa"])
async def test_s_16_the_bearer_decides(house: House, path: str) -> None:
    """A bare key is as good as one with the scheme; the body is looked at after the key."""
    someone = await signed_in(house)

    async def status(**headers: str) -> int:
        answer = await house.client.post(path, content="{", headers={"content-type": "application/json", **headers})
        return refused(answer)[0]

    assert await status() == 401
    assert await status(authorization="Bearer ") == 401
    assert await status(authorization="") == 401
    assert await status(authorization=f"Bearer lp_{'0' * 64}") == 401
    assert await status(authorization=f"Bearer {someone.token}") == 400
    assert await status(authorization=someone.token) == 400
    bare = {"Authorization": someone.token}
    assert (
        await house.client.request("DELETE", "/api/user/delete", json={"sharedKey": await someone.shared_key()}, headers=bare)
    ).status_code == 200


async def test_s_18_a_password_change_kills_every_token(house: House) -> None:
    someone = await signed_in(house)
    other = owner(house)
    await other.login()

    answer = await someone.change_password("another")

    assert (answer.status_code, answer.content) == (200, b"{}")
    assert refused(await someone.sync()) == TOKEN
    assert refused(await other.sync()) == TOKEN
    assert refused(await other.login()) == SHARED_SECRET
    assert (await someone.login()).status_code == 200


@pytest.mark.parametrize("call", ["change_email", "change_password"])
async def test_s_20_a_change_naming_a_foreign_row_is_refused(house: House, call: str) -> None:
    stranger = await signed_in(house, "stranger@example.com")
    foreign = stranger.row()
    assert (await stranger.call("PUT", "/api/cipher", foreign)).status_code == 201
    someone = await signed_in(house)

    for row_id in (foreign["id"], str(uuid4())):
        assert refused(await someone.change(call, "other@example.com", [{"id": row_id, "data": "00"}])) == MISSING_CIPHER
    assert (await someone.sync()).status_code == 200
    assert (await stranger.get("/api/cipher")).json()[0]["protectedData"] == "00ff"


async def test_s_22_twenty_pre_logins_at_once_then_one_every_six_seconds(make_house: MakeHouse) -> None:
    house = await make_house(RATE_LIMITS="on")

    statuses = [(await house.client.get("/api/auth/preLogin?email=")).status_code for _ in range(20)]
    refusal = await house.client.get("/api/auth/preLogin?email=")

    assert statuses == [200] * 20
    assert refused(refusal) == (429, "LP-RateLimit")
    assert refusal.headers["retry-after"] == "6"
    house.clock.advance(6)
    assert (await house.client.get("/api/auth/preLogin?email=")).status_code == 200
    assert (await house.client.get("/api/auth/preLogin?email=")).status_code == 429


async def test_s_24_a_key_idle_for_31_days_is_dead_with_and_without_the_sweep(house: House) -> None:
    someone = await signed_in(house)
    house.clock.advance(31 * 24 * 3600)

    assert refused(await someone.sync()) == TOKEN
    await house.jobs.sweep()
    assert refused(await someone.sync()) == TOKEN


async def test_a_taken_address_is_duplicated_where_no_mail_could_tell(house: House) -> None:
    await registered(house)

    answer = await owner(house, EMAIL.upper()).register()

    assert refused(answer) == DUPLICATED
    assert answer.json()["message"] == "database: duplicate key"


async def test_a_taken_address_gets_the_same_answer_where_its_owner_gets_a_mail(make_house: MakeHouse) -> None:
    house = await make_house(**SMTP, EMAIL_VERIFICATION_REQUIRED="false")
    someone = await registered(house)

    thief = owner(house)
    thief.password = "thief"
    answer = await thief.register()

    assert (answer.status_code, answer.content) == (201, b"{}")
    assert refused(await thief.login()) == SHARED_SECRET
    assert (await someone.login()).status_code == 200
