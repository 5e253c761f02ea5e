"""What a signer remembers of the tokens that it has signed and checked."""

from __future__ import annotations

from ostiary.crypto.jwt import MOST_REMEMBERED, Signer


def test_the_tokens_that_were_used_last_are_remembered_and_no_more() -> None:
    signer = Signer(b"s" * 64)
    used, forgotten, *_ = [signer.sign({"exp": 10, "number": number}) for number in range(MOST_REMEMBERED)]

    signer.claims(used, 0)
    signer.sign({"exp": 10, "number": MOST_REMEMBERED})

    assert len(signer._remembered) == MOST_REMEMBERED
    assert used in signer._remembered
    assert forgotten not in signer._remembered
    assert signer.claims(forgotten, 0)["number"] == 1
