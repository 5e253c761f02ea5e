"""`ostiary ban …`."""

from __future__ import annotations

import pytest

from tests.cli.conftest import HOUR, PASSWORD, Operator, is_let_in, sign_in
from tests.house import House

ADA = "ada@example.org"
TOO_LONG = "3651d"


async def test_a_banned_account_is_shut_out_at_once_and_let_in_again(operator: Operator, running: House) -> None:
    await operator.meanwhile("user", "create", ADA, "--password-stdin", stdin=PASSWORD)
    token = (await sign_in(running, ADA)).json()["token"]

    await operator.meanwhile("ban", "add", ADA, "--reason", "spam")
    assert not await is_let_in(running, token)
    assert (await sign_in(running, ADA)).status_code == 403

    await operator.meanwhile("ban", "lift", ADA)
    assert (await sign_in(running, ADA)).status_code == 200


async def test_a_ban_ends_when_its_time_is_over(operator: Operator, running: House) -> None:
    await operator.meanwhile("user", "create", ADA, "--password-stdin", stdin=PASSWORD)
    await operator.meanwhile("ban", "add", ADA, "--for", "2h")
    assert (await sign_in(running, ADA)).status_code == 403

    running.clock.advance(3 * HOUR + 60)

    assert (await sign_in(running, ADA)).status_code == 200


async def test_a_banned_address_is_shut_out(operator: Operator, running: House) -> None:
    await operator.meanwhile("user", "create", ADA, "--password-stdin", stdin=PASSWORD)

    await operator.meanwhile("ban", "add", "203.0.113.7", "--for", "2h")

    body = {"email": ADA, "password": PASSWORD}
    assert (await running.client_at("203.0.113.7").post("/api/auth/login", json=body)).status_code == 403
    assert (await running.client_at("203.0.113.8").post("/api/auth/login", json=body)).status_code == 200


def test_of_an_ipv6_address_the_whole_network_is_meant(operator: Operator) -> None:
    operator.json("ban", "add", "2001:db8:1:2:3:4:5:6")

    assert operator.json("ban", "list")[0]["subject"] == "2001:db8:1:2::/64"
    operator.json("ban", "lift", "2001:db8:1:2:ffff::1")
    assert operator.json("ban", "list") == []


def test_bans_say_who_why_and_until_when(operator: Operator) -> None:
    made = operator.json("user", "create", ADA)
    operator.json("ban", "add", made["id"], "--for", "1d12h", "--reason", "spam")

    ban = operator.json("ban", "list")[0]
    assert (ban["kind"], ban["subject"], ban["target"], ban["reason"]) == ("account", made["id"], ADA, "spam")
    assert ban["expires_at"] is not None
    assert operator.json("user", "show", ADA)["ban"]["reason"] == "spam"
    assert ADA in operator.text("ban", "list")


def test_a_second_ban_takes_the_place_of_the_first(operator: Operator) -> None:
    operator.json("ban", "add", "203.0.113.7", "--for", "2h")
    operator.json("ban", "add", "203.0.113.7")

    assert [ban["expires_at"] for ban in operator.json("ban", "list")] == [None]


@pytest.mark.parametrize("target", ["nobody@example.org", "999.1.1.1", "203.0.113.0/24", "no-id"])
def test_what_names_nobody_is_not_banned(operator: Operator, target: str) -> None:
    operator.complaint("ban", "add", target)

    assert operator.json("ban", "list") == []


@pytest.mark.parametrize("duration", ["2", "h", "2x", "-2h", "0s", "2h3", TOO_LONG, ""])
def test_a_duration_that_cannot_be_read_is_refused(operator: Operator, duration: str) -> None:
    assert "is not a duration such as" in operator.complaint("ban", "add", "203.0.113.7", f"--for={duration}", code=2)


def test_lifting_where_there_is_no_ban_fails(operator: Operator) -> None:
    assert "is not banned" in operator.complaint("ban", "lift", "203.0.113.7")
