"""Limits by name, and the lockout that a stranger cannot use against an owner.

Every limit counts before the work is done. A failed proof costs the account's budget for unknown devices, of which one address
can spend no more than half; a device that has signed in before, or an address that the account has had a session from, keeps a
budget of its own.
"""

from __future__ import annotations

import ipaddress
import unicodedata
from dataclasses import dataclass

from ostiary.identity import audit, devices, sessions
from ostiary.identity.accounts import Candidate
from ostiary.identity.context import Context, micros
from ostiary.identity.refusals import LockedOut, Throttled
from ostiary.limits.store import Rule, Taken
from ostiary.settings import Settings

MINUTE = 60 * 1_000_000


@dataclass(frozen=True, slots=True)
class Rules:
    """Every named limit of a deployment."""

    login: Rule
    navigation: Rule
    register: Rule
    reset_request: Rule
    reset_submission: Rule
    verification_mail: Rule
    verification: Rule
    factor_address: Rule
    factor_challenge: Rule
    factor_account: Rule
    refresh: Rule
    mail_recipient: Rule
    lockout_account: Rule
    lockout_address: Rule
    lockout_device: Rule
    standard: Rule
    mail: Rule
    vault: Rule

    @classmethod
    def of(cls, settings: Settings) -> Rules:
        """The limits that the settings describe."""
        limits = settings.limits

        def window(name: str, most: int, period: int) -> Rule:
            return Rule(name, most, period)

        reset, verify = micros(limits.reset_window), micros(limits.verify_window)
        factor_max = limits.factor_max or limits.login_max
        factor_window = micros(limits.factor_window or limits.login_window)
        lockout = micros(limits.lockout_window)
        return cls(
            login=window("login.address", limits.login_max, micros(limits.login_window)),
            # A whole office may sit behind one address, and a sign-in elsewhere takes two of these (librechat-wire W-38).
            navigation=window("navigation.address", 10 * limits.login_max, micros(limits.login_window)),
            register=window("register.address", limits.register_max, micros(limits.register_window)),
            reset_request=window("reset_request.address", limits.reset_max, reset),
            reset_submission=window(
                "reset_submission.address",
                limits.reset_submission_max or limits.reset_max,
                micros(limits.reset_submission_window or limits.reset_window),
            ),
            verification_mail=window("verification_mail.address", limits.verify_max, verify),
            verification=window(
                "verification.address",
                limits.verify_submission_max or limits.verify_max,
                micros(limits.verify_submission_window or limits.verify_window),
            ),
            factor_address=window("factor.address", factor_max, factor_window),
            factor_challenge=window("factor.challenge", factor_max, factor_window),
            factor_account=window("factor.account", 10, 15 * MINUTE),
            refresh=window("refresh.address", 600, MINUTE),
            mail_recipient=window("mail.recipient", 3, 15 * MINUTE),
            lockout_account=window("lockout.account", limits.lockout_max, lockout),
            lockout_address=window("lockout.address", limits.lockout_max, lockout),
            lockout_device=window("lockout.device", limits.lockout_max, lockout),
            standard=Rule("standard", 20, 2 * MINUTE, "bucket"),
            mail=Rule("mail", 2, 10 * MINUTE, "bucket"),
            vault=Rule("vault", 200, 2 * MINUTE, "bucket"),
        )


@dataclass(frozen=True, slots=True)
class Attempt:
    """A counted try, to be uncounted when the proof turns out right; `also` is what else counted it."""

    rule: Rule
    key: str
    also: Attempt | None = None


def network(address: str) -> str:
    """What a limit by address is keyed by: an IPv4 address, or an IPv6 /64, which one household has whole."""
    if ":" not in address:
        return address
    try:
        parsed = ipaddress.IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(parsed) >> 64 << 64, 64)))


def folded(email: str) -> str:
    """What a limit by e-mail is keyed by: spellings that a person or a database could take for one another are one."""
    return unicodedata.normalize("NFKC", email.strip().strip('"')).casefold()[:320]


async def take(ctx: Context, rule: Rule, key: str) -> Taken | None:
    """Count one; None when limits are off. Raises Throttled."""
    if not ctx.is_limited:
        return None
    taken = await ctx.services.limits.take(rule, key, ctx.now)
    if not taken.is_allowed:
        ctx.services.metrics.limited.labels(rule.name).inc()
        raise Throttled(taken)
    return taken


