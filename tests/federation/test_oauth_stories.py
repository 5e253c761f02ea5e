"""Signing in elsewhere, told from the browser's side: who gets in, as whom, and how sessions end."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
import msgspec
import pytest
from sqlalchemy import select

from ostiary.identity import accounts, bans, credentials, federated, sessions
from ostiary.identity.provider_sessions import ProviderSession
from ostiary.identity.refusals import LastWayIn
from ostiary.identity.sessions import Principal
from ostiary.storage.statements import Query
from ostiary.storage.tables import provider_sessions
from tests.conftest import MakeHouse
from tests.dialects.librechat.browser import Browser, enrolled
from tests.federation.hostile import Provider, is_in, me, reasons, rsa_key, signed, walk
from tests.house import ORIGIN, House

ALL_ROWS = Query(ProviderSession, select(provider_sessions))
LOGOUT_EVENT = "http://schemas.openid.net/event/backchannel-logout"


@pytest.fixture
async def house(make_house: MakeHouse, op: Provider) -> House:
    return await open_for(make_house, op)


async def open_for(make_house: MakeHouse, op: Provider, **environment: str) -> House:
    opened = await make_house(**{**op.settings, **environment})
    op.clock = opened.clock
    return opened


async def bearer(browser: httpx.AsyncClient) -> dict[str, str]:
    return {"authorization": f"Bearer {(await me(browser))['token']}"}


async def test_sixteen_callbacks_for_one_new_subject_make_one_account(house: House, op: Provider) -> None:
    browsers = [house.client_at("127.0.0.1") for _ in range(16)]

    answers = await asyncio.gather(*(walk(house, op, client=browser) for browser in browsers))

    assert all(map(is_in, answers))
    assert len({(await me(browser))["id"] for browser in browsers}) == 1
    async with house.begin() as ctx:
        assert len(await accounts.page(ctx)) == 1


async def test_the_browser_is_sent_off_with_the_status_of_the_original(make_house: MakeHouse, op: Provider) -> None:
    """Section 8.1: 303 to OpenID's endpoint, 302 to the others'."""
    github = {"GITHUB_CLIENT_ID": "ostiary", "GITHUB_CLIENT_SECRET": "a secret", "GITHUB_CALLBACK_URL": "/oauth/github/callback"}
    house = await open_for(make_house, op, **github)

    statuses = [(await house.client.get(f"/oauth/{name}")).status_code for name in ("openid", "github")]

    assert statuses == [303, 302]


async def test_a_second_sign_in_follows_the_provider_and_keeps_the_account(house: House, op: Provider) -> None:
    await walk(house, op)
    before = await me(house.client)
    op.person = op.person | {"family_name": "King", "email": "ada@elsewhere.example"}

    assert is_in(await walk(house, op))

    after = await me(house.client)
    assert (after["id"], after["name"], after["email"]) == (before["id"], "Ada King", "ada@elsewhere.example")


async def test_a_provider_that_was_down_at_the_start_heals_by_itself(house: House, op: Provider) -> None:
    async def down() -> None:
        return None

    op.respond["/.well-known/openid-configuration"] = down
    assert (await house.client.get("/oauth/openid")).headers["location"].endswith("error=auth_failed")
    assert (await house.client.get("/api/config")).json()["openidLoginEnabled"] is True

    op.respond.clear()

    assert is_in(await walk(house, op))


async def test_the_second_factor_is_asked_after_a_sign_in_elsewhere(house: House, op: Provider) -> None:
    await walk(house, op)
    owner = Browser(house.client, (await me(house.client))["token"])
    app = await enrolled(house, owner)

    browser = house.client_at("127.0.0.1")
    answer = await walk(house, op, client=browser)

    location = answer.headers["location"]
    assert location.startswith(f"{ORIGIN}/login/2fa?tempToken=")
    assert "refreshToken" not in answer.cookies
    pending = dict(parse_qsl(urlsplit(location).query))["tempToken"]
    proof = {"tempToken": pending, "token": app.code()}
    assert (await browser.post("/api/auth/2fa/verify-temp", json=proof)).status_code == 200


@pytest.mark.parametrize(("switch", "lets_in"), [("true", True), ("false", False)])
async def test_registration_at_a_provider_has_a_switch(make_house: MakeHouse, op: Provider, switch: str, lets_in: bool) -> None:
    house = await open_for(make_house, op, OSTIARY_OPENID_REGISTRATION=switch)

    assert is_in(await walk(house, op)) is lets_in


async def test_addresses_of_other_domains_are_refused(make_house: MakeHouse, op: Provider) -> None:
    house = await open_for(make_house, op, OSTIARY_ALLOWED_DOMAINS="allowed.example")

    assert not is_in(await walk(house, op))


async def test_declining_there_leads_back_to_the_sign_in_page(house: House, op: Provider) -> None:
    answer = await walk(house, op, code=None, error="access_denied", error_description="<b>no</b>")

    assert answer.headers["location"] == f"{ORIGIN}/login?redirect=false&error=auth_failed"
    assert await reasons(house) == ["declined"]


async def test_nothing_is_served_without_allow_social_login(make_house: MakeHouse, op: Provider) -> None:
    house = await open_for(make_house, op, ALLOW_SOCIAL_LOGIN="false")

    assert (await house.client.get("/oauth/openid")).headers["location"].endswith("error=auth_failed")


async def test_over_the_limit_a_browser_is_led_back_and_sign_ins_by_password_go_on(make_house: MakeHouse, op: Provider) -> None:
    house = await open_for(make_house, op, RATE_LIMITS="on", LOGIN_MAX="1")

    answers = [(await house.client.get("/oauth/openid")).headers["location"] for _ in range(11)]

    assert [answer.endswith("error=auth_failed") for answer in answers] == [False] * 10 + [True]
    login = {"email": "ada@example.org", "password": "lamp-at-noon"}
    assert (await house.client.post("/api/auth/login", json=login)).status_code == 404


async def test_a_banned_address_is_told_so(house: House, op: Provider) -> None:
    async with house.begin() as ctx:
        await bans.add(ctx, bans.ADDRESS, "203.0.113.9", "test", None)

    answer = await house.client_at("203.0.113.9").get("/oauth/openid")

    assert answer.status_code == 403
    assert answer.json()["message"].startswith("Your account has been temporarily banned")


async def test_a_role_that_is_required_is_required_at_every_sign_in(make_house: MakeHouse, op: Provider) -> None:
    house = await open_for(
        make_house,
        op,
        OPENID_REQUIRED_ROLE="staff, guests",
        OPENID_REQUIRED_ROLE_PARAMETER_PATH="realm.roles",
        OPENID_REQUIRED_ROLE_TOKEN_KIND="id",
    )
    assert not is_in(await walk(house, op))
    assert await reasons(house) == ["role_missing"]
    op.person = op.person | {"realm": {"roles": ["guests"]}}
    assert is_in(await walk(house, op))
    op.person = op.person | {"realm": {"roles": ["guests-of-honour"]}}
    assert not is_in(await walk(house, op))


async def test_the_administrators_role_comes_and_goes_with_the_claim(make_house: MakeHouse, op: Provider) -> None:
    house = await open_for(
        make_house,
        op,
        OPENID_ADMIN_ROLE="boss",
        OPENID_ADMIN_ROLE_PARAMETER_PATH="groups",
        OPENID_ADMIN_ROLE_TOKEN_KIND="userinfo",
    )
    found = []
    for groups in (["boss"], ["others"], "others boss"):
        op.person = op.person | {"groups": groups}
        await walk(house, op)
        found.append((await me(house.client))["role"])
    assert found == ["ADMIN", "USER", "ADMIN"]


async def test_a_synchronized_role_is_the_first_of_the_list_and_leaves_administrators_alone(
    make_house: MakeHouse, op: Provider
) -> None:
    house = await open_for(
        make_house,
        op,
        OPENID_ROLE_SYNC_ENABLED="true",
        OPENID_ROLE_SYNC_CLAIM="groups",
        OPENID_ROLE_SYNC_ROLE_PRIORITY="EDITOR,READER",
        OPENID_ROLE_SYNC_FALLBACK_ROLE="GUEST",
    )
    found = []
    for groups in (["READER", "EDITOR"], ["READER"], ["ADMIN"]):
        op.person = op.person | {"groups": groups}
        await walk(house, op)
        found.append((await me(house.client))["role"])
    assert found == ["EDITOR", "READER", "GUEST"]

    account_id = (await me(house.client))["id"]
    async with house.begin() as ctx:
        await accounts.change(ctx, account_id, "role", accounts.ADMIN)
    await walk(house, op)
    assert (await me(house.client))["role"] == "ADMIN"


async def test_signing_out_here_leads_to_the_sign_out_there(make_house: MakeHouse, op: Provider) -> None:
    house = await open_for(make_house, op, OPENID_USE_END_SESSION_ENDPOINT="true")
    await walk(house, op)

    answer = await house.client.post("/api/auth/logout", headers=await bearer(house.client))

    url = urlsplit(answer.json()["redirect"])
    asked = dict(parse_qsl(url.query))
    assert (f"{url.scheme}://{url.netloc}{url.path}", list(asked)) == (
        f"{op.issuer}/logout",
        ["post_logout_redirect_uri", "id_token_hint"],
    )
    assert asked["post_logout_redirect_uri"] == f"{ORIGIN}/login"


async def test_a_sign_out_address_that_would_be_too_long_names_the_person_instead(make_house: MakeHouse, op: Provider) -> None:
    house = await open_for(make_house, op, OPENID_USE_END_SESSION_ENDPOINT="true", OPENID_MAX_LOGOUT_URL_LENGTH="300")
    await walk(house, op)

    answer = await house.client.post("/api/auth/logout", headers=await bearer(house.client))

    asked = dict(parse_qsl(urlsplit(answer.json()["redirect"]).query))
    assert asked == {"post_logout_redirect_uri": f"{ORIGIN}/login", "logout_hint": "ada@example.org", "client_id": "ostiary"}


@pytest.mark.parametrize(("spare", "names"), [(0, "id_token_hint"), (-1, "logout_hint")])
async def test_a_sign_out_address_may_be_as_long_as_the_limit_and_no_longer(
    make_house: MakeHouse, op: Provider, spare: int, names: str
) -> None:
    house = await open_for(make_house, op, OPENID_USE_END_SESSION_ENDPOINT="true", OPENID_MAX_LOGOUT_URL_LENGTH="100000")
    await walk(house, op)
    answer = await house.client.post("/api/auth/logout", headers=await bearer(house.client))
    length = len(answer.json()["redirect"]) + spare
    narrow = await open_for(make_house, op, OPENID_USE_END_SESSION_ENDPOINT="true", OPENID_MAX_LOGOUT_URL_LENGTH=str(length))
    await walk(narrow, op)

    answer = await narrow.client.post("/api/auth/logout", headers=await bearer(narrow.client))

    assert names in dict(parse_qsl(urlsplit(answer.json()["redirect"]).query))


def notice(op: Provider, **changes: object) -> dict[str, str]:
    now = op.clock() // 1_000_000
    claims: dict[str, object] = {
        "iss": op.issuer,
        "aud": "ostiary",
        "iat": now,
        "exp": now + 60,
        "jti": f"notice {changes}",
        "sid": "session-of-theirs",
        "events": {LOGOUT_EVENT: {}},
    } | changes
    return {"logout_token": signed({name: value for name, value in claims.items() if value is not None}, rsa_key(1))}


async def test_a_session_that_ended_at_the_provider_ends_here(house: House, op: Provider) -> None:
    await walk(house, op)
    with_bearer = await bearer(house.client)

    answer = await house.client_at("203.0.113.9").post("/oauth/openid/backchannel-logout", data=notice(op))

    assert answer.status_code == 200
    assert (await house.client.get("/api/user", headers=with_bearer)).status_code == 401
    assert (await house.client.post("/api/auth/refresh")).status_code == 401


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "https://evil.example"},
        {"aud": "someone-else"},
        {"nonce": "x"},
        {"events": {}},
        {"events": None},
        {"sid": None},
        {"jti": None},
        {"exp": 1},
        {"iat": None},
        {"sid": "another"},
    ],
)
async def test_a_notice_that_is_not_the_providers_ends_nothing(house: House, op: Provider, changes: dict[str, Any]) -> None:
    await walk(house, op)

    await house.client_at("203.0.113.9").post("/oauth/openid/backchannel-logout", data=notice(op, **changes))

    assert (await me(house.client))["email"] == "ada@example.org"


async def test_a_notice_ends_sessions_once(house: House, op: Provider) -> None:
    await walk(house, op)
    told = notice(op)
    server = house.client_at("203.0.113.9")
    assert (await server.post("/oauth/openid/backchannel-logout", data=told)).status_code == 200
    await walk(house, op)

    again = await server.post("/oauth/openid/backchannel-logout", data=told)

    assert again.status_code == 200
    assert (await me(house.client))["email"] == "ada@example.org"


async def test_an_owner_links_another_way_in_and_is_told(house: House, op: Provider) -> None:
    op.person = op.person | {"email": "other@example.org"}
    body = {"name": "Ada", "email": "ada@example.org", "password": "lamp-at-noon", "confirm_password": "lamp-at-noon"}
    await house.client.post("/api/auth/register", json=body)
    owner = Browser(house.client)
    await owner.login("ada@example.org", "lamp-at-noon")
    mine = (await me(house.client))["id"]

    begun = await owner.post("/api/user/identities/openid")
    linked = await house.client.get(op.authorize(begun.json()["url"]))

    assert linked.headers["location"] == ORIGIN
    await house.last_mail("Another way into")
    found = (await owner.get("/api/user/identities")).json()["identities"]
    assert [(each["provider"], each["issuer"]) for each in found] == [("openid", op.issuer)]
    browser = house.client_at("127.0.0.1")
    assert is_in(await walk(house, op, client=browser))
    assert (await me(browser))["id"] == mine

    assert (await owner.delete(f"/api/user/identities/{found[0]['id']}")).status_code == 200
    await house.last_mail("was removed")
    assert (await owner.get("/api/user/identities")).json()["identities"] == []


async def test_an_identity_of_somebody_else_cannot_be_linked(house: House, op: Provider) -> None:
    await walk(house, op)
    eve = Browser(house.client_at("127.0.0.1"))
    await eve.register("eve@example.org")
    await eve.login("eve@example.org")

    begun = await eve.post("/api/user/identities/openid")
    answer = await eve.client.get(op.authorize(begun.json()["url"]))

    assert answer.headers["location"].endswith("error=auth_failed")
    assert (await eve.get("/api/user/identities")).json()["identities"] == []


async def test_a_link_that_an_owner_began_is_void_once_they_signed_out(house: House, op: Provider) -> None:
    eve = Browser(house.client_at("127.0.0.1"))
    await eve.register("eve@example.org")
    await eve.login("eve@example.org")
    begun = await eve.post("/api/user/identities/openid")
    async with house.begin() as ctx:
        account = await accounts.by_email(ctx, "eve@example.org")
        assert account is not None
        await sessions.end_all(ctx, account.id)

    answer = await eve.client.get(op.authorize(begun.json()["url"]))

    assert answer.headers["location"].endswith("error=auth_failed")


async def test_the_last_way_in_stays(house: House, op: Provider) -> None:
    await walk(house, op)
    owner = Browser(house.client, (await me(house.client))["token"])
    found = (await owner.get("/api/user/identities")).json()["identities"]

    assert (await owner.delete(f"/api/user/identities/{found[0]['id']}")).status_code == 409
    assert (await owner.delete("/api/user/identities/unknown")).status_code == 404


async def test_of_two_ways_in_that_are_taken_away_at_once_one_stays(house: House, op: Provider) -> None:
    await walk(house, op)
    async with house.begin() as ctx:
        account = await accounts.by_id(ctx, (await me(house.client))["id"])
        assert account is not None
        owner = Principal((await sessions.of_account(ctx, account.id))[0], account)

    async def take_away(identity: str) -> bool:
        with contextlib.suppress(LastWayIn):
            async with house.begin() as ctx:
                return await federated.unlink(ctx, owner, identity)
        return False

    for subject in range(5):
        async with house.begin() as ctx:
            config = msgspec.json.encode(federated.Config("work", "https://work.example", f"{subject}")).decode()
            await credentials.add(ctx, account.id, credentials.FEDERATED, config, f"https://work.example|{subject}")
            both = [row.id for row in await federated.linked(ctx, account.id)]

        taken = await asyncio.gather(*map(take_away, both))

        assert sorted(taken) == [False, True]


async def test_the_providers_tokens_are_sealed_and_gone_with_the_session(make_house: MakeHouse, op: Provider) -> None:
    house = await open_for(make_house, op, OPENID_REUSE_TOKENS="true")
    op.token_extra = {"refresh_token": "the refresh token of theirs"}
    await walk(house, op)
    async with house.begin() as ctx:
        rows = await ctx.db.all(ALL_ROWS)
    assert len(rows) == 1
    assert b"the refresh token of theirs" not in json.dumps([str(rows[0].sealed)]).encode()

    await house.client.post("/api/auth/logout", headers=await bearer(house.client))

    async with house.begin() as ctx:
        assert await ctx.db.all(ALL_ROWS) == []


async def test_the_screens_show_what_is_configured(make_house: MakeHouse, op: Provider) -> None:
    second = {name.replace("OPENID_", "OPENID_WORK_"): value for name, value in op.settings.items()}
    house = await open_for(make_house, op, OPENID_BUTTON_LABEL="Ours", GITHUB_CLIENT_ID="a", GITHUB_CLIENT_SECRET="b", **second)

    shown = (await house.client.get("/api/config")).json()
    page = (await house.client.get("/login?lang=de")).text

    assert all(f">{button}</a>" in page for button in ("Ours", "Weiter mit Work", "Weiter mit GitHub"))
    assert (shown["openidLabel"], shown["openidLoginEnabled"], shown["githubLoginEnabled"]) == ("Ours", True, True)
    assert (shown["googleLoginEnabled"], shown["socialLoginEnabled"]) == (False, True)
    assert shown["openidProviders"] == [{"name": "work", "label": "Continue with Work", "imageUrl": ""}]
