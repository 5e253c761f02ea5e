"""SES: sessions, refresh, sign-out (catalogue 4.3)."""

from __future__ import annotations

import sqlite3
from datetime import timedelta

import pytest

from ostiary.identity import accounts, audit, bans, invitations
from tests.attack.harness import Caller, stored
from tests.attack.people import OTHER_PASSWORD, key_owner, link_in, signed_in
from tests.conftest import MakeHouse
from tests.dialects.librechat import browser as librechat
from tests.dialects.librepass import owner as librepass
from tests.house import House
from tests.served import Served
from tests.services.smtp import MailServer

DAY = timedelta(days=1).total_seconds()


def test_ses_02_every_rotation_makes_another_token(site: Served) -> None:
    person = signed_in(site.url)
    tokens = [person.refresh_token]

    for _ in range(2):
        assert person.refresh().status == 200
        tokens.append(person.refresh_token)

    assert len(set(tokens)) == 3


async def test_ses_03_a_spent_refresh_token_ends_its_family_after_the_grace(house: House) -> None:
    person = await librechat.signed_in(house)
    first = person.refresh_cookie
    await person.refresh()
    await person.refresh()
    newest = person.refresh_cookie
    house.clock.advance(31)

    replay = await house.client.post("/api/auth/refresh", headers={"Cookie": f"refreshToken={first}"})
    after = await house.client.post("/api/auth/refresh", headers={"Cookie": f"refreshToken={newest}"})

    assert (replay.status_code, after.status_code) == (401, 401)
    async with house.begin() as ctx:
        assert len(await audit.latest(ctx, event=audit.Event.REFRESH_REUSED)) == 1
    assert (await house.last_mail("A session of yours was ended"))["To"] == f"Test User <{librechat.EMAIL}>"


def test_ses_05_signing_out_ends_both_tokens_at_once(site: Served) -> None:
    person = signed_in(site.url)
    bearer, cookie = person.bearer, person.refresh_token

    assert person.post("/api/auth/logout").status == 200

    assert person.me(bearer).status == 401
    assert person.refresh(cookie).status in (401, 403)


async def test_ses_06_signing_out_works_with_an_expired_bearer(house: House) -> None:
    person = await librechat.signed_in(house)
    cookie = person.refresh_cookie
    house.clock.advance(16 * 60)

    answer = await person.post("/api/auth/logout")

    # The contract: the answer keeps the original's status, and the session ends all the same.
    assert answer.status_code == 401
    assert len(librechat.cookies_of(answer)) == 5
    assert (await house.client.post("/api/auth/refresh", headers={"Cookie": f"refreshToken={cookie}"})).status_code == 401


def test_ses_08_a_new_password_ends_every_session(site: Served, mails: MailServer) -> None:
    person, owner = signed_in(site.url), key_owner(site.url)
    bearer, cookie, key = person.bearer, person.refresh_token, owner.bearer
    person.post("/api/auth/requestPasswordReset", {"email": person.email})
    link = librechat.parameters_of(link_in(mails, person.email, "Password Reset Request"))

    assert person.post("/api/auth/resetPassword", {**link, "password": OTHER_PASSWORD}).status == 200
    assert owner.ask("PATCH", "/api/user/password", owner.change_form(OTHER_PASSWORD)).status == 200

    assert person.me(bearer).status == 401
    assert person.refresh(cookie).status in (401, 403)
    assert Caller(site.url, bearer=key).get("/api/cipher").status == 401


@pytest.mark.parametrize("what", ["deleted", "banned"])
async def test_ses_09_an_account_that_is_off_has_no_session(house: House, what: str) -> None:
    person, key_holder = await librechat.signed_in(house), await librepass.signed_in(house)
    cookie = person.refresh_cookie
    async with house.begin() as ctx:
        for email in (librechat.EMAIL, key_holder.email):
            account = await accounts.named(ctx, email)
            if what == "deleted":
                await accounts.remove(ctx, account.id)
            else:
                await bans.add(ctx, bans.ACCOUNT, account.id, "test", None)

    refreshed = await house.client.post("/api/auth/refresh", headers={"Cookie": f"refreshToken={cookie}"})

    assert (await person.get("/api/user")).status_code == 401
    assert refreshed.status_code in (401, 403)
    assert (await key_holder.get("/api/cipher")).status_code == 401
    assert (await librechat.browser(house).login()).status_code in (403, 404)
    assert (await librepass.owner(house).login()).status_code in (400, 403)


async def test_ses_11_a_session_that_lies_unused_ends(house: House) -> None:
    """A browser's family ends seven days after its sign-in, used or not; a key after thirty days without use."""
    person, key_holder = await librechat.signed_in(house), await librepass.signed_in(house)
    house.clock.advance(7 * DAY)
    refreshed = await person.refresh()
    house.clock.advance(23 * DAY + 60)

    assert refreshed.status_code in (401, 403)
    assert (await key_holder.get("/api/cipher")).status_code == 401


