"""Password accounts: the server checks the password (bcrypt, away from the loop)."""

from __future__ import annotations

import asyncio
from typing import Protocol

import msgspec

from ostiary.crypto.passwords import Asker, HashingBusyError, PasswordHash
from ostiary.identity import blocklist, credentials, devices, throttle
from ostiary.identity.accounts import Candidate
from ostiary.identity.advice import advice
from ostiary.identity.blocklist import Blocklist, Person
from ostiary.identity.context import Context
from ostiary.identity.methods import Verified
from ostiary.identity.refusals import Busy, FederationRefused, PasswordRefused, ProofRefused
from ostiary.observability.logging import log

MOST_CHARACTERS = 128


class Password(msgspec.Struct, frozen=True):
    """An e-mail and the password as typed."""

    email: str
    password: str


class Config(msgspec.Struct, frozen=True):
    """What a password credential holds."""

    scheme: str
    hash: str


def check_form(ctx: Context, password: str) -> None:
    """The rules of form for a new password. Raises PasswordRefused with the rule's name."""
    length = len(password.encode("utf-16-le", "surrogatepass")) // 2
    if "\0" in password:
        raise PasswordRefused("nul")
    if length < ctx.settings.passwords.min_length:
        raise PasswordRefused("short")
    if length > MOST_CHARACTERS:
        raise PasswordRefused("long")
    if is_blank(password):
        raise PasswordRefused("blank")


def is_blank(password: str) -> bool:
    """Whether it is white space alone, as JavaScript knows it: a byte order mark is some."""
    return not password.replace("\ufeff", "").strip()


class Breaches(Protocol):
    """Who knows the passwords of breaches."""

    async def holds(self, password: str) -> bool:
        """Whether this is one. Raises FederationRefused when there is no answer."""
        ...


async def check(ctx: Context, password: str, person: Person) -> None:
    """All rules for a new password, the same wherever one is chosen. Before the first write. Raises PasswordRefused."""
    check_form(ctx, password)
    if ctx.settings.passwords.refuse_common:
        if blocklist.is_of_own_words(password, person, ctx.settings):
            raise PasswordRefused("own_words")
        words = await asyncio.to_thread(_complaint, ctx.services.blocklist, password)
        if words is not None:
            raise PasswordRefused("common", words)
    if ctx.services.breaches is not None:
        await _check_breaches(ctx, ctx.services.breaches, password)


async def _check_breaches(ctx: Context, breaches: Breaches, password: str) -> None:
    """Nobody is kept out because somebody else's server is down: then the password is taken, and the operator told."""
    outcomes = ctx.services.metrics.breach_checks
    try:
        is_known = await breaches.holds(password)
    except FederationRefused as refusal:
        outcomes.labels("unanswered").inc()
        log.warning("breaches:unanswered", reason=refusal.reason)
        return
    outcomes.labels("breached" if is_known else "clean").inc()
    if is_known:
        raise PasswordRefused("breached", await asyncio.to_thread(advice, password))


def _complaint(known: Blocklist, password: str) -> str | None:
    """Words about a password that is on a list, perhaps empty ones; None for any other."""
    return advice(password) if password in known else None


def asker(ctx: Context, account: str = "") -> Asker:
    """Whose turn a hash takes: that of the client's network, and that of the account, however it is named."""
    return Asker(throttle.network(ctx.client.address), account, ctx.client.is_gone)


async def hashed(ctx: Context, password: str, account: str = "") -> str:
    """The config of a new credential. Hash before the first write. Raises Busy."""
    try:
        made = await ctx.services.hasher.make(password, asker(ctx, account))
    except HashingBusyError as error:
        raise Busy(error.reason, error.retry_after) from error
    return msgspec.json.encode(Config(made.scheme, made.text)).decode()


class PasswordMethod:
    """See `Method`."""

    kind = credentials.PASSWORD

    async def verify(self, ctx: Context, candidate: Candidate | None, proof: Password) -> Verified:
        config = msgspec.json.decode(candidate.config, type=Config) if candidate and candidate.config else None
        hasher = ctx.services.hasher
        # A device that the account knows has a turn of its own: strangers cannot put their tries before the owner's.
        device = devices.known(ctx, candidate.account.id if candidate else "")
        account = f"{throttle.folded(proof.email)} {device or ''}"
        try:
            # NUL ends a password for bcrypt: `a` and `a\0b` would be one. It is refused, after the same work.
            has_nul = "\0" in proof.password
            stored = PasswordHash(config.scheme, config.hash) if config and not has_nul else None
            verdict = await hasher.verify(proof.password, stored, asker(ctx, account))
            ctx.services.metrics.password_checks.inc()
            if candidate is None:
                raise ProofRefused("unknown_account")
            if config is None:
                raise ProofRefused("no_password")
            if not verdict.is_right:
                raise ProofRefused("mismatch")
            renewed = await hashed(ctx, proof.password, account) if verdict.is_outdated else None
        except HashingBusyError as error:
            raise Busy(error.reason, error.retry_after) from error
        return Verified(candidate, ("pwd",), renewed)
