"""Two-factor: the client's own secret, codes that work once, one recovery code, and no way around the old factor."""

from __future__ import annotations

from uuid import UUID

import pytest

from tests.conftest import MakeHouse
from tests.dialects.librepass.owner import (
    INVALID_BODY,
    SHARED_SECRET,
    STEP,
    TOKEN,
    TWO_FACTOR,
    Authenticator,
    enrolled,
    owing,
    owner,
    refused,
    registered,
    signed_in,
)
from tests.house import House

OTHER_SECRET = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"


async def test_set_up_answers_one_recovery_code(house: House) -> None:
    someone = await signed_in(house)

    answer = await someone.set_up(Authenticator(house.clock))

    assert list(answer.json()) == ["recoveryCode"]
    assert str(UUID(answer.json()["recoveryCode"])) == answer.json()["recoveryCode"]
    assert any("switched on" in mail["Subject"] for mail in await house.mails())


async def test_set_up_needs_a_code_of_the_new_secret(house: House) -> None:
    someone, app = await signed_in(house), Authenticator(house.clock)

    for code in (app.wrong_code(), app.code(-2), app.code(2), "", "abcdef", app.code() + " "):
        assert refused(await someone.set_up(app, code=code)) == TWO_FACTOR
    assert (await owner(house).login()).json()["verified"] is True


@pytest.mark.parametrize("secret", ["", "A", "JBSWY3DPEHPK3PXP", "18901890", "====", "A" * 129, "B" * 5000])
async def test_a_secret_under_128_bits_is_refused(house: House, secret: str) -> None:
    someone, app = await signed_in(house), Authenticator(house.clock)

    answer = await someone.set_up(app, secret=secret)

    assert refused(answer) == INVALID_BODY
    assert answer.json()["message"] == "validation error"


@pytest.mark.parametrize("spelling", ["jbswy3dpehpk3pxpjbswy3dpehpk3pxp", "JBSW Y3DP EHPK 3PXP JBSW Y3DP EHPK 3PXP"])
async def test_a_secret_is_read_in_any_spelling(house: House, spelling: str) -> None:
    someone, app = await signed_in(house), Authenticator(house.clock)

    assert (await someone.set_up(app, secret=spelling)).status_code == 200


async def test_a_code_signs_in_once(house: House) -> None:
    _, app, _ = await enrolled(house)
    first, second = await owing(house), await owing(house)

    assert (await first.answer(app.code())).status_code == 200
    assert refused(await second.answer(app.code())) == TWO_FACTOR
    house.clock.advance(STEP)
    assert (await second.answer(app.code())).status_code == 200


async def test_a_code_older_than_the_last_one_is_spent_as_well(house: House) -> None:
    _, app, _ = await enrolled(house)
    first, second = await owing(house), await owing(house)

    assert (await first.answer(app.code(1))).status_code == 200
    assert refused(await second.answer(app.code())) == TWO_FACTOR


async def test_the_code_of_the_set_up_is_spent(house: House) -> None:
    someone, app = await signed_in(house), Authenticator(house.clock)
    assert (await someone.set_up(app)).status_code == 200

    assert refused(await (await owing(house)).answer(app.code())) == TWO_FACTOR


async def test_a_sign_in_and_a_step_up_of_that_session_may_share_a_code(house: House) -> None:
    _, app, _ = await enrolled(house)
    halfway = await owing(house)
    assert (await halfway.answer(app.code())).status_code == 200

    assert (await halfway.delete(code=app.code())).status_code == 200


async def test_another_session_may_not_share_it(house: House) -> None:
    _, app, _ = await enrolled(house)
    one, other = await owing(house), await owing(house)
    assert (await one.answer(app.code())).status_code == 200
    house.clock.advance(STEP)
    assert (await other.answer(app.code())).status_code == 200

    assert refused(await one.delete(code=app.code())) == TWO_FACTOR


@pytest.mark.parametrize("steps", [-1, 0, 1])
async def test_one_step_either_way_is_accepted(house: House, steps: int) -> None:
    _, app, _ = await enrolled(house)

    assert (await (await owing(house)).answer(app.code(steps))).status_code == 200


@pytest.mark.parametrize("spelling", ["{} ", " {}", "{}\n", "{}0", "０１２３４５", ""])
async def test_a_code_is_six_ascii_digits_exactly(house: House, spelling: str) -> None:
    _, app, _ = await enrolled(house)

    assert refused(await (await owing(house)).answer(spelling.format(app.code()))) == TWO_FACTOR


async def test_the_recovery_code_signs_in_once_and_the_owner_is_told(house: House) -> None:
    _, _, recovery = await enrolled(house)
    first, second = await owing(house), await owing(house)

    assert (await first.answer(recovery)).status_code == 200
    assert refused(await second.answer(recovery)) == TWO_FACTOR
    assert (await first.sync()).status_code == 200
    assert any("backup code" in mail["Subject"] for mail in await house.mails())


async def test_five_wrong_codes_end_a_pending_sign_in(house: House) -> None:
    _, app, _ = await enrolled(house)
    halfway = await owing(house)
    for _ in range(5):
        assert refused(await halfway.answer(app.wrong_code())) == TWO_FACTOR

    assert refused(await halfway.answer(app.code())) == TOKEN


