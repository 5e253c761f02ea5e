"""Counters of a process that was stopped, made anew from the audit.

A lockout must not end because a server is restarted, or is made to restart. In Redis counters outlive a process by themselves;
those in memory are counted again from the lines that each failed proof has left, which are as durable as any row.
"""

from __future__ import annotations

import msgspec

from ostiary.identity import audit, throttle
from ostiary.identity.audit import AuditEvent
from ostiary.identity.context import Client, Services, begin
from ostiary.limits.store import Rule

MOST = 50_000
"""Lines looked at: more than limits let through in a quarter of an hour."""
_OPENING = frozenset({audit.Event.UNLOCKED, audit.Event.RESET_DONE, audit.Event.PASSWORD_CHANGED})
_WRONG_CODES = frozenset({audit.Event.FACTOR_REFUSED, audit.Event.STEP_UP_REFUSED})


class _Detail(msgspec.Struct):
    counted: str = ""
    key: str = ""
    amr: str = ""


async def count_again(services: Services) -> int:
    """Count what failed within the longest window before now; how many lines counted."""
    rules = services.rules
    longest = max(rule.period for rule in (rules.lockout_account, rules.factor_account, rules.logins.network))
    async with begin(services, Client("", "restart")) as ctx:
        rows = await audit.latest(ctx, event="account:%", since=ctx.now - longest, most=MOST)
    counted = 0
    for row, detail in _that_stand(rows):
        for rule, key in _budgets(services, row, detail):
            await services.limits.take(rule, key, row.at)
        counted += 1
    return counted


def _that_stand(rows: list[AuditEvent]) -> list[tuple[AuditEvent, _Detail]]:
    """The failures, the oldest first, that nothing after them has made good. `rows` begin with the newest."""
    opened: set[str | None] = set()
    proved: set[str | None] = set()
    at_home: set[tuple[str | None, str]] = set()
    found = []
    for row in rows:
        detail = msgspec.json.decode(row.detail, type=_Detail)
        if row.event in _OPENING:
            opened.add(row.account_id)
        elif row.event == audit.Event.SIGNED_IN:
            at_home.add((row.account_id, row.address))
            if "mfa" in detail.amr.split():
                proved.add(row.account_id)
        elif row.event in _WRONG_CODES:
            if row.account_id not in opened | proved:
                found.append((row, detail))
        elif detail.counted == "lockout.device":
            if row.account_id not in opened and (row.account_id, row.address) not in at_home:
                found.append((row, detail))
        elif detail.counted and (row.account_id is None or row.account_id not in opened):
            found.append((row, detail))
    return found[::-1]


def _budgets(services: Services, row: AuditEvent, detail: _Detail) -> list[tuple[Rule, str]]:
    """What the failure had cost."""
    rules, limits = services.rules, services.settings.limits
    if row.event in _WRONG_CODES:
        return [(rules.factor_account, row.account_id or "")] if limits.lockout else []
    if detail.counted == rules.lockout_device.name:
        return [(rules.lockout_device, detail.key)] if limits.lockout else []
    found = []
    if limits.lockout:
        found.append((rules.lockout_address, f"{detail.key}@{throttle.network(row.address)}"))
        if detail.counted == rules.lockout_account.name:
            found.append((rules.lockout_account, detail.key))
    if limits.rate_limits:
        found += [(rules.logins.network, throttle.neighbourhood(row.address)), (rules.logins.server, "")]
    return found
