"""Renewing a provider's tokens: in passing when somebody needs them, and in the background so that sessions outlive them.

A refresh token may work once. So only one of all nodes renews a row at a time (it claims the row), nothing cancels a renewal that
has begun, and what the provider gave is tried on the database until it is written: a lost write would lose the grant.
"""

from __future__ import annotations

import asyncio

from ostiary.federation.oidc import OpenIDProvider
from ostiary.federation.transport import GRANT_DEAD
from ostiary.identity import provider_sessions, sessions
from ostiary.identity.context import Client, Context, Services, begin
from ostiary.identity.provider_sessions import Grant, ProviderSession
from ostiary.identity.refusals import FederationRefused
from ostiary.observability.logging import log
from ostiary.storage.database import UnavailableError

NOBODY = Client("", "renewal")
AT_ONCE = 8
"""Renewals that run beside each other: a provider answers sign-ins too."""
WRITE_PAUSES = (0.0, 0.1, 0.5, 2.0)
WAIT_SECONDS = 0.25
MOST_WAITS = 40


async def renewed(services: Services, provider: OpenIDProvider, row: ProviderSession) -> Grant:
    """Fresh tokens in the place of the row's, whoever gets them. Raises FederationRefused; GRANT_DEAD when there are no more.

    Talks to the provider: call it before the first write.
    """
    task = provider.renewals.get(row.holder)
    if task is None:
        task = provider.renewals[row.holder] = asyncio.ensure_future(_renewed(services, provider, row))
        task.add_done_callback(lambda done: _forget_task(provider, row.holder, done))
    # A browser that gives up must not leave behind a refresh token that is spent there and not replaced here.
    return await asyncio.shield(task)


async def renew_due(services: Services) -> int:
    """Renew all that is due and that no other node renews; how many rows were looked at."""
    looked_at = 0
    for provider in _providers(services).values():
        for row, grant in list(provider.unwritten.values()):
            await _write(services, provider, row, grant)
    while True:
        async with begin(services, NOBODY) as ctx:
            rows = await provider_sessions.due(ctx, AT_ONCE)
        if not rows:
            return looked_at
        looked_at += len(rows)
        await asyncio.gather(*(_renew_due(services, row) for row in rows))


async def _renew_due(services: Services, row: ProviderSession) -> None:
    provider = _providers(services).get(row.provider)
    async with begin(services, NOBODY) as ctx:
        if await sessions.by_id(ctx, row.holder) is None:
            # Ended by a ban, a reset or another device: what the provider gave for it has no use any more.
            await provider_sessions.forget(ctx, row.holder)
            return
        if provider is None:
            await provider_sessions.postpone(ctx, row)
            return
    try:
        await renewed(services, provider, row)
    except FederationRefused as refusal:
        log.warning("provider_tokens:not_renewed", provider=row.provider, account=row.account_id, reason=refusal.reason)


async def _renewed(services: Services, provider: OpenIDProvider, row: ProviderSession) -> Grant:
    if row.holder in provider.unwritten:
        of, grant = provider.unwritten[row.holder]
        await _write(services, provider, of, grant)
        return grant
    async with begin(services, NOBODY) as ctx:
        grant = provider_sessions.grant_of(ctx, row)
        if row.dead_at is not None:
            raise FederationRefused(GRANT_DEAD)
        is_ours = await provider_sessions.claim(ctx, row)
    if not is_ours:
        return await _renewed_elsewhere(services, row)
    try:
        fresh = await provider.refreshed(grant, row.issuer, row.subject)
    except FederationRefused as refusal:
        async with begin(services, NOBODY) as ctx:
            await (provider_sessions.bury if refusal.reason == GRANT_DEAD else provider_sessions.postpone)(ctx, row)
        raise
    await _write(services, provider, row, fresh)
    return fresh


async def _renewed_elsewhere(services: Services, row: ProviderSession) -> Grant:
    """What the one who claimed the row gets, or got. Raises FederationRefused."""
    for _ in range(MOST_WAITS):
        async with begin(services, NOBODY) as ctx:
            now = await provider_sessions.of_session(ctx, row.holder)
            if now is None:
                raise FederationRefused("session_ended")
            if now.dead_at is not None:
                raise FederationRefused(GRANT_DEAD)
            if now.sealed != row.sealed:
                return provider_sessions.grant_of(ctx, now)
            if now.claimed_until <= ctx.now:
                raise FederationRefused("renewal_failed_elsewhere")
        await asyncio.sleep(WAIT_SECONDS)
    raise FederationRefused("renewal_slow_elsewhere")


async def _write(services: Services, provider: OpenIDProvider, row: ProviderSession, fresh: Grant) -> None:
    """Keep what the provider gave: in the database, or here until that can be written again."""
    provider.unwritten[row.holder] = (row, fresh)
    for pause in WRITE_PAUSES:
        await asyncio.sleep(pause)
        try:
            async with begin(services, NOBODY) as ctx:
                await _replace(ctx, row, fresh)
        except UnavailableError:
            continue
        provider.unwritten.pop(row.holder, None)
        return
    log.error("provider_tokens:unwritten", provider=row.provider, account=row.account_id)


async def _replace(ctx: Context, row: ProviderSession, fresh: Grant) -> None:
    if await provider_sessions.renew(ctx, row, fresh):
        return
    # Sealed anew meanwhile, as when keys change: the same tokens, so these still take their place. Others stay as they are.
    now = await provider_sessions.of_session(ctx, row.holder)
    if now is not None and provider_sessions.grant_of(ctx, now) == provider_sessions.grant_of(ctx, row):
        await provider_sessions.renew(ctx, now, fresh)


def _providers(services: Services) -> dict[str, OpenIDProvider]:
    return {name: each for name, each in services.redirect_providers.items() if isinstance(each, OpenIDProvider)}


def _forget_task(provider: OpenIDProvider, holder: str, done: asyncio.Task[Grant]) -> None:
    provider.renewals.pop(holder, None)
    # If all who waited were cancelled, its failure is nobody's: asyncio would complain.
    if not done.cancelled():
        done.exception()