async def may_mail(ctx: Context, email: str) -> bool:
    """Whether the recipient may get one more mail that strangers can ask for."""
    if not ctx.is_limited:
        return True
    taken = await ctx.services.limits.take(ctx.services.rules.mail_recipient, folded(email), ctx.now)
    return taken.is_allowed


async def attempt(ctx: Context, email: str, candidate: Candidate | None) -> Attempt | None:
    """Count a try to prove to be this account, known or not; None when lockout is off. Raises LockedOut."""
    if not ctx.settings.limits.lockout:
        return None
    rules = ctx.services.rules
    account_id = candidate.account.id if candidate is not None else None
    if account_id is not None and (device := devices.known(ctx, account_id)):
        return await _count(ctx, Attempt(rules.lockout_device, f"{account_id}:{device}"), account_id)
    try:
        return await _count_stranger(ctx, email, account_id)
    except LockedOut:
        if account_id is None or not await knows_address(ctx, account_id):
            raise
    return await _count(ctx, Attempt(rules.lockout_device, f"{account_id}@{network(ctx.client.address)}"), account_id)


async def knows_address(ctx: Context, account_id: str) -> bool:
    """Whether the account has had a session from the client's address; of an IPv6 household any, for they change by the day."""
    if await sessions.has_address(ctx, account_id):
        return True
    here = network(ctx.client.address)
    return here != ctx.client.address and any(network(address) == here for address in await sessions.addresses(ctx, account_id))


async def succeeded(ctx: Context, counted: Attempt | None) -> None:
    """The proof was right: that try does not count. Failures of others go on counting."""
    if counted is None:
        return
    if counted.rule is ctx.services.rules.lockout_device:
        await ctx.services.limits.forget(counted.rule, counted.key)
    else:
        await ctx.services.limits.give_back(counted.rule, counted.key, ctx.now)
        await succeeded(ctx, counted.also)


async def never_mind(ctx: Context, counted: Attempt | None) -> None:
    """The try came to nothing through no fault of whoever made it: it does not count, and nothing else changes."""
    while counted is not None:
        await ctx.services.limits.give_back(counted.rule, counted.key, ctx.now)
        counted = counted.also


async def unlock(ctx: Context, email: str) -> None:
    """Open the door again for unknown devices, as far as this process's counters reach."""
    await ctx.services.limits.forget(ctx.services.rules.lockout_account, folded(email))
    await ctx.services.limits.forget(ctx.services.rules.lockout_address, _from_here(ctx, email))


async def take_of_account(ctx: Context, rule: Rule, key: str, account_id: str | None) -> Taken:
    """Count one against an account. An operator's unlocking since the window began starts the counter anew.

    Counters may live in the server's memory, where the command line does not reach; the audit is what both see. It is asked
    only when the door is about to close.
    """
    limits = ctx.services.limits
    taken = await limits.take(rule, key, ctx.now)
    if taken.is_allowed or account_id is None:
        return taken
    began_at = taken.reset_at - rule.period
    if not await audit.latest(ctx, account_id=account_id, event=audit.Event.UNLOCKED, since=began_at, most=1):
        return taken
    await limits.forget(rule, key)
    return await limits.take(rule, key, ctx.now)


async def _count_stranger(ctx: Context, email: str, account_id: str | None) -> Attempt:
    """Count against the account's budget and the address's own, of the same size.

    What one address fails beyond half of it is its own affair: a stranger at one address cannot close the door to the owner at
    another, and many addresses together still get no more than the budget. Raises LockedOut.
    """
    rules, limits = ctx.services.rules, ctx.services.limits
    common = await _count(ctx, Attempt(rules.lockout_account, folded(email)), account_id)
    own = Attempt(rules.lockout_address, _from_here(ctx, email))
    taken = await take_of_account(ctx, own.rule, own.key, account_id)
    is_beyond_half = own.rule.capacity - taken.remaining > -(-own.rule.capacity // 2)
    if is_beyond_half or not taken.is_allowed:
        await limits.give_back(common.rule, common.key, ctx.now)
    if not taken.is_allowed:
        raise LockedOut(taken)
    return own if is_beyond_half else Attempt(own.rule, own.key, common)


def _from_here(ctx: Context, email: str) -> str:
    return f"{folded(email)}@{network(ctx.client.address)}"


async def _count(ctx: Context, tried: Attempt, account_id: str | None) -> Attempt:
    taken = await take_of_account(ctx, tried.rule, tried.key, account_id)
    if not taken.is_allowed:
        raise LockedOut(taken)
    return tried
