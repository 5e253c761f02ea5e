"""`ostiary user …`."""

from __future__ import annotations

import asyncio
import re

import pytest

from ostiary.crypto import otp
from ostiary.identity import accounts, totp
from tests.cli.conftest import HOUR, PASSWORD, Operator, is_let_in, sign_in
from tests.house import House

ADA = "ada@example.org"


def test_the_first_account_is_the_administrator_and_the_second_is_not(operator: Operator) -> None:
    first = operator.json("user", "create", ADA, "--password-stdin", stdin=PASSWORD)
    second = operator.json("user", "create", "bob@example.org", "--password-stdin", stdin=PASSWORD)

    assert (first["role"], second["role"]) == ("ADMIN", "USER")
    assert first["verified"] is True
    assert "password" not in first


def test_with_bootstrap_by_command_line_only_a_named_role_makes_an_administrator(operator: Operator) -> None:
    plain = operator.json("user", "create", ADA, OSTIARY_BOOTSTRAP="cli")
    named = operator.json("user", "create", "bob@example.org", "--role", "admin", OSTIARY_BOOTSTRAP="cli")

    assert (plain["role"], named["role"]) == ("USER", "ADMIN")


async def test_after_an_account_of_the_command_line_no_stranger_becomes_the_administrator(
    operator: Operator, running: House
) -> None:
    await operator.meanwhile("user", "create", ADA, "--role", "USER")

    body = {"name": "Eve", "email": "eve@example.org", "password": PASSWORD, "confirm_password": PASSWORD}
    await running.client.post("/api/auth/register", json=body)

    assert (await operator.meanwhile("user", "show", "eve@example.org"))["role"] == "USER"


async def test_the_account_signs_in_with_its_password(operator: Operator, running: House) -> None:
    made = await operator.meanwhile("user", "create", ADA, "--name", "Ada Lovelace", "--password-stdin", stdin=PASSWORD + "\n")

    answer = await sign_in(running, ADA)

    assert answer.json()["user"]["id"] == made["id"]
    assert answer.json()["user"]["name"] == "Ada Lovelace"


async def test_a_generated_password_is_shown_once_and_works(operator: Operator, running: House) -> None:
    made = await operator.meanwhile("user", "create", ADA)

    assert len(made["password"]) >= 24
    assert (await sign_in(running, ADA, made["password"])).status_code == 200
    assert made["password"] not in str(await operator.meanwhile("user", "show", ADA))


def test_a_generated_password_obeys_a_raised_minimum(operator: Operator) -> None:
    assert len(operator.json("user", "create", ADA, MIN_PASSWORD_LENGTH="100")["password"]) == 100


@pytest.mark.parametrize(
    ("words", "stdin", "expected"),
    [
        (("nobody",), PASSWORD, "email: Invalid email"),
        ((ADA, "--name", "x"), PASSWORD, "name: String must contain at least 3 character(s)"),
        ((ADA, "--username", "a'b"), PASSWORD, "username: Potential injection attack detected"),
        ((ADA,), "short", "password: String must contain at least 8 character(s)"),
        ((ADA,), "", "Nothing came from standard input"),
    ],
)
def test_the_rules_of_registration_hold(operator: Operator, words: tuple[str, ...], stdin: str, expected: str) -> None:
    assert expected in operator.complaint("user", "create", *words, "--password-stdin", stdin=stdin)
    assert operator.json("user", "list") == []


def test_the_domain_rule_of_registration_holds(operator: Operator) -> None:
    assert "OSTIARY_ALLOWED_DOMAINS" in operator.complaint("user", "create", ADA, OSTIARY_ALLOWED_DOMAINS="example.com")


def test_a_taken_address_is_refused_in_any_spelling(operator: Operator) -> None:
    operator.json("user", "create", ADA)

    assert "has an account already" in operator.complaint("user", "create", "ADA@example.org")


def test_a_password_is_no_argument(operator: Operator) -> None:
    assert "No such option" in operator.complaint("user", "create", ADA, "--password", "x", code=2)


def test_an_unverified_account_goes_unless_it_is_verified(operator: Operator) -> None:
    smtp = {"EMAIL_HOST": "127.0.0.1", "EMAIL_FROM": "ostiary@example.org"}

    operator.json("user", "create", ADA, "--unverified", **smtp)

    shown = operator.json("user", "show", ADA)
    assert shown["verified"] is False
    assert shown["expires_at"] is not None


def test_accounts_are_listed_by_address_and_shown_by_address_or_id(operator: Operator) -> None:
    made = {email: operator.json("user", "create", email) for email in ("bob@example.org", ADA)}

    assert [each["email"] for each in operator.json("user", "list")] == [ADA, "bob@example.org"]
    assert operator.json("user", "show", made[ADA]["id"])["email"] == ADA
    assert operator.json("user", "show", "Ada@Example.org")["id"] == made[ADA]["id"]
    assert ADA in operator.text("user", "list")
    assert re.search(r"signs in with\s+password", operator.text("user", "show", ADA))


