"""Enrolment and its end (librechat-wire 5.7 to 5.11): codes work once, secrets are sealed, a factor guards its own removal."""

from __future__ import annotations

import asyncio
import re
from base64 import b32decode, b64decode
from collections.abc import Awaitable, Callable
from hashlib import sha256

import httpx
import pytest
from sqlalchemy import select

from ostiary.identity import accounts, audit
from ostiary.storage import tables
from ostiary.storage.statements import Query, Statement
from tests.conftest import MakeHouse
from tests.dialects.librechat.browser import EMAIL, STEP, Authenticator, Browser, browser, enrolled, owing, signed_in
from tests.house import House

INITIATED = (400, {"message": "2FA not initiated"})
WRONG = (401, {"message": "Invalid token or backup code"})
TOO_MANY = (429, {"message": "Too many verification attempts, please try again after 15 minutes."})
_rows = Query(lambda *columns: columns, select(tables.factors))
Guarded = Callable[[Browser, dict[str, str]], Awaitable[httpx.Response]]


async def sent(someone: Browser, what: str, body: object = None) -> tuple[int, object]:
    """Status and body of `POST /api/auth/2fa/…`; None for an empty body."""
    answer = await someone.post(f"/api/auth/2fa/{what}", body)
    assert answer.headers["content-type"] == "application/json; charset=utf-8"
    return answer.status_code, answer.json() if answer.content else None


async def is_enabled(someone: Browser) -> bool:
    enabled: bool = (await someone.get("/api/user")).json()["twoFactorEnabled"]
    return enabled


async def begun(house: House, someone: Browser) -> Authenticator:
    """An enrolment begun and not confirmed."""
    answer = (await someone.post("/api/auth/2fa/enable")).json()
    return Authenticator(house.clock, answer["secret"], answer["backupCodes"])


async def test_an_enrolment_answers_all_that_clients_and_page_ask_for(house: House) -> None:
    someone = await signed_in(house)

    answer = (await someone.post("/api/auth/2fa/enable")).json()

    assert set(answer) == {"otpauthUrl", "secret", "qrCode", "backupCodes"}
    assert answer["otpauthUrl"] == f"otpauth://totp/LibreChat:{EMAIL}?secret={answer['secret']}&issuer=LibreChat"
    assert len(b32decode(answer["secret"])) == 20
    assert b64decode(answer["qrCode"].removeprefix("data:image/png;base64,")).startswith(b"\x89PNG")
    assert len(set(answer["backupCodes"])) == 10


@pytest.mark.parametrize("engine", ["sqlite"])
async def test_label_and_issuer_are_escaped(make_house: MakeHouse) -> None:
    house = await make_house(APP_TITLE="My Chat: A&B?secret=X")
    someone = await signed_in(house, "o'brien+tag@example.com")

    url = (await someone.post("/api/auth/2fa/enable")).json()["otpauthUrl"]

    assert url.startswith("otpauth://totp/MyChat%3AA%26B%3Fsecret%3DX:o%27brien%2Btag@example.com?secret=")
    assert url.count("secret=") == 1
    assert url.endswith("&issuer=MyChat%3AA%26B%3Fsecret%3DX")


async def test_nothing_is_on_before_the_confirmation(house: House) -> None:
    someone = await signed_in(house)
    app = await begun(house, someone)

    assert await sent(someone, "verify", {"token": app.code()}) == (200, None)
    assert not await is_enabled(someone)
    assert (await browser(house).login()).json()["token"]


async def test_verify_and_confirm_take_the_same_code_and_answer_nothing(house: House) -> None:
    someone = await signed_in(house)
    app = await begun(house, someone)
    code = app.code()

    assert [await sent(someone, step, {"token": code}) for step in ("verify", "confirm")] == [(200, None)] * 2
    assert await is_enabled(someone)


async def test_the_code_of_the_enrolment_signs_nobody_in(house: House) -> None:
    someone = await signed_in(house)
    app = await begun(house, someone)
    await sent(someone, "confirm", {"token": app.code()})
    other, pending = await owing(house)

    replayed = await other.prove(pending, token=app.code())
    before = await other.prove(pending, token=app.code(-1))
    after = await other.prove(pending, token=app.code(1))

    assert [answer.status_code for answer in (replayed, before, after)] == [401, 401, 200]


