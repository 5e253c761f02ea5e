"""A mail server that keeps what it is given."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from email import message_from_bytes, policy
from threading import Condition
from typing import TYPE_CHECKING, Self

from aiosmtpd.controller import Controller

from tests.services import free_port

if TYPE_CHECKING:
    from email.message import EmailMessage
    from types import TracebackType

    from aiosmtpd.smtp import SMTP, Envelope, Session

PATIENCE_SECONDS = 60
"""A mail that is on its way comes sooner; on a busy machine it may take its time."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """A mail as it arrived: whom the envelope named, and what was in it."""

    recipients: tuple[str, ...]
    message: EmailMessage

    def is_for(self, recipient: str, subject_contains: str) -> bool:
        """Whether the envelope names the recipient and the subject has the words."""
        return recipient in self.recipients and subject_contains in self.message["Subject"]


class MailServer:
    """Speaks plain SMTP on `port`, in a thread of its own; `deliveries` has everything since the start."""

    def __init__(self) -> None:
        self.port = 0
        self.deliveries: list[Delivery] = []
        self._unclaimed: list[Delivery] = []
        self._arrived = Condition()
        self._controller: Controller | None = None

    def __enter__(self) -> Self:
        self.port = free_port()
        self._controller = Controller(self, hostname="127.0.0.1", port=self.port)
        self._controller.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        if self._controller is not None:
            self._controller.stop()

    async def wait_for(
        self,
        recipient: str,
        subject_contains: str = "",
        timeout: float = PATIENCE_SECONDS,  # noqa: ASYNC109 - the one waiting is a thread, which no cancellation reaches
    ) -> EmailMessage:
        """As `wait`, while the event loop of the test goes on."""
        return await asyncio.to_thread(self.wait, recipient, subject_contains, timeout)

    def wait(self, recipient: str, subject_contains: str = "", timeout: float = PATIENCE_SECONDS) -> EmailMessage:
        """The first such mail not handed out before: asking again waits for the next. Raises AssertionError."""
        deadline = time.monotonic() + timeout
        with self._arrived:
            while True:
                for delivery in self._unclaimed:
                    if delivery.is_for(recipient, subject_contains):
                        self._unclaimed.remove(delivery)
                        return delivery.message
                if not self._arrived.wait(deadline - time.monotonic()):
                    subjects = [str(delivery.message["Subject"]) for delivery in self.deliveries]
                    text = f"no mail to {recipient} about {subject_contains!r} in {timeout} s; there were {subjects}"
                    raise AssertionError(text)

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's
        """Keep one mail."""
        content = envelope.content
        raw = content if isinstance(content, bytes) else str(content).encode()
        delivery = Delivery(tuple(envelope.rcpt_tos), message_from_bytes(raw, policy=policy.default))
        with self._arrived:
            self.deliveries.append(delivery)
            self._unclaimed.append(delivery)
            self._arrived.notify_all()
        return "250 OK"