def test_an_unknown_account_is_named_as_such(operator: Operator) -> None:
    for command in ("show", "delete", "unlock", "sessions", "logout", "reset-link", "reset-2fa", "set-password"):
        assert "There is no such account" in operator.complaint("user", command, "nobody@example.org")
        assert "There is no such account" in operator.complaint("user", command, "8c2f0c1e-0000-4000-8000-000000000000")


async def test_deleting_ends_the_sessions_of_a_running_server(operator: Operator, running: House) -> None:
    await operator.meanwhile("user", "create", ADA, "--password-stdin", stdin=PASSWORD)
    token = (await sign_in(running, ADA)).json()["token"]

    await operator.meanwhile("user", "delete", ADA, "--yes")

    assert not await is_let_in(running, token)
    assert (await sign_in(running, ADA)).status_code == 404
    assert await operator.meanwhile("user", "list") == []


async def test_logging_out_ends_the_sessions_of_a_running_server(operator: Operator, running: House) -> None:
    await operator.meanwhile("user", "create", ADA, "--password-stdin", stdin=PASSWORD)
    tokens = [(await sign_in(running, ADA)).json()["token"] for _ in range(3)]
    listed = await operator.meanwhile("user", "sessions", ADA)

    one = await operator.meanwhile("user", "logout", ADA, "--session", listed[0]["id"])
    left = [await is_let_in(running, token) for token in tokens]
    rest = await operator.meanwhile("user", "logout", ADA)

    assert len(listed) == 3
    assert (one["ended"], sum(left), rest["ended"]) == (1, 2, 2)
    assert [await is_let_in(running, token) for token in tokens] == [False] * 3
    assert await operator.meanwhile("user", "sessions", ADA) == []


def test_a_session_of_somebody_else_is_not_ended(operator: Operator) -> None:
    operator.json("user", "create", ADA)

    assert "has no live session" in operator.complaint("user", "logout", ADA, "--session", "8c2f0c1e")


async def test_setting_a_password_replaces_it_ends_sessions_and_tells_the_owner(operator: Operator, running: House) -> None:
    await operator.meanwhile("user", "create", ADA, "--password-stdin", stdin=PASSWORD)
    token = (await sign_in(running, ADA)).json()["token"]

    await operator.meanwhile("user", "set-password", ADA, "--password-stdin", stdin="another horse")

    assert not await is_let_in(running, token)
    assert (await sign_in(running, ADA)).status_code == 404
    assert (await sign_in(running, ADA, "another horse")).status_code == 200
    running.clock.advance(2 * HOUR)
    await running.last_mail("password was changed")


def test_a_new_password_obeys_the_rules(operator: Operator) -> None:
    operator.json("user", "create", ADA)

    complaint = operator.complaint("user", "set-password", ADA, "--password-stdin", stdin="short")
    assert complaint == "The password is too short: MIN_PASSWORD_LENGTH is 8."
    for password in ("long enough\0and more", "\0" * 8):
        assert "NUL" in operator.complaint("user", "set-password", ADA, "--password-stdin", stdin=password)


def test_a_password_that_anybody_would_guess_is_refused(operator: Operator) -> None:
    made = ("user", "create", "ada@example.org", "--password-stdin")
    changed = ("user", "set-password", "ada@example.org", "--password-stdin")

    assert operator.complaint(*made, stdin="password1\n").startswith("The password is too common")
    assert operator.complaint(*made, stdin="Ostiary-2026!\n") == "The password is made of the owner's or this server's own names."
    operator.json(*made, stdin="a lamp at noon\n")
    assert operator.complaint(*changed, stdin="PASSWORD1\n").startswith("The password is too common")


async def test_a_key_account_is_given_no_password(operator: Operator, running: House) -> None:
    async with running.begin() as ctx:
        await accounts.insert_account(ctx, accounts.fresh(ctx, "grace@example.org", "", provider="key"))

    for command in ("set-password", "reset-link"):
        complaint = await asyncio.to_thread(operator.complaint, "user", command, "grace@example.org")
        assert "signs in with a key or through a provider" in complaint


async def test_a_reset_link_lets_the_owner_choose_a_password(operator: Operator, running: House) -> None:
    await operator.meanwhile("user", "create", ADA, "--password-stdin", stdin=PASSWORD)

    made = await operator.meanwhile("user", "reset-link", ADA)

    token, user_id = re.findall(r"token=([0-9a-f]{64})&userId=(\S+)", made["link"])[0]
    body = {"token": token, "userId": user_id, "password": "another horse"}
    assert (await running.client.post("/api/auth/resetPassword", json=body)).status_code == 200
    assert (await sign_in(running, ADA, "another horse")).status_code == 200


