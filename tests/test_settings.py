"""Settings: typed, from environment, `.env` and `X_FILE`; what cannot be used or would be dangerous stops with the remedy."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from ostiary.settings import EXAMPLE_SECRETS, Settings, SettingsError
from ostiary.settings.reading import arithmetic

STRONG = "9f8e7d6c5b4a39281706f5e4d3c2b1a0ffeeddccbbaa99887766554433221100"
OTHER = "00112233445566778899aabbccddeeff9f8e7d6c5b4a39281706f5e4d3c2b1a0"
MAIL = {"EMAIL_HOST": "mail.example.org", "EMAIL_FROM": "ostiary@example.org"}


def complaint(**environment: str) -> str:
    """Why these settings cannot be used: one line that names the variable."""
    with pytest.raises(SettingsError) as caught:
        Settings.load(environment)
    text = str(caught.value)
    assert "\n" not in text
    return text


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, and an environment without settings."""
    monkeypatch.chdir(tmp_path)
    for group in Settings.groups().values():
        for names in group.variables().values():
            for name in names:
                monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_with_nothing_set_the_defaults_hold() -> None:
    settings = Settings.load({})

    assert (settings.server.host, settings.server.port) == ("127.0.0.1", 3080)
    assert settings.database_url == "sqlite:///data/ostiary.db"
    assert settings.server.public_client_url == "http://127.0.0.1:3080"
    assert settings.sessions.access_life == timedelta(minutes=15)
    assert settings.sessions.refresh_life == timedelta(days=7)
    assert settings.limits.login_max == 7
    assert settings.requires_verification is False
    assert settings.warnings() == []


def test_an_empty_value_is_none() -> None:
    assert Settings.load({"PORT": "", "LOGIN_MAX": ""}).server.port == 3080


@pytest.mark.parametrize(
    ("text", "number"),
    [("900000", 900000), ("1000 * 60 * 15", 900000), ("5 * 1", 5), ("(1+2)*3 - 4/2", 7), (" 7 ", 7), ("-5", -5), ("10 % 4", 2)],
)
def test_numbers_may_be_sums_as_in_libre_chats_files(text: str, number: float) -> None:
    assert arithmetic(text) == number


