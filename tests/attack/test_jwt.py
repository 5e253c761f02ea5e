"""JWT: self-contained tokens (catalogue 4.4). The attacker knows JWT_SECRET here, as another service of a deployment would."""

from __future__ import annotations

import hmac
import json
import socket
from base64 import urlsafe_b64encode
from typing import Any

import pytest

from ostiary.crypto.tokens import Digester, random_hex
from ostiary.dialects.librechat import tokens
from tests.attack.harness import JWT_SECRET, Caller, Reply
from tests.attack.people import claims_of, enrolled, link_in, owing, signed_in
from tests.conftest import MakeHouse
from tests.dialects.librechat import browser as librechat
from tests.dialects.librechat.forging import HS256, part, signed
from tests.house import House
from tests.served import Served
from tests.services.smtp import MailServer

SECRET = JWT_SECRET.encode()


def encoded(text: bytes) -> str:
    return urlsafe_b64encode(text).rstrip(b"=").decode()


def signed_text(payload: str) -> str:
    """A JWT over exactly this text."""
    text = f"{part(HS256)}.{encoded(payload.encode())}"
    return f"{text}.{encoded(hmac.digest(SECRET, text.encode(), 'sha256'))}"


def opened(site: Served, token: str) -> Reply:
    """What this bearer opens, on the user's route."""
    return Caller(site.url).get("/api/user", authorization=f"Bearer {token}")


def refreshed(site: Served, token: str) -> Reply:
    """What this refresh token opens."""
    return Caller(site.url).post("/api/auth/refresh", cookie=f"refreshToken={token}")


def resigned(token: str, header: Any = None, **claims: Any) -> str:
    """The same token rightly signed with this header and these claims; None leaves one out."""
    changed = {name: value for name, value in {**claims_of(token), **claims}.items() if value is not None}
    return signed(changed, SECRET, HS256 if header is None else header)


@pytest.mark.parametrize("alg", ["none", "None", "NONE", "nOnE", None, "", ["HS256"], 5, "absent"])
def test_jwt_01_no_signature_is_no_token(site: Served, alg: object) -> None:
    person = signed_in(site.url)
    header = {"typ": "JWT"} if alg == "absent" else {"alg": alg, "typ": "JWT"}

    for token, ask in ((person.bearer, opened), (person.refresh_token, refreshed)):
        text = f"{part(header)}.{part(claims_of(token))}"
        for mac in ("", token.rpartition(".")[2]):
            assert ask(site, f"{text}.{mac}").status in (401, 403)
    assert opened(site, signed(claims_of(person.bearer), SECRET, header)).status == 401


def test_jwt_02_another_algorithm_is_no_token(site: Served) -> None:
    """No asymmetric key is published, so there is none to be taken for a secret; no other algorithm is accepted at all."""
    person = signed_in(site.url)

    for alg, digest in (("HS384", "sha384"), ("HS512", "sha512"), ("RS256", "sha256"), ("ES256", "sha256"), ("EdDSA", "sha256")):
        forged = signed(claims_of(person.bearer), SECRET, {"alg": alg, "typ": "JWT"}, digest)
        assert opened(site, forged).status == 401, alg
    assert Caller(site.url).get("/.well-known/jwks.json").status == 404


def test_jwt_04_a_key_in_the_header_is_not_used_or_fetched(site: Served) -> None:
    person = signed_in(site.url)
    key = b"k" * 32
    jwk = {"kty": "oct", "k": encoded(key), "alg": "HS256"}
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.settimeout(0.2)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/keys"
        for extra in ({"jwk": jwk}, {"jku": url}, {"x5u": url}, {"x5c": [encoded(key)]}, {"kid": "../../dev/null"}):
            forged = signed(claims_of(person.bearer), key, {**HS256, **extra})
            assert opened(site, forged).status == 401, extra

        with pytest.raises(TimeoutError):
            listener.accept()


@pytest.mark.parametrize("extra", [{"crit": ["bork"], "bork": 1}, {"crit": []}, {"crit": "x"}, {"crit": ["b64"], "b64": False}])
def test_jwt_05_what_is_critical_is_not_passed_over(site: Served, extra: dict[str, Any]) -> None:
    person = signed_in(site.url)

    assert opened(site, resigned(person.bearer, {**HS256, **extra})).status == 401


def test_jwt_07_no_token_passes_for_another_kind(site: Served, mails: MailServer) -> None:
    person = signed_in(site.url)
    enrolled(person)
    _, pending = owing(person)
    person.post("/api/auth/requestPasswordReset", {"email": person.email})
    reset = librechat.parameters_of(link_in(mails, person.email, "Password Reset Request"))
    verify = librechat.parameters_of(link_in(mails, person.email, "Verify your email"))["token"]
    kinds = {
        "access": person.bearer,
        "refresh": person.refresh_token,
        "temporary": pending,
        "reset": reset["token"],
        "verification": verify,
        "device": person.cookies["ostiary_device"],
        "csrf": person.get("/api/auth/csrf").json()["csrfToken"],
    }

    for kind, token in kinds.items():
        nobody = Caller(site.url, headers={"User-Agent": ""})
        places = {
            "access": opened(site, token).status == 200,
            "refresh": refreshed(site, token).body.startswith(b"{"),
            # A temporary token is told from others by the text for a wrong code.
            "temporary": b"Invalid 2FA code" in nobody.post("/api/auth/2fa/verify-temp", {"tempToken": token, "token": "0"}).body,
            "verification": nobody.post("/api/user/verify", {"email": person.email, "token": token}).status == 200,
        }
        assert {place for place, is_open in places.items() if is_open} == {kind} & places.keys(), kind
        if kind != "reset":
            body = {**reset, "token": token, "password": "yet-Another-55-pillow"}
            assert nobody.post("/api/auth/resetPassword", body).status == 400, kind


