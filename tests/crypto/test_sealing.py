"""What was not sealed here does not open, whatever it looks like."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ostiary.crypto.sealing import SealBrokenError, Sealer

sealer = Sealer(bytes(32))


@given(st.binary(max_size=80))
def test_bytes_that_nobody_sealed_are_refused_as_such(sealed: bytes) -> None:
    with pytest.raises(SealBrokenError):
        sealer.open(sealed, "somewhere")


def test_what_is_sealed_opens_in_its_place_alone() -> None:
    sealed = sealer.seal(b"secret", "here")

    assert sealer.open(sealed, "here") == b"secret"
    with pytest.raises(SealBrokenError):
        sealer.open(sealed, "there")
