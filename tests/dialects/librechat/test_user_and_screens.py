"""One user shape everywhere, and what the sign-in screens and the administrators' panel read (librechat-wire 4, 7, 12)."""

from __future__ import annotations

import re
from typing import Any

import pytest
from sqlalchemy import func, select

from ostiary.identity import accounts
from ostiary.storage import tables
from ostiary.storage.statements import Query
from tests.conftest import MakeHouse
from tests.dialects.librechat.browser import EMAIL, PASSWORD, Browser, browser, cookies_of, enrolled, owing, signed_in
from tests.house import House

SHAPE = {
    "_id",
    "id",
    "name",
    "username",
    "email",
    "emailVerified",
    "avatar",
    "provider",
    "role",
    "plugins",
    "twoFactorEnabled",
    "termsAccepted",
    "personalization",
    "favorites",
    "skillStates",
    "createdAt",
    "updatedAt",
}
PROVIDERS = {
    "google": "Google",
    "facebook": "Facebook",
    "github": "GitHub",
    "discord": "Discord",
    "apple": "Apple",
    "openid": "OpenID",
    "saml": "SAML",
}
FAILED = "http://127.0.0.1:3080/login?redirect=false&error=auth_failed"
MOMENT = r"2030-03-17T\d\d:\d\d:\d\d\.\d{3}Z"


async def test_the_user_has_one_shape_in_every_answer(make_house: MakeHouse) -> None:
    house = await make_house(REGISTER_AUTO_LOGIN="true")
    someone = browser(house)
    users: dict[str, Any] = {"register": (await someone.register(username="ada")).json()["user"]}
    users["login"] = (await someone.login()).json()["user"]
    users["refresh"] = (await someone.refresh()).json()["user"]
    users["user"] = (await someone.get("/api/user")).json()
    users["admin"] = (await someone.get("/api/admin/verify")).json()["user"]

    assert all(set(user) == SHAPE for user in users.values())
    assert len({repr(user) for user in users.values()}) == 1

    app = await enrolled(house, someone)
    fresh, pending = await owing(house)
    by_factor = (await fresh.prove(pending, token=app.code())).json()["user"]
    assert by_factor == (await fresh.get("/api/user")).json()
    assert by_factor["twoFactorEnabled"] is True


async def test_the_users_members_are_of_the_kinds_that_the_client_reads(house: House) -> None:
    someone = await signed_in(house)

    user = (await someone.get("/api/user")).json()

    assert user["_id"] == user["id"]
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", user["id"])
    assert re.fullmatch(MOMENT, user["createdAt"])
    assert re.fullmatch(MOMENT, user["updatedAt"])
    fixed = {name: user[name] for name in SHAPE - {"_id", "id", "createdAt", "updatedAt"}}
    assert fixed == {
        "name": "Test User",
        "username": "",
        "email": EMAIL,
        "emailVerified": True,
        "avatar": None,
        "provider": "local",
        "role": "ADMIN",
        "plugins": [],
        "twoFactorEnabled": False,
        "termsAccepted": False,
        "personalization": {"memories": True, "statefulCodeEnvironment": "user"},
        "favorites": [],
        "skillStates": {},
    }


async def test_what_was_typed_comes_back_to_the_letter(house: House) -> None:
    name = "<script>alert('{{7*7}}')</script> %s ${x} \N{GRINNING FACE}"
    someone = browser(house)
    await someone.register(name=name)

    answer = await someone.login()

    assert answer.json()["user"]["name"] == name
    assert answer.headers["content-type"] == "application/json; charset=utf-8"


async def test_the_anonymous_configuration(house: House) -> None:
    answer = await house.client.get("/api/config")

    assert answer.json() == {
        "appTitle": "LibreChat",
        "discordLoginEnabled": False,
        "facebookLoginEnabled": False,
        "githubLoginEnabled": False,
        "googleLoginEnabled": False,
        "appleLoginEnabled": False,
        "openidLoginEnabled": False,
        "openidLabel": "Continue with OpenID",
        "openidAutoRedirect": False,
        "samlLoginEnabled": False,
        "serverDomain": "http://127.0.0.1:3080",
        "emailLoginEnabled": True,
        "registrationEnabled": True,
        "socialLoginEnabled": False,
        "emailEnabled": False,
        "passwordResetEnabled": True,
        "minPasswordLength": 8,
        "ldap": {"enabled": False},
        "socialLogins": ["google", "facebook", "openid", "github", "discord", "saml"],
        "turnstile": {},
    }


