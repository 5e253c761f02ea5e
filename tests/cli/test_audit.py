"""`ostiary audit …`."""

from __future__ import annotations

import asyncio

from tests.cli.conftest import PASSWORD, Operator, sign_in
from tests.house import House
from tests.identity.tampering import TAMPERINGS, rows_of

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

    assert events("list", "--event", "ban:*") == ["ban:lifted", "ban:created"]
    assert events("list", "--event", "ban:%") == ["ban:lifted", "ban:created"]
    assert events("list", "--event", "ban_*") == []
    assert events("list", "--limit", "1") == ["ban:lifted"]
    assert events("list", "--since", "1h") == ["ban:lifted", "ban:created", "account:registered"]
    assert events("tail", "-n", "2") == ["ban:created", "ban:lifted"]
    assert operator.text("audit", "tail").index("ban:created") < operator.text("audit", "tail").index("ban:lifted")


async def test_events_are_picked_by_address_reason_and_until(operator: Operator, running: House) -> None:
    await operator.meanwhile("user", "create", ADA, "--password-stdin", stdin=PASSWORD)
    await sign_in(running, ADA, "wrong horse")
    running.clock.advance(1)
    await sign_in(running, "nobody@example.org")

    async def reasons(*words: str) -> list[str]:
        return [each["reason"] for each in await operator.meanwhile("audit", "list", *words)]

    assert await reasons("--address", "127.0.0.*", "--until", "1m") == ["unknown_account", "mismatch"]
    assert await reasons("--address", "127.0.0.2") == []
    assert await reasons("--reason", "mis*") == ["mismatch"]
    assert await reasons("--until", "2h") == []
    assert await reasons("--since", "2000-01-01", "--until", "2000-01-02T00:00:00+02:00") == []
    assert await reasons("--since", "2000-01-01", "--event", "account:sign_in:*") == ["unknown_account", "mismatch"]


def test_a_moment_that_cannot_be_read_is_named(operator: Operator) -> None:
    assert "'yesterday' is not a duration" in operator.complaint("audit", "list", "--until", "yesterday", code=2)


async def test_a_browser_that_was_there_before_is_told_from_others(operator: Operator, running: House) -> None:
    await operator.meanwhile("user", "create", ADA, "--password-stdin", stdin=PASSWORD)
    await sign_in(running, ADA)
    running.clock.advance(1)
    await sign_in(running, ADA)

    again, first = await operator.meanwhile("audit", "list", "--event", "account:sign_in:succeeded")

    assert first["device"] is None
    assert len(again["device"]) == 12
    assert running.client.cookies["ostiary_device"].startswith(again["device"])


async def test_what_was_done_to_the_audit_is_said_in_words(operator: Operator, running: House) -> None:
    await operator.meanwhile("user", "create", ADA)
    for words in (("ban", "add", ADA), ("ban", "lift", ADA)):
        await operator.meanwhile(*words)
    await running.jobs.link_audit()
    before = await operator.meanwhile("audit", "verify")
    async with running.begin() as ctx:
        rows = await rows_of(ctx)
        await TAMPERINGS["removed"](ctx, rows, 1)

    after = await asyncio.to_thread(operator.run, "audit", "verify", "--head", before["head"])

    assert (before["ok"], before["checked"], before["waiting"], before["findings"]) == (True, 3, 0, [])
    assert after.exit_code == 1
    assert "The audit is NOT as it was written:\nrow 2: removed, between " in after.stdout
    assert f"Head: {before['head']} " in after.stdout


def test_a_chain_is_begun_anew_on_demand(operator: Operator) -> None:
    operator.json("user", "create", ADA)

    assert "no server has run on this database yet" in operator.run("audit", "verify").stdout
    assert operator.json("audit", "restart", "--yes") == {"rows": 1}
    assert operator.json("audit", "list", "--event", "audit:*")[0]["event"] == "audit:chain:restarted"


def test_a_head_that_cannot_be_read_is_named(operator: Operator) -> None:
    assert "'12:beef' is no head such as" in operator.complaint("audit", "verify", "--head", "12:beef", code=2)


def test_the_trace_of_a_deleted_account_is_found_by_its_id(operator: Operator) -> None:
    made = operator.json("user", "create", ADA)
    operator.json("user", "delete", ADA)

    assert operator.json("audit", "list", "--account", made["id"])[0]["event"] == "account:deleted"


def test_following_is_for_people_alone(operator: Operator) -> None:
    assert "Use --json without --follow" in operator.complaint("audit", "tail", "--follow", code=2)
