"""The conformance cases of librechat-wire section 18, by their numbers; the contract decides where it says otherwise.

C-71, C-73, C-75 and C-79 speak of providers and directories, which come with the federation.
"""

from __future__ import annotations

import re

from ostiary.identity import invitations
from tests.conftest import MakeHouse
from tests.dialects.librechat.browser import (
    EMAIL,
    REGISTERED,
    application,
    browser,
    claims_of,
    cookies_of,
    enrolled,
    link_of,
    owing,
    parameters_of,
    signed_in,
)
from tests.house import House

RESET_ASKED = {"message": "If an account with that email exists, a password reset link has been sent to it."}
SMTP = {"EMAIL_HOST": "127.0.0.1", "EMAIL_FROM": "ostiary@example.org", "EMAIL_ENCRYPTION": "none"}


async def test_c_01_the_first_registration(house: House) -> None:
    someone = browser(house)

    answer = await someone.register("U@Example.com")

    assert (answer.status_code, answer.json()) == (200, REGISTERED)
    assert cookies_of(answer) == []
    user = (await someone.login()).json()["user"]
    assert (user["email"], user["role"], user["emailVerified"]) == ("u@example.com", "ADMIN", True)


async def test_c_03_the_same_address_again(house: House) -> None:
    someone = browser(house)
    await someone.register()

    answer = await someone.register(password="another one 1", confirm_password="another one 1")

    assert (answer.status_code, answer.json()) == (200, REGISTERED)
    assert (await someone.login(password="another one 1")).status_code == 404
    assert (await someone.login()).status_code == 200


async def test_c_05_two_different_passwords(house: House) -> None:
    answer = await browser(house).register(confirm_password="password124")

    assert (answer.status_code, answer.json()) == (404, {"message": ": The passwords did not match"})


async def test_c_07_braces_in_the_username(house: House) -> None:
    answer = await browser(house).register(username="john{doe}")

    assert (answer.status_code, answer.json()) == (404, {"message": "username: Potential injection attack detected"})


async def test_c_09_an_empty_username(house: House) -> None:
    someone = browser(house)

    answer = await someone.register(username="")

    assert answer.status_code == 200
    assert (await someone.login()).json()["user"]["username"] is None


async def test_c_11_a_role_in_the_body(house: House) -> None:
    await browser(house).register("first@example.com")
    second = browser(house)

    answer = await second.register(role="ADMIN", provider="google", emailVerified=False, _id="x", twoFactorEnabled=True)

    assert answer.status_code == 200
    user = (await second.login()).json()["user"]
    assert (user["role"], user["provider"], user["twoFactorEnabled"]) == ("USER", "local", False)
    assert user["_id"] != "x"


async def test_c_13_an_invitation_opens_a_closed_registration(make_house: MakeHouse) -> None:
    house = await make_house(ALLOW_REGISTRATION="false")
    refused = await browser(house).register()
    from_invitation = await _invite(house, EMAIL)

    answer = await browser(house).register(token=from_invitation)

    assert (refused.status_code, refused.json()) == (403, {"message": "Registration is not allowed."})
    assert (answer.status_code, answer.json()) == (200, REGISTERED)


async def test_c_15_a_domain_that_is_not_on_the_list(make_house: MakeHouse) -> None:
    house = await make_house(OSTIARY_ALLOWED_DOMAINS="corp.com")

    answer = await browser(house).register("x@example.com")

    expected = {"message": "The email address provided cannot be used. Please use a different email address."}
    assert (answer.status_code, answer.json()) == (403, expected)


async def test_c_17_signing_in(house: House) -> None:
    someone = browser(house)
    await someone.register()

    answer = await someone.login()

    assert answer.status_code == 200
    assert set(answer.json()) == {"token", "user"}
    user = answer.json()["user"]
    assert user["id"] == user["_id"]
    assert user["email"] == EMAIL
    assert not {"password", "totpSecret", "__v", "backupCodes", "refreshToken"} & set(user)
    claims = claims_of(answer.json()["token"])
    assert {"id", "username", "provider", "email", "iat", "exp"} <= set(claims)
    assert claims["exp"] - claims["iat"] == 900
    assert [cookie.partition("=")[0] for cookie in cookies_of(answer)][:2] == ["refreshToken", "token_provider"]


