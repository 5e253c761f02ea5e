"""Every case of the catalogue has its test, or a reason (catalogue.toml)."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parent.parent
TABLE: dict[str, dict[str, Any]] = tomllib.loads((TESTS / "attack" / "catalogue.toml").read_text(encoding="utf-8"))
CASES, ELSEWHERE, WAITING = TABLE["case"], TABLE["elsewhere"], TABLE.get("waiting", {})
MOST_WAITING = 12
"""So many of 188 may wait at the most; the closing of a gap makes it smaller, and nothing makes it larger."""
DEFINED = {
    name
    for file in TESTS.rglob("test_*.py")
    if "node_modules" not in file.parts
    for name in re.findall(r"^ *(?:async )?def (test_\w+)", file.read_text(encoding="utf-8"), re.MULTILINE)
}


def named_after(case: str) -> set[str]:
    """The tests that carry the case's id."""
    begins = f"test_{case.lower().replace('-', '_')}_"
    return {name for name in DEFINED if name.startswith(begins)}


def test_the_catalogue_is_whole() -> None:
    assert len(CASES) == 188
    assert len({case.partition("-")[0] for case in CASES}) == 19
    assert len(set(CASES.values())) == len(CASES)


def test_every_case_has_a_test_or_a_reason() -> None:
    without = [case for case in CASES if not named_after(case) and case not in ELSEWHERE and case not in WAITING]

    assert without == []


def test_what_stands_for_a_case_exists() -> None:
    missing = {case: set(names) - DEFINED for case, names in ELSEWHERE.items()}

    assert {case: names for case, names in missing.items() if names} == {}
    assert set(ELSEWHERE) <= set(CASES)
    assert all(ELSEWHERE.values())


def test_what_waits_says_why_and_waits_no_longer_than_it_must() -> None:
    done = [case for case in WAITING if named_after(case) or case in ELSEWHERE]

    assert done == [], "these have their test: take them out of [waiting]"
    assert set(WAITING) <= set(CASES)
    assert all(len(reason) > 10 for reason in WAITING.values())
    assert len(WAITING) <= MOST_WAITING


def test_a_test_named_after_a_case_is_of_a_case_that_exists() -> None:
    groups = "|".join(sorted({case.partition("-")[0].lower() for case in CASES}))
    ids = {match[0].upper().replace("_", "-") for name in DEFINED if (match := re.match(rf"(?:{groups})_\d\d", name[5:]))}

    assert sorted(ids - set(CASES)) == []
