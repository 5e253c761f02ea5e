"""The table of guards and the page that maps requirements to tests cannot rot."""

from __future__ import annotations

import re

import pytest

from tests.attack.mutants import ROOT, Mutant, mutants

PAGE = (ROOT / "docs" / "threat-model.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("mutant", mutants(), ids=lambda mutant: mutant.guard)
def test_every_guard_is_where_the_table_says(mutant: Mutant) -> None:
    text = (ROOT / mutant.file).read_text(encoding="utf-8")

    assert text.count(mutant.old) == 1
    assert mutant.new != mutant.old
    assert mutant.tests
    for name, *within in (named.split("::") for named in mutant.tests):
        assert (ROOT / name).exists()
        assert not within or f"def {within[-1].partition('[')[0]}(" in (ROOT / name).read_text(encoding="utf-8")


def test_there_are_guards_enough_and_each_has_a_name_of_its_own() -> None:
    names = [mutant.guard for mutant in mutants()]

    assert len(names) == len(set(names)) >= 60


def test_every_test_that_the_threat_model_names_exists() -> None:
    written = "\n".join(file.read_text(encoding="utf-8") for file in (ROOT / "tests").rglob("test_*.py"))
    defined = set(re.findall(r"^ *(?:async )?def (test_\w+)", written, re.MULTILINE))

    named = set(re.findall(r"`(test_\w+)`", PAGE))

    assert named
    assert sorted(name for name in named if not any(known == name or known.startswith(f"{name}_") for known in defined)) == []


def test_every_requirement_has_a_row_with_tests_or_a_reason() -> None:
    rows = dict(re.findall(r"^\| (\d+\.\d+\.\d+) \| (.+) \|$", PAGE, re.MULTILINE))

    assert {number.split(".")[0] for number in rows} == {"6", "7", "9", "10"}
    assert len(rows) >= 47 + 19 + 7 + 36
    assert all(len(row) > 10 for row in rows.values())
