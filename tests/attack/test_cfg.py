"""CFG: an operator's mistakes stop the start with one clear line, and no setting of another program opens a door (catalogue 4.17)."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from ostiary.crypto.jwt import Signer
from ostiary.settings import EXAMPLE_SECRETS
from tests.attack.conftest import OPEN
from tests.attack.harness import JWT_SECRET, Caller, raw
from tests.attack.people import signed_in
from tests.cli.conftest import Operator
from tests.served import served

STRONG = "9f8e7d6c5b4a39281706f5e4d3c2b1a0ffeeddccbbaa99887766554433221100"
REFRESH_SECRET = "a second one that the tests know: 8f1e2d3c4b"
MAIL = {"EMAIL_HOST": "mail.example.org", "EMAIL_FROM": "ostiary@example.org"}
OPENID = {"OPENID_CLIENT_ID": "ostiary", "OPENID_CLIENT_SECRET": "a secret of the provider", "OPENID_SESSION_SECRET": STRONG}
LDAP = {"LDAP_BIND_DN": "cn=reader", "LDAP_BIND_CREDENTIALS": "p", "LDAP_USER_SEARCH_BASE": "dc=example,dc=org"}


def complaint(folder: Path, **settings: str) -> str:
    """What the start would say: one line, and an exit code that stops a unit file."""
    words = Operator(folder, {"OSTIARY_DATA": str(folder / "data"), **settings}).complaint("check-config")
    assert len(words.splitlines()) == 1, words
    return words


@pytest.mark.parametrize("name", ["JWT_SECRET", "JWT_REFRESH_SECRET", "OSTIARY_ROOT_KEY"])
@pytest.mark.parametrize("value", ["secret", "9f8e7d6c5b4a39281706f5e4d3c2b1a", "a" * 64, *sorted(EXAMPLE_SECRETS)[:2]])
def test_cfg_01_weak_and_published_secrets_stop_the_start(tmp_path: Path, name: str, value: str) -> None:
    words = complaint(tmp_path, **{name: value})

    assert name in words
    assert value not in words


def test_cfg_01_one_secret_for_two_purposes_stops_the_start(tmp_path: Path) -> None:
    assert "must all differ" in complaint(tmp_path, JWT_SECRET=STRONG, JWT_REFRESH_SECRET=STRONG)


@pytest.mark.parametrize("value", [STRONG[:62], STRONG + "00", "zz" * 32, STRONG[:63]])
def test_cfg_02_a_bad_creds_key_stops_the_start(tmp_path: Path, value: str) -> None:
    assert "CREDS_KEY" in complaint(tmp_path, CREDS_KEY=value)


@pytest.mark.parametrize("value", ["true", "*", "loopback, linklocal", "-1", "yes", "10.0.0.0/8"])
def test_cfg_04_no_value_means_trust_everybody(tmp_path: Path, value: str) -> None:
    assert "TRUST_PROXY" in complaint(tmp_path, TRUST_PROXY=value)


@pytest.mark.parametrize("value", ["*", "0.0.0.0/0", "::/0", "true", "0.0.0.0/1,128.0.0.0/x"])
def test_cfg_04_nobody_trusts_the_whole_world(tmp_path: Path, value: str) -> None:
    assert "TRUSTED_PROXIES" in complaint(tmp_path, TRUSTED_PROXIES=value)


def test_cfg_05_and_13_no_switch_of_test_or_debug_opens_a_back_door(tmp_path: Path) -> None:
    """Rightly signed, for an account that exists, and of no session: no switch makes it good, and no switch shows the inside."""
    switches = {
        "NODE_ENV": "CI",
        "TEST": "1",
        "CI": "true",
        "DEBUG": "1",
        "DEBUG_OPENID_REQUESTS": "true",
        "PYTHONASYNCIODEBUG": "1",
    }
    with served(tmp_path, {**OPEN, **switches, "JWT_REFRESH_SECRET": REFRESH_SECRET}) as place:
        person = signed_in(place.url)
        owner = person.me().json()["id"]
        now = int(time.time())
        claims = {"id": owner, "iat": now, "exp": now + 900, "iss": place.url}
        for secret in (JWT_SECRET, REFRESH_SECRET):
            token = Signer(secret.encode()).sign(claims)
            assert Caller(place.url, cookies={"refreshToken": token}).post("/api/auth/refresh").status in (401, 403)
            assert Caller(place.url, bearer=token).get("/api/user").status == 401

        junk = Caller(place.url).send("POST", "/api/auth/login", b'{"email":', {"content-type": "application/json"})
        assert junk.status == 400
        assert b"Traceback" not in raw(place, b"GET /%ff\xff HTTP/9.9\r\n\r\n")


@pytest.mark.parametrize("name", ["LOGIN_MAX", "REGISTER_MAX", "LOGIN_WINDOW", "SESSION_EXPIRY", "REFRESH_TOKEN_EXPIRY"])
@pytest.mark.parametrize("value", ["abc", "-1", "0", "__import__('os').abort()", "1e400", "1.5.2", "9**9**9**9", "None"])
def test_cfg_07_a_bad_number_is_never_no_limit(tmp_path: Path, name: str, value: str) -> None:
    assert name in complaint(tmp_path, **{name: value})


@pytest.mark.parametrize("name", ["OSTIARY_LOGIN_MAXX", "OSTIARY_ROOTKEY", "OSTIARY_"])
def test_cfg_08_a_misspelt_name_of_ours_stops_the_start(tmp_path: Path, name: str) -> None:
    assert complaint(tmp_path, **{name: "5"}).startswith(f"{name} is not a setting of Ostiary.")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("LOGIN_MAXX", "LOGIN_MAX"),
        ("MIN_PASSWORD_LENGHT", "MIN_PASSWORD_LENGTH"),
        ("EMAIL_FORM", "EMAIL_FROM"),
        ("BCRYPT_CAST", "BCRYPT_COST"),
        ("DOMAIN_SEVER", "DOMAIN_SERVER"),
        ("rate_limits", "RATE_LIMITS"),
    ],
)
def test_cfg_08_a_name_that_is_almost_ours_is_warned_about_and_strict_fails(tmp_path: Path, name: str, meant: str) -> None:
    operator = Operator(tmp_path, {"OSTIARY_DATA": str(tmp_path / "data"), name: "5"})
    warning = f"{name} is not read by Ostiary, but {meant} is. Correct the spelling, or remove it"

    assert operator.json("check-config")["warnings"] == [warning]
    assert f"warning  settings: {warning}." in operator.text("doctor")
    assert f"Warning: {warning}." in operator.text("check-config")
    strict = operator.run("check-config", "--strict")
    assert (strict.exit_code, warning in strict.stdout) == (1, True)


def test_cfg_08_other_programs_names_are_nobodys_business(tmp_path: Path) -> None:
    others = [
        "HOSTNAME",
        "HTTP_PROXY",
        "PORTS",
        "MONGO_URI",
        "ALLOW_SHARED_LINKS",
        "JWT_SECRET_FILE",
        "MAIL_SMTP_HOST",
        "LOG_LEVEL",
    ]
    secret = tmp_path / "secret"
    secret.write_text(STRONG)
    environment = {"OSTIARY_DATA": str(tmp_path / "data"), **dict.fromkeys(others, "x"), "JWT_SECRET_FILE": str(secret)}

    assert Operator(tmp_path, environment).run("check-config", "--strict").exit_code == 0


@pytest.mark.parametrize("value", ["", "5"])
def test_cfg_07_an_empty_value_is_the_default_and_no_way_out(tmp_path: Path, value: str) -> None:
    shown = Operator(tmp_path, {"OSTIARY_DATA": str(tmp_path / "data"), "LOGIN_MAX": value}).json("check-config", "--all")

    assert shown["settings"]["LOGIN_MAX"] == int(value or 7)


def test_cfg_01_secrets_that_are_not_given_are_made_and_strong(tmp_path: Path) -> None:
    empty = dict.fromkeys(("JWT_SECRET", "JWT_REFRESH_SECRET", "CREDS_KEY", "OSTIARY_ROOT_KEY"), "")
    Operator(tmp_path, {"OSTIARY_DATA": str(tmp_path / "data"), **empty}).json("user", "list")

    kept = dict(line.split("=", 1) for line in (tmp_path / "data" / "secrets.env").read_text().splitlines() if "=" in line)
    values = {kept[name].strip("'\"") for name in empty}
    assert len(values) == 4
    assert all(len(value) >= 64 for value in values)
    assert (tmp_path / "data" / "secrets.env").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("expected", "settings"),
    [
        ("Name the proxy in TRUSTED_PROXIES", {"TRUST_PROXY": "1", "HOST": "0.0.0.0", "DOMAIN_CLIENT": "https://a.example.org"}),
        ("LOGIN_MAX=1000000000 slows down nobody", {"LOGIN_MAX": "1e9"}),
        ("reset links cross the network to mail.example.org in the clear", {**MAIL, "EMAIL_ENCRYPTION": "none"}),
        ("EMAIL_ALLOW_SELFSIGNED=true lets", {**MAIL, "EMAIL_ALLOW_SELFSIGNED": "true"}),
        ("takes passwords that whoever guesses tries first", {"OSTIARY_REFUSE_COMMON_PASSWORDS": "false"}),
    ],
)
def test_cfg_04_07_and_10_what_works_and_is_dangerous_is_warned_about(
    tmp_path: Path, expected: str, settings: dict[str, str]
) -> None:
    operator = Operator(tmp_path, {"OSTIARY_DATA": str(tmp_path / "data"), **settings})

    assert expected in " ".join(operator.json("check-config")["warnings"])
    assert operator.run("check-config", "--strict").exit_code == 1


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("EMAIL_ENCRYPTION", {**MAIL, "EMAIL_ENCRYPTION": "none", "EMAIL_USERNAME": "u", "EMAIL_PASSWORD": "p"}),
        ("OPENID_ISSUER", {**OPENID, "OPENID_ISSUER": "http://id.example.org"}),
        ("LDAP_URL", {**LDAP, "LDAP_URL": "ldap://ldap.example.org"}),
    ],
)
def test_cfg_10_no_secret_crosses_the_network_in_the_clear(tmp_path: Path, name: str, settings: dict[str, str]) -> None:
    assert name in complaint(tmp_path, **settings)


@pytest.mark.parametrize("value", ["*", "https://app.example.org,*", "null", "https://*.example.org"])
def test_cfg_11_no_origin_is_any_origin(tmp_path: Path, value: str) -> None:
    assert "CORS_ALLOWED_ORIGINS" in complaint(tmp_path, CORS_ALLOWED_ORIGINS=value)


def test_cfg_14_several_processes_share_their_counters_or_do_not_start(tmp_path: Path) -> None:
    assert "REDIS_URL" in complaint(tmp_path, OSTIARY_WORKERS="4")