async def test_ses_12_what_expired_is_refused_without_the_sweep(make_house: MakeHouse) -> None:
    house = await make_house(EMAIL_VERIFICATION_REQUIRED="true", ALLOW_REGISTRATION="true")
    person = librechat.browser(house)
    await person.register()
    verification = librechat.parameters_of(await librechat.link_of(house, "Verify your email"))
    await person.post("/api/auth/requestPasswordReset", {"email": librechat.EMAIL})
    reset = librechat.parameters_of(await librechat.link_of(house, "Password Reset Request"))
    async with house.begin() as ctx:
        invitation = librechat.parameters_of(await invitations.create(ctx, "invited@example.org"))["token"]

    house.clock.advance(15 * 60)
    verified = await person.post("/api/user/verify", verification)
    done = await person.post("/api/auth/resetPassword", {**reset, "password": OTHER_PASSWORD})
    house.clock.advance(7 * DAY)
    registered = await librechat.browser(house).register("invited@example.org", token=invitation)

    assert (verified.status_code, done.status_code, registered.status_code) == (400, 400, 400)


async def test_ses_12_sessions_and_keys_end_to_the_second(make_house: MakeHouse) -> None:
    house = await make_house(OSTIARY_KEY_SESSION_MAX_AGE="86400")
    person, key_holder = await librechat.signed_in(house), await librepass.signed_in(house)
    house.clock.advance(DAY - 1)
    in_time = await key_holder.get("/api/cipher")
    house.clock.advance(1)
    late = await key_holder.get("/api/cipher")
    house.clock.advance(6 * DAY - 1)
    last = await person.refresh()
    house.clock.advance(1)

    assert (in_time.status_code, late.status_code) == (200, 401)
    assert last.status_code == 200
    assert (await person.refresh()).status_code in (401, 403)


def test_ses_14_the_oldest_session_makes_room(site: Served) -> None:
    person = signed_in(site.url)
    oldest = person.refresh_token
    for _ in range(100):
        assert person.elsewhere().login().status == 200

    with sqlite3.connect(f"file:{site.data / 'ostiary.db'}?mode=ro", uri=True) as rows:
        live = rows.execute(
            "SELECT count(*) FROM sessions JOIN accounts ON accounts.id = account_id WHERE email = ? AND revoked_at IS NULL",
            (person.email,),
        ).fetchone()

    assert live == (100,)
    assert person.refresh(oldest).status in (401, 403)


def test_ses_15_only_one_well_formed_bearer_counts(site: Served) -> None:
    token = signed_in(site.url).bearer
    key = key_owner(site.url).bearer
    nobody = Caller(site.url)
    for path, secret in (("/api/user", token), ("/api/cipher", key)):
        values = [f"Bearer  {secret}", f"Token {secret}", f"Bearer {secret} x", f"Bearer\t{secret}", "Bearer " + "a" * 30_000]
        for value in values:
            assert nobody.get(path, authorization=value).status == 401, value[:20]
        twice = nobody.send("GET", path, None, [("Authorization", f"Bearer {secret}")] * 2)
        assert twice.status in (400, 401)
        assert nobody.get(f"{path}?access_token={secret}").status == 401
        assert nobody.get(path, authorization=f"Bearer {secret}").status == 200
    assert nobody.get("/api/user", authorization=token).status == 401
    # librepass-wire 2: its clients may send the bare key.
    assert nobody.get("/api/cipher", authorization=key).status == 200


async def test_ses_17_a_sign_in_from_a_new_place_is_told_once(house: House) -> None:
    await librechat.signed_in(house)
    there = librechat.browser(house, "192.0.2.7")

    await there.login()
    await there.refresh()
    await there.refresh()

    told = [mail for mail in await house.mails() if "New Login" in mail["Subject"]]
    assert [mail["To"] for mail in told] == [f"Test User <{librechat.EMAIL}>"]


def test_ses_18_no_token_is_stored_in_the_clear(site: Served, mails: MailServer) -> None:
    person, owner = signed_in(site.url), key_owner(site.url)
    person.post("/api/auth/requestPasswordReset", {"email": person.email})
    reset = librechat.parameters_of(link_in(mails, person.email, "Password Reset Request"))["token"]
    verify = librechat.parameters_of(link_in(mails, owner.email, "Activate your"))["code"]

    kept = stored(site)

    assert person.email.encode() in kept
    for secret in (person.refresh_token, person.bearer, owner.bearer, owner.bearer[3:], reset, verify, person.password):
        assert secret.encode() not in kept
