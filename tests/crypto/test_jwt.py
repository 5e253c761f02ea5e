"""What a signer takes, beside what a library of JOSE takes, and what it remembers of the tokens that it has signed and checked."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from joserfc import jws
from joserfc.errors import BadSignatureError, JoseError, UnsupportedAlgorithmError
from joserfc.jwk import OctKey

from ostiary.crypto.jwt import MOST_REMEMBERED, Signer, TokenError
from tests.dialects.librechat.forging import HS256, part, signed

SECRET = b"s" * 64
KEY = OctKey.import_key(SECRET)
CLAIMS = {"exp": 10, "sub": "ada"}


def beside(name: str, *values: object) -> list[dict[str, object]]:
    """The usual header with this member, once with each value."""
    return [{**HS256, name: value} for value in values]


HEADERS: list[Any] = [
    HS256,
    {"alg": "HS256"},
    {"typ": "JWT", "alg": "HS256"},
    {**HS256, "kid": "one", "cty": "JWT", "x5t": "x", "x5t#S256": "x"},
    {**HS256, "jku": "https://example.org/keys", "x5u": "http://example.org/key", "x5c": ["AAAA"], "jwk": {"kty": "oct"}},
    *beside("alg", "none", "None", "hs256", "HS384", "HS512", "RS256", "", None, 5, ["HS256"], {}),
    *(header for name in ("typ", "cty", "kid", "x5t", "x5t#S256") for header in beside(name, None, 5, ["x"])),
    *(
        header
        for name in ("jku", "x5u")
        for header in beside(name, None, 5, "", "ftp://example.org", "//example.org", " https://x")
    ),
    *beside("x5c", None, "x", [5], [None]),
    *beside("jwk", None, "x", []),
    *beside("b64", True, False, None, "true", 1, 0),
    *beside("unknown", 1),
    *beside("kid", "k" * 400),
    {"alg": "none", "unknown": 1},
    {"typ": "JWT"},
    {},
    [],
    ["alg"],
    "alg",
    "HS256",
    5,
    None,
]


def tokens() -> Iterator[str]:
    """Rightly and wrongly signed, whole and damaged, under every header above."""
    for header in HEADERS:
        for payload in (
            part(CLAIMS),
            part([]),
            part("x"),
            encoded(b"{"),
            encoded(b"\xff"),
            "",
            "A",
            "AB",
            "A+A",
            "A/A",
            "A A",
            "é",
        ):
            text = f"{part(header)}.{payload}"
            right = encoded(Signer(SECRET)._mac(text.encode()))
            yield from (
                f"{text}.{mac}" for mac in (right, right[:-1], right[:-1] + chr(ord(right[-1]) + 1), encoded(b"x" * 32), "A")
            )
    for head in (
        "",
        "A",
        "AB",
        "e30",
        "eyJhbGciOiJIUzI1NiJ",
        encoded(b"{"),
        encoded(b"\xff\xfe{"),
        encoded(b"[" * 300),
        "e+30",
        "e/30",
    ):
        text = f"{head}.{part(CLAIMS)}"
        yield f"{text}.{encoded(Signer(SECRET)._mac(text.encode()))}"


def encoded(text: bytes) -> str:
    return urlsafe_b64encode(text).rstrip(b"=").decode()


def by_the_library(token: str) -> dict[str, Any] | str:
    """The claims, or what is wrong with them."""
    try:
        claims = msgspec.json.decode(jws.deserialize_compact(token, KEY, algorithms=["HS256"]).payload)
    except BadSignatureError:
        return "signature"
    except UnsupportedAlgorithmError:
        return "algorithm"
    except (JoseError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return "invalid"
    return claims if isinstance(claims, dict) else "invalid"


def by_ours(token: str) -> dict[str, Any] | str:
    """The same by a signer that has not seen it before."""
    try:
        return Signer(SECRET).claims(token, 0)
    except TokenError as error:
        return error.flaw


def test_a_signer_takes_what_a_library_takes_and_finds_the_same_flaws() -> None:
    """The library is the one that checks other issuers' tokens here."""
    ascii_only = [token for token in tokens() if token.isascii()]

    verdicts = {token: (by_ours(token), by_the_library(token)) for token in ascii_only}

    assert {token: verdict for token, verdict in verdicts.items() if verdict[0] != verdict[1]} == {}
    assert {json.dumps(ours) for ours, _ in verdicts.values()} == {
        json.dumps(each) for each in (CLAIMS, "signature", "algorithm", "invalid")
    }


@pytest.mark.parametrize("crit", [["exp"], ["typ"], [], "x", None, ["b64"]])
def test_what_must_be_understood_is_not_understood(crit: object) -> None:
    """RFC 7515 section 4.1.11; whatever else is wrong with the token."""
    token = signed(CLAIMS, SECRET, {**HS256, "crit": crit, "exp": 1, "b64": False})

    assert by_ours(token) == by_ours(token + "x") == "invalid"


def test_the_tokens_that_were_used_last_are_remembered_and_no_more() -> None:
    signer = Signer(SECRET)
    used, forgotten, *_ = [signer.sign({"exp": 10, "number": number}) for number in range(MOST_REMEMBERED)]

    signer.claims(used, 0)
    signer.sign({"exp": 10, "number": MOST_REMEMBERED})

    assert len(signer._remembered) == MOST_REMEMBERED
    assert used in signer._remembered
    assert forgotten not in signer._remembered
    assert signer.claims(forgotten, 0)["number"] == 1
