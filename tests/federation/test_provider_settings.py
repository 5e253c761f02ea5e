"""What an operator may set for providers, and what stops the start."""

from __future__ import annotations

import pytest

from ostiary.settings import Settings, SettingsError

OPENID = {"OPENID_ISSUER": "https://id.example.org", "OPENID_CLIENT_ID": "a", "OPENID_CLIENT_SECRET": "b"}


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"OPENID_ISSUER": "http://id.example.org"}, "OPENID_ISSUER must begin with https://"),
        ({"OPENID_OFFICE_ISSUER": "http://id.example.org"}, "OPENID_OFFICE_ISSUER must begin with https://"),
        ({"OPENID_ISSUER": "ftp://id.example.org"}, "OPENID_ISSUER must begin with https://"),
        ({"OPENID_REQUIRED_ROLE": "x"}, "OPENID_REQUIRED_ROLE needs"),
        ({"OPENID_REQUIRED_ROLE_TOKEN_KIND": "cookie"}, "OPENID_REQUIRED_ROLE_TOKEN_KIND"),
        ({"OPENID_ADMIN_ROLE": "x"}, "OPENID_ADMIN_ROLE needs"),
        ({"OPENID_ROLE_SYNC_ENABLED": "true"}, "OPENID_ROLE_SYNC_ENABLED needs"),
        ({"OPENID_ROLE_SYNC_API_ENABLED": "true"}, "OPENID_ROLE_SYNC_API_ENABLED needs OPENID_ROLE_SYNC_ENABLED"),
        ({"OPENID_ROLE_SYNC_FALLBACK_ROLE": "admin"}, "may not name ADMIN"),
        ({"OSTIARY_OPENID_GRAPH_URL": "http://graph.example.org"}, "OSTIARY_OPENID_GRAPH_URL must begin with https://"),
        ({"OSTIARY_FEDERATION_CA_PATH": "nowhere.pem"}, "OSTIARY_FEDERATION_CA_PATH is not a file"),
        ({"OPENID_SCOPE": "profile"}, "OPENID_SCOPE must hold openid"),
        ({"OPENID_GOOGLE_ISSUER": "https://id.example.org"}, "names another way in"),
        (
            {"OPENID_OFFICE_ISSUER": "https://w", "OPENID_OFFICE_USE_PKCE": "maybe"},
            "OPENID_OFFICE_USE_PKCE must be true or false",
        ),
        ({"OSTIARY_FEDERATION_TIMEOUT": "11"}, "OSTIARY_FEDERATION_TIMEOUT"),
        ({"OSTIARY_OPENID_OFFICE_REGISTRATION": "false"}, "is not a setting of Ostiary"),
    ],
)
def test_what_is_dangerous_or_cannot_work_stops_the_start(more: dict[str, str], named: str) -> None:
    with pytest.raises(SettingsError, match=named):
        Settings.load({**OPENID, **more})


@pytest.mark.parametrize("issuer", ["http://localhost:9000", "http://127.0.0.1:9000", "http://[::1]:9000"])
def test_an_issuer_on_this_machine_needs_no_tls(issuer: str) -> None:
    assert Settings.load({**OPENID, "OPENID_ISSUER": issuer}).openid.issuer == issuer


def test_an_explicit_switch_allows_an_issuer_without_tls() -> None:
    Settings.load({**OPENID, "OPENID_ISSUER": "http://id.example.org", "OSTIARY_OPENID_ALLOW_HTTP": "true"})


def test_several_providers_stand_beside_one_another_each_with_its_own_variables() -> None:
    settings = Settings.load(
        {
            **OPENID,
            "OPENID_OFFICE_ISSUER": "https://office.example.org",
            "OPENID_OFFICE_CLIENT_ID": "c",
            "OPENID_OFFICE_CLIENT_SECRET": "d",
            "OSTIARY_OPENID_OFFICE_REGISTRATION": "false",
            "OPENID_HOME_ISSUER": "https://home.example.org",
        }
    )

    assert {name: group.is_configured for name, group in settings.openid_others.items()} == {"home": False, "office": True}
    office = settings.openid_others["office"]
    assert (office.callback, office.label, office.called) == ("/oauth/office/callback", "Continue with Office", "Office")
    assert (office.allow_registration, settings.openid.allow_registration) == (False, True)


def test_librechats_own_example_is_read() -> None:
    settings = Settings.load(
        {
            **OPENID,
            "OPENID_SESSION_SECRET": "whatever",
            "OPENID_CALLBACK_URL": "/oauth/openid/callback",
            "OPENID_CLOCK_TOLERANCE": "300",
            "OPENID_JWKS_URL_CACHE_TIME": "600000",
            "OPENID_REQUIRED_ROLE_TOKEN_KIND": "",
            "OPENID_USE_PKCE": "false",
            "APPLE_PRIVATE_KEY_PATH": "",
        }
    )

    assert settings.openid.is_configured
    assert not settings.apple.is_configured
