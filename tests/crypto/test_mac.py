"""HMAC-SHA-256 of our own making says what the standard library's says."""

from __future__ import annotations

import hmac
from random import Random

import pytest

from ostiary.crypto.mac import Mac

SEVERAL_BLOCKS = 200


@pytest.mark.parametrize(
    ("key", "message", "digest"),
    [
        (b"\x0b" * 20, b"Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
        (b"Jefe", b"what do ya want for nothing?", "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"),
        (
            b"\xaa" * 131,
            b"Test Using Larger Than Block-Size Key - Hash Key First",
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
        ),
    ],
    ids=["RFC 4231 section 4.2", "section 4.3", "section 4.7"],
)
def test_the_published_digests_come_out(key: bytes, message: bytes, digest: str) -> None:
    assert Mac(key)(message).hex() == digest


def test_keys_and_messages_of_every_length_give_what_the_standard_library_gives() -> None:
    random = Random(4231)  # noqa: S311 - the same keys in every run
    for length in range(SEVERAL_BLOCKS):
        key, message = random.randbytes(length), random.randbytes(SEVERAL_BLOCKS - length)
        mac = Mac(key)

        found = [mac(message), mac(b""), mac(message)]

        expected = hmac.digest(key, message, "sha256")
        assert found == [expected, hmac.digest(key, b"", "sha256"), expected], length
