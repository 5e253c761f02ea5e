"""`ostiary keys …`."""

from __future__ import annotations

from tests.cli.conftest import HOUR, PASSWORD, Operator, is_let_in, sign_in
from tests.house import House


async def test_a_running_server_takes_up_new_keys_and_nobody_is_signed_out(operator: Operator, running: House) -> None:
    await operator.meanwhile("user", "create", "ada@example.org", "--password-stdin", stdin=PASSWORD)
    token = (await sign_in(running, "ada@example.org")).json()["token"]

    made = (await operator.meanwhile("keys", "rotate"))["keys"]
    running.clock.advance(HOUR + 60)
    await running.jobs.look_for_keys()
    fresh = (await sign_in(running, "ada@example.org")).json()["token"]

    assert {(key["purpose"], key["number"]) for key in made} == {
        ("sealing", 1), ("access-tokens", 1), ("refresh-tokens", 1), ("handshake", 1),
    }  # fmt: skip
    assert running.services.sealer.number == 1
    assert await is_let_in(running, fresh)
    assert not await is_let_in(running, token), "its quarter of an hour is over"


def test_the_state_of_every_key_is_told_and_no_key_is(operator: Operator) -> None:
    operator.json("keys", "rotate", "--only", "sealing")

    listed = operator.json("keys", "list")

    states = {(key["purpose"], key["number"]): key["state"] for key in listed}
    assert states[("sealing", 0)] == "in use"
    assert states[("sealing", 1)] == "waits"
    assert states[("access-tokens", 0)] == "in use"
    assert all(set(key) == {"purpose", "number", "from", "active_from", "state"} for key in listed)
    assert "JWT_SECRET" in operator.text("keys", "list")


def test_a_second_rotation_waits_for_the_first(operator: Operator) -> None:
    operator.json("keys", "rotate")

    assert "take over at" in operator.complaint("keys", "rotate")


def test_now_is_about_access_tokens(operator: Operator) -> None:
    assert "--only access-tokens" in operator.complaint("keys", "rotate", "--now", "--only", "sealing", code=2)
    operator.json("keys", "rotate", "--now", "--yes", "--only", "access-tokens")

    states = {(key["purpose"], key["number"]): key["state"] for key in operator.json("keys", "list")}
    assert states[("access-tokens", 1)] == "in use"
    assert states[("access-tokens", 0)] == "over"
