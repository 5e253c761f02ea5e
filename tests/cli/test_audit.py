"""`ostiary audit …`."""

from __future__ import annotations

from tests.cli.conftest import PASSWORD, Operator, sign_in
from tests.house import House

ADA = "ada@example.org"


async def test_what_happened_is_listed_the_newest_first(operator: Operator, running: House) -> None:
    made = await operator.meanwhile("user", "create", ADA, "--password-stdin", stdin=PASSWORD)
    running.clock.advance(7200)
    await sign_in(running, ADA, "wrong horse")
    running.clock.advance(1)
    await sign_in(running, ADA)

    listed = await operator.meanwhile("audit", "list", "--account", ADA)

    assert [(each["event"], each["reason"]) for each in listed] == [
        ("account:sign_in:succeeded", None),
        ("account:sign_in:refused", "mismatch"),
        ("account:registered", "operator"),
    ]
    assert {each["account_id"] for each in listed} == {made["id"]}
    assert listed[0]["address"] == "127.0.0.1"
    assert listed[2]["user_agent"].startswith("command line")


def test_events_are_picked_by_pattern_time_and_number(operator: Operator) -> None:
    operator.json("user", "create", ADA)
    operator.json("ban", "add", ADA)
    operator.json("ban", "lift", ADA)

    def events(*words: str) -> list[str]:
        return [each["event"] for each in operator.json("audit", *words)]

    assert events("list", "--event", "ban:%") == ["ban:lifted", "ban:created"]
    assert events("list", "--limit", "1") == ["ban:lifted"]
    assert events("list", "--since", "1h") == ["ban:lifted", "ban:created", "account:registered"]
    assert events("tail", "-n", "2") == ["ban:created", "ban:lifted"]
    assert operator.text("audit", "tail").index("ban:created") < operator.text("audit", "tail").index("ban:lifted")


def test_the_trace_of_a_deleted_account_is_found_by_its_id(operator: Operator) -> None:
    made = operator.json("user", "create", ADA)
    operator.json("user", "delete", ADA)

    assert operator.json("audit", "list", "--account", made["id"])[0]["event"] == "account:deleted"


def test_following_is_for_people_alone(operator: Operator) -> None:
    assert "Use --json without --follow" in operator.complaint("audit", "tail", "--follow", code=2)