@pytest.mark.parametrize(
    "text",
    [
        "abc", "", "__import__('os')", "9**9**9", "1 if 1 else 2", "True", "1/0", "1e400", "1e400-1e400", "1j", "[1]", "a:=1",
        "1" * 101, "(" * 99, "-" * 99 + "1" * 2, "1_0 + x", "'1'", "1 << 9",
    ],
)  # fmt: skip
def test_nothing_but_sums_is_a_number(text: str) -> None:
    with pytest.raises(ValueError, match=r"number|range"):
        arithmetic(text)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("LOGIN_MAX", "abc"), ("LOGIN_MAX", "-1"), ("LOGIN_MAX", "0"), ("LOGIN_MAX", "1.5"), ("LOGIN_MAX", "1e400"),
        ("LOGIN_WINDOW", "0"), ("LOGIN_WINDOW", "-5"), ("LOGIN_WINDOW", "1e11"),
        ("SESSION_EXPIRY", "__import__('os')"), ("SESSION_EXPIRY", "0"), ("SESSION_EXPIRY", "900001"),
        ("SESSION_EXPIRY", "1e300"),
        ("REFRESH_TOKEN_EXPIRY", "500"), ("PORT", "65536"), ("PORT", "http"), ("BCRYPT_COST", "3"), ("BCRYPT_COST", "17"),
        ("MIN_PASSWORD_LENGTH", "129"), ("TRUST_PROXY", "true"), ("TRUST_PROXY", "*"), ("RATE_LIMITS", "maybe"),
        ("ALLOW_REGISTRATION", "1"), ("EMAIL_ENCRYPTION", "ssl"), ("OSTIARY_TOTP_REUSE", "always"),
        ("OSTIARY_REFRESH_GRACE", "601"),
        ("OSTIARY_HANDSHAKE_PERIOD", "1"), ("OSTIARY_BOOTSTRAP", "nobody"), ("OSTIARY_DIALECTS", "librechat,imap"),
        ("OSTIARY_DIALECTS", ","), ("DOMAIN_CLIENT", "id.example.org"), ("DOMAIN_SERVER", "ftp://id.example.org"),
        ("DOMAIN_SERVER", "http://[::1"), ("TRUSTED_PROXIES", "10.0.0.0/33"), ("TRUSTED_PROXIES", "proxy"),
        ("TRUSTED_PROXIES", "0.0.0.0/0"), ("TRUSTED_PROXIES", "::/0"), ("CORS_ALLOWED_ORIGINS", "*"),
        ("CORS_ALLOWED_ORIGINS", "null"),
        ("CORS_ALLOWED_ORIGINS", "https://*.example.org/path"), ("CORS_ALLOWED_ORIGINS", "app.example.org"),
        ("HTTP_IP_HEADER", "X-Real-IP"), ("DATABASE_URL", "mysql://x"), ("DATABASE_URL", "sqlite://data/x.db"),
        ("DATABASE_URL", "sqlite:///:memory:"), ("DATABASE_URL", "sqlite:///x.db?mode=ro"), ("REDIS_URL", "http://x"),
        ("OSTIARY_WORKERS", "2"), ("EMAIL_HOST", "mail.example.org"), ("JWT_SECRET", "secret"), ("CREDS_KEY", "zz" * 32),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_named_with_a_remedy(variable: str, value: str) -> None:
    text = complaint(**{variable: value})

    assert variable in text
    assert len(text) > len(variable) + 20


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("PORT", "65536", "must be at most 65535"),
        ("LOGIN_MAX", "0", "must be at least 1"),
        ("SESSION_EXPIRY", "0", "must be more than 0"),
        ("BAN_DURATION", "1e12 - 1", "must be at most 315360000000"),
        ("LOGIN_WINDOW", "1e6", "must be at most 527040"),
        ("OSTIARY_FEDERATION_TIMEOUT", "11", "must be at most 10"),
        ("OSTIARY_FEDERATION_TIMEOUT", "0", "must be more than 0"),
        ("OSTIARY_HANDSHAKE_PERIOD", "1", "must be at least 10"),
        ("EMAIL_ENCRYPTION", "ssl", "must be one of none, starttls, tls"),
    ],
)
def test_a_limit_is_told_in_the_unit_in_which_its_variable_is_written(variable: str, value: str, said: str) -> None:
    assert complaint(**{variable: value}).startswith(f"{variable} {said}. It is: ")


def test_settings_do_not_change_and_secrets_do_not_show_themselves() -> None:
    settings = Settings.load({"JWT_SECRET": STRONG})

    with pytest.raises(AttributeError, match="frozen"):
        settings.server.port = 1
    with pytest.raises(AttributeError):
        settings.server = settings.server  # type: ignore[misc]
    with pytest.raises(TypeError, match="no settings of Server: prot"):
        type(settings.server)(prot=1)
    assert STRONG not in f"{settings!r} {settings.secrets!r} {settings.secrets.jwt_secret!r} {settings.secrets.jwt_secret}"
    assert settings.secrets.given == {"jwt_secret"}


def test_a_name_that_is_not_a_setting_stops_the_start() -> None:
    assert complaint(OSTIARY_WROKERS="2").startswith("OSTIARY_WROKERS is not a setting of Ostiary.")
    assert Settings.load({"LOGIN_MAXX": "5", "MONGO_URI": "mongodb://x", "PATH": "/bin"}).limits.login_max == 7