async def test_c_19_a_wrong_password(house: House) -> None:
    someone = browser(house)
    await someone.register()

    wrong = await someone.login(password="wrong password")
    unknown = await someone.login("nobody@example.com")

    assert (wrong.status_code, wrong.json()) == (404, {"message": "Invalid credentials"})
    assert (unknown.status_code, unknown.content) == (404, wrong.content)


async def test_c_19_where_the_operator_wants_the_originals_texts(make_house: MakeHouse) -> None:
    house = await make_house(OSTIARY_REVEAL_ACCOUNTS="true")
    someone = browser(house)
    await someone.register()

    wrong = await someone.login(password="wrong password")
    unknown = await someone.login("nobody@example.com")

    assert (wrong.status_code, wrong.json()) == (404, {"message": "Incorrect password."})
    assert (unknown.status_code, unknown.json()) == (404, {"message": "Email does not exist."})


async def test_c_21_no_credentials(house: House) -> None:
    answer = await browser(house).post("/api/auth/login", {})

    assert (answer.status_code, answer.json()) == (404, {"message": "Missing credentials"})


async def test_c_23_a_password_of_blanks(house: House) -> None:
    answer = await browser(house).login(password=" " * 8)

    assert (answer.status_code, answer.json()) == (404, {"message": "password: Password cannot be only spaces"})


async def test_c_25_an_unverified_address_where_it_may_sign_in(make_house: MakeHouse) -> None:
    house = await make_house(**SMTP, ALLOW_UNVERIFIED_EMAIL_LOGIN="true")
    someone = browser(house)
    await someone.register()

    answer = await someone.login()

    assert answer.status_code == 200
    assert answer.json()["user"]["emailVerified"] is False


async def test_c_25_an_unverified_address_where_it_may_not(make_house: MakeHouse) -> None:
    house = await make_house(**SMTP)
    someone = browser(house)
    await someone.register()

    answer = await someone.login()

    assert (answer.status_code, answer.json()) == (422, {"message": "Email not verified."})
    assert cookies_of(answer) == []


async def test_c_27_the_eighth_sign_in_in_five_minutes(make_house: MakeHouse) -> None:
    house = await make_house(RATE_LIMITS="on")
    someone = browser(house)
    await someone.register()
    seven = [(await someone.login()).status_code for _ in range(7)]

    answer = await someone.login()

    assert seven == [200] * 7
    expected = {"message": "Too many login attempts, please try again after 5 minutes."}
    assert (answer.status_code, answer.json()) == (429, expected)
    assert 0 < int(answer.headers["retry-after"]) <= 300


async def test_c_29_refreshing_without_a_cookie(house: House) -> None:
    answer = await browser(house).refresh()

    assert (answer.status_code, answer.text) == (200, "Refresh token not provided")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"


async def test_c_31_the_cookie_of_before_the_rotation(make_house: MakeHouse) -> None:
    house = await make_house(OSTIARY_REFRESH_GRACE="0")
    someone = await signed_in(house)
    old = someone.refresh_cookie
    assert (await someone.refresh()).status_code == 200
    house.clock.advance(1)

    answer = await house.client_at("127.0.0.1").post("/api/auth/refresh", headers={"Cookie": f"refreshToken={old}"})

    assert (answer.status_code, answer.text) == (401, "Refresh token expired or not found for this user")


async def test_c_33_a_cookie_that_is_no_token(house: House) -> None:
    answer = await house.client.post("/api/auth/refresh", headers={"Cookie": "refreshToken=abc"})

    assert (answer.status_code, answer.text) == (403, "Invalid refresh token")


async def test_c_35_no_header(house: House) -> None:
    answer = await house.client.get("/api/user")

    assert (answer.status_code, answer.json()) == (401, {"message": "No auth token"})


async def test_c_37_an_expired_token(house: House) -> None:
    someone = await signed_in(house)
    house.clock.advance(900)

    answer = await someone.get("/api/user")

    assert (answer.status_code, answer.json()) == (401, {"message": "jwt expired"})


