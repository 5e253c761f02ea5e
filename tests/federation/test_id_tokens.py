"""ID tokens that are not what they should be, from a provider that lies (the catalogue's OAU-05, 06, 08, 09)."""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from joserfc import jws
from joserfc.jwk import OKPKey, RSAKey

from tests.conftest import MakeHouse
from tests.federation.hostile import CLIENT_ID, CLIENT_SECRET, Provider, is_in, reasons, rsa_key, signed, walk
from tests.house import House

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


def _public_pem() -> bytes:
    return rsa_key(1).as_pem(private=False)


def _part(value: object) -> str:
    return _text(json.dumps(value).encode())


def _text(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def _unsigned(claims: Claims) -> str:
    return f"{_part({'alg': 'none'})}.{_part(claims)}."


def _hmac(secret: bytes) -> Callable[[Claims], str]:
    """The attacker's own arithmetic: the library refuses a public key as a secret."""

    def sign(claims: Claims) -> str:
        body = f"{_part({'alg': 'HS256', 'kid': 'key-1'})}.{_part(claims)}"
        return f"{body}.{_text(hmac.digest(secret, body.encode(), 'sha256'))}"

    return sign


FORGERIES: dict[str, Callable[[Claims], str]] = {
    "another key under the right kid": lambda claims: signed(claims, rsa_key(2), kid="key-1"),
    "alg none": _unsigned,
    "HS256 with the client's secret": _hmac(CLIENT_SECRET.encode()),
    "HS256 with the public key": _hmac(_public_pem()),
    "a kid that is unknown": lambda claims: signed(claims, rsa_key(2)),
    "another asymmetric algorithm than announced": lambda claims: signed(claims, rsa_key(1), alg="RS512"),
    "a payload changed after signing": lambda claims: _patched(signed(claims, rsa_key(1))),
    "no token at all": lambda _claims: "not.a.token",
    "its own key in the header": lambda claims: jws.serialize_compact(
        {"alg": "RS256", "jwk": rsa_key(2).as_dict(private=False)}, json.dumps(claims).encode(), rsa_key(2), algorithms=["RS256"]
    ),
}


def _patched(token: str) -> str:
    header, payload, signature = token.split(".")
    claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
    changed = base64.urlsafe_b64encode(json.dumps(claims | {"email": "eve@example.org"}).encode()).rstrip(b"=").decode()
    return f"{header}.{changed}.{signature}"


@pytest.mark.parametrize("forgery", FORGERIES)
async def test_oau_05_a_forged_id_token_is_refused(house: House, op: Provider, forgery: str) -> None:
    op.sign = FORGERIES[forgery]

    assert not is_in(await walk(house, op))


@pytest.mark.parametrize(("keys", "may_pass"), [([1], True), ([1, 2], False)])
async def test_oau_05_without_a_kid_there_must_be_one_key_alone(
    house: House, op: Provider, keys: list[int], may_pass: bool
) -> None:
    op.keys = [rsa_key(number) for number in keys]
    op.sign = lambda claims: signed(claims, rsa_key(1), kid=None)

    assert is_in(await walk(house, op)) is may_pass


@pytest.mark.filterwarnings("ignore:Key size should be")
async def test_oau_05_a_key_that_could_be_factored_signs_for_nobody(house: House, op: Provider) -> None:
    weak = RSAKey.generate_key(1024, {"kid": "weak", "use": "sig", "alg": "RS256"}, private=True)
    op.keys = [weak]
    op.sign = lambda claims: signed(claims, weak)

    assert not is_in(await walk(house, op))
    assert (await reasons(house))[0] == "key_weak"


WRONG: dict[str, Callable[[Claims], object]] = {
    "OAU-06 another issuer": lambda claims: claims.update(iss="https://evil.example"),
    "OAU-06 a slash at its end": lambda claims: claims.update(iss=claims["iss"] + "/"),
    "OAU-06 https for http": lambda claims: claims.update(iss=claims["iss"].replace("http:", "https:")),
    "OAU-06 no issuer": lambda claims: claims.pop("iss"),
    "audience: another": lambda claims: claims.update(aud="someone-else"),
    "audience: ours beside a stranger's": lambda claims: claims.update(aud=[CLIENT_ID, "stranger"], azp=CLIENT_ID),
    "audience: none": lambda claims: claims.pop("aud"),
    "azp: another": lambda claims: claims.update(azp="someone-else"),
    "nonce: another": lambda claims: claims.update(nonce="x"),
    "nonce: none": lambda claims: claims.pop("nonce"),
    "nonce: no text": lambda claims: claims.update(nonce=1),
    "subject: none": lambda claims: claims.pop("sub"),
    "subject: empty": lambda claims: claims.update(sub=""),
    "subject: a number": lambda claims: claims.update(sub=17),
    "OAU-08 exp 61 s ago": lambda claims: claims.update(exp=claims["iat"] - 61),
    "OAU-08 iat in 301 s": lambda claims: claims.update(iat=claims["iat"] + 301),
    "OAU-08 nbf in 61 s": lambda claims: claims.update(nbf=claims["iat"] + 61),
    "OAU-08 no exp": lambda claims: claims.pop("exp"),
    "OAU-08 no iat": lambda claims: claims.pop("iat"),
    "OAU-08 exp as text": lambda claims: claims.update(exp="9999999999"),
    "OAU-08 exp true": lambda claims: claims.update(exp=True),
    "OAU-08 exp not a number": lambda claims: claims.update(exp=None),
    "OAU-09 at_hash of another token": lambda claims: claims.update(at_hash="AAAAAAAAAAAAAAAAAAAAAA"),
    "OAU-09 at_hash no text": lambda claims: claims.update(at_hash=[]),
}


@pytest.mark.parametrize("wrong", WRONG)
async def test_a_wrong_claim_is_refused(house: House, op: Provider, wrong: str) -> None:
    op.twist = lambda claims: (WRONG[wrong](claims), None)[1]

    assert not is_in(await walk(house, op))


@pytest.mark.parametrize("value", ["AAAAAAAAAAAAAAAAAAAAAA", "", "é", "A" * 22 + "==", 1, [], {}])
async def test_oau_09_an_access_token_hash_that_does_not_fit_is_refused(house: House, op: Provider, value: object) -> None:
    op.twist = lambda claims: claims.update(at_hash=value)

    assert not is_in(await walk(house, op))


@pytest.mark.parametrize("change", [{"exp": -59}, {"nbf": 59}, {"iat": 59}])
async def test_oau_08_clocks_may_differ_by_less_than_a_minute(house: House, op: Provider, change: dict[str, int]) -> None:
    op.twist = lambda claims: claims.update({name: claims["iat"] + seconds for name, seconds in change.items()})

    assert is_in(await walk(house, op))


def _edwards(key: OKPKey, name: str) -> Callable[[Claims], str]:
    """By hand: the library warns of the name EdDSA, and a warning is an error here."""

    def sign(claims: Claims) -> str:
        body = f"{_part({'alg': name, 'kid': key.kid})}.{_part(claims)}"
        raw = key.raw_value
        assert isinstance(raw, Ed25519PrivateKey)
        return f"{body}.{_text(raw.sign(body.encode()))}"

    return sign


@pytest.mark.parametrize("name", ["EdDSA", "Ed25519"])
@pytest.mark.parametrize(("lie", "may_pass"), [("", True), ("another key", False), ("the hash of RS256", False)])
async def test_oau_05_an_edwards_signature_counts_as_any_other(
    house: House, op: Provider, name: str, lie: str, may_pass: bool
) -> None:
    key, other = (OKPKey.generate_key("Ed25519", {"kid": "edwards", "alg": name}) for _ in range(2))
    op.keys = [key]
    op.discovery = {"id_token_signing_alg_values_supported": [name]}
    op.digest = "sha256" if lie == "the hash of RS256" else "sha512"
    op.sign = _edwards(other if lie == "another key" else key, name)

    assert is_in(await walk(house, op)) is may_pass


async def test_oau_05_an_edwards_name_does_not_open_the_door_to_another_kind_of_key(house: House, op: Provider) -> None:
    op.discovery = {"id_token_signing_alg_values_supported": ["RS256", "EdDSA"]}
    op.sign = _edwards(OKPKey.generate_key("Ed25519", {"kid": "key-1"}), "EdDSA")

    assert not is_in(await walk(house, op))
