"""Noticing attacks on many accounts at once, which no budget of one account shows.

What counts are names, of accounts or of nobody, that strangers failed to be, each once in a window: by neighbourhood, and for the
whole server. Nothing is refused here; that is for the budgets in `throttle`.
"""

from __future__ import annotations

from ostiary.identity import audit
from ostiary.identity.context import Context
from ostiary.limits.store import Rule

_MANY = 1 << 30


async def note_name(ctx: Context, name: str, neighbourhood: str) -> None:
    """Count a name that a stranger failed to be; tell the audit once in a window when there are too many."""
    rules, limits = ctx.services.rules, ctx.services.limits
    first = await limits.take(Rule("spray.name", _MANY, rules.spray_server.period), name, ctx.now)
    if first.used > 1:
        return
    for rule, key in ((rules.spray_network, neighbourhood), (rules.spray_server, "")):
        taken = await limits.take(rule, key, ctx.now)
        if taken.is_allowed and not taken.remaining:
            ctx.services.metrics.refuse(rule.name, ctx.now)
            await audit.record(ctx, audit.Event.SPRAY_SUSPECTED, None, rule.name, names=rule.capacity, network=key)


async def note_spent(ctx: Context, rule: Rule) -> None:
    """Tell the audit, once in a quarter of an hour, that a budget of the whole server is spent."""
    await audit.tell(ctx, audit.Event.BUDGET_SPENT, audit.Seldom(""), None, rule.name)