async def test_c_39_signing_out(house: House) -> None:
    someone = await signed_in(house)
    cookie = someone.refresh_cookie

    answer = await someone.post("/api/auth/logout")

    assert (answer.status_code, answer.json()) == (200, {"message": "Logout successful"})
    cleared = cookies_of(answer)
    assert len(cleared) == 5
    assert all("Expires=Thu, 01 Jan 1970 00:00:00 GMT" in header for header in cleared)
    again = await house.client.post("/api/auth/refresh", headers={"Cookie": f"refreshToken={cookie}"})
    assert again.status_code == 401


async def test_c_41_beginning_an_enrolment(house: House) -> None:
    someone = await signed_in(house)

    answer = await someone.post("/api/auth/2fa/enable")

    assert answer.status_code == 200
    pattern = r"otpauth://totp/LibreChat:u@example\.com\?secret=[A-Z2-7]{16,}&issuer=LibreChat"
    assert re.fullmatch(pattern, answer.json()["otpauthUrl"])
    assert len(answer.json()["backupCodes"]) == 10
    assert all(re.fullmatch(r"[0-9a-f]{8}", code) for code in answer.json()["backupCodes"])


async def test_c_43_verify_and_confirm_with_the_same_code(house: House) -> None:
    someone = await signed_in(house)

    await enrolled(house, someone)

    assert (await someone.get("/api/user")).json()["twoFactorEnabled"] is True


async def test_c_45_signing_in_with_two_factors(house: House) -> None:
    someone = await signed_in(house)
    await enrolled(house, someone)

    answer = await browser(house).login()

    assert answer.status_code == 200
    assert answer.json()["twoFAPending"] is True
    assert answer.json()["message"] == "2FA verification required"
    assert set(answer.json()) == {"twoFAPending", "tempToken", "message"}
    assert cookies_of(answer) == []


async def test_c_47_no_temporary_token(house: House) -> None:
    answer = await house.client.post("/api/auth/2fa/verify-temp", json={})

    assert (answer.status_code, answer.json()) == (400, {"message": "Missing temporary token"})


async def test_c_49_a_wrong_code(house: House) -> None:
    app = await enrolled(house, await signed_in(house))
    someone, pending = await owing(house)

    answer = await someone.prove(pending, token=app.wrong_code())

    assert (answer.status_code, answer.json()) == (401, {"message": "Invalid 2FA code or backup code"})


async def test_c_51_a_backup_code_works_once(house: House) -> None:
    app = await enrolled(house, await signed_in(house))
    first, pending = await owing(house)
    second, pending_again = await owing(house)

    answer = await first.prove(pending, backupCode=app.codes[0])
    again = await second.prove(pending_again, backupCode=app.codes[0])

    assert answer.status_code == 200
    assert first.refresh_cookie
    assert (again.status_code, again.json()) == (401, {"message": "Invalid 2FA code or backup code"})


async def test_c_53_switching_off_without_a_code(house: House) -> None:
    someone = await signed_in(house)
    await enrolled(house, someone)

    empty = await someone.post("/api/auth/2fa/disable", {})
    nothing = await someone.post("/api/auth/2fa/disable")

    expected = {"message": "Either token or backup code is required to disable 2FA"}
    assert (empty.status_code, empty.json()) == (400, expected)
    assert nothing.status_code == 400
    assert (await someone.get("/api/user")).json()["twoFactorEnabled"] is True


async def test_c_55_switching_off_what_never_was_on(house: House) -> None:
    someone = await signed_in(house)

    answer = await someone.post("/api/auth/2fa/disable", {})

    assert (answer.status_code, answer.json()) == (400, {"message": "2FA is not setup for this user"})


async def test_c_57_a_reset_for_an_unknown_address(house: House) -> None:
    answer = await house.client.post("/api/auth/requestPasswordReset", json={"email": "nobody@example.com"})

    assert (answer.status_code, answer.json()) == (200, RESET_ASKED)


async def test_c_59_a_reset_without_smtp_hands_no_link_to_a_stranger(house: House) -> None:
    await browser(house).register()

    answer = await house.client.post("/api/auth/requestPasswordReset", json={"email": EMAIL})

    assert (answer.status_code, answer.json()) == (200, RESET_ASKED)
    assert await link_of(house, "Password Reset Request")


