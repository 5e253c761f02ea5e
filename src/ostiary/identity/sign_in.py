"""Signing in: `sign_in` takes a first proof, `answer` a factor's, and both end in `admit`, the one door.

Whatever the way, bans, policy, the verified address and the factors owed are looked at here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from ostiary.crypto.tokens import TokenHash
from ostiary.identity import (
    accounts,
    audit,
    bans,
    challenges,
    credentials,
    devices,
    factors,
    notices,
    places,
    sessions,
    throttle,
    totp,
)
from ostiary.identity.accounts import Account, Arrival, Candidate
from ostiary.identity.context import Context
from ostiary.identity.factors import FactorProof
from ostiary.identity.methods import NOTHING, Proof, Verified
from ostiary.identity.refusals import (
    AddressUnverified,
    Banned,
    Busy,
    ChallengeGone,
    CodeRefused,
    FactorAbsent,
    ProofRefused,
    Refusal,
)
from ostiary.identity.sessions import Session, SessionRequest


class SignedIn(msgspec.Struct, frozen=True):
    """Let in."""

    account: Account
    session: Session


class FactorRequired(msgspec.Struct, frozen=True):
    """The first proof is right and a factor is owed: the challenge waits under the token's digest."""

    account: Account


class Ticket(msgspec.Struct, frozen=True):
    """What the caller wants to get: the session, and the token under which a challenge would wait."""

    session: SessionRequest
    challenge_hash: TokenHash


async def sign_in(ctx: Context, proof: Proof, ticket: Ticket, arrival: Arrival | None = None) -> SignedIn | FactorRequired:
    """Check a first proof and admit. Raises ProofRefused, LockedOut, Busy, and what `admit` raises.

    An `arrival` of the same unit spares the look-up, where it is of the proof's own identifier and kind.
    """
    method = ctx.services.methods[type(proof)]
    if arrival is not None and (arrival.address, arrival.kind) == (accounts.canonical(proof.email), method.kind):
        candidate = arrival.candidate
    else:
        candidate = await accounts.candidate(ctx, proof.email, method.kind)
    counted = await throttle.attempt(ctx, proof.email, candidate)
    try:
        verified = await method.verify(ctx, candidate, proof)
    except ProofRefused as refusal:
        await audit.record(
            ctx,
            audit.Event.SIGN_IN_REFUSED,
            candidate.account.id if candidate else None,
            refusal.reason,
            method=method.kind,
            **throttle.trace(counted),
        )
        await throttle.failed(ctx, counted)
        raise
    except Busy:
        # Nothing was proved or refuted: a busy server must not close the owner's door.
        await throttle.never_mind(ctx, counted)
        raise
    await throttle.succeeded(ctx, counted)
    return await admit(ctx, verified, ticket)


async def admit(ctx: Context, verified: Verified, ticket: Ticket) -> SignedIn | FactorRequired:
    """The one door. Raises Banned, AddressUnverified; answers with a session, or with the factor that is owed."""
    candidate, account = verified.candidate, verified.candidate.account
    try:
        await _check_policy(ctx, candidate)
    except Refusal as refusal:
        await audit.record(ctx, audit.Event.SIGN_IN_REFUSED, account.id, refusal.code, **verified.detail)
        raise
    if verified.renewed_config is not None and candidate.credential_id is not None:
        await credentials.renew(ctx, candidate.credential_id, candidate.config or "", verified.renewed_config)
    request = msgspec.structs.replace(ticket.session, handshake_epoch=verified.handshake_epoch)
    if account.has_factor:
        await challenges.open_challenge(ctx, account, ticket.challenge_hash, verified.amr, request)
        await audit.record(ctx, audit.Event.FACTOR_ASKED, account.id, **verified.detail)
        return FactorRequired(account)
    return await _let_in(ctx, candidate, request, verified.amr, verified.detail)


async def answer(
    ctx: Context,
    challenge_hash: TokenHash,
    proof: FactorProof,
    *,
    token_hash: TokenHash | None = None,
) -> SignedIn:
    """Answer a challenge with a factor's code; the challenge ends with the first right answer.

    With `token_hash` the session gets this token, and not the one that the first proof was given with.

    Raises ChallengeGone, CodeRefused, FactorLocked, Throttled, FactorAbsent, Banned.
    """
    challenge = await challenges.pending(ctx, challenge_hash)
    candidate = await accounts.candidate_by_id(ctx, challenge.account_id, "") if challenge else None
    if challenge is None or candidate is None or candidate.account.epoch != challenge.epoch:
        raise ChallengeGone
    account = candidate.account
    try:
        await _check_policy(ctx, candidate)
    except Refusal as refusal:
        await audit.tell(ctx, audit.Event.SIGN_IN_REFUSED, audit.Seldom(account.id), account.id, refusal.code)
        raise
    await factors.count_try(ctx, account)
    # Answers to one challenge take turns: a code must not be spent on a challenge that another answer has just ended.
    if not (await accounts.is_held(ctx, account) and await challenges.hold(ctx, challenge)):
        raise ChallengeGone
    try:
        method, step = await totp.consume(ctx, account, proof)
    except (CodeRefused, FactorAbsent) as refusal:
        await challenges.fail(ctx, challenge)
        await audit.record(ctx, audit.Event.FACTOR_REFUSED, account.id, refusal.reason or refusal.code)
        raise
    if not await challenges.take(ctx, challenge):
        raise ChallengeGone
    request = msgspec.json.decode(challenge.config, type=SessionRequest)
    request = msgspec.structs.replace(request, last_step=step, token_hash=token_hash or request.token_hash)
    return await _let_in(ctx, candidate, request, (*challenge.amr.split(), method, "mfa"))


async def _check_policy(ctx: Context, candidate: Candidate) -> None:
    if candidate.is_banned:
        ban = await bans.of(ctx, bans.ACCOUNT, candidate.account.id)
        raise Banned("account", ban.expires_at if ban else None)
    if ctx.settings.requires_verification and not candidate.account.is_verified:
        raise AddressUnverified


async def _let_in(
    ctx: Context,
    candidate: Candidate,
    request: SessionRequest,
    amr: tuple[str, ...],
    detail: Mapping[str, str] = NOTHING,
) -> SignedIn:
    account, live = candidate.account, candidate.live_sessions
    household = throttle.network(ctx.client.address)
    is_noted = places.is_noted(ctx, account.id, household)
    is_told = not is_noted and ctx.settings.mail.new_sign_in and await _is_news(ctx, candidate, request, household)
    session = await sessions.open_session(ctx, account, request, amr, live=live)
    if not is_noted:
        await places.remember(ctx, account.id, household)
    await audit.record(ctx, audit.Event.SIGNED_IN, account.id, amr=" ".join(amr), session=session.id, **detail)
    if is_told:
        await notices.warn(ctx, "new_sign_in", account)
    return SignedIn(account, session)


async def _is_news(ctx: Context, candidate: Candidate, request: SessionRequest, household: str) -> bool:
    """Whether the owner should hear of it: neither this device nor this place is known. A browser's first sign-in is no news."""
    account_id = candidate.account.id
    if devices.known(ctx, account_id) or await places.known(ctx, account_id, household) is not None:
        return False
    if request.kind == sessions.KEY or candidate.live_sessions:
        return True
    return bool(await audit.latest(ctx, account_id=account_id, event=audit.Event.SIGNED_IN, most=1))