@pytest.mark.parametrize("engine", ["sqlite"])
@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"APP_TITLE": "My Chat"}, {"appTitle": "My Chat"}),
        ({"DOMAIN_SERVER": "https://id.example.org/"}, {"serverDomain": "https://id.example.org"}),
        ({"ALLOW_EMAIL_LOGIN": "false"}, {"emailLoginEnabled": False}),
        ({"ALLOW_REGISTRATION": "false"}, {"registrationEnabled": False}),
        ({"ALLOW_SOCIAL_LOGIN": "true"}, {"socialLoginEnabled": True}),
        ({"ALLOW_PASSWORD_RESET": "false"}, {"passwordResetEnabled": False}),
        ({"MIN_PASSWORD_LENGTH": "12"}, {"minPasswordLength": 12}),
        ({"EMAIL_HOST": "127.0.0.1", "EMAIL_FROM": "o@example.org"}, {"emailEnabled": True}),
        (
            {
                "OSTIARY_TERMS_VERSION": "1",
                "OSTIARY_TERMS_URL": "https://example.org/t",
                "OSTIARY_PRIVACY_URL": "https://example.org/p",
            },
            {
                "interface": {
                    "privacyPolicy": {"externalUrl": "https://example.org/p", "openNewTab": True},
                    "termsOfService": {
                        "externalUrl": "https://example.org/t",
                        "openNewTab": True,
                        "modalAcceptance": True,
                        "modalTitle": "Terms of Service for LibreChat",
                        "modalContent": "https://example.org/t",
                    },
                }
            },
        ),
    ],
)
async def test_the_configuration_follows_the_settings(
    make_house: MakeHouse, variables: dict[str, str], expected: dict[str, object]
) -> None:
    plain = await make_house()
    house = await make_house(**variables)
    before = (await plain.client.get("/api/config")).json()

    found = (await house.client.get("/api/config")).json()

    assert found == before | expected


async def test_the_configuration_of_the_signed_in(make_house: MakeHouse) -> None:
    house = await make_house(ALLOW_ACCOUNT_DELETION="false")
    anonymous = (await house.client.get("/api/config?context=x")).json()
    admin, someone = await signed_in(house, "first@example.com"), await signed_in(house)

    found = (await someone.get("/api/config")).json()

    assert anonymous.items() <= found.items()
    assert found["allowAccountDeletion"] is False
    assert found["helpAndFaqURL"] == "https://librechat.ai"
    assert (await admin.get("/api/config")).json()["allowAccountDeletion"] is True


@pytest.mark.parametrize("bearer", ["Bearer garbage", "Bearer a.b.c", "Bearer", "Basic x"])
async def test_a_stale_bearer_is_nobody_on_the_screens(house: House, bearer: str) -> None:
    for path in ("/api/config", "/api/banner"):
        assert (await house.client.get(path, headers={"Authorization": bearer})).status_code == 200


async def test_no_banner_is_an_empty_body(house: House) -> None:
    answer = await house.client.get("/api/banner")

    assert (answer.status_code, answer.content) == (200, b"")


async def test_a_banner_is_shown_to_everybody(make_house: MakeHouse) -> None:
    house = await make_house(OSTIARY_BANNER="Closed on <b>Monday</b>")

    banner = (await house.client.get("/api/banner")).json()

    assert banner["message"] == "Closed on <b>Monday</b>"
    assert banner["isPublic"] is True
    assert {"bannerId", "displayFrom", "type"} <= set(banner)


