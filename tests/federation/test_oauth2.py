"""GitHub, Discord, Facebook, Google and Apple: their endpoints played on loopback, everything else as in production."""

from __future__ import annotations

import hashlib
import json
from base64 import urlsafe_b64encode
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import msgspec
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey

from ostiary.federation import presets
from ostiary.federation.apple import AppleSecret
from ostiary.federation.oauth2 import OAuth2Provider
from ostiary.federation.oidc import OpenIDProvider, Registration
from ostiary.federation.presets import OAuth2Preset
from ostiary.federation.providers import RedirectProvider
from ostiary.federation.transport import Transport
from ostiary.settings import Apple, OpenID
from tests.conftest import MakeHouse
from tests.federation.hostile import CLIENT_ID, CLIENT_SECRET, Answer, Provider, is_in, me, reasons
from tests.house import ORIGIN, House

GITHUB_USER = {"id": 583231, "login": "octocat", "name": "The Octocat", "avatar_url": "https://avatars.example.org/1"}
GITHUB_EMAILS = [
    {"email": "old@example.org", "primary": False, "verified": True},
    {"email": "octocat@example.org", "primary": True, "verified": True},
]


@pytest.fixture
def engine() -> str:
    """Nothing here depends on the engine."""
    return "sqlite"


def serve(op: Provider, answers: dict[str, Any]) -> None:
    """Answer these paths with this JSON."""
    for path, value in answers.items():

        async def respond(value: Any = value) -> Answer:
            return 200, {"content-type": "application/json"}, json.dumps(value).encode()

        op.respond[path] = respond


def install(house: House) -> dict[str, RedirectProvider]:
    """What is configured, to be added to: presets whose addresses are on loopback."""
    found = house.services.redirect_providers
    assert isinstance(found, dict)
    return found


async def github(make_house: MakeHouse, op: Provider, emails: object, **more: str) -> House:
    """A house with a GitHub Enterprise Server on loopback."""
    serve(
        op,
        {
            "/login/oauth/access_token": {"access_token": "theirs", "token_type": "bearer"},
            "/api/v3/user": GITHUB_USER,
            "/api/v3/user/emails": emails,
        },
    )
    return await make_house(
        ALLOW_SOCIAL_LOGIN="true",
        ALLOW_SOCIAL_REGISTRATION=more.pop("ALLOW_SOCIAL_REGISTRATION", "true"),
        GITHUB_CLIENT_ID=CLIENT_ID,
        GITHUB_CLIENT_SECRET=CLIENT_SECRET,
        GITHUB_ENTERPRISE_BASE_URL=op.issuer,
        GITHUB_ENTERPRISE_USER_AGENT="ours",
        **more,
    )


async def test_github_gives_its_primary_address_and_says_whether_it_is_verified(make_house: MakeHouse, op: Provider) -> None:
    house = await github(make_house, op, GITHUB_EMAILS)

    started = await house.client.get("/oauth/github")
    asked = dict(parse_qsl(urlsplit(started.headers["location"]).query))
    assert is_in(await house.client.get(f"/oauth/github/callback?code=c&state={asked['state']}"))

    user = await me(house.client)
    assert (user["email"], user["name"], user["username"]) == ("octocat@example.org", "The Octocat", "octocat")
    assert (user["provider"], user["emailVerified"]) == ("github", True)
    token = next(each for each in op.asked if each.path.endswith("access_token"))
    digest = hashlib.sha256(token.parameters["code_verifier"].encode()).digest()
    assert urlsafe_b64encode(digest).rstrip(b"=").decode() == asked["code_challenge"]
    assert (asked["code_challenge_method"], asked["scope"]) == ("S256", "user:email read:user")
    assert {each.headers["user-agent"] for each in op.asked} == {"ours"}


@pytest.mark.parametrize("emails", [[], [{"email": "a@b.org", "primary": False, "verified": True}], {"message": "no"}])
async def test_github_without_a_primary_address_makes_no_account(make_house: MakeHouse, op: Provider, emails: object) -> None:
    house = await github(make_house, op, emails)
    asked = dict(parse_qsl(urlsplit((await house.client.get("/oauth/github")).headers["location"]).query))

    assert not is_in(await house.client.get(f"/oauth/github/callback?code=c&state={asked['state']}"))
    assert await reasons(house) == ["no_email"]


async def test_nobody_new_comes_in_without_allow_social_registration(make_house: MakeHouse, op: Provider) -> None:
    house = await github(make_house, op, GITHUB_EMAILS, ALLOW_SOCIAL_REGISTRATION="false")
    asked = dict(parse_qsl(urlsplit((await house.client.get("/oauth/github")).headers["location"]).query))

    assert not is_in(await house.client.get(f"/oauth/github/callback?code=c&state={asked['state']}"))
    assert await reasons(house) == ["no_registration"]


async def test_a_code_that_github_refuses_lets_nobody_in(make_house: MakeHouse, op: Provider) -> None:
    house = await github(make_house, op, GITHUB_EMAILS)
    serve(op, {"/login/oauth/access_token": {"error": "bad_verification_code"}})
    asked = dict(parse_qsl(urlsplit((await house.client.get("/oauth/github")).headers["location"]).query))

    assert not is_in(await house.client.get(f"/oauth/github/callback?code=c&state={asked['state']}"))


DISCORD_USER = {
    "id": "80351110224678912",
    "username": "nelly",
    "global_name": "Nelly",
    "avatar": "a_8342729096ea3675442027381ff50dfe",
    "email": "n@example.org",
}
FACEBOOK_USER = {
    "id": "10158",
    "name": "Fay Book",
    "first_name": "Fay",
    "last_name": "Book",
    "email": "fay@example.org",
    "picture": {"data": {"url": "https://pictures.example.org/fay.jpg"}},
}