def test_no_reset_link_is_made_that_would_be_refused(operator: Operator) -> None:
    operator.json("user", "create", ADA)

    assert "ALLOW_PASSWORD_RESET=false" in operator.complaint("user", "reset-link", ADA, ALLOW_PASSWORD_RESET="false")


async def test_a_role_holds_from_the_next_request_on(operator: Operator, running: House) -> None:
    await operator.meanwhile("user", "create", ADA, "--password-stdin", stdin=PASSWORD)
    token = (await sign_in(running, ADA)).json()["token"]

    await operator.meanwhile("user", "set-role", ADA, "editor")

    answer = await running.client.get("/api/user", headers={"Authorization": f"Bearer {token}"})
    assert answer.json()["role"] == "EDITOR"


def test_taking_the_last_administrator_away_is_said(operator: Operator) -> None:
    operator.json("user", "create", ADA)

    done = operator.run("user", "set-role", ADA, "USER")

    assert "Nobody is ADMIN any more" in done.stderr
    assert "is not a role" in operator.complaint("user", "set-role", ADA, "no role", code=2)


async def test_a_lost_second_factor_is_taken_away(operator: Operator, running: House) -> None:
    made = await operator.meanwhile("user", "create", ADA, "--password-stdin", stdin=PASSWORD)
    await _enrol(running, made["id"])
    assert (await sign_in(running, ADA)).json()["twoFAPending"] is True

    done = await operator.meanwhile("user", "reset-2fa", ADA)

    assert (done["had_two_factor"], done["two_factor"]) == (True, False)
    assert "token" in (await sign_in(running, ADA)).json()
    running.clock.advance(2 * HOUR)
    await running.last_mail("switched off")
    assert (await operator.meanwhile("user", "reset-2fa", ADA))["had_two_factor"] is False


async def test_unlocking_opens_a_door_that_a_running_server_has_closed(operator: Operator, running: House) -> None:
    await operator.meanwhile("user", "create", ADA, "--password-stdin", stdin=PASSWORD)
    for _ in range(running.settings.limits.lockout_max):
        assert (await sign_in(running, ADA, "wrong horse")).status_code == 404
    assert (await sign_in(running, ADA)).status_code == 429

    await operator.meanwhile("user", "unlock", ADA)

    assert (await sign_in(running, ADA)).status_code == 200


async def test_one_unlocking_opens_the_door_once(operator: Operator, running: House) -> None:
    await operator.meanwhile("user", "create", ADA, "--password-stdin", stdin=PASSWORD)
    await operator.meanwhile("user", "unlock", ADA)
    running.clock.advance(2 * HOUR)

    for _ in range(running.settings.limits.lockout_max):
        await sign_in(running, ADA, "wrong horse")

    assert (await sign_in(running, ADA)).status_code == 429


async def test_unlocking_opens_a_second_factor_too(operator: Operator, running: House) -> None:
    made = await operator.meanwhile("user", "create", ADA, "--password-stdin", stdin=PASSWORD)
    secret = await _enrol(running, made["id"])
    for _ in range(11):
        await _answer(running, "000000")
    running.clock.advance(60)
    assert await _answer(running, _code(running, secret)) == 429

    await operator.meanwhile("user", "unlock", ADA)

    assert await _answer(running, _code(running, secret)) == 200


def test_what_others_typed_reaches_no_terminal_unescaped(operator: Operator) -> None:
    operator.json("user", "create", ADA, "--name", "Ada\x1b[2J")

    assert "\x1b" not in operator.text("user", "show", ADA)
    assert r"Ada\x1b[2J" in operator.text("user", "show", ADA)


async def _enrol(house: House, account_id: str) -> str:
    secret = otp.new_secret()
    async with house.begin() as ctx:
        account = await accounts.named(ctx, account_id)
        await totp.begin_enrolment(ctx, account, secret, ["0badcafe"])
        pending = await totp.pending(ctx, account_id)
        assert pending is not None
        await totp.confirm(ctx, account, pending, _code(house, secret))
    house.clock.advance(90)
    return secret


def _code(house: House, secret: str) -> str:
    raw = otp.decode_secret(secret)
    assert raw is not None
    return otp.code_at(raw, house.clock.now // 1_000_000 // otp.STEP_SECONDS)


async def _answer(house: House, code: str) -> int:
    challenge = (await sign_in(house, ADA)).json()
    body = {"tempToken": challenge["tempToken"], "token": code}
    return (await house.client.post("/api/auth/2fa/verify-temp", json=body)).status_code