async def test_wrong_codes_are_counted_over_all_pending_sign_ins(house: House) -> None:
    """Ten in a quarter of an hour, however many times somebody who has the password signs in."""
    _, app, _ = await enrolled(house)
    for _ in range(2):
        halfway = await owing(house)
        for _ in range(5):
            assert refused(await halfway.answer(app.wrong_code())) == TWO_FACTOR

    answer = await (await owing(house)).answer(app.code())

    assert refused(answer) == (429, "LP-RateLimit")
    assert int(answer.headers["retry-after"]) > 0
    house.clock.advance(15 * 60)
    assert (await (await owing(house)).answer(app.code())).status_code == 200


async def test_a_new_set_up_needs_the_old_factor(house: House) -> None:
    """The original replaced the secret for anybody with the password (librepass-wire 20, W1)."""
    someone, app, _ = await enrolled(house)
    new = Authenticator(house.clock, OTHER_SECRET)

    assert refused(await someone.set_up(new)) == TWO_FACTOR
    assert refused(await someone.set_up(new, oldCode=app.wrong_code())) == TWO_FACTOR
    assert refused(await someone.set_up(new, oldCode=new.code())) == TWO_FACTOR
    answer = await someone.set_up(new, oldCode=app.code())

    assert answer.status_code == 200
    house.clock.advance(2 * STEP)
    assert refused(await (await owing(house)).answer(app.code())) == TWO_FACTOR
    assert (await (await owing(house)).answer(new.code())).status_code == 200


async def test_the_recovery_code_is_an_old_factor_too_and_a_new_set_up_replaces_it(house: House) -> None:
    someone, _, recovery = await enrolled(house)
    new = Authenticator(house.clock, OTHER_SECRET)

    answer = await someone.set_up(new, oldCode=recovery)

    assert answer.status_code == 200
    fresh = answer.json()["recoveryCode"]
    assert refused(await (await owing(house)).answer(recovery)) == TWO_FACTOR
    assert (await (await owing(house)).answer(fresh)).status_code == 200


async def test_a_refused_set_up_spends_no_recovery_code(house: House) -> None:
    someone, app, recovery = await enrolled(house)
    new = Authenticator(house.clock, OTHER_SECRET)
    assert refused(await someone.set_up(new, code=new.wrong_code(), oldCode=recovery)) == TWO_FACTOR

    assert (await (await owing(house)).answer(recovery)).status_code == 200
    assert (await (await owing(house)).answer(app.code())).status_code == 200


async def test_two_factor_is_switched_off_with_key_and_code(house: House) -> None:
    someone, app, _ = await enrolled(house)
    proof = await someone.shared_key()
    path = "/api/user/disable/2fa"

    assert refused(await someone.post(path, {"sharedKey": proof})) == TWO_FACTOR
    assert refused(await someone.post(path, {"sharedKey": proof, "code": app.wrong_code()})) == TWO_FACTOR
    assert refused(await someone.post(path, {"sharedKey": "11" * 32, "code": app.code()})) == SHARED_SECRET
    answer = await someone.post(path, {"sharedKey": proof, "code": app.code()})

    assert (answer.status_code, answer.content) == (200, b"{}")
    assert (await owner(house).login()).json()["verified"] is True
    assert refused(await someone.post(path, {"sharedKey": proof, "code": app.code()})) == TWO_FACTOR
    assert any("switched off" in mail["Subject"] for mail in await house.mails())


async def test_a_pending_sign_in_dies_when_two_factor_is_switched_off(house: House) -> None:
    someone, app, recovery = await enrolled(house)
    halfway = await owing(house)
    answer = await someone.post("/api/user/disable/2fa", {"sharedKey": await someone.shared_key(), "code": recovery})
    assert answer.status_code == 200

    assert refused(await halfway.answer(app.code())) == TOKEN


@pytest.mark.parametrize("members", [{}, {"code": None}, {"code": ""}, {"code": "000000"}])
async def test_deleting_needs_a_code_with_two_factor_on(house: House, members: dict[str, str]) -> None:
    someone, app, _ = await enrolled(house)
    if members.get("code") == "000000":
        members = {"code": app.wrong_code()}

    assert refused(await someone.delete(**members)) == TWO_FACTOR
    assert (await someone.sync()).status_code == 200


async def test_the_recovery_code_does_not_delete(house: House) -> None:
    """As in the original: it is for signing in (librepass-wire 7.5). It is not spent by the try."""
    someone, app, recovery = await enrolled(house)

    assert refused(await someone.delete(code=recovery)) == TWO_FACTOR
    assert (await (await owing(house)).answer(recovery)).status_code == 200
    assert (await someone.delete(code=app.code())).status_code == 200


async def test_ios_deletes_with_an_empty_code(house: House) -> None:
    someone = await signed_in(house)

    assert (await someone.delete(code="")).status_code == 200


async def test_the_pending_sign_in_of_one_account_takes_no_code_of_another(house: House) -> None:
    await enrolled(house)
    other = await registered(house, "other@example.com")
    await other.login()
    app = Authenticator(house.clock, OTHER_SECRET)
    assert (await other.set_up(app)).status_code == 200
    house.clock.advance(2 * STEP)

    assert refused(await (await owing(house)).answer(app.code())) == TWO_FACTOR


async def test_per_session_reuse_lets_one_code_serve_two_sign_ins_only_in_its_window(make_house: MakeHouse) -> None:
    house = await make_house(OSTIARY_TOTP_REUSE="per-session")
    _, app, _ = await enrolled(house)
    code = app.code()

    assert (await (await owing(house)).answer(code)).status_code == 200
    assert (await (await owing(house)).answer(code)).status_code == 200
    house.clock.advance(2 * STEP)
    assert refused(await (await owing(house)).answer(code)) == TWO_FACTOR