@pytest.mark.parametrize(("steps", "status"), [(-2, 401), (-1, 200), (0, 200), (1, 200), (2, 401)])
async def test_a_code_is_good_one_step_either_way(house: House, steps: int, status: int) -> None:
    app = await enrolled(house, await signed_in(house))
    house.clock.advance(10 * STEP)
    someone, pending = await owing(house)

    assert (await someone.prove(pending, token=app.code(steps))).status_code == status


async def test_wrong_codes_are_refused_in_each_routes_words(house: House) -> None:
    someone = await signed_in(house)
    app = await begun(house, someone)

    assert await sent(someone, "verify", {"token": app.wrong_code()}) == (400, {"message": "Invalid token or backup code."})
    assert await sent(someone, "verify", {}) == (400, {"message": "Invalid token or backup code."})
    assert await sent(someone, "verify", {"backupCode": app.codes[0]}) == (400, {"message": "Invalid token or backup code."})
    assert await sent(someone, "confirm", {"token": app.wrong_code()}) == (400, {"message": "Invalid token."})
    assert await sent(someone, "confirm", {}) == (400, {"message": "Invalid token."})
    assert not await is_enabled(someone)


async def test_nothing_can_be_verified_or_confirmed_that_was_not_begun(house: House) -> None:
    someone = await signed_in(house)

    for step in ("verify", "confirm"):
        assert await sent(someone, step, {"token": "123456"}) == INITIATED
    assert await sent(someone, "verify", {"backupCode": "deadbeef"}) == INITIATED
    assert await sent(someone, "disable", {"token": "123456"}) == (400, {"message": "2FA is not setup for this user"})


async def test_an_enrolment_must_be_confirmed_within_ten_minutes(house: House) -> None:
    someone = await signed_in(house)
    app = await begun(house, someone)
    house.clock.advance(600)

    assert await sent(someone, "confirm", {"token": app.code()}) == INITIATED


async def test_of_two_enrolments_begun_the_last_can_be_confirmed(house: House) -> None:
    someone = await signed_in(house)
    first = await begun(house, someone)
    second = await begun(house, someone)

    assert (await sent(someone, "confirm", {"token": first.code()}))[0] == 400
    assert (await sent(someone, "confirm", {"token": second.code()}))[0] == 200


async def test_confirming_ends_the_other_sessions_and_tells_the_owner(house: House) -> None:
    someone, other = await signed_in(house), await signed_in(house)

    await enrolled(house, someone)

    assert (await someone.refresh()).status_code == 200
    assert (await other.refresh()).status_code == 401
    assert (await other.get("/api/user")).status_code == 401
    assert (await house.last_mail("switched on"))["To"] == f"Test User <{EMAIL}>"


async def test_a_confirmation_sent_twice_at_once_leaves_the_factor_on(house: House) -> None:
    """The second of two clicks finds nothing pending, and must not take the fresh factor away."""
    someone = await signed_in(house)
    app = await begun(house, someone)

    answers = await asyncio.gather(*(sent(someone, "confirm", {"token": app.code()}) for _ in range(8)))

    assert [status for status, _ in answers].count(200) >= 1
    assert all(status in (200, 400, 401) for status, _ in answers)
    assert (await browser(house).login()).json()["twoFAPending"] is True
    house.clock.advance(2 * STEP)
    fresh, pending = await owing(house)
    assert (await fresh.prove(pending, token=app.code())).status_code == 200
    assert (await fresh.post("/api/auth/2fa/disable", {"backupCode": app.codes[0]})).status_code == 200


async def test_enrolments_begun_at_once_leave_one_that_can_be_confirmed(house: House) -> None:
    someone = await signed_in(house)
    apps = await asyncio.gather(*(begun(house, someone) for _ in range(8)))

    confirmed = [await sent(someone, "confirm", {"token": app.code()}) for app in apps]

    assert [status for status, _ in confirmed].count(200) == 1
    async with house.begin() as ctx:
        kinds = [row[2] for row in await ctx.db.all(_rows)]
    assert sorted(kinds) == ["backup_code"] * 10 + ["totp"]


