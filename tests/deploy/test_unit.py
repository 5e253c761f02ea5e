"""The systemd unit that `deploy/` ships: systemd itself says how much it leaves open."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from tests.services.proxies import DEPLOY

UNIT = DEPLOY / "ostiary.service"
MOST_EXPOSED = 1.5
"""On systemd's scale from 0 to 10, where an ordinary unit has 9.6."""


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd here to judge its unit")
def test_systemd_finds_little_that_the_unit_leaves_open() -> None:
    command = ["systemd-analyze", "security", "--offline=yes", "--no-pager", str(UNIT)]

    done = subprocess.run(command, capture_output=True, text=True, check=True)

    found = re.search(r"exposure level for ostiary\.service: ([0-9.]+) ", done.stdout)
    assert found is not None
    assert float(found[1]) <= MOST_EXPOSED
    assert "Unknown" not in done.stderr


def test_the_page_on_operating_names_every_file_that_is_shipped() -> None:
    page = (DEPLOY.parent / "docs" / "operating.md").read_text(encoding="utf-8")

    for file in DEPLOY.iterdir():
        assert f"deploy/{file.name}" in page, file.name
