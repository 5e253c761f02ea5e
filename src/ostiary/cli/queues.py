"""What waits beside the requests, for an operator: mails for their server, rows of the audit for their place in the chain."""

from __future__ import annotations

from typing import Literal

from ostiary.cli.output import spoken
from ostiary.identity import audit_chain
from ostiary.identity.audit_chain import BrokenChainError
from ostiary.identity.context import Context
from ostiary.mail import outbox

SECOND = 1_000_000
MOST_WAIT = 5 * 60 * SECOND
"""A server sends and links within seconds; what has waited longer waits for an operator."""
Said = tuple[str, Literal["ok", "warning", "problem"], str]
"""About what, how it is, and in which words."""


async def described(ctx: Context) -> list[Said]:
    """How both stand, with what to do."""
    return [_mails(ctx.now, await outbox.standing(ctx.db)), await _chain(ctx)]


def _mails(now: int, found: outbox.Standing) -> Said:
    if not found.waiting and not found.given_up:
        return "mail queue", "ok", "nothing waits."
    words = []
    if found.waiting and found.oldest_at is not None:
        words.append(f"{found.waiting} wait(s), the oldest since {spoken(found.oldest_at)} UTC.")
    if found.failing:
        words.append(f"{found.failing} of them failed before ({found.error}): ostiary mail test tries the mail server.")
    elif found.oldest_at is not None and now - found.oldest_at > MOST_WAIT:
        words.append("Nobody sends them: is the server running?")
    if found.given_up:
        words.append(f"{found.given_up} were given up: ostiary mail list shows why, ostiary mail retry tries again.")
    is_old = found.oldest_at is not None and now - found.oldest_at > MOST_WAIT
    return "mail queue", "warning" if found.failing or found.given_up or is_old else "ok", " ".join(words)


async def _chain(ctx: Context) -> Said:
    try:
        found = await audit_chain.standing(ctx)
    except BrokenChainError as error:
        return (
            "audit",
            "problem",
            f"the chain's ends are {error}: nothing is linked or swept. Run: ostiary audit verify (docs/operating.md)",
        )
    if found.head is None:
        return "audit", "ok", "the chain begins when a server runs."
    words = f"{found.head.position} row(s) are linked, the last at {spoken(found.head.at)} UTC; {found.waiting} wait(s)."
    if found.waiting_since is None or ctx.now - found.waiting_since <= MOST_WAIT:
        return "audit", "ok", words
    since = f"{spoken(found.waiting_since)} UTC"
    return "audit", "warning", f"{words} They wait since {since}: is the server running? If so, its log says job:failed."