async def test_a_stolen_bearer_cannot_replace_the_factor(house: House) -> None:
    """What weakens the account asks for a code of the factor that guards it."""
    someone = await signed_in(house)
    app = await enrolled(house, someone)
    texts = {
        "enable": "TOTP token or backup code is required to re-enroll 2FA",
        "disable": "Either token or backup code is required to disable 2FA",
        "backup/regenerate": "TOTP token or backup code is required to regenerate backup codes",
    }

    for what, text in texts.items():
        assert await sent(someone, what) == (400, {"message": text})
        assert await sent(someone, what, {"token": ""}) == (400, {"message": text})
        assert await sent(someone, what, {"token": app.wrong_code()}) == WRONG
        assert await sent(someone, what, {"backupCode": "00000000"}) == WRONG
    assert await is_enabled(someone)


async def test_deletion_asks_for_a_code(house: House) -> None:
    someone = await signed_in(house)
    app = await enrolled(house, someone)

    bare = await someone.delete("/api/user/delete")
    wrong = await someone.delete("/api/user/delete", {"token": app.wrong_code()})
    right = await someone.delete("/api/user/delete", {"backupCode": app.codes[0]})

    text = "TOTP token or backup code is required to delete account with 2FA enabled"
    assert (bare.status_code, bare.json()) == (400, {"message": text})
    assert (wrong.status_code, wrong.json()) == WRONG
    assert (right.status_code, right.json()) == (200, {"message": "User deleted"})
    assert (await browser(house).login()).status_code == 404


async def test_switching_off_ends_other_sessions_and_forgets_everything(house: House) -> None:
    someone = await signed_in(house)
    app = await enrolled(house, someone)
    other, pending = await owing(house)
    await other.prove(pending, token=app.code())

    assert await sent(someone, "disable", {"token": app.code(1)}) == (200, None)

    assert not await is_enabled(someone)
    assert (await other.refresh()).status_code == 401
    assert (await browser(house).login()).json()["token"]
    assert (await house.last_mail("switched off"))["To"] == f"Test User <{EMAIL}>"
    async with house.begin() as ctx:
        assert await ctx.db.all(_rows) == []


async def test_a_code_that_signed_in_serves_one_step_up_of_that_session(house: House) -> None:
    """The contract's exception: the user types the code on the screen, within its thirty seconds, once more."""
    app = await enrolled(house, await signed_in(house))
    someone, pending = await owing(house)
    other, other_pending = await owing(house)
    await someone.prove(pending, token=app.code())
    await other.prove(other_pending, backupCode=app.codes[0])

    by_other = await sent(other, "backup/regenerate", {"token": app.code()})
    once = await sent(someone, "backup/regenerate", {"token": app.code()})
    twice = await sent(someone, "backup/regenerate", {"token": app.code()})

    assert (by_other, once[0], twice) == (WRONG, 200, WRONG)


async def test_re_enrolment_keeps_the_old_factor_until_confirmed(house: House) -> None:
    someone = await signed_in(house)
    old = await enrolled(house, someone)
    answer = (await someone.post("/api/auth/2fa/enable", {"backupCode": old.codes[0]})).json()
    new = Authenticator(house.clock, answer["secret"], answer["backupCodes"])
    first, pending = await owing(house)
    by_old = await first.prove(pending, token=old.code())
    assert await sent(someone, "verify", {"token": new.code()}) == (200, None)

    assert await sent(someone, "confirm", {"token": new.code()}) == (200, None)

    house.clock.advance(2 * STEP)
    second, pending = await owing(house)
    assert by_old.status_code == 200
    assert (await second.prove(pending, token=old.code())).status_code == 401
    assert (await second.prove(pending, backupCode=old.codes[1])).status_code == 401
    assert (await second.prove(pending, token=new.code())).status_code == 200


async def test_a_backup_code_for_re_enrolment_is_spent(house: House) -> None:
    someone = await signed_in(house)
    app = await enrolled(house, someone)

    assert (await sent(someone, "enable", {"backupCode": app.codes[0]}))[0] == 200
    assert await sent(someone, "enable", {"backupCode": app.codes[0]}) == WRONG


