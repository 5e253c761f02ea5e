"""What `ostiary doctor` says of the directory that checks names and passwords."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator

import pytest

from tests.cli.conftest import HOUR, Operator
from tests.conftest import MakeHouse
from tests.dialects.librechat.browser import browser
from tests.federation.test_ldap_sign_in import RIGHT
from tests.services import free_port
from tests.services.slapd import SECRET, SlapdServer


@pytest.fixture(scope="module")
def slapd() -> Iterator[SlapdServer]:
    """A real OpenLDAP."""
    with SlapdServer() as server:
        yield server


def about_directory(operator: Operator, settings: dict[str, str]) -> dict[str, str]:
    """The one finding about it."""
    done = operator.run("doctor", "--json", **settings)
    assert SECRET not in done.output
    (finding,) = (finding for finding in json.loads(done.stdout)["findings"] if finding["about"] == "directory")
    return dict(finding)


def test_a_directory_that_answers(operator: Operator, slapd: SlapdServer) -> None:
    assert about_directory(operator, slapd.settings())["state"] == "ok"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"LDAP_URL": "ldap://127.0.0.1:{free}"}, "cannot be used"),
        ({"LDAP_URL": "ldaps://127.0.0.1:{tls}"}, "certificate verify failed"),
        ({"LDAP_BIND_CREDENTIALS": "old"}, "LDAP_BIND_DN is refused, code 49"),
        ({"LDAP_USER_SEARCH_BASE": "ou=nowhere,dc=example,dc=org"}, "See LDAP_USER_SEARCH_BASE"),
    ],
)
def test_a_directory_that_cannot_be_used(operator: Operator, slapd: SlapdServer, changes: dict[str, str], told: str) -> None:
    ports = {"free": free_port(), "tls": slapd.tls_port}
    settings = {name: value.format(**ports) for name, value in changes.items()}

    finding = about_directory(operator, slapd.settings(**settings))

    assert finding["state"] == "problem"
    assert told in finding["text"]


async def test_a_directory_shows_which_attributes_came_and_why_somebody_was_refused(
    operator: Operator, slapd: SlapdServer, make_house: MakeHouse
) -> None:
    settings = slapd.settings(OSTIARY_LDAP_PERMITTED_GROUPS="cn=nobody,dc=example,dc=org")
    uid = slapd.add_person()
    house = await make_house(**slapd.settings())
    house.clock.now = time.time_ns() // 1000 - HOUR * 1_000_000
    assert (await browser(house).login(uid, RIGHT)).status_code == 200
    closed = await make_house(**settings)
    closed.clock.now = house.clock.now + 1_000_000
    assert (await browser(closed).login(uid, RIGHT)).status_code == 404

    answer = await asyncio.to_thread(operator.json, "federation", "test", "ldap", **settings)
    finding = await asyncio.to_thread(about_directory, operator, settings)

    assert {"cn", "mail", "uid"} <= set(answer["claims"]["names"])
    assert [each["reason"] for each in answer["refusals"]] == ["no_permitted_group"]
    assert finding["state"] == "warning"
    assert "OSTIARY_LDAP_PERMITTED_GROUPS" in finding["text"]
