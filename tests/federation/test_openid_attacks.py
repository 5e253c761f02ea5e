"""A hostile OpenID provider, and hostile people between it and us. Each test is named after its row in the catalogue (OAU-…)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from ostiary.identity import accounts, bans
from tests.conftest import MakeHouse
from tests.federation.hostile import (
    CLIENT_SECRET,
    Answer,
    Provider,
    is_in,
    me,
    provider,
    reasons,
    rsa_key,
    signed,
    walk,
)
from tests.house import ORIGIN, House

Claims = dict[str, Any]


@pytest.fixture
def engine() -> str:
    """Nothing here depends on the engine but what `test_oauth_stories.py` runs on both."""
    return "sqlite"


@pytest.fixture
async def house(make_house: MakeHouse, op: Provider) -> House:
    opened = await make_house(**op.settings)
    op.clock = opened.clock
    return opened


async def test_the_walk_that_everything_here_deviates_from(house: House, op: Provider) -> None:
    assert is_in(await walk(house, op))

    user = await me(house.client)
    assert (user["email"], user["name"], user["username"]) == ("ada@example.org", "Ada Lovelace", "ada")
    assert (user["provider"], user["role"], user["emailVerified"]) == ("openid", "USER", True)
    assert user["avatar"] == op.person["picture"]


async def test_oau_02_a_callback_in_another_browser_is_refused(house: House, op: Provider) -> None:
    mine, theirs = house.client, house.client_at("127.0.0.1")
    url = op.authorize((await mine.get("/oauth/openid")).headers["location"])

    assert not is_in(await theirs.get(url))

    await theirs.get("/oauth/openid")
    assert not is_in(await theirs.get(url))
    assert (await reasons(house))[:2] == ["state_mismatch", "no_flow"]


async def test_oau_02_the_cookie_is_for_the_callback_alone(house: House) -> None:
    cookie = (await house.client.get("/oauth/openid")).headers["set-cookie"]

    assert cookie.startswith("ostiary_flow=")
    assert {"HttpOnly", "Path=/oauth", "SameSite=Lax", "Max-Age=600"} <= set(cookie.split("; "))


async def test_oau_03_the_challenge_is_s256_and_a_code_of_another_flow_is_useless(house: House, op: Provider) -> None:
    first, second = house.client, house.client_at("127.0.0.1")
    stolen = dict(parse_qsl(urlsplit(op.authorize((await first.get("/oauth/openid")).headers["location"])).query))["code"]
    asked = dict(parse_qsl(urlsplit(location := (await second.get("/oauth/openid")).headers["location"]).query))
    assert asked["code_challenge_method"] == "S256"
    assert len(asked["code_challenge"]) == 43

    assert not is_in(await second.get(op.authorize(location, code=stolen)))
    assert (await reasons(house))[0] == "provider_refused_grant"


@pytest.mark.parametrize("issuer", ["https://evil.example", "http://127.0.0.1:1"])
async def test_oau_06_a_discovery_document_of_another_issuer_is_refused(house: House, op: Provider, issuer: str) -> None:
    op.discovery = {"issuer": issuer}

    answer = await house.client.get("/oauth/openid")

    assert answer.headers["location"].endswith("error=auth_failed")
    assert await reasons(house) == ["discovery_issuer"]


async def test_endpoints_without_tls_elsewhere_are_refused(house: House, op: Provider) -> None:
    op.discovery = {"token_endpoint": "http://example.org/token"}

    assert (await house.client.get("/oauth/openid")).headers["location"].endswith("error=auth_failed")


@pytest.mark.parametrize("iss", [None, "https://evil.example"])
async def test_oau_11_an_answer_that_does_not_name_its_issuer_is_refused(house: House, op: Provider, iss: str | None) -> None:
    assert not is_in(await walk(house, op, iss=iss))

    assert op.count("/token") == 0


async def test_oau_11_a_provider_that_does_not_announce_it_may_leave_it_out_but_not_lie(house: House, op: Provider) -> None:
    op.discovery = {"authorization_response_iss_parameter_supported": None}

    assert not is_in(await walk(house, op, iss="https://evil.example"))
    assert is_in(await walk(house, op, iss=None))


async def test_oau_12_another_provider_with_the_same_subject_and_address_is_somebody_else(
    make_house: MakeHouse, op: Provider
) -> None:
    async with provider(op.clock) as second:
        theirs = {name.replace("OPENID_", "OPENID_OTHER_"): value for name, value in second.settings.items()}
        house = await make_house(**{**theirs, **op.settings})
        op.clock = second.clock = house.clock
        assert is_in(await walk(house, op))

        assert not is_in(await walk(house, second, client=house.client_at("127.0.0.1"), name="other"))
        assert (await reasons(house))[0] == "address_of_another_account"

        second.person = second.person | {"email": "other@example.org"}
        browser = house.client_at("127.0.0.1")
        assert is_in(await walk(house, second, client=browser, name="other"))
        assert (await me(browser))["id"] != (await me(house.client))["id"]


async def test_oau_12_a_changed_username_finds_the_same_account_and_no_other(house: House, op: Provider) -> None:
    await walk(house, op)
    mine = await me(house.client)
    op.person = op.person | {"sub": "eve", "email": "eve@example.org", "preferred_username": "ada"}

    browser = house.client_at("127.0.0.1")
    assert is_in(await walk(house, op, client=browser))

    assert (await me(browser))["id"] != mine["id"]


async def test_oau_12_a_reassigned_address_does_not_open_the_account_of_its_former_owner(house: House, op: Provider) -> None:
    await walk(house, op)
    op.person = op.person | {"sub": "the new owner"}

    assert not is_in(await walk(house, op, client=house.client_at("127.0.0.1")))


async def test_oau_14_a_pre_registered_account_gives_way_to_who_proves_the_address(make_house: MakeHouse, op: Provider) -> None:
    house = await make_house(**op.settings, EMAIL_VERIFICATION_REQUIRED="true")
    op.clock = house.clock
    body = {"name": "Eve", "email": "ada@example.org", "password": "of-the-attacker", "confirm_password": "of-the-attacker"}
    await house.client.post("/api/auth/register", json=body)

    browser = house.client_at("127.0.0.1")
    assert is_in(await walk(house, op, client=browser))

    login = {"email": "ada@example.org", "password": "of-the-attacker"}
    assert (await house.client.post("/api/auth/login", json=login)).status_code == 404
    assert (await me(browser))["name"] == "Ada Lovelace"


@pytest.mark.parametrize("is_verified_here", [True, False])
async def test_oau_14_an_unverified_address_takes_nobodys_account(house: House, op: Provider, is_verified_here: bool) -> None:
    body = {"name": "Ada", "email": "ada@example.org", "password": "lamp-at-noon", "confirm_password": "lamp-at-noon"}
    await house.client.post("/api/auth/register", json=body)
    if not is_verified_here:
        async with house.begin() as ctx:
            account = await accounts.named(ctx, "ada@example.org")
            await accounts.change_email(ctx, account.id, account.email, verified_at=None)
    op.person = op.person | {"email_verified": False}

    assert not is_in(await walk(house, op, client=house.client_at("127.0.0.1")))
    assert (await house.client.post("/api/auth/login", json=body)).status_code == 200


ELSEWHERE = [
    "//evil",
    "https:evil",
    "/\\evil",
    "/%09/evil",
    "javascript:alert(1)",
    "https://app.test@evil",
    "https://app.test.evil",
]


@pytest.mark.parametrize("target", ELSEWHERE)
async def test_oau_15_nothing_in_the_request_says_where_the_browser_ends(house: House, op: Provider, target: str) -> None:
    wishes = dict.fromkeys(("redirect_to", "returnTo", "next", "redirect_uri", "post_logout_redirect_uri"), target)
    headers = {"x-forwarded-host": "evil.example", "referer": "https://evil.example/"}

    started = await house.client.get("/oauth/openid", params=wishes, headers=headers)
    assert urlsplit(started.headers["location"]).netloc == urlsplit(op.issuer).netloc
    assert dict(parse_qsl(urlsplit(started.headers["location"]).query))["redirect_uri"] == f"{ORIGIN}/oauth/openid/callback"

    cookie = f"ostiary_flow={house.client.cookies['ostiary_flow']}"
    back = op.authorize(started.headers["location"], **wishes)
    answer = await house.client.get(back.partition(ORIGIN)[2], headers=headers | {"cookie": cookie})
    assert answer.headers["location"] == ORIGIN
    assert (await house.client.get("/oauth/error", params=wishes)).headers["location"].startswith(f"{ORIGIN}/login?")


async def test_oau_17_a_callback_works_once_and_the_session_it_made_stays(house: House, op: Provider) -> None:
    url = op.authorize((await house.client.get("/oauth/openid")).headers["location"])
    cookie = {"cookie": f"ostiary_flow={house.client.cookies['ostiary_flow']}"}
    assert is_in(await house.client.get(url))

    assert not is_in(await house.client_at("127.0.0.1").get(url, headers=cookie))
    # Refused here, before the provider is asked for anything.
    assert (await reasons(house))[0] == "no_flow"
    assert op.count("/token") == 1
    assert (await me(house.client))["email"] == "ada@example.org"


async def _large() -> Answer:
    return 200, {"content-type": "application/json"}, b"[" + b"1," * 1_000_000 + b"1]"


async def _status() -> Answer:
    return 500, {}, b""


async def _redirect() -> Answer:
    return 302, {"location": "/elsewhere"}, b""


async def _html() -> Answer:
    return 200, {"content-type": "text/html"}, b"<html>"


async def _broken() -> Answer:
    return 200, {"content-type": "application/json"}, b'{"access_token": '


async def _hang_up() -> None:
    return None


TROUBLE: dict[str, Callable[[Provider], Callable[[], Awaitable[Answer | None]]]] = {
    "no answer": lambda op: op.stall,
    "too much": lambda _op: _large,
    "status 500": lambda _op: _status,
    "a redirect": lambda _op: _redirect,
    "HTML": lambda _op: _html,
    "broken JSON": lambda _op: _broken,
    "a closed connection": lambda _op: _hang_up,
}


@pytest.mark.parametrize("path", ["/token", "/jwks", "/.well-known/openid-configuration"])
@pytest.mark.parametrize("trouble", TROUBLE)
async def test_oau_18_a_provider_in_trouble_costs_its_own_sign_ins_alone(
    house: House, op: Provider, trouble: str, path: str
) -> None:
    line = house.services.redirect_providers["openid"]._transport
    patience = line._seconds
    op.respond[path] = TROUBLE[trouble](op)

    # Short where nothing comes, and there alone: whatever must arrive takes as long as the machine is busy.
    short = 0.5 if trouble == "no answer" else patience
    if path.startswith("/.well-known"):
        line._seconds = short
        assert (await house.client.get("/oauth/openid")).headers["location"].endswith("error=auth_failed")
    else:
        started = await house.client.get("/oauth/openid")
        line._seconds = short
        assert not is_in(await house.client.get(op.authorize(started.headers["location"])))

    if trouble == "too much":
        assert (await reasons(house))[0] == "provider_answer_too_large"
    assert op.count("/elsewhere") == 0
    op.respond.clear()
    line._seconds = patience
    assert is_in(await walk(house, op))


async def test_oau_18_others_are_answered_while_a_provider_stalls(house: House, op: Provider) -> None:
    reached, hang_up = asyncio.Event(), asyncio.Event()

    async def stall() -> None:
        reached.set()
        await hang_up.wait()

    op.respond["/token"] = stall
    started = await house.client.get("/oauth/openid")
    waiting = asyncio.create_task(house.client.get(op.authorize(started.headers["location"])))
    await reached.wait()

    assert (await house.client_at("127.0.0.1").get("/api/config")).status_code == 200
    assert not waiting.done()
    hang_up.set()
    assert not is_in(await waiting)


async def test_oau_20_a_rotated_key_is_fetched_once_and_unknown_keys_at_most_once_a_minute(house: House, op: Provider) -> None:
    assert is_in(await walk(house, op))
    assert op.count("/jwks") == 1
    house.clock.advance(59)
    op.keys = [rsa_key(2)]
    assert not is_in(await walk(house, op))
    assert op.count("/jwks") == 1

    house.clock.advance(2)
    assert is_in(await walk(house, op))
    assert op.count("/jwks") == 2

    op.sign = lambda claims: signed(claims, rsa_key(2), kid="unknown")
    for _ in range(10):
        assert not is_in(await walk(house, op))
    assert op.count("/jwks") == 2


async def test_oau_21_a_ban_during_the_flow_is_obeyed(house: House, op: Provider) -> None:
    await walk(house, op)
    user = await me(house.client)
    browser = house.client_at("127.0.0.1")
    url = op.authorize((await browser.get("/oauth/openid")).headers["location"])
    async with house.begin() as ctx:
        await bans.add(ctx, bans.ACCOUNT, user["id"], "test", None)

    answer = await browser.get(url)

    assert answer.status_code == 403
    assert "refreshToken" not in answer.cookies


async def test_oau_21_a_provider_switched_off_during_the_flow_lets_nobody_in(
    make_house: MakeHouse, house: House, op: Provider
) -> None:
    url = op.authorize((await house.client.get("/oauth/openid")).headers["location"])
    cookie = f"ostiary_flow={house.client.cookies['ostiary_flow']}"
    without = await make_house(**{**op.settings, "OPENID_CLIENT_ID": ""})

    assert not is_in(await without.client.get(url, headers={"cookie": cookie}))


async def test_oau_23_no_code_and_no_token_is_in_an_address_or_a_log(
    house: House, op: Provider, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    answer = await walk(house, op)

    assert is_in(answer)
    assert answer.headers["location"] == ORIGIN
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.content == b""
    written = caplog.text + "".join(capfd.readouterr())
    form = next(each.parameters for each in op.asked if each.path == "/token")
    assert form["code"] not in written
    assert form["code_verifier"] not in written
    assert CLIENT_SECRET not in written
    assert answer.cookies["refreshToken"] not in written


async def test_userinfo_about_somebody_else_is_refused(house: House, op: Provider) -> None:
    op.userinfo = op.person | {"sub": "eve"}

    assert not is_in(await walk(house, op))


async def test_userinfo_cannot_lend_its_address_the_id_tokens_word(house: House, op: Provider) -> None:
    op.userinfo = {"sub": "ada", "email": "victim@example.org"}

    assert is_in(await walk(house, op))

    assert (await me(house.client))["emailVerified"] is False


@pytest.mark.parametrize(
    "email", ["x@allowed.example@evil.example", "no address", "a\nb@example.org", 17, None, "x" * 300 + "@e.org"]
)
async def test_an_address_that_could_be_read_in_two_ways_makes_no_account(house: House, op: Provider, email: object) -> None:
    op.person = op.person | {"email": email, "preferred_username": None}

    assert not is_in(await walk(house, op))


async def test_an_answer_with_a_name_given_twice_is_refused(house: House, op: Provider) -> None:
    url = op.authorize((await house.client.get("/oauth/openid")).headers["location"])

    # The same code once more: right, whichever of the two is read.
    assert not is_in(await house.client.get(f"{url}&code={dict(parse_qsl(urlsplit(url).query))['code']}"))


async def test_a_flow_is_over_after_ten_minutes(house: House, op: Provider) -> None:
    url = op.authorize((await house.client.get("/oauth/openid")).headers["location"])
    house.clock.advance(601)

    assert not is_in(await house.client.get(url))


async def test_enu_14_a_refused_sign_in_tells_nobody_that_an_address_has_an_account(house: House, op: Provider) -> None:
    body = {"name": "Ada", "email": "ada@example.org", "password": "lamp-at-noon", "confirm_password": "lamp-at-noon"}
    await house.client.post("/api/auth/register", json=body)

    known = await walk(house, op, client=house.client_at("127.0.0.1"))
    op.person = op.person | {"sub": "nobody", "email": None}
    unknown = await walk(house, op, client=house.client_at("127.0.0.1"))

    assert (await reasons(house))[:2] == ["no_email", "address_of_another_account"]
    told = [(each.status_code, each.text, {**each.headers, "x-request-id": ""}) for each in (known, unknown)]
    assert told[0] == told[1]
    assert known.headers["location"] == f"{ORIGIN}/login?redirect=false&error=auth_failed"
    assert not any(word in str(told[0]).lower() for word in ("exist", "openid", "ada@example.org"))