async def test_trying_a_backup_code_out_does_not_cost_it(house: House) -> None:
    someone = await signed_in(house)
    app = await enrolled(house, someone)

    tried = [await sent(someone, "verify", {"backupCode": app.codes[0]}) for _ in range(2)]

    assert tried == [(200, None)] * 2
    assert await sent(someone, "disable", {"backupCode": app.codes[0]}) == (200, None)


async def test_a_right_code_may_be_verified_and_confirmed_again_when_all_is_live(house: House) -> None:
    someone = await signed_in(house)
    app = await enrolled(house, someone)

    assert await sent(someone, "verify", {"token": app.code()}) == (200, None)
    assert await sent(someone, "confirm", {"token": app.code()}) == (200, None)
    assert await sent(someone, "confirm", {"token": app.code()}) == (400, {"message": "Invalid token."})


async def test_regenerated_codes_replace_the_old_ones(house: House) -> None:
    someone = await signed_in(house)
    app = await enrolled(house, someone)

    answer = (await someone.post("/api/auth/2fa/backup/regenerate", {"token": app.code()})).json()

    assert set(answer) == {"backupCodes", "backupCodesHash"}
    assert not set(answer["backupCodes"]) & set(app.codes)
    assert all(re.fullmatch(r"[0-9a-f]{8}", code) for code in answer["backupCodes"])
    assert await sent(someone, "disable", {"backupCode": app.codes[3]}) == WRONG
    assert await sent(someone, "disable", {"backupCode": answer["backupCodes"][3]}) == (200, None)


async def test_the_digests_in_the_answer_tell_nothing(house: House) -> None:
    someone = await signed_in(house)
    app = await enrolled(house, someone)

    answer = (await someone.post("/api/auth/2fa/backup/regenerate", {"token": app.code()})).json()

    hashes = [entry["codeHash"] for entry in answer["backupCodesHash"]]
    assert [set(entry) for entry in answer["backupCodesHash"]] == [{"codeHash", "used", "usedAt"}] * 10
    assert all(entry["used"] is False and entry["usedAt"] is None for entry in answer["backupCodesHash"])
    assert not {sha256(code.encode()).hexdigest() for code in answer["backupCodes"]} & set(hashes)
    async with house.begin() as ctx:
        stored = [row[3] for row in await ctx.db.all(_rows)]
    assert not {bytes.fromhex(digest) for digest in hashes} & set(stored)


async def test_secrets_and_codes_are_not_kept_in_the_clear(house: House) -> None:
    someone = await signed_in(house)
    app = await enrolled(house, someone)

    async with house.begin() as ctx:
        kept = repr(await ctx.db.all(_rows))

    assert app.secret not in kept
    assert repr(b32decode(app.secret))[2:-1] not in kept
    for code in app.codes:
        assert code not in kept
        assert repr(sha256(code.encode()).digest())[2:-1] not in kept


async def test_a_secret_that_cannot_be_read_is_never_taken_for_none(house: House) -> None:
    someone = await signed_in(house)
    app = await enrolled(house, someone)
    async with house.begin() as ctx:
        account = await accounts.named(ctx, EMAIL)
        broken = tables.factors.update().where(tables.factors.c.kind == "totp").values(config=b"\x01" + bytes(40))
        await ctx.db.run(Statement(broken))
    other, pending = await owing(house, EMAIL)

    answer = await other.prove(pending, token=app.code())

    assert (answer.status_code, answer.json()) == (400, {"message": "2FA secret is missing or corrupted"})
    assert await sent(someone, "disable", {"token": app.code()}) == (400, {"message": "2FA secret is missing or corrupted"})
    assert account.has_factor


async def test_what_happens_to_factors_is_audited(house: House) -> None:
    someone = await signed_in(house)
    app = await enrolled(house, someone)
    await sent(someone, "backup/regenerate", {"token": app.wrong_code()})
    await sent(someone, "backup/regenerate", {"token": app.code()})
    await sent(someone, "disable", {"token": app.code(1)})

    async with house.begin() as ctx:
        found = sorted(event.event for event in await audit.latest(ctx, event="account:two_factor:%"))

    assert found == [f"account:two_factor:{what}" for what in ("backup_codes_made", "disabled", "enabled", "refused")]
