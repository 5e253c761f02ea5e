"""The short form of `make fuzz`: a few hundred requests, and every parser with its corpus and with bytes that Hypothesis makes."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz import requests
from tests.fuzz.__main__ import SETTINGS
from tests.fuzz.parsers import PARSERS
from tests.served import served

CORPUS = Path(__file__).parent / "corpus"


def test_bent_requests_get_an_answer_that_is_no_fault_of_ours(tmp_path: Path) -> None:
    with served(tmp_path, SETTINGS) as place:
        report = requests.run(place, 600, callers=2)

    assert report.requests == 600
    assert report.is_clean, (report.faults, report.hangs)
    assert report.statuses[200] > 20, report.statuses


@pytest.mark.parametrize("name", PARSERS)
def test_what_was_found_once_is_not_found_again(name: str) -> None:
    files = sorted((CORPUS / name).glob("*"))

    assert files, f"tests/fuzz/corpus/{name} has no example to begin with"
    for file in files:
        PARSERS[name](file.read_bytes())


@pytest.mark.parametrize("name", PARSERS)
@settings(max_examples=60, deadline=None, derandomize=True)
@given(data=st.binary(max_size=400) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_a_parser_raises_nothing_but_what_it_promises(name: str, data: bytes) -> None:
    PARSERS[name](data)
