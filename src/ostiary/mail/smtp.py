"""SMTP, with certificates checked; and plain words for what keeps a mail from leaving."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from email import message_from_bytes
from email.policy import SMTPUTF8, default
from typing import Any

import aiosmtplib

from ostiary.mail.outbox import DeliveryError
from ostiary.settings import Mail

TIMEOUT_SECONDS = 10
MOST_CONNECTIONS = 4
DEFAULT_PORTS = {"none": 25, "starttls": 587, "tls": 465}


class SMTPTransport:
    """Sends over a few connections at once, a mail over each."""

    def __init__(self, settings: Mail) -> None:
        self._settings = settings
        self._places = asyncio.Semaphore(MOST_CONNECTIONS)

    @property
    def port(self) -> int:
        """EMAIL_PORT, or the usual one of the encryption."""
        return self._settings.port or DEFAULT_PORTS[self._settings.transport]

    async def send(self, mail: bytes) -> None:
        """Raises DeliveryError."""
        head = mail.partition(b"\n\n")[0]
        message = message_from_bytes(mail, policy=default if head.isascii() else SMTPUTF8)
        async with self._places, self._connected() as client:
            await client.send_message(message)

    async def check(self) -> None:
        """Go as far as one can without sending: connect, encrypt, log in. Raises DeliveryError."""
        async with self._connected() as client:
            await client.noop()

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[aiosmtplib.SMTP]:
        settings = self._settings
        client = aiosmtplib.SMTP(
            hostname=settings.host,
            port=self.port,
            use_tls=settings.transport == "tls",
            start_tls=settings.transport == "starttls",
            tls_context=_context(settings) if settings.transport != "none" else None,
            timeout=TIMEOUT_SECONDS,
        )
        try:
            async with client:
                if settings.authenticate and settings.username and settings.password.get_secret_value():
                    await client.login(settings.username, settings.password.get_secret_value())
                yield client
        except (aiosmtplib.SMTPException, OSError, ValueError) as error:
            raise DeliveryError(self._in_words(error)) from error

    def _in_words(self, error: Exception) -> str:
        chain = list(_causes(error))
        for kind, words in _WORDS:
            found = next((link for link in chain if isinstance(link, kind)), None)
            if found is not None:
                code = getattr(found, "code", None) or next((refused.code for refused in getattr(found, "recipients", ())), "")
                reason = getattr(found, "verify_message", "")
                return words.format(code=code, reason=reason, port=self.port, seconds=TIMEOUT_SECONDS)
        return f"the mail did not leave ({type(error).__name__})"


_WORDS: tuple[tuple[type[BaseException], str], ...] = (
    (aiosmtplib.SMTPAuthenticationError, "the server refused the login ({code}): look at EMAIL_USERNAME and EMAIL_PASSWORD"),
    (aiosmtplib.SMTPSenderRefused, "the server refused the sender ({code}): look at EMAIL_FROM"),
    (aiosmtplib.SMTPRecipientsRefused, "the server refused the recipient ({code})"),
    (aiosmtplib.SMTPRecipientRefused, "the server refused the recipient ({code})"),
    (aiosmtplib.SMTPResponseException, "the server answered {code}"),
    (
        ssl.SSLCertVerificationError,
        "the server's certificate does not hold ({reason}): look at EMAIL_HOST and EMAIL_ENCRYPTION_HOSTNAME",
    ),
    (ssl.SSLError, "the server does not speak TLS on port {port}: look at EMAIL_PORT and EMAIL_ENCRYPTION"),
    (socket.gaierror, "the name in EMAIL_HOST is unknown"),
    (ConnectionRefusedError, "nobody listens on port {port} there: look at EMAIL_HOST and EMAIL_PORT"),
    (TimeoutError, "no answer in {seconds} seconds: look at EMAIL_HOST, EMAIL_PORT, EMAIL_ENCRYPTION and at firewalls"),
    (asyncio.TimeoutError, "no answer in {seconds} seconds: look at EMAIL_HOST, EMAIL_PORT, EMAIL_ENCRYPTION and at firewalls"),
    (aiosmtplib.SMTPServerDisconnected, "the server hung up: look at EMAIL_PORT and EMAIL_ENCRYPTION"),
    (aiosmtplib.SMTPConnectError, "no connection to port {port}: look at EMAIL_HOST and EMAIL_PORT"),
    (aiosmtplib.SMTPException, "the server does not offer what is needed (STARTTLS, a login): look at EMAIL_ENCRYPTION"),
    (UnicodeError, "the server takes no addresses beyond ASCII"),
)
"""The first that fits something in the chain of causes."""


class _Context(ssl.SSLContext):
    """Expects the certificate of a given name, whatever host was called."""

    expected_host = ""

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,  # noqa: FBT001, FBT002 - ssl's own signature
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        return super().wrap_bio(incoming, outgoing, server_side, self.expected_host or server_hostname, session)


def _context(settings: Mail) -> ssl.SSLContext:
    context = _Context(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_default_certs()
    context.expected_host = settings.certificate_host
    if settings.allow_self_signed:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _causes(error: BaseException | None) -> Iterator[Any]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