async def test_roles_are_for_those_who_have_them(house: House) -> None:
    admin, someone = await signed_in(house, "first@example.com"), await signed_in(house)

    async def asked(who: Browser, role: str) -> tuple[int, Any]:
        answer = await who.get(f"/api/roles/{role}")
        return answer.status_code, answer.json()

    for who in (admin, someone):
        status, body = await asked(who, "USER")
        assert (status, body["name"]) == (200, "USER")
        assert body["permissions"]["PROMPTS"] == {"USE": True, "CREATE": True, "SHARE": False, "SHARE_PUBLIC": False}
        assert body["permissions"]["PEOPLE_PICKER"] == {"VIEW_USERS": False, "VIEW_GROUPS": False, "VIEW_ROLES": False}
    assert await asked(someone, "ADMIN") == (403, {"message": "Unauthorized"})
    assert await asked(someone, "NOPE") == (403, {"message": "Unauthorized"})
    assert await asked(admin, "NOPE") == (404, {"message": "Role not found"})
    status, body = await asked(admin, "ADMIN")
    assert status == 200
    assert all(all(actions.values()) for actions in body["permissions"].values())


async def test_a_custom_role_is_for_those_who_have_it(house: House) -> None:
    await signed_in(house, "first@example.com")
    someone = await signed_in(house)
    async with house.begin() as ctx:
        await accounts.change(ctx, (await accounts.named(ctx, EMAIL)).id, "role", "EDITOR")

    own = await someone.get("/api/roles/EDITOR")

    assert (own.status_code, own.json()["name"]) == (200, "EDITOR")
    assert (await someone.get("/api/roles/OTHER")).status_code == 403


async def test_administrators_sign_in_and_others_do_not(house: House) -> None:
    await signed_in(house, "first@example.com")
    await signed_in(house)
    before = await _live_sessions(house)

    admin = await house.client.post("/api/admin/login/local", json={"email": "first@example.com", "password": PASSWORD})
    other = await house.client_at("127.0.0.1").post("/api/admin/login/local", json={"email": EMAIL, "password": PASSWORD})
    wrong = await house.client.post("/api/admin/login/local", json={"email": EMAIL, "password": "wrong password"})

    assert admin.status_code == 200
    assert admin.json()["user"]["role"] == "ADMIN"
    assert (other.status_code, other.json()) == (403, {"message": "Forbidden"})
    assert cookies_of(other) == []
    assert (wrong.status_code, wrong.json()) == (404, {"message": "Invalid credentials"})
    assert await _live_sessions(house) == before + 1


async def test_an_administrators_second_factor_is_asked(house: House) -> None:
    app = await enrolled(house, await signed_in(house))

    answer = await house.client.post("/api/admin/login/local", json={"email": EMAIL, "password": PASSWORD})

    assert answer.json()["twoFAPending"] is True
    fresh = Browser(house.client)
    assert (await fresh.prove(answer.json()["tempToken"], token=app.code())).status_code == 200
    assert (await fresh.get("/api/admin/verify")).status_code == 200


async def test_only_administrators_are_verified_as_such(house: House) -> None:
    admin, someone = await signed_in(house, "first@example.com"), await signed_in(house)

    assert (await admin.get("/api/admin/verify")).status_code == 200
    refused = await someone.get("/api/admin/verify")
    assert (refused.status_code, refused.json()) == (403, {"message": "Forbidden"})
    assert (await house.client_at("127.0.0.1").get("/api/admin/verify")).status_code == 401


@pytest.mark.parametrize("engine", ["sqlite"])
@pytest.mark.parametrize(("name", "label"), PROVIDERS.items())
async def test_a_provider_that_is_not_configured_leads_back_to_the_sign_in_page(house: House, name: str, label: str) -> None:
    started = await house.client.get(f"/oauth/{name}")
    documented = await house.client.get(f"/api/auth/{name}")
    by_admin = await house.client.get(f"/api/admin/oauth/{name}")

    assert (started.status_code, started.headers["location"]) == (302, FAILED)
    assert (documented.status_code, documented.headers["location"]) == (302, f"http://127.0.0.1:3080/oauth/{name}")
    expected = {"error": f"{label} configuration not found", "error_code": f"{name.upper()}_NOT_CONFIGURED"}
    assert (by_admin.status_code, by_admin.json()) == (404, expected)


