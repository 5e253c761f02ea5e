"""Passwords of known breaches: five digits go out, and a service that is down keeps nobody out."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest

from ostiary.federation.breaches import BreachedPasswords
from tests.attack.test_cfg import complaint
from tests.cli.conftest import Operator
from tests.conftest import MakeHouse
from tests.dialects.librechat.browser import EMAIL, PASSWORD, browser, link_of, parameters_of
from tests.dialects.librepass.owner import Owner
from tests.house import DEFAULTS, House
from tests.services.ranges import RangeServer

BREACHED = "a very unlucky lantern"
SAID = "password: This password is known from a data breach."


@pytest.fixture
def ranges() -> Iterator[RangeServer]:
    with RangeServer(BREACHED, "\u00fcber den Wolken") as server:
        yield server


async def patient(make_house: MakeHouse, ranges: RangeServer) -> House:
    """A house that waits for the service as long as the machine is busy: in two seconds nobody's password is looked up."""
    house = await make_house(OSTIARY_HIBP_URL=f"{ranges.url}/")
    assert isinstance(house.services.breaches, BreachedPasswords)
    house.services.breaches._line._seconds = 60
    return house


async def register(house: House, password: str, email: str = EMAIL) -> tuple[int, str]:
    answer = await browser(house).register(email, password=password, confirm_password=password)
    return answer.status_code, answer.json()["message"]


def outcomes(house: House) -> dict[str, float]:
    found = next(metric for metric in house.services.metrics.registry.collect() if metric.name == "ostiary_breach_checks")
    return {sample.labels["outcome"]: sample.value for sample in found.samples if sample.name.endswith("_total")}


@pytest.mark.parametrize("password", [BREACHED, "\u00fcber den Wolken", "u\u0308ber den Wolken"])
async def test_a_breached_password_is_refused(make_house: MakeHouse, ranges: RangeServer, password: str) -> None:
    house = await patient(make_house, ranges)

    status, message = await register(house, password)

    assert (status, message[: len(SAID)]) == (404, SAID)
    assert outcomes(house) == {"breached": 1}


async def test_five_digits_of_a_digest_go_out_and_padding_is_asked_for(make_house: MakeHouse, ranges: RangeServer) -> None:
    house = await patient(make_house, ranges)

    assert (await register(house, PASSWORD))[0] == 200
    digest = hashlib.sha1(PASSWORD.encode(), usedforsecurity=False).hexdigest().upper()
    assert ranges.asked == [(f"/range/{digest[:5]}", "true")]
    assert outcomes(house) == {"clean": 1}


async def test_padding_is_no_breach(make_house: MakeHouse, ranges: RangeServer) -> None:
    house = await patient(make_house, ranges)
    ranges.padded(BREACHED)

    assert (await register(house, BREACHED))[0] == 200


@pytest.mark.parametrize("mode", ["broken", "page", "huge", "silent"])
async def test_a_service_in_trouble_keeps_nobody_out(
    make_house: MakeHouse,
    ranges: RangeServer,
    mode: Literal["broken", "page", "huge", "silent"],
    capsys: pytest.CaptureFixture[str],
) -> None:
    house = await make_house(OSTIARY_HIBP_URL=ranges.url, OSTIARY_LOG_LEVEL="warning")
    ranges.mode = mode

    began = time.monotonic()
    status, _ = await register(house, BREACHED)

    assert status == 200
    assert time.monotonic() - began < 20
    assert outcomes(house) == {"unanswered": 1}
    logged = capsys.readouterr().err
    assert "breaches:unanswered" in logged
    assert BREACHED not in logged


async def test_a_service_that_is_not_there_keeps_nobody_out(make_house: MakeHouse, ranges: RangeServer) -> None:
    with RangeServer() as gone:
        url = gone.url
    house = await make_house(OSTIARY_HIBP_URL=url)

    assert (await register(house, BREACHED))[0] == 200
    assert outcomes(house) == {"unanswered": 1}


async def test_a_reset_asks_too_and_the_link_stays_good(make_house: MakeHouse, ranges: RangeServer) -> None:
    house = await patient(make_house, ranges)
    someone = browser(house)
    await someone.register()
    await someone.post("/api/auth/requestPasswordReset", {"email": EMAIL})
    link = parameters_of(await link_of(house, "Reset"))

    answers = [
        await someone.post("/api/auth/resetPassword", {"userId": link["userId"], "token": link["token"], "password": password})
        for password in (BREACHED, "a lamp at midnight")
    ]

    assert [answer.status_code for answer in answers] == [400, 200]


async def test_the_offline_list_comes_first_and_a_key_account_asks_nobody(make_house: MakeHouse, ranges: RangeServer) -> None:
    house = await patient(make_house, ranges)

    assert (await register(house, "password1"))[0] == 404
    assert (await Owner(house.client).register()).status_code == 201
    assert ranges.asked == []


def test_the_command_line_asks_too(database_url: str, tmp_path: Path, ranges: RangeServer) -> None:
    settings = {**DEFAULTS, "DATABASE_URL": database_url, "OSTIARY_DATA": str(tmp_path / "data"), "OSTIARY_HIBP_URL": ranges.url}

    words = Operator(tmp_path, settings).complaint("user", "create", "ada@example.org", "--password-stdin", stdin=BREACHED)

    assert words.startswith("The password is known from a data breach")


@pytest.mark.parametrize("url", ["http://api.example.org", "api.pwnedpasswords.com", "ftp://127.0.0.1"])
def test_nothing_of_a_password_crosses_the_network_in_the_clear(tmp_path: Path, url: str) -> None:
    assert complaint(tmp_path, OSTIARY_HIBP_URL=url).startswith("OSTIARY_HIBP_URL must begin with https://")
