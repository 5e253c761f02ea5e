"""What `ostiary doctor` says of the directory that checks names and passwords."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.cli.conftest import Operator
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