@pytest.mark.parametrize("engine", ["sqlite"])
@pytest.mark.parametrize("name", PROVIDERS)
async def test_a_return_from_nowhere_leads_back_to_the_sign_in_page(house: House, name: str) -> None:
    path = f"/oauth/{name}/callback"
    if name in ("apple", "saml"):
        answer = await house.client.post(path, data={"state": "x", "code": "y", "SAMLResponse": "z"})
    else:
        answer = await house.client.get(f"{path}?state=x&code=y")

    assert (answer.status_code, answer.headers["location"]) == (302, FAILED)
    assert not [header for header in cookies_of(answer) if header.startswith("refreshToken")]


@pytest.mark.parametrize("engine", ["sqlite"])
async def test_a_redirect_never_goes_where_the_request_says(house: House) -> None:
    headers = {"X-Forwarded-Host": "evil.example"}
    assert (await house.client.get("/oauth/google", headers={"Host": "evil.example"})).status_code == 400
    for path in ("/oauth/google", "/oauth/error?next=//evil.example", "/api/auth/google?redirect_to=//evil.example"):
        answer = await house.client.get(path, headers=headers)
        assert answer.headers["location"].startswith("http://127.0.0.1:3080/")


@pytest.mark.parametrize("engine", ["sqlite"])
@pytest.mark.parametrize(
    ("path", "body", "status", "error_code"),
    [
        ("/api/admin/oauth/exchange", {}, 400, "MISSING_CODE"),
        ("/api/admin/oauth/exchange", {"code": ""}, 400, "MISSING_CODE"),
        ("/api/admin/oauth/exchange", {"code": "abc"}, 400, "INVALID_CODE_FORMAT"),
        ("/api/admin/oauth/exchange", {"code": "z" * 64}, 400, "INVALID_CODE_FORMAT"),
        ("/api/admin/oauth/exchange", {"code": ["0" * 64]}, 400, "INVALID_CODE_FORMAT"),
        ("/api/admin/oauth/exchange", {"code": "0" * 64}, 401, "INVALID_OR_EXPIRED_CODE"),
        ("/api/admin/oauth/refresh", {}, 400, "MISSING_REFRESH_TOKEN"),
        ("/api/admin/oauth/refresh", {"refresh_token": "x", "provider": "github"}, 400, "INVALID_PROVIDER"),
        ("/api/admin/oauth/refresh", {"refresh_token": "x", "provider": ["openid"]}, 400, "INVALID_PROVIDER"),
        ("/api/admin/oauth/refresh", {"refresh_token": "x"}, 503, "OPENID_NOT_CONFIGURED"),
        ("/api/admin/oauth/refresh", {"refresh_token": "x", "provider": "google"}, 503, "GOOGLE_NOT_CONFIGURED"),
    ],
)
async def test_the_panels_exchange_without_providers(
    house: House, path: str, body: dict[str, object], status: int, error_code: str
) -> None:
    answer = await house.client.post(path, json=body)

    assert (answer.status_code, answer.json()["error_code"]) == (status, error_code)
    assert set(answer.json()) == {"error", "error_code"}


async def test_deleting_removes_everything_but_the_audit(house: House) -> None:
    someone = await signed_in(house)

    answer = await someone.delete("/api/user/delete")

    assert (answer.status_code, answer.json()) == (200, {"message": "User deleted"})
    assert cookies_of(answer) == []
    assert (await someone.get("/api/user")).status_code == 401
    assert (await someone.post("/api/auth/logout")).status_code == 401
    assert await _live_sessions(house) == 0
    again = browser(house)
    await again.register()
    assert (await again.login()).json()["user"]["id"] != ""


async def _live_sessions(house: House) -> int:
    async with house.begin() as ctx:
        row = await ctx.db.one(
            Query(int, select(func.count()).select_from(tables.sessions).where(tables.sessions.c.revoked_at.is_(None)))
        )
    assert row is not None
    return row
