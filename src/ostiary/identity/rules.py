"""Every named limit of a deployment. A name says what is limited and, behind its last dot, by what."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta

import msgspec

from ostiary.identity import accounts
from ostiary.identity.context import MICROSECONDS, Client, Services, begin, micros
from ostiary.limits.store import Rule
from ostiary.settings import Limits, Settings

MINUTE = 60 * 1_000_000
LEAST_OF_SERVER, OF_EACH_HUNDRED = 300, 3
"""Failed sign-ins of strangers, of the whole server: so many at least, and so many for each hundred accounts."""
NEWCOMERS_SHARE = 4
"""A quarter of a server's budget is kept for networks that have had no part in spending it."""


class Area(msgspec.Struct, frozen=True):
    """What is counted by network and for the whole server together (docs/decisions/013-shared-budgets.md)."""

    network: Rule
    server: Rule
    newcomers: Rule

    @classmethod
    def of(cls, what: str, network_max: int, server_max: int, period: int) -> Area:
        """A window for each network, one bucket for all, and one for networks that have not been counted yet."""
        return cls(
            Rule(f"{what}.network", network_max, period),
            Rule(f"{what}.server", server_max, period, "bucket"),
            Rule(f"{what}.newcomers", -(-server_max // NEWCOMERS_SHARE), period, "bucket"),
        )


class Rules(msgspec.Struct, frozen=True):
    """See the module."""

    login: Rule
    login_device: Rule
    logins: Area
    navigation: Rule
    register: Rule
    registrations: Area
    reset_request: Rule
    reset_submission: Rule
    verification_mail: Rule
    verification: Rule
    factor_address: Rule
    factor_device: Rule
    factor_challenge: Rule
    ban_device: Rule
    factor_account: Rule
    refresh: Rule
    mail_recipient: Rule
    mail_network: Rule
    lockout_account: Rule
    lockout_address: Rule
    lockout_device: Rule
    spray_network: Rule
    spray_server: Rule
    standard: Rule
    mail: Rule
    vault: Rule

    @classmethod
    def of(cls, settings: Settings, accounts_there: int = 0) -> Rules:
        """The limits that the settings describe, for so many accounts."""
        limits = settings.limits
        of_server = limits.login_server_max or max(LEAST_OF_SERVER, accounts_there * OF_EACH_HUNDRED // 100)
        lockout = micros(limits.lockout_window)

        def guard(name: str, most: int, period: int) -> Rule:
            return Rule(name, most, period, guards=True)

        return cls(
            **_of_librechat(limits),
            logins=Area.of("login", limits.login_network_max, of_server, lockout),
            registrations=Area.of(
                "register", limits.register_network_max, limits.register_server_max, micros(limits.register_window)
            ),
            factor_account=guard("factor.account", 10, 15 * MINUTE),
            refresh=Rule("refresh.address", 600, MINUTE),
            mail_recipient=Rule("mail.recipient", 3, 15 * MINUTE),
            mail_network=Rule("mail.network", limits.mail_network_max, 15 * MINUTE),
            lockout_account=guard("lockout.account", limits.lockout_max, lockout),
            lockout_address=guard("lockout.address", limits.lockout_max, lockout),
            lockout_device=guard("lockout.device", limits.lockout_max, lockout),
            spray_network=Rule("spray.network", limits.spray_network, lockout),
            spray_server=Rule("spray.server", limits.spray_server, lockout),
            standard=Rule("standard", 20, 2 * MINUTE, "bucket"),
            mail=Rule("mail", 2, 10 * MINUTE, "bucket"),
            vault=Rule("vault", 200, 2 * MINUTE, "bucket"),
        )

    def __iter__(self) -> Iterator[Rule]:
        """Each of them."""
        for name in self.__struct_fields__:
            found = getattr(self, name)
            yield from (found.network, found.server, found.newcomers) if isinstance(found, Area) else (found,)


async def fit(services: Services) -> None:
    """Make the limits those of as many accounts as there are now, and show them; what is counted stays."""
    there, after, is_over = 0, "", False
    while not is_over:
        async with begin(services, Client("", "limits")) as ctx:
            number, after = await accounts.count(ctx, after)
        there, is_over = there + number, not after
        # Whoever waits goes first.
        await asyncio.sleep(0)
    services.rules = Rules.of(services.settings, there)
    for rule in services.rules:
        services.metrics.describe_limit(rule.name, rule.capacity, rule.period / MICROSECONDS)


def _of_librechat(limits: Limits) -> dict[str, Rule]:
    """The windows whose numbers LibreChat's variables set (librechat-wire 2.1)."""

    def window(name: str, most: int, period: timedelta) -> Rule:
        return Rule(name, most, micros(period))

    def own(most: int) -> int:
        # One fewer than its address has: the sign-in that a device gets its mark from is counted at the address alone.
        return max(1, most - 1)

    factor_max, factor_window = limits.factor_max or limits.login_max, limits.factor_window or limits.login_window
    return {
        "login": window("login.address", limits.login_max, limits.login_window),
        "login_device": window("login.device", own(limits.login_max), limits.login_window),
        # A whole office may sit behind one address, and a sign-in elsewhere takes two of these (librechat-wire W-38).
        "navigation": window("navigation.address", 10 * limits.login_max, limits.login_window),
        "register": window("register.address", limits.register_max, limits.register_window),
        "reset_request": window("reset_request.address", limits.reset_max, limits.reset_window),
        "reset_submission": window(
            "reset_submission.address",
            limits.reset_submission_max or limits.reset_max,
            limits.reset_submission_window or limits.reset_window,
        ),
        "verification_mail": window("verification_mail.address", limits.verify_max, limits.verify_window),
        "verification": window(
            "verification.address",
            limits.verify_submission_max or limits.verify_max,
            limits.verify_submission_window or limits.verify_window,
        ),
        "factor_address": window("factor.address", factor_max, factor_window),
        "factor_device": window("factor.device", own(factor_max), factor_window),
        "ban_device": window("ban.device", own(limits.login_max), limits.login_window),
        "factor_challenge": window("factor.challenge", factor_max, factor_window),
    }
