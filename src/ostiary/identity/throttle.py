"""Limits by name, and the lockout that a stranger cannot use against an owner.

Every limit counts before the work is done. A failed proof costs the account's budget for unknown devices, of which one address
can spend no more than half; it also costs the budgets of the stranger's neighbourhood and of the whole server. A device that has
signed in before, or a place that the account has had a session from, keeps a budget of its own, whatever strangers have spent.
"""

from __future__ import annotations

import ipaddress
import unicodedata
from functools import lru_cache

import msgspec

from ostiary.identity import audit, devices, evenness, places, spraying
from ostiary.identity.accounts import Candidate
from ostiary.identity.context import Context
from ostiary.identity.refusals import LockedOut, Throttled
from ostiary.identity.rules import Area
from ostiary.limits.store import Rule, Taken, Wanted

HOUSEHOLD, NEIGHBOURHOOD = 64, 48
"""Bits of an IPv6 address that one household has whole, and that one customer may have whole."""


class Attempt(msgspec.Struct, frozen=True):
    """A counted try, to be uncounted when the proof turns out right. `name` is the digest of what a stranger tried to be."""

    counted: Wanted
    name: str = ""


def network(address: str) -> str:
    """What a limit by address is keyed by: an IPv4 address, or an IPv6 /64, which one household has whole."""
    return address if ":" not in address else _prefix(address, HOUSEHOLD)


def neighbourhood(address: str) -> str:
    """What a limit by network is keyed by: an IPv4 /24, or an IPv6 /48."""
    if ":" in address:
        address = _prefix(address, NEIGHBOURHOOD)
    head, dot, _ = address.rpartition(".")
    return f"{head}.0/24" if dot else address


@lru_cache(maxsize=1024)
def _prefix(address: str, bits: int) -> str:
    try:
        parsed = ipaddress.IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(parsed) >> 128 - bits << 128 - bits, bits)))


def folded(email: str) -> str:
    """What a limit by e-mail is keyed by: spellings that a person or a database could take for one another are one."""
    return unicodedata.normalize("NFKC", email.strip().strip('"')).casefold()[:320]


async def take(ctx: Context, rule: Rule, *keys: str) -> None:
    """Count one by each of these keys. What is refused is told to the audit, once in a while. Raises Throttled."""
    for key in keys:
        try:
            await count(ctx, rule, key)
        except Throttled:
            seldom = audit.Seldom(key, period=max(rule.period, audit.QUARTER))
            await audit.tell(ctx, audit.Event.VIOLATION, seldom, None, rule.name)
            raise


async def count(ctx: Context, rule: Rule, key: str) -> Taken | None:
    """Count one without a word to the audit; None when limits are off. Raises Throttled."""
    if not ctx.is_limited:
        return None
    taken = await ctx.services.limits.take(rule, key, ctx.now)
    if not taken.is_allowed:
        ctx.services.metrics.refuse(rule.name, ctx.now)
        raise Throttled(taken)
    return taken


async def may_mail(ctx: Context, email: str) -> bool:
    """Whether the recipient may get one more mail that strangers can ask for."""
    if not ctx.is_limited:
        return True
    taken = await ctx.services.limits.take(ctx.services.rules.mail_recipient, folded(email), ctx.now)
    return taken.is_allowed


async def take_registration(ctx: Context) -> None:
    """Count a registration that nobody invited, by network and for the whole server. Raises Throttled."""
    if not ctx.is_limited:
        return
    try:
        await _take_in(ctx, ctx.services.rules.registrations, [])
    except Throttled as refusal:
        await _tell_turned_away(ctx, audit.Event.REGISTRATION_REFUSED, refusal)
        raise


async def attempt(ctx: Context, email: str, candidate: Candidate | None) -> Attempt | None:
    """Count a try to prove to be this account, known or not; None when nothing counts. Raises LockedOut, Throttled."""
    if not (ctx.settings.limits.lockout or ctx.is_limited):
        return None
    account_id = candidate.account.id if candidate is not None else None
    begun = evenness.moment()
    try:
        return await _counted(ctx, email, account_id)
    except Throttled as refusal:
        evenness.even_out(ctx, begun)
        await _tell_turned_away(ctx, audit.Event.SIGN_IN_TURNED_AWAY, refusal, account_id, _name(ctx, email))
        raise


async def _counted(ctx: Context, email: str, account_id: str | None) -> Attempt:
    if (device := devices.known(ctx, account_id or "")) and account_id is not None:
        return await _count_known(ctx, account_id, f"{account_id}:{device}")
    try:
        return await _count_stranger(ctx, email, account_id)
    except Throttled:
        # Looked for whether there is an account or not, so that the time of a refusal does not tell.
        place = await places.known(ctx, account_id, network(ctx.client.address))
        if account_id is None or place is None:
            raise
    return await _count_known(ctx, account_id, place)


async def _tell_turned_away(
    ctx: Context, event: audit.Event, refusal: Throttled, account_id: str | None = None, name: str = ""
) -> None:
    """Tell the audit once in a window whom a spent budget keeps out: a network, an account or a name, or all strangers."""
    rule = refusal.taken.rule
    if rule.name.endswith((".server", ".newcomers")):
        await spraying.note_spent(ctx, rule)
    elif rule.name.endswith(".network"):
        network = neighbourhood(ctx.client.address)
        await audit.tell(ctx, event, audit.Seldom(network, period=rule.period), None, rule.name, network=network)
    else:
        await audit.tell(ctx, event, audit.Seldom(name, period=rule.period), account_id, rule.name, name=name)