@pytest.mark.parametrize(
    ("preset", "user", "expected"),
    [
        (
            presets.DISCORD,
            {**DISCORD_USER, "verified": True},
            (
                "Nelly",
                "nelly",
                True,
                "https://cdn.discordapp.com/avatars/80351110224678912/a_8342729096ea3675442027381ff50dfe.gif",
            ),
        ),
        (
            presets.DISCORD,
            {**DISCORD_USER, "verified": True, "avatar": "../../x_"},
            ("Nelly", "nelly", True, "https://cdn.discordapp.com/embed/avatars/0.png"),
        ),
        (
            presets.DISCORD,
            {**DISCORD_USER, "verified": False, "avatar": None, "discriminator": "1337"},
            ("Nelly", "nelly", False, "https://cdn.discordapp.com/embed/avatars/2.png"),
        ),
        (presets.FACEBOOK, FACEBOOK_USER, ("Fay Book", "Fay Book", False, "https://pictures.example.org/fay.jpg")),
        (
            presets.FACEBOOK,
            {**FACEBOOK_USER, "verified": True},
            ("Fay Book", "Fay Book", False, "https://pictures.example.org/fay.jpg"),
        ),
    ],
)
async def test_an_address_is_verified_when_the_provider_says_so_and_not_before(
    make_house: MakeHouse, op: Provider, preset: OAuth2Preset, user: dict[str, Any], expected: tuple[Any, ...]
) -> None:
    serve(op, {"/token": {"access_token": "theirs"}, "/me": user})
    house = await make_house()
    played = msgspec.structs.replace(preset, token_url=f"{op.issuer}/token", profile_url=f"{op.issuer}/me")
    line = Transport(timedelta(seconds=5))
    install(house)[preset.name] = OAuth2Provider(played, CLIENT_ID, CLIENT_SECRET, line, may_create=True)

    asked = dict(parse_qsl(urlsplit((await house.client.get(f"/oauth/{preset.name}")).headers["location"]).query))
    assert is_in(await house.client.get(f"/oauth/{preset.name}/callback?code=c&state={asked['state']}"))

    found = await me(house.client)
    assert (found["name"], found["username"], found["emailVerified"], found["avatar"]) == expected


async def test_google_is_openid_connect_with_nothing_to_discover_but_its_document(make_house: MakeHouse, op: Provider) -> None:
    house = await make_house()
    op.clock = house.clock
    preset = msgspec.structs.replace(presets.GOOGLE, issuer=op.issuer)
    known = Registration(CLIENT_ID, lambda: CLIENT_SECRET)
    line = Transport(timedelta(seconds=5))
    install(house)["google"] = OpenIDProvider(preset, known, OpenID(), line, house.clock, may_create=True)

    started = await house.client.get("/oauth/google")
    assert is_in(await house.client.get(op.authorize(started.headers["location"])))

    user = await me(house.client)
    assert (user["name"], user["username"], user["provider"]) == ("Ada Lovelace", "Ada", "google")
    assert op.count("/userinfo") == 0


async def test_apple_posts_its_answer_and_gets_a_secret_that_we_sign(make_house: MakeHouse, op: Provider) -> None:
    key = ECKey.generate_key("P-256")
    settings = Apple.read(
        {
            "APPLE_CLIENT_ID": CLIENT_ID,
            "APPLE_TEAM_ID": "team",
            "APPLE_KEY_ID": "key",
            "OSTIARY_APPLE_PRIVATE_KEY": key.as_pem(private=True).decode(),
        }
    )
    house = await make_house(DOMAIN_SERVER="https://id.example.org", DOMAIN_CLIENT=ORIGIN)
    op.clock = house.clock
    secret = AppleSecret(settings, house.clock)
    claims = jwt.decode(secret(), key, algorithms=["ES256"])
    now = house.clock() // 1_000_000
    assert claims.claims == {
        "iss": "team",
        "sub": CLIENT_ID,
        "aud": "https://appleid.apple.com",
        "iat": now,
        "exp": now + 3600,
    }
    assert claims.header == {"alg": "ES256", "kid": "key", "typ": "JWT"}
    preset = msgspec.structs.replace(presets.APPLE, issuer=op.issuer)
    # The player on loopback knows one secret alone; that Apple's is right was looked at above.
    known = Registration(CLIENT_ID, lambda: CLIENT_SECRET, is_secret_posted=True)
    line = Transport(timedelta(seconds=5))
    install(house)["apple"] = OpenIDProvider(preset, known, OpenID(), line, house.clock, may_create=True)
    op.person = {"sub": "000123.ab", "email": "ada@example.org", "email_verified": "true"}

    started = await house.client.get("/oauth/apple")
    cookie = started.headers["set-cookie"]
    assert {"SameSite=None", "Secure", "HttpOnly"} <= set(cookie.split("; "))
    asked = dict(parse_qsl(urlsplit(started.headers["location"]).query))
    assert (asked["response_mode"], asked["redirect_uri"]) == ("form_post", "https://id.example.org/oauth/apple/callback")
    posted = dict(parse_qsl(urlsplit(op.authorize(started.headers["location"])).query))
    posted["user"] = json.dumps({"name": {"firstName": "Ada", "lastName": "Lovelace"}, "email": "eve@example.org"})
    answer = await house.client.post(
        "/oauth/apple/callback",
        data=posted,
        headers={"cookie": cookie.partition(";")[0], "origin": "https://appleid.apple.com", "sec-fetch-site": "cross-site"},
    )

    assert is_in(answer)
    user = await me(house.client)
    assert (user["email"], user["name"], user["username"]) == ("ada@example.org", "Ada Lovelace", "ada")
    assert user["emailVerified"] is True
