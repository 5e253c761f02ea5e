"""`ostiary doctor` and `ostiary check-config`."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Operator
from tests.services.ranges import RangeServer
from tests.services.redis import RedisServer
from tests.services.smtp import MailServer

BEHIND_A_PROXY = {
    "DOMAIN_CLIENT": "https://id.example.org",
    "DOMAIN_SERVER": "https://id.example.org",
    "TRUSTED_PROXIES": "127.0.0.1/32",
    "NODE_ENV": "production",
}


@pytest.fixture
def careful(operator: Operator) -> Operator:
    """A deployment in which nothing is to be found fault with."""
    operator.environment.update(BCRYPT_COST="10", RATE_LIMITS="on", **BEHIND_A_PROXY)
    operator.json("user", "create", "ada@example.org")
    return operator


def examined(operator: Operator, *, code: int, **environment: str) -> dict[str, dict[str, str]]:
    """What the doctor says about each thing that is not in order."""
    done = operator.run("doctor", **environment)
    value: dict[str, Any] = operator.json("doctor", **environment) if code == 0 else _failing(operator, environment)
    assert done.exit_code == code, done.output
    assert value["ok"] is (code == 0)
    for finding in value["findings"]:
        # Between the two runs the clock goes on.
        assert finding["text"] in done.stdout or finding["about"] == "clock"
    return {finding["about"]: finding for finding in value["findings"] if finding["state"] != "ok"}


def _failing(operator: Operator, environment: dict[str, str]) -> Any:
    done = operator.run("doctor", "--json", **environment)
    assert done.exit_code == 1
    return json.loads(done.stdout)


def test_nothing_is_wrong_with_a_careful_deployment(careful: Operator) -> None:
    assert examined(careful, code=0) == {}


def test_warnings_alone_are_no_failure(operator: Operator) -> None:
    found = examined(operator, code=0)

    assert found.keys() == {"settings", "secrets"}
    assert {finding["state"] for finding in found.values()} == {"warning"}


def test_a_deployment_without_administrator_is_told_how_to_make_one(operator: Operator) -> None:
    operator.json("ban", "list")

    assert "nobody is ADMIN. Run: ostiary user create" in examined(operator, code=0)["accounts"]["text"]


def test_a_database_whose_secrets_are_gone_is_found_and_none_are_made(careful: Operator) -> None:
    (careful.folder / "data" / "secrets.env").unlink()

    assert "bring that file back" in examined(careful, code=0)["secrets"]["text"]
    assert not (careful.folder / "data" / "secrets.env").exists()


def test_a_settings_file_with_secrets_that_others_can_read_is_found(careful: Operator) -> None:
    file = careful.folder / ".env"
    file.write_text("APP_TITLE=Ours\n")
    file.chmod(0o644)
    assert examined(careful, code=0) == {}

    file.write_text("EMAIL_PASSWORD=hunter2\n")

    assert "chmod 600 .env" in examined(careful, code=1)["secrets"]["text"]


def test_a_fresh_folder_is_in_order(operator: Operator) -> None:
    found = examined(operator, code=0, DATABASE_URL="", BCRYPT_COST="10", RATE_LIMITS="on")

    assert found == {}
    assert not (operator.folder / "data" / "ostiary.db").exists()


def test_a_setting_that_cannot_be_used_is_the_first_finding(operator: Operator) -> None:
    assert "PORT must be a number" in examined(operator, code=1, PORT="many")["settings"]["text"]


@pytest.mark.parametrize(
    ("about", "environment", "expected"),
    [
        ("proxies", {"TRUSTED_PROXIES": ""}, "Set TRUSTED_PROXIES"),
        ("cookies", {"NODE_ENV": ""}, "Set NODE_ENV=production or SESSION_COOKIE_SECURE=true"),
        ("cookies", {"DOMAIN_CLIENT": "http://id.example.org", "DOMAIN_SERVER": "http://id.example.org"}, "browsers drop them"),
        ("database", {"DATABASE_URL": "postgresql://postgres@127.0.0.1:1/x"}, "nobody listens there"),
        ("mail", {"EMAIL_HOST": "127.0.0.1", "EMAIL_PORT": "1", "EMAIL_FROM": "o@example.org"}, "nobody listens on port 1"),
        ("redis", {"REDIS_URL": "redis://127.0.0.1:1/0"}, "does not answer"),
    ],
)
def test_what_is_wrong_is_named_with_its_remedy(
    careful: Operator, about: str, environment: dict[str, str], expected: str
) -> None:
    found = examined(careful, code=1, **environment)

    assert found[about]["state"] == "problem"
    assert expected in found[about]["text"]


def test_a_database_that_cannot_be_used_is_named_and_nobody_is_sent_in_a_circle(careful: Operator) -> None:
    found = examined(careful, code=1, DATABASE_URL="postgresql://ada:hunter2@127.0.0.1:1/x")["database"]["text"]

    assert found.endswith("Look at DATABASE_URL (it is postgresql://\u2026@127.0.0.1:1/x).")


def test_the_rules_for_passwords_are_told(careful: Operator) -> None:
    findings = careful.json("doctor")["findings"]
    strict = careful.json("doctor", MIN_PASSWORD_LENGTH="15", OSTIARY_REFUSE_COMMON_PASSWORDS="false")["findings"]

    told, told_strictly = (next(each["text"] for each in found if each["about"] == "passwords") for found in (findings, strict))
    assert told.startswith("8 characters or more, 9")
    assert "NIST advises 15" in told
    assert told_strictly == "15 characters or more, 0 known ones refused."


def test_a_service_of_breaches_that_is_silent_is_a_warning(careful: Operator) -> None:
    with RangeServer("password1") as ranges:
        right = careful.run("doctor", OSTIARY_HIBP_URL=ranges.url)
        ranges.mode = "broken"
        broken = examined(careful, code=0, OSTIARY_HIBP_URL=ranges.url)

    assert f"{ranges.url} answers." in right.stdout
    assert "gives no answer (provider_status_503)" in broken["passwords"]["text"]


def test_passwords_in_the_clear_are_warned_about(careful: Operator) -> None:
    plain = {"DOMAIN_CLIENT": "http://id.example.org", "DOMAIN_SERVER": "http://id.example.org", "NODE_ENV": ""}

    assert "cross the network in the clear" in examined(careful, code=0, **plain)["proxies"]["text"]


def test_secrets_that_others_can_read_are_found(careful: Operator) -> None:
    file = careful.folder / "data" / "secrets.env"
    file.chmod(0o644)

    assert f"chmod 600 {file}" in examined(careful, code=1)["secrets"]["text"]


def test_a_database_of_another_version_is_found(careful: Operator, tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    connection = sqlite3.connect(other)
    connection.execute("CREATE TABLE alembic_version (version_num TEXT)")
    connection.close()

    assert "Run: ostiary migrate" in examined(careful, code=1, DATABASE_URL=f"sqlite:///{other}")["database"]["text"]


def test_a_file_that_is_no_database_is_found(careful: Operator, tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    other.write_text("this is not a database, " * 100)

    assert "not a database" in examined(careful, code=1, DATABASE_URL=f"sqlite:///{other}")["database"]["text"]


def test_servers_that_answer_are_in_order(careful: Operator) -> None:
    with MailServer() as mail, RedisServer() as redis:
        environment = {"EMAIL_HOST": "127.0.0.1", "EMAIL_PORT": str(mail.port), "EMAIL_ENCRYPTION": "none"}
        assert examined(careful, code=0, EMAIL_FROM="o@example.org", REDIS_URL=redis.url, **environment) == {}


def test_settings_are_shown_without_secrets(operator: Operator) -> None:
    secret = "f0e1d2c3b4a5968778695a4b3c2d1e0f0123456789abcdef"
    environment = {"JWT_SECRET": secret, "DATABASE_URL": "postgresql://ada:hunter2@db.example.org/ostiary"}

    shown = operator.json("check-config", **environment)
    text = operator.text("check-config", "--all", **environment)

    assert shown["ok"] is True
    assert shown["settings"]["JWT_SECRET"] == "(given)"
    assert shown["derived"]["database"] == "postgresql://…@db.example.org/ostiary"
    for hidden in (secret, "hunter2"):
        assert hidden not in str(shown)
        assert hidden not in text


def test_settings_that_cannot_be_used_fail_the_check(operator: Operator) -> None:
    assert operator.complaint("check-config", OSTIARY_WROKERS="2").startswith("OSTIARY_WROKERS is not a setting of Ostiary.")


def test_checking_settings_changes_nothing(operator: Operator) -> None:
    operator.text("check-config", DATABASE_URL="")

    assert not (operator.folder / "data").exists()
