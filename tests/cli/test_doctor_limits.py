"""What `ostiary doctor` says of limits, beside a running server and without one."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.attack.harness import fresh_email, somewhere
from tests.attack.people import WRONG_PASSWORD, Person
from tests.cli.conftest import Operator
from tests.served import free_port, served


@pytest.fixture(params=["sqlite"])
def engine(request: pytest.FixtureRequest) -> str:
    """Counters are no rows."""
    return str(request.param)


def said(operator: Operator, **environment: str) -> dict[str, tuple[str, str]]:
    """State and text of each finding about limits."""
    findings = operator.json("doctor", **environment)["findings"]
    return {
        finding["about"]: (finding["state"], finding["text"])
        for finding in findings
        if finding["about"].startswith(("limit", "spraying"))
    }


def test_every_limit_is_named_with_its_numbers_and_what_it_is_counted_by(operator: Operator) -> None:
    found = said(operator, PORT=str(free_port()), LOGIN_MAX="9", OSTIARY_SPRAY_SERVER="77")

    assert found["limits"] == ("ok", "no server answered, so nothing is known of what they refused.")
    assert found["limit login.address"] == ("ok", "9 in 5 minute(s), by address (of IPv6 a /64).")
    assert found["limit login.network"] == ("ok", "100 in 15 minute(s), by network (IPv4 /24, IPv6 /48).")
    assert found["limit login.server"] == ("ok", "300 in 15 minute(s), for the whole server.")
    assert found["limit login.device"] == ("ok", "8 in 5 minute(s), by known device.")
    assert found["limit lockout.device"] == ("ok", "10 in 15 minute(s), by known device or place.")
    assert found["limit spray.server"] == ("ok", "suspected at 77 names in 15 minute(s), for the whole server.")
    assert found["limit standard"] == ("ok", "20 in 2 minute(s), by address, e-mail, account or key.")


def test_beside_a_server_what_it_refused_is_counted_and_spraying_is_told(operator: Operator, tmp_path: Path) -> None:
    given = {"RATE_LIMITS": "on", "OSTIARY_METRICS_TOKEN": "only-for-the-doctor-5c0e9d1b", "OSTIARY_SPRAY_NETWORK": "3"}
    with served(tmp_path, given) as place:
        address = somewhere()
        for _ in range(9):
            Person(place.url, address).login(WRONG_PASSWORD, fresh_email())

        here = {"PORT": str(urlsplit(place.url).port), "OSTIARY_DATA": str(place.data), "DATABASE_URL": ""}
        found = said(operator, **given, **here)

    state, text = found["limit login.address"]
    assert (state, text.partition("; met ")[2][:18]) == ("ok", "2 time(s), last at")
    assert found["limit login.network"][1].endswith("; met 0 time(s).")
    assert found["limits"][1].startswith("what they refused is counted since")
    state, text = found["spraying"]
    assert (state, text.count("suspected 1 time(s) in the last day")) == ("warning", 1)
    assert "(spray.network)" in text
