"""Argon2id and scrypt as other servers write them: published vectors, and what is too dear or no hash at all."""

from __future__ import annotations

import pytest

from ostiary.crypto.foreign import read
from ostiary.crypto.passwords import PasswordHash, PasswordHasher, imported, is_affordable

# Argon2's own test program (version 1.3); the PHC form of scrypt; RFC 7914 section 12 in Werkzeug's and in PHC's form; and one made
# by better-auth 1.x, whose password is normalized first.
RFC_7914 = (
    "7023bdcb3afd7348461c06cd81fd38ebfda8fbba904f8e3ea9b543f6545da1f2"
    "d5432955613f0fcf62d49705242a9af9e61e85dc0d651e40dfcf017b45575887"
)
BETTER_AUTH = (
    "42732b10b9a37cfc92084262b990a306:d5429166e3c88c8b6dff57953f27b55c7a08159c2243488fccafbbe667cc2e6c"
    "bb0f3f3314d0e5a4767c87ac5e5017397afe7ad1c75f0f9ef097acfba78eb6b7"
)
VECTORS = [
    ("password", "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4"),
    ("password", "$argon2id$v=19$m=256,t=2,p=2$c29tZXNhbHQ$bQk8UB/VmZZF4Oo79iDXuL5/0ttZwg2f/5U52iv1cDc"),
    ("password", "$scrypt$ln=16,r=8,p=1$aM15713r3Xsvxbi31lqr1Q$nFNh2CVHVjNldFVKDHDlm4CbdRSCdEBsjjJxD+iCs5E"),
    ("pleaseletmein", f"scrypt:16384:8:1$SodiumChloride${RFC_7914}"),
    (
        "A\N{COMBINING RING ABOVE}ngstro\N{COMBINING DIAERESIS}m correct horse",
        BETTER_AUTH,
    ),
]


@pytest.mark.parametrize(("password", "text"), VECTORS)
async def test_published_hashes_verify_and_are_said_to_be_outdated(password: str, text: str) -> None:
    hasher = PasswordHasher(4, threads=1)
    stored = imported(text)

    right = await hasher.verify(password, stored)
    wrong = await hasher.verify(password + "x", stored)

    assert (right.is_right, right.is_outdated, wrong.is_right) == (True, True, False)
    assert stored is not None
    assert is_affordable(stored)
    hasher.close()


@pytest.mark.parametrize(
    "text",
    [
        "$argon2id$v=19$m=1048576,t=3,p=4$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
        "$argon2id$v=19$m=65536,t=9999,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
        "$argon2id$v=19$m=65536,t=3,p=255$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
        "$argon2id$v=19$m=256,t=0,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
        "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65",
        "$scrypt$ln=22,r=8,p=1$aM15713r3Xsvxbi31lqr1Q$nFNh2CVHVjNldFVKDHDlm4CbdRSCdEBsjjJxD+iCs5E",
        "$scrypt$ln=99,r=8,p=1$aM15713r3Xsvxbi31lqr1Q$nFNh2CVHVjNldFVKDHDlm4CbdRSCdEBsjjJxD+iCs5E",
        f"scrypt:16384:999:999$SodiumChloride${RFC_7914}",
        f"scrypt:16383:8:1$SodiumChloride${RFC_7914}",
        f"scrypt:16384:0:1$SodiumChloride${RFC_7914}",
    ],
)
async def test_what_is_too_dear_or_cannot_be_computed_is_a_wrong_password(text: str) -> None:
    hasher = PasswordHasher(4, threads=1)
    stored = imported(text)
    assert stored is not None

    verdict = await hasher.verify("password", stored)

    assert not is_affordable(stored)
    assert (verdict.is_right, hasher.done) == (False, 1)
    hasher.close()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "plain",
        "$argon2i$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65",
        "$argon2id$v=19$m=256,t=2,p=1$*$nf65",
        "$scrypt$ln=4$a$b",
        "$2x$04$",
    ],
)
async def test_what_is_no_hash_is_not_taken_for_one(text: str) -> None:
    hasher = PasswordHasher(4, threads=1)

    verdict = await hasher.verify("password", PasswordHash("argon2id", text))

    assert (imported(text), read(text), verdict.is_right) == (None, None, False)
    hasher.close()