@pytest.mark.parametrize(
    ("name", "ours"), [("DATABASE_URI", "DATABASE_URL"), ("EMAIL_SERVICE", "EMAIL_HOST"), ("MAILGUN_API_KEY", "EMAIL_HOST")]
)
def test_a_name_of_the_originals_that_cannot_be_honoured_is_not_passed_over(name: str, ours: str) -> None:
    assert f"Set {ours} to" in complaint(**{name: "x"})

    Settings.load({name: "x", "DATABASE_URL": "sqlite:///x.db", **MAIL})


@pytest.mark.parametrize("variable", ["JWT_SECRET", "JWT_REFRESH_SECRET", "OSTIARY_ROOT_KEY", "CREDS_KEY"])
def test_weak_equal_and_published_secrets_are_refused(variable: str) -> None:
    assert "too weak" in complaint(**{variable: "s" * 64}) or variable == "CREDS_KEY"
    assert variable in complaint(**{variable: STRONG[:31]})
    for published in EXAMPLE_SECRETS:
        assert "public example file" in complaint(**{variable: published})
    another = "JWT_SECRET" if variable != "JWT_SECRET" else "CREDS_KEY"
    assert "must all differ" in complaint(**{variable: STRONG, another: STRONG})

    Settings.load({variable: STRONG, another: OTHER})


def test_a_password_does_not_cross_the_network_in_the_clear() -> None:
    open_mail = {**MAIL, "EMAIL_ENCRYPTION": "none", "EMAIL_USERNAME": "u", "EMAIL_PASSWORD": "p"}

    assert "EMAIL_ENCRYPTION=none would send EMAIL_PASSWORD in the clear" in complaint(**open_mail)
    Settings.load({**open_mail, "EMAIL_HOST": "127.0.0.1"})


@pytest.mark.parametrize(
    "sender", ["", "Ostiary", "Ostiary <o@example.org>", "o@example.org, p@example.org", "o@example.org\nBcc: x@y"]
)
def test_mails_come_from_one_bare_address(sender: str) -> None:
    assert "EMAIL_FROM" in complaint(EMAIL_HOST="mail.example.org", EMAIL_FROM=sender)


def test_secrets_are_never_in_a_complaint_or_in_the_settings_as_text() -> None:
    text = complaint(JWT_SECRET=STRONG[:30])
    settings = Settings.load({"JWT_SECRET": STRONG, **MAIL, "EMAIL_PASSWORD": "hunter2"})

    assert STRONG[:30] not in text
    assert STRONG not in repr(settings)
    assert "hunter2" not in str(settings)


def test_names_of_both_originals_are_honoured() -> None:
    settings = Settings.load(
        {
            "MAIL_SMTP": "mail.example.org", "MAIL_SMTP_PORT": "2525", "MAIL_SMTP_USERNAME": "u", "MAIL_SMTP_PASSWORD": "p",
            "MAIL_SMTP_TLS_ENABLED": "true", "SMTP_EMAIL_ADDRESS": "o@example.org", "RATE_LIMIT_ENABLED": "false",
            "LIMIT_USER_CIPHERS": "10", "EMAIL_VERIFICATION_REQUIRED": "true", "BAN_DURATION": "1000 * 60 * 60 * 2",
            "ALLOW_SOCIAL_LOGIN": "TRUE", "DOMAIN_CLIENT": "https://id.example.org/",
        }
    )  # fmt: skip

    assert (settings.mail.host, settings.mail.port, settings.mail.transport) == ("mail.example.org", 2525, "starttls")
    assert settings.limits.librepass_limits is False
    assert settings.librepass.max_ciphers == 10
    assert settings.limits.ban_duration == timedelta(hours=2)
    assert settings.policy.allow_social_login is True
    assert settings.server.public_client_url == "https://id.example.org"


def test_our_own_name_wins_over_another_for_the_same_thing() -> None:
    assert Settings.load({**MAIL, "MAIL_SMTP": "other.example.org"}).mail.host == "mail.example.org"