async def test_c_61_a_reset(house: House) -> None:
    someone = await signed_in(house)
    await someone.post("/api/auth/requestPasswordReset", {"email": EMAIL})
    body = {**parameters_of(await link_of(house, "Password Reset Request")), "password": "a new password"}

    answer = await house.client.post("/api/auth/resetPassword", json=body)
    again = await house.client.post("/api/auth/resetPassword", json=body)

    assert (answer.status_code, answer.json()) == (200, {"message": "Password reset was successful"})
    assert (await someone.refresh()).status_code == 401
    assert (again.status_code, again.json()) == (400, {"message": "Invalid or expired password reset token"})


async def test_c_63_the_third_reset_request_in_two_minutes(make_house: MakeHouse) -> None:
    house = await make_house(RATE_LIMITS="on")
    for _ in range(2):
        assert (await house.client.post("/api/auth/requestPasswordReset", json={"email": EMAIL})).status_code == 200

    answer = await house.client.post("/api/auth/requestPasswordReset", json={"email": EMAIL})

    expected = {"message": "Too many attempts, please try again after 2 minute(s)"}
    assert (answer.status_code, answer.json()) == (429, expected)


async def test_c_65_a_wrong_verification_token_and_an_unknown_address(house: House) -> None:
    await browser(house).register()

    wrong = await house.client.post("/api/user/verify", json={"email": EMAIL, "token": "0" * 64})
    unknown = await house.client.post("/api/user/verify", json={"email": "nobody@example.com", "token": "0" * 64})

    expected = {"message": "Invalid or expired email verification token"}
    assert (wrong.status_code, wrong.json()) == (400, expected)
    assert (unknown.status_code, unknown.json()) == (400, expected)


async def test_c_67_resending_to_an_unknown_address(house: House) -> None:
    answer = await house.client.post("/api/user/verify/resend", json={"email": "nobody@example.com"})

    assert (answer.status_code, answer.json()) == (200, REGISTERED)


async def test_c_69_the_configuration_with_a_stale_bearer(house: House) -> None:
    anonymous = await house.client.get("/api/config")

    answer = await house.client.get("/api/config", headers={"Authorization": "Bearer garbage"})

    assert answer.status_code == 200
    assert answer.json() == anonymous.json()


async def test_c_77_a_graph_token_for_a_local_account(house: House) -> None:
    someone = await signed_in(house)

    answer = await someone.get("/api/auth/graph-token?scopes=User.Read")

    expected = {"message": "Microsoft Graph access requires Entra ID authentication"}
    assert (answer.status_code, answer.json()) == (403, expected)


async def test_c_81_accepting_the_terms(house: House) -> None:
    someone = await signed_in(house)
    before = await someone.get("/api/user/terms")

    first = await someone.post("/api/user/terms/accept")
    house.clock.advance(60)
    second = await someone.post("/api/user/terms/accept")

    assert before.json() == {"termsAccepted": False, "termsAcceptedAt": None}
    assert first.json()["message"] == "Terms accepted successfully"
    assert second.json() == first.json()
    after = {"termsAccepted": True, "termsAcceptedAt": first.json()["termsAcceptedAt"]}
    assert (await someone.get("/api/user/terms")).json() == after


async def test_c_83_deletion_where_owners_may_not(make_house: MakeHouse) -> None:
    house = await make_house(ALLOW_ACCOUNT_DELETION="false")
    admin = await signed_in(house, "first@example.com")
    someone = await signed_in(house)

    answer = await someone.delete("/api/user/delete")

    expected = {"message": "You do not have permission to delete this account"}
    assert (answer.status_code, answer.json()) == (403, expected)
    assert (await someone.login()).status_code == 200
    assert (await admin.delete("/api/user/delete")).json() == {"message": "User deleted"}


async def test_c_85_an_unknown_path(house: House) -> None:
    answer = await house.client.get("/api/auth/nope")

    assert (answer.status_code, answer.json()) == (404, {"message": "Endpoint not found"})


async def test_a_body_that_the_other_cases_build_on_is_accepted(house: House) -> None:
    """Every refusal above is for its own reason: without the one flaw the same body is taken."""
    answer = await house.client.post("/api/auth/register", json=application(username="johndoe"))

    assert (answer.status_code, answer.json()) == (200, REGISTERED)


async def _invite(house: House, email: str) -> str:
    async with house.begin() as ctx:
        link = await invitations.create(ctx, email)
    return parameters_of(link)["token"]
