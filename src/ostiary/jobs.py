"""What runs beside the requests: mail leaves, what expired is swept, providers' tokens are renewed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from random import SystemRandom
from typing import TYPE_CHECKING

from ostiary.crypto.sealing import SealBrokenError
from ostiary.federation import renewal
from ostiary.identity import (
    asks,
    audit,
    audit_chain,
    bans,
    challenges,
    deletion,
    key_ring,
    links,
    places,
    provider_sessions,
    resealing,
    rules,
    sessions,
)
from ostiary.identity.audit_chain import BrokenChainError
from ostiary.identity.context import Client, Services, begin
from ostiary.mail import outbox
from ostiary.mail.mailbox import LocalMailbox
from ostiary.mail.messages import rendered
from ostiary.mail.outbox import DeliveryError
from ostiary.observability.logging import log
from ostiary.parts import Part

if TYPE_CHECKING:
    from ostiary.mail import smtp
else:
    smtp = Part("ostiary.mail.smtp")

SWEEP_SECONDS = 60
SESSION_STEPS = 100
"""Of sessions.SWEEP_STEP, in each sweep: a million sessions are gone through in fifty minutes."""
RENEW_SECONDS = (20, 40)
LOOK_SECONDS = 5
AFTER_SECONDS = (0.05, 0.5)
FIT_SECONDS = 3600
LINK_SECONDS = 5
"""How long an event may wait for its place in the audit's chain."""
TELL_HEAD_SECONDS = 600
DAY = 24 * 3600 * 1_000_000
PLACES_RETENTION = 180 * DAY
_random = SystemRandom()
_NOBODY = Client("", "jobs")