@pytest.mark.parametrize(
    ("environment", "is_required"),
    [
        ({}, False),
        (MAIL, True),
        ({**MAIL, "ALLOW_UNVERIFIED_EMAIL_LOGIN": "true"}, False),
        ({**MAIL, "EMAIL_VERIFICATION_REQUIRED": "false"}, False),
        ({"EMAIL_VERIFICATION_REQUIRED": "true"}, True),
    ],
)
def test_addresses_must_be_verified_where_mail_can_leave(environment: dict[str, str], is_required: bool) -> None:
    assert Settings.load(environment).requires_verification is is_required


@pytest.mark.parametrize(
    ("environment", "is_secure"),
    [
        ({}, False),
        ({"NODE_ENV": "production"}, True),
        ({"NODE_ENV": "production", "DOMAIN_SERVER": "http://localhost:3080"}, False),
        ({"NODE_ENV": "production", "DOMAIN_SERVER": "http://my.localhost"}, False),
        ({"NODE_ENV": "production", "DOMAIN_SERVER": "https://id.example.org"}, True),
        ({"NODE_ENV": "production", "SESSION_COOKIE_SECURE": "false"}, False),
        ({"SESSION_COOKIE_SECURE": "true"}, True),
    ],
)
def test_cookies_are_secure_as_the_original_decides(environment: dict[str, str], is_secure: bool) -> None:
    assert Settings.load(environment).secure_cookies is is_secure


def test_origins_are_compared_as_browsers_write_them() -> None:
    settings = Settings.load(
        {
            "DOMAIN_CLIENT": "https://ID.example.org:443/app",
            "CORS_ALLOWED_ORIGINS": "https://app.example.org/, http://x.example:8080",
        }
    )

    assert {"https://id.example.org", "https://app.example.org", "http://x.example:8080"} <= settings.browser_origins


def test_the_environment_wins_over_the_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / ".env").write_text("# ours\nPORT=4000\nexport APP_TITLE='The House'\nLOGIN_MAX=3\n")
    monkeypatch.setenv("LOGIN_MAX", "4")

    settings = Settings.load()

    assert (settings.server.port, settings.server.app_title, settings.limits.login_max) == (4000, "The House", 4)


def test_a_file_of_settings_that_cannot_be_read_stops_the_start(folder: Path) -> None:
    (folder / ".env").write_bytes(b"APP_TITLE=\xff\xfe\n")

    with pytest.raises(SettingsError, match=r"^\.env in this folder cannot be read"):
        Settings.load()


def test_a_secret_may_lie_in_a_file(tmp_path: Path) -> None:
    secret = tmp_path / "jwt"
    secret.write_text(f"{STRONG}\n")

    settings = Settings.load({"JWT_SECRET_FILE": str(secret)})

    assert settings.secrets.jwt_secret.get_secret_value() == STRONG
    assert "JWT_SECRET_FILE cannot be read (No such file or directory)" in complaint(JWT_SECRET_FILE=str(tmp_path / "gone"))
    assert "JWT_SECRET is too weak" in complaint(JWT_SECRET_FILE=str(_written(tmp_path / "weak", "x")))


def _written(file: Path, text: str) -> Path:
    file.write_text(text)
    return file


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"BCRYPT_COST": "4"}, "BCRYPT_COST"),
        ({"RATE_LIMITS": "off"}, "RATE_LIMITS"),
        ({"OSTIARY_REVEAL_ACCOUNTS": "true"}, "OSTIARY_REVEAL_ACCOUNTS"),
        ({"HOST": "0.0.0.0"}, "DOMAIN_CLIENT"),
    ],
)
def test_what_works_and_is_unwise_is_warned_about(environment: dict[str, str], expected: str) -> None:
    [warning] = Settings.load(environment).warnings()

    assert expected in warning


def test_every_setting_says_what_it_is_and_no_variable_is_read_twice() -> None:
    seen: set[str] = set()
    for group in Settings.groups().values():
        for field, names in group.variables().items():
            assert group.settings()[field].about
            assert not seen & set(names)
            seen |= set(names)
