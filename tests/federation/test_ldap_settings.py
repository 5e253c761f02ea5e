"""Settings that would be dangerous stop the start with the remedy (CFG-10, W-49)."""

from __future__ import annotations

from pathlib import Path

import pytest

from ostiary.settings import Settings, SettingsError

SAFE = {"LDAP_URL": "ldaps://ldap.example.org", "LDAP_USER_SEARCH_BASE": "dc=example,dc=org"}


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"LDAP_URL": "ldap://ldap.example.org"}, "LDAP_STARTTLS"),
        ({"LDAP_URL": ""}, "LDAP_URL is missing"),
        ({"LDAP_USER_SEARCH_BASE": ""}, "LDAP_USER_SEARCH_BASE is missing"),
        ({"LDAP_URL": "http://ldap.example.org"}, "LDAP_URL must be"),
        ({"LDAP_URL": "ldaps://ldap.example.org:many"}, "LDAP_URL must be"),
        ({"LDAP_URL": "ldaps://ldap.example.org/dc=example"}, "LDAP_URL must be"),
        ({"LDAP_STARTTLS": "true"}, "LDAP_STARTTLS is for ldap://"),
        ({"LDAP_URL": "ldaps://one.example.org ldap://two.example.org"}, "LDAP_STARTTLS"),
        ({"LDAP_URL": "ldaps://one.example.org, two.example.org"}, "LDAP_URL must be"),
        ({"LDAP_URL": " , "}, "LDAP_URL must be"),
        ({"LDAP_BIND_DN": "cn=reader"}, "LDAP_BIND_CREDENTIALS"),
        ({"LDAP_BIND_CREDENTIALS": "secret"}, "without LDAP_BIND_DN"),
        ({"LDAP_SEARCH_FILTER": "(mail=*)"}, "LDAP_SEARCH_FILTER"),
        ({"LDAP_SEARCH_FILTER": "(mail={{username}}))("}, "LDAP_SEARCH_FILTER"),
        ({"LDAP_CA_CERT_PATH": "/nowhere/ca.pem"}, "LDAP_CA_CERT_PATH is not a file"),
        ({"LDAP_ID": "uid)(cn"}, "LDAP_ID must name an attribute"),
        ({"OSTIARY_LDAP_BIND_TEMPLATE": "uid=ada"}, "OSTIARY_LDAP_BIND_TEMPLATE must hold"),
        (
            {"OSTIARY_LDAP_BIND_TEMPLATE": "{{username}}@x", "LDAP_BIND_DN": "cn=x", "LDAP_BIND_CREDENTIALS": "y"},
            "Remove one of them",
        ),
        ({"OSTIARY_LDAP_ROLES": "cn=admins,dc=example"}, "OSTIARY_LDAP_ROLES must be"),
        ({"OSTIARY_LDAP_GROUP_SEARCH_BASE": "dc=x", "OSTIARY_LDAP_GROUP_FILTER": "(cn=*)"}, "OSTIARY_LDAP_GROUP_FILTER"),
        ({"OSTIARY_LDAP_TIMEOUT": "30"}, "OSTIARY_LDAP_TIMEOUT"),
    ],
)
def test_a_combination_that_cannot_stand(changes: dict[str, str], named: str) -> None:
    with pytest.raises(SettingsError, match=named.replace("(", "\\(")):
        Settings.load({**SAFE, **changes})


def test_an_authority_and_no_check_do_not_go_together(tmp_path: Path) -> None:
    authority = tmp_path / "ca.pem"
    authority.write_text("here")

    with pytest.raises(SettingsError, match="LDAP_TLS_REJECT_UNAUTHORIZED"):
        Settings.load({**SAFE, "LDAP_CA_CERT_PATH": str(authority), "LDAP_TLS_REJECT_UNAUTHORIZED": "false"})


def test_clear_text_needs_its_own_switch_and_is_warned_about() -> None:
    settings = Settings.load({**SAFE, "LDAP_URL": "ldap://ldap.example.org", "OSTIARY_LDAP_ALLOW_CLEAR_TEXT": "true"})

    assert any("in the clear" in warning for warning in settings.warnings())


def test_the_check_is_on_by_default() -> None:
    assert Settings.load(SAFE).directory.verifies
    assert Settings.load(SAFE).directory.servers == (("ldap.example.org", 636, True),)


def test_nothing_set_is_no_directory() -> None:
    assert not Settings.load({}).directory.is_configured


@pytest.mark.parametrize("between", [" ", ",", ", ", "\n"])
def test_a_directory_may_have_several_servers(between: str) -> None:
    urls = between.join(("ldaps://one.example.org", "ldaps://two.example.org:1636"))

    servers = Settings.load({**SAFE, "LDAP_URL": urls}).directory.servers

    assert servers == (("one.example.org", 636, True), ("two.example.org", 1636, True))