class Jobs:
    """Background tasks of one process. Several processes may run them side by side: rows are claimed."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._wake = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._resealed = 0
        self._swept_to = ""
        self._chain_trouble = ""
        self._told_head = 0
        self._told_head_at = 0
        settings = services.settings
        self._transport = (
            smtp.SMTPTransport(settings.mail) if settings.mail.is_configured else LocalMailbox(settings.server.data / "mailbox")
        )
        services.wake_outbox = self._wake.set

    def start(self) -> None:
        """Begin."""
        forever = (self._mail_forever(), self._sweep_forever(), self._keys_forever(), self._link_forever(), self._fit_forever())
        self._tasks = [asyncio.create_task(each) for each in forever]
        if self._services.settings.reuses_tokens:
            self._tasks.append(asyncio.create_task(self._renew_forever()))

    async def stop(self) -> None:
        """End; a mail under way is finished or tried again by the next process. No event is left unlinked."""
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        if self._tasks:
            await self._guarded(self.link_audit)
            self._tasks = []

    async def dispatch(self) -> int:
        """Send all that is due now, some at a time; how many left."""
        sent = 0
        while rows := await self._claimed():
            # Side by side, so that what is written of them becomes durable together.
            found = await asyncio.gather(*(self._send(row) for row in rows), return_exceptions=True)
            for each in found:
                if isinstance(each, BaseException):
                    raise each
                sent += each
        return sent

    async def _claimed(self) -> list[outbox.Row]:
        async with begin(self._services, _NOBODY) as ctx:
            return await outbox.claim_due(ctx.db, ctx.now)

    async def _send(self, row: outbox.Row) -> bool:
        if row.kind.startswith(asks.PREFIX):
            return await self._answer(row)
        error = await self._deliver(row)
        async with begin(self._services, _NOBODY) as ctx:
            if error is None:
                await outbox.mark_sent(ctx.db, row, ctx.now)
            elif not await outbox.mark_failed(ctx.db, row, error, ctx.now):
                log.error("mail:abandoned", mail=row.id, kind=row.kind, error=error)
        self._services.metrics.mails.labels("sent" if error is None else "failed").inc()
        return error is None

    async def _answer(self, row: outbox.Row) -> bool:
        """Do what a stranger asked for, with the row's end in the same transaction. No mail leaves by this."""
        try:
            asked = outbox.opened(self._services.sealer, row)
        except SealBrokenError:
            async with begin(self._services, _NOBODY) as ctx:
                await outbox.mark_failed(ctx.db, row, "SealBrokenError", ctx.now)
            return False
        async with begin(self._services, asks.client_of(asked)) as ctx:
            await asks.answer(ctx, asked, self._services.answers)
            await outbox.mark_sent(ctx.db, row, ctx.now)
        return False

    async def sweep(self) -> None:
        """Delete what expired."""
        async with begin(self._services, _NOBODY) as ctx:
            await deletion.sweep_unverified(ctx)
            await challenges.sweep(ctx, ctx.now)
            await provider_sessions.sweep(ctx, ctx.now)
            await links.sweep(ctx, ctx.now - DAY)
            await places.sweep(ctx, ctx.now - PLACES_RETENTION)
            await bans.sweep(ctx, ctx.now)
            await key_ring.sweep(ctx)
            await outbox.sweep(ctx.db, ctx.now)
        await self._sweep_sessions()
        with contextlib.suppress(BrokenChainError):
            kept = self._services.settings.storage.audit_days * DAY
            await audit_chain.sweep(self._services, _NOBODY, self._services.clock() - kept)

    async def _sweep_sessions(self) -> None:
        """Go on where the last sweep stopped, a step at a time, so that no request waits for many."""
        for _ in range(SESSION_STEPS):
            async with begin(self._services, _NOBODY) as ctx:
                self._swept_to = await sessions.sweep(ctx, ctx.now - DAY, self._swept_to)
            if not self._swept_to:
                return
            await asyncio.sleep(0)

    async def link_audit(self) -> None:
        """Link the events that wait. Now and then the log is told the chain's head: a copy that nobody can change here."""
        try:
            head = await audit_chain.link_waiting(self._services, _NOBODY)
        except BrokenChainError as error:
            if self._chain_trouble != str(error):
                self._chain_trouble = str(error)
                async with begin(self._services, _NOBODY) as ctx:
                    await audit.record(ctx, audit.Event.CHAIN_BROKEN, None, str(error))
            return
        self._chain_trouble = ""
        now = self._services.clock()
        if head.position != self._told_head and now - self._told_head_at >= TELL_HEAD_SECONDS * 1_000_000:
            self._told_head, self._told_head_at = head.position, now
            log.info("audit:chain:head", head=str(head))

    async def look_for_keys(self) -> None:
        """Use the keys of the ring as they are now; seal anew what an earlier one sealed."""
        found = await key_ring.refresh(self._services)
        sealing = key_ring.of_purpose(self._services.keys, found, key_ring.Purpose.SEALING)
        used = key_ring.current(sealing, self._services.clock())
        if used is not None and used.number != self._resealed and used.finished_at is None:
            await resealing.reseal(self._services)
            self._resealed = used.number
        await resealing.finish(self._services, found)

    async def _deliver(self, row: outbox.Row) -> str | None:
        """What went wrong, or None."""
        settings = self._services.settings
        try:
            message = outbox.opened(self._services.sealer, row)
            mail = rendered(
                message,
                sender=settings.mail.sender or "ostiary@localhost",
                sender_name=settings.mail.sender_name or settings.server.product_name,
                title=settings.server.product_name,
                now=self._services.clock(),
            )
            await self._transport.send(mail)
        except (DeliveryError, SealBrokenError, ValueError, OSError) as error:
            log.warning(
                "mail:failed",
                mail=row.id,
                kind=row.kind,
                attempt=row.attempts + 1,
                error=str(error) or type(error).__name__,
            )
            return str(error) or type(error).__name__
        log.info("mail:sent", mail=row.id, kind=row.kind)
        return None

    async def _mail_forever(self) -> None:
        while True:
            await self._guarded(self.dispatch)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), LOOK_SECONDS)
                # Not right behind the request: what the work costs must not be felt by whoever asks next.
                await asyncio.sleep(_random.uniform(*AFTER_SECONDS))
            self._wake.clear()

    async def _sweep_forever(self) -> None:
        while True:
            await self._guarded(self.sweep)
            await asyncio.sleep(SWEEP_SECONDS)

    async def renew(self) -> int:
        """Renew the providers' tokens that are due; how many rows were looked at."""
        return await renewal.renew_due(self._services)

    async def _renew_forever(self) -> None:
        while True:
            # Several nodes shall not look at the same moment.
            await asyncio.sleep(_random.uniform(*RENEW_SECONDS))
            await self._guarded(self.renew)

    async def _fit_forever(self) -> None:
        while True:
            await asyncio.sleep(FIT_SECONDS)
            await self._guarded(self.fit_limits)

    async def fit_limits(self) -> None:
        """The limits of the whole server follow the number of accounts."""
        await rules.fit(self._services)

    async def _link_forever(self) -> None:
        while True:
            await self._guarded(self.link_audit)
            await asyncio.sleep(LINK_SECONDS)

    async def _keys_forever(self) -> None:
        while True:
            await self._guarded(self.look_for_keys)
            await asyncio.sleep(key_ring.LOOK_SECONDS)

    async def _guarded(self, job: Callable[[], Awaitable[object]]) -> None:
        try:
            await job()
        except Exception:
            log.exception("job:failed", job=job.__name__)
