"""Signing in by a directory that checks names and passwords in place of our own."""

from __future__ import annotations

import unicodedata

from ostiary.identity import accounts, arrivals, audit, federated, throttle
from ostiary.identity.context import Context
from ostiary.identity.credentials import FEDERATED
from ostiary.identity.federated import Directory
from ostiary.identity.refusals import DirectoryRefused, DirectoryUnavailable, GroupRefused, Refusal
from ostiary.identity.sign_in import FactorRequired, SignedIn, Ticket

MOST_IDENTIFIER = 320


async def sign_in(
    ctx: Context, directory: Directory, identifier: str, password: str, ticket: Ticket
) -> SignedIn | FactorRequired:
    """Ask the directory, outside of any transaction, then find or make the account and admit.

    Raises ProofRefused, LockedOut, DirectoryUnavailable, Busy, and what `federated.enter` raises.
    """
    if not _is_text(identifier):
        raise DirectoryRefused("malformed")
    candidate = await accounts.candidate(ctx, identifier, FEDERATED)
    counted = await throttle.attempt(ctx, skeleton(identifier), candidate)
    try:
        assertion = await directory.authenticate(ctx, identifier, password)
    except Refusal as refusal:
        if isinstance(refusal, GroupRefused):
            await throttle.succeeded(ctx, counted)
        elif isinstance(refusal, DirectoryUnavailable):
            await throttle.never_mind(ctx, counted)
        why = refusal.code if isinstance(refusal, DirectoryUnavailable) else refusal.reason or refusal.code
        account_id = candidate.account.id if candidate is not None else None
        arrived = {arrivals.CLAIMS: arrivals.names_of(refusal.claims)} if isinstance(refusal, GroupRefused) else {}
        is_wrong = not isinstance(refusal, GroupRefused | DirectoryUnavailable)
        detail = throttle.trace(counted) if is_wrong else arrived
        await audit.record(ctx, audit.Event.SIGN_IN_REFUSED, account_id, why, method=directory.name, **detail)
        if is_wrong:
            await throttle.failed(ctx, counted)
        raise
    await throttle.succeeded(ctx, counted)
    return await federated.enter(ctx, assertion, ticket, may_create=True, first_is_admin=assertion.role is None)


def skeleton(identifier: str) -> str:
    """What a lockout by a directory's names is keyed by.

    Directories take case, accents, invisible characters and repeated blanks for nothing (RFC 4518; Active Directory even more),
    and every spelling with a counter of its own would be so many more guesses.
    """
    decomposed = unicodedata.normalize("NFKD", identifier).casefold()
    visible = (" " if character.isspace() else character for character in unicodedata.normalize("NFKD", decomposed))
    return " ".join("".join(character for character in visible if unicodedata.category(character)[0] not in "CM").split())


def _is_text(identifier: str) -> bool:
    """Whether it can be stored, counted and sent."""
    try:
        identifier.encode()
    except UnicodeEncodeError:
        return False
    return len(identifier) <= MOST_IDENTIFIER and "\0" not in identifier and bool(identifier.strip())
