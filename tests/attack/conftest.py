"""One server for each configuration, in a process of its own, shared by all cases of a run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from _pytest.terminal import TerminalReporter

from tests.attack.harness import JWT_SECRET
from tests.served import Served, served
from tests.services.smtp import MailServer

OPEN = {"JWT_SECRET": JWT_SECRET, "ALLOW_UNVERIFIED_EMAIL_LOGIN": "true", "EMAIL_NEW_LOGIN": "false"}


def mail_settings(mails: MailServer) -> dict[str, str]:
    """What makes a server send there."""
    return {
        "EMAIL_HOST": "127.0.0.1",
        "EMAIL_PORT": str(mails.port),
        "EMAIL_ENCRYPTION": "none",
        "EMAIL_FROM": "ostiary@example.org",
    }


@pytest.fixture(params=["sqlite"])
def engine(request: pytest.FixtureRequest) -> str:
    """The catalogue's cases that need a clock run in process on one engine; the stories beside them run on both."""
    return str(request.param)


@pytest.fixture(scope="session")
def mails() -> Iterator[MailServer]:
    """The world's mail server."""
    with MailServer() as server:
        yield server


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory, mails: MailServer) -> Iterator[Served]:
    """A server with mail and without rate limits; lockout stays on."""
    with served(tmp_path_factory.mktemp("site"), {**OPEN, **mail_settings(mails)}) as running:
        yield running


@pytest.fixture(scope="session")
def guarded(tmp_path_factory: pytest.TempPathFactory, mails: MailServer) -> Iterator[Served]:
    """A server with its limits as they come."""
    with served(tmp_path_factory.mktemp("guarded"), {**OPEN, **mail_settings(mails), "RATE_LIMITS": "on"}) as running:
        yield running


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    """What `make races` shows at its end: each race, where it was run, how often, with how many calls, and whether anything was wrong."""
    reports = [*terminalreporter.getreports("passed"), *terminalreporter.getreports("failed")]
    races = [(report, value) for report in reports for name, value in report.user_properties if name == "race"]
    if not any(rounds > 1 for _, (_, rounds, _) in races):
        return
    terminalreporter.section("races")
    for report, (where, rounds, calls) in races:
        name = report.nodeid.rpartition("::")[2].partition("[")[0].removeprefix("test_")
        outcome = "no violation" if report.passed else "VIOLATED"
        terminalreporter.line(f"{name:.66s}".ljust(66) + f" {where:<8} {rounds:>6} rounds {calls:>8} calls  {outcome}")
