"""What waits in the database and how the audit's chain stands: `ostiary doctor` and the metrics tell it, with what to do."""

from __future__ import annotations

import asyncio
import json
import re

from sqlalchemy import bindparam, update

from ostiary.identity import audit, audit_chain, notices
from ostiary.mail import outbox
from ostiary.storage import tables
from ostiary.storage.statements import Statement
from tests.cli.conftest import Operator
from tests.house import House

_forge = Statement(update(tables.markers).where(tables.markers.c.name == audit_chain.MARKER).values(value=bindparam("new_value")))


async def said(operator: Operator, code: int = 0) -> dict[str, tuple[str, str]]:
    """State and text about the queue and the audit."""
    done = await asyncio.to_thread(operator.run, "doctor", "--json")
    assert done.exit_code == code, done.output
    findings = json.loads(done.stdout)["findings"]
    return {each["about"]: (each["state"], each["text"]) for each in findings if each["about"] in ("mail queue", "audit")}


async def gauges(house: House) -> dict[str, int]:
    """The same, for a machine."""
    text = (await house.client.get("/metrics")).text
    found = re.findall(r"^ostiary_((?:mail|audit)_(?!chain)\w+) ([0-9.e+]+)$", text, re.MULTILINE)
    return {name: int(float(value)) for name, value in found if name != "audit_head_at"}


async def wait_for_a_mail_server(house: House) -> None:
    """Queue a mail and an event; nobody sends or links in these tests."""
    async with house.begin() as ctx:
        await notices.send_to(ctx, "test", "ada@example.org", "")
        await audit.record(ctx, audit.Event.KEYS_ROTATED)


async def test_nothing_waits_in_a_fresh_deployment(running: House, operator: Operator) -> None:
    assert await said(operator) == {
        "mail queue": ("ok", "nothing waits."),
        "audit": ("ok", "the chain begins when a server runs."),
    }
    assert set((await gauges(running)).values()) == {0}


async def test_what_nobody_sends_and_nobody_links_is_told_with_its_age(running: House, operator: Operator) -> None:
    """The server's clock is an hour behind: what it queued is an hour old."""
    await wait_for_a_mail_server(running)
    await running.jobs.link_audit()
    await wait_for_a_mail_server(running)
    running.clock.advance(100)

    found = await said(operator)

    assert found["mail queue"][0] == found["audit"][0] == "warning"
    assert re.fullmatch(
        r"2 wait\(s\), the oldest since [0-9 :-]+ UTC\. Nobody sends them: is the server running\?", found["mail queue"][1]
    )
    assert re.fullmatch(
        r"1 row\(s\) are linked, the last at [0-9 :-]+ UTC; 1 wait\(s\)\. They wait since [0-9 :-]+ UTC: "
        r"is the server running\? If so, its log says job:failed\.",
        found["audit"][1],
    )
    assert await gauges(running) == {
        "mail_waiting": 2,
        "mail_failing": 0,
        "mail_given_up": 0,
        "mail_oldest_seconds": 100,
        "audit_head": 1,
        "audit_waiting": 1,
        "audit_broken": 0,
    }


async def test_mails_that_fail_are_told_with_the_reason_and_those_given_up_with_the_remedy(
    running: House, operator: Operator
) -> None:
    await wait_for_a_mail_server(running)
    await wait_for_a_mail_server(running)
    async with running.begin() as ctx:
        failing, old = await outbox.claim_due(ctx.db, ctx.now)
        await outbox.mark_failed(ctx.db, failing, "451 try later", ctx.now)
        assert not await outbox.mark_failed(ctx.db, old, "550 no such user", ctx.now + outbox.GIVE_UP_AFTER + 1)

    state, text = (await said(operator))["mail queue"]

    assert state == "warning"
    assert text.endswith(
        "1 of them failed before (451 try later): ostiary mail test tries the mail server. "
        "1 were given up: ostiary mail list shows why, ostiary mail retry tries again."
    )
    found = await gauges(running)
    assert (found["mail_waiting"], found["mail_failing"], found["mail_given_up"]) == (1, 1, 1)


async def test_ends_of_the_chain_that_somebody_changed_are_a_problem(running: House, operator: Operator) -> None:
    await wait_for_a_mail_server(running)
    await running.jobs.link_audit()
    async with running.begin() as ctx:
        await ctx.db.run(_forge, new_value="{}")

    found = await said(operator, code=1)

    text = "the chain's ends are changed: nothing is linked or swept. Run: ostiary audit verify (docs/operating.md)"
    assert found["audit"] == ("problem", text)
    assert (await gauges(running))["audit_broken"] == 1