async def succeeded(ctx: Context, counted: Attempt | None) -> None:
    """The proof was right: that try does not count. Failures of strangers go on counting."""
    if counted is None or not counted.counted:
        return
    if counted.name:
        await ctx.services.limits.give_back_each(counted.counted, ctx.now)
    else:
        [(rule, key)] = counted.counted
        await ctx.services.limits.forget(rule, key)


async def never_mind(ctx: Context, counted: Attempt | None) -> None:
    """The try came to nothing through no fault of whoever made it: it does not count, and nothing else changes."""
    if counted is not None and counted.counted:
        await ctx.services.limits.give_back_each(counted.counted, ctx.now)


async def failed(ctx: Context, counted: Attempt | None) -> None:
    """The proof was wrong: look whether names are being tried in rows."""
    if counted is not None and counted.name:
        await spraying.note_name(ctx, counted.name, neighbourhood(ctx.client.address))


def trace(counted: Attempt | None) -> dict[str, str]:
    """What the audit keeps of a failed try, so that a restarted process can count it again (`counting_again`)."""
    if counted is None or not counted.counted:
        return {}
    rule, key = counted.counted[0]
    return {"counted": rule.name, "key": counted.name or key}


async def unlock(ctx: Context, email: str) -> None:
    """Open the door again for unknown devices, as far as this process's counters reach."""
    name = _name(ctx, email)
    await ctx.services.limits.forget(ctx.services.rules.lockout_account, name)
    await ctx.services.limits.forget(ctx.services.rules.lockout_address, _from_here(ctx, name))


async def take_of_account(ctx: Context, rule: Rule, key: str, account_id: str | None) -> Taken:
    """Count one against an account. An operator's unlocking since the window began starts the counter anew."""
    taken = await ctx.services.limits.take(rule, key, ctx.now)
    if taken.is_allowed or not await _was_unlocked(ctx, taken, account_id):
        return taken
    await ctx.services.limits.forget(rule, key)
    return await ctx.services.limits.take(rule, key, ctx.now)


async def _was_unlocked(ctx: Context, taken: Taken, account_id: str | None) -> bool:
    """Whether an operator opened the door since the window began.

    Counters may live in the server's memory, where the command line does not reach; the audit is what both see. It is asked
    only when the door is about to close, and whether or not there is an account.
    """
    began_at = taken.reset_at - taken.rule.period
    return bool(await audit.latest(ctx, account_id=account_id or "", event=audit.Event.UNLOCKED, since=began_at, most=1))


async def _count_stranger(ctx: Context, email: str, account_id: str | None) -> Attempt:
    """Count against the account's budget and the address's own, of the same size, and against those that strangers share.

    What one address fails beyond half of the account's budget is its own affair: a stranger at one address cannot close the door
    to the owner at another, and many addresses together still get no more than the budget. Raises LockedOut, Throttled.
    """
    rules, limits = ctx.services.rules, ctx.services.limits
    name = _name(ctx, email)
    common, own = (rules.lockout_account, name), (rules.lockout_address, _from_here(ctx, name))
    locks = [common, own] if ctx.settings.limits.lockout else []
    try:
        wanted, taken = await _take_in(ctx, rules.logins, locks)
    except LockedOut as refusal:
        if not await _was_unlocked(ctx, refusal.taken, account_id):
            raise
        for rule, key in locks:
            await limits.forget(rule, key)
        wanted, taken = await _take_in(ctx, rules.logins, locks)
    if locks and taken[1].used > -(-own[0].capacity // 2):
        await limits.give_back(*common, ctx.now)
        wanted = wanted[1:]
    return Attempt(wanted, name)


async def _take_in(ctx: Context, area: Area, locks: Wanted) -> tuple[Wanted, list[Taken]]:
    """Count one of each lock, and one for the neighbourhood and the server while limits are on; or none of them.

    When the server's budget is spent, whoever comes from a neighbourhood that has had no part in it still finds the newcomers'.
    Raises LockedOut, Throttled.
    """
    limits, wanted = ctx.services.limits, list(locks)
    if ctx.is_limited:
        wanted += [(area.network, neighbourhood(ctx.client.address)), (area.server, "")]
    taken = await limits.take_each(wanted, ctx.now)
    refused = [each for each in taken if not each.is_allowed]
    if len(refused) == 1 and refused[0].rule.name == area.server.name and taken[-2].used <= 1:
        wanted[-1] = (area.newcomers, "")
        taken = await limits.take_each(wanted, ctx.now)
        refused = [each for each in taken if not each.is_allowed]
    if not refused:
        return wanted, taken
    rule = refused[0].rule
    ctx.services.metrics.refuse(rule.name, ctx.now)
    raise LockedOut(refused[0]) if rule.guards else Throttled(refused[0])


async def _count_known(ctx: Context, account_id: str, key: str) -> Attempt:
    """Count against the budget of a known device or place. Raises LockedOut."""
    if not ctx.settings.limits.lockout:
        return Attempt([])
    rule, key = ctx.services.rules.lockout_device, _digest(ctx, key)
    taken = await take_of_account(ctx, rule, key, account_id)
    if not taken.is_allowed:
        ctx.services.metrics.refuse(rule.name, ctx.now)
        raise LockedOut(taken)
    return Attempt([(rule, key)])


def _name(ctx: Context, email: str) -> str:
    return _digest(ctx, folded(email))


def _digest(ctx: Context, text: str) -> str:
    """What budgets are counted by: the audit keeps it, and the store of counters, which others may read."""
    return ctx.services.digester.digest("limited", text).hex()[:32]


def _from_here(ctx: Context, name: str) -> str:
    return f"{name}@{network(ctx.client.address)}"
