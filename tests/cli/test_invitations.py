"""`ostiary invite …`."""

from __future__ import annotations

import re
from datetime import datetime

from tests.cli.conftest import HOUR, PASSWORD, Operator
from tests.conftest import MakeHouse
from tests.house import House, text_of

BOB = "bob@example.org"


def _token(link: str) -> str:
    found = re.search(r"/register\?token=([0-9a-f]{64})$", link)
    assert found is not None
    return found[1]


async def _register(house: House, email: str, token: str) -> int:
    body = {"name": "Bob", "email": email, "password": PASSWORD, "confirm_password": PASSWORD, "token": token}
    return (await house.client.post("/api/auth/register", json=body)).status_code


async def test_an_invitation_opens_a_closed_registration_for_its_address_alone(operator: Operator, make_house: MakeHouse) -> None:
    house = await make_house(ALLOW_REGISTRATION="false")
    made = await operator.meanwhile("invite", "create", BOB)
    house.clock.now = _micros(made["expires_at"]) - HOUR * 1_000_000

    assert await _register(house, "eve@example.org", _token(made["link"])) == 400
    assert await _register(house, BOB, _token(made["link"])) == 200
    assert await operator.meanwhile("invite", "list") == []
    assert (await operator.meanwhile("user", "show", BOB))["verified"] is True


async def test_an_invitation_expires_after_seven_days(operator: Operator, make_house: MakeHouse) -> None:
    house = await make_house(ALLOW_REGISTRATION="false")
    made = await operator.meanwhile("invite", "create", BOB)
    house.clock.now = _micros(made["expires_at"]) + 1_000_000

    assert await _register(house, BOB, _token(made["link"])) == 400


async def test_the_invited_get_the_link_by_mail(operator: Operator, running: House) -> None:
    made = await operator.meanwhile("invite", "create", BOB)
    running.clock.advance(2 * HOUR)

    mail = await running.last_mail("Invite to join")

    assert made["link"] in text_of(mail)
    assert mail["To"] == BOB


async def test_nothing_is_mailed_when_told_so(operator: Operator, running: House) -> None:
    made = await operator.meanwhile("invite", "create", BOB, "--no-mail")
    running.clock.advance(2 * HOUR)

    assert made["mailed"] is False
    assert await running.mails() == []


async def test_a_revoked_invitation_opens_nothing(operator: Operator, make_house: MakeHouse) -> None:
    house = await make_house(ALLOW_REGISTRATION="false")
    made = await operator.meanwhile("invite", "create", BOB)
    house.clock.now = _micros(made["expires_at"]) - HOUR * 1_000_000

    await operator.meanwhile("invite", "revoke", BOB)

    assert await _register(house, BOB, _token(made["link"])) == 400


def test_invitations_are_listed_without_their_links(operator: Operator) -> None:
    made = operator.json("invite", "create", "Bob@Example.org")

    listed = operator.json("invite", "list")
    assert [each["email"] for each in listed] == [BOB]
    assert _token(made["link"]) not in operator.text("invite", "list")


def test_what_cannot_be_invited_is_said(operator: Operator) -> None:
    operator.json("user", "create", BOB)

    assert "has an account already" in operator.complaint("invite", "create", BOB)
    assert "Invalid email" in operator.complaint("invite", "create", "nobody")
    assert "has no open invitation" in operator.complaint("invite", "revoke", "nobody@example.org")
    complaint = operator.complaint("invite", "create", "eve@example.com", OSTIARY_ALLOWED_DOMAINS="example.org")
    assert "OSTIARY_ALLOWED_DOMAINS" in complaint


def _micros(moment: str) -> int:
    return int(datetime.fromisoformat(moment).timestamp()) * 1_000_000