@pytest.mark.parametrize(
    "change",
    [{"iss": None}, {"iss": "https://elsewhere.example"}, {"sid": None}, {"sid": "made-up"}, {"jti": None}, {"exp": None}],
    ids=str,
)
def test_jwt_08_a_token_for_another_service_opens_nothing(site: Served, change: dict[str, Any]) -> None:
    person = signed_in(site.url)

    assert opened(site, resigned(person.bearer)).status == 200
    assert opened(site, resigned(person.bearer, **change)).status == 401


def test_jwt_10_a_broken_structure_is_no_token(site: Served) -> None:
    token = signed_in(site.url).bearer
    head, payload, mac = token.split(".")
    broken = [
        f"{head}.{payload}.",
        f"{head}..{mac}",
        f"{head}.{payload}",
        f"{token}.d",
        f"{token}.d.e",
        token[:-1],
        f"{token} ",
        f"{token}=",
        f"{head}.{payload} .{mac}",
        f"{head}.{payload}.{mac}é",
        f"é.{payload}.{mac}",
        "a.b.c",
        "...",
        "null",
    ]

    for text in broken:
        assert opened(site, text).status in (400, 401), text[-20:]
        assert refreshed(site, text).status in (400, 401, 403), text[-20:]


def test_jwt_11_changed_claims_and_wrong_secrets_are_refused(site: Served) -> None:
    one, other = signed_in(site.url), signed_in(site.url)
    head, _, mac = one.bearer.split(".")

    changed = f"{head}.{part({**claims_of(one.bearer), 'id': claims_of(other.bearer)['id']})}.{mac}"
    wrong = signed(claims_of(one.bearer), b"w" * 40)
    # Rightly signed, but the session decides whose it is, not a claim.
    borrowed = opened(site, resigned(one.bearer, id=claims_of(other.bearer)["id"], role="ADMIN"))

    assert (opened(site, changed).status, opened(site, wrong).status) == (401, 401)
    assert (borrowed.json()["email"], borrowed.json()["role"]) == (one.email, one.me().json()["role"])


def test_jwt_13_ambiguous_json_names_one_account_or_none(site: Served) -> None:
    one, other = signed_in(site.url), signed_in(site.url)
    plain = json.dumps(claims_of(one.bearer))
    theirs = claims_of(other.bearer)["sid"]
    twins = [
        plain[:-1] + f', "sid": "{theirs}"}}',
        plain[:-1] + f', "\\u0073id": "{theirs}"}}',
        "\ufeff" + plain,
        plain + "x",
        plain[:-1] + ', "exp": NaN}',
        plain[:-1] + ', "exp": 1e999}',
    ]

    for text in twins:
        forged = signed_text(text)
        reply = opened(site, forged)
        assert reply.status == 401 or reply.json()["email"] == other.email, text[-40:]


def test_jwt_14_a_huge_token_is_refused_before_it_is_read(site: Served) -> None:
    token = signed_in(site.url).bearer
    deep = encoded(b'{"alg":"HS256","x":' + b"[" * 6_000 + b"]" * 6_000 + b"}")

    for text in (f"{token}{'A' * 30_000}", f"{deep}.{token.split('.')[1]}.AAAA"):
        assert opened(site, text).status in (400, 401, 431)
        assert refreshed(site, text).status in (400, 401, 403, 431)


async def test_jwt_16_another_secret_ends_every_access_token_and_no_session(make_house: MakeHouse) -> None:
    before = await make_house(JWT_SECRET="one secret of thirty-two letters!")
    person = await librechat.signed_in(before)
    after = await make_house(JWT_SECRET="another secret of thirty-two signs")
    moved = librechat.Browser(after.client_at("127.0.0.1"), person.token)
    moved.client.cookies.update(person.client.cookies)

    refused = await moved.get("/api/user")
    refreshed_there = await moved.refresh()

    assert (refused.status_code, refreshed_there.status_code) == (401, 200)
    assert (await moved.get("/api/user")).status_code == 200


async def test_jwt_07_an_access_token_is_no_temporary_one_even_before_a_row_is_looked_for(house: House) -> None:
    someone = await librechat.signed_in(house)
    await librechat.enrolled(house, someone)
    _, pending = await librechat.owing(house)
    access = (await someone.refresh()).json()["token"]

    found = [tokens.read_temporary(house.services, token, house.clock.now) for token in (pending, access)]

    assert found[0]
    assert found[1] is None


def test_jwt_07_a_digest_of_one_purpose_is_none_of_another() -> None:
    digester = Digester(b"k" * 32)
    token = random_hex()

    found = {digester.digest(purpose, token) for purpose in ("reset", "verification", "invitation", "reset\0", "")}

    assert len(found) == 5
