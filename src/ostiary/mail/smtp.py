"""SMTP, with certificates checked."""

from __future__ import annotations

import ssl
from email.message import EmailMessage

import aiosmtplib

from ostiary.settings import Mail

TIMEOUT_SECONDS = 10
DEFAULT_PORTS = {"none": 25, "starttls": 587, "tls": 465}


class DeliveryError(Exception):
    """The mail did not leave; the text says why, without addresses."""


class SMTPTransport:
    """Sends one mail at a time."""

    def __init__(self, settings: Mail) -> None:
        self._settings = settings

    async def send(self, mail: EmailMessage) -> None:
        """Raises DeliveryError."""
        settings = self._settings
        context = ssl.create_default_context()
        if settings.allow_self_signed:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        client = aiosmtplib.SMTP(
            hostname=settings.host,
            port=settings.port or DEFAULT_PORTS[settings.transport],
            use_tls=settings.transport == "tls",
            start_tls=settings.transport == "starttls",
            tls_context=context if settings.transport != "none" else None,
            timeout=TIMEOUT_SECONDS,
        )
        try:
            async with client:
                if settings.authenticate and settings.username and settings.password.get_secret_value():
                    await client.login(settings.username, settings.password.get_secret_value())
                await client.send_message(mail)
        except aiosmtplib.SMTPResponseException as error:
            text = f"the server answered {error.code}"
            raise DeliveryError(text) from error
        except (aiosmtplib.SMTPException, OSError, ValueError) as error:
            raise DeliveryError(type(error).__name__) from error
