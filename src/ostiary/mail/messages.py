"""What we write. Each mail has a text and an HTML template of the same name; values are escaped in HTML, and kept to one line."""

from __future__ import annotations

from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime, formataddr, make_msgid
from typing import Any

import msgspec
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

_templates = Environment(
    loader=PackageLoader("ostiary.mail"),
    autoescape=select_autoescape(["html"]),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)

SUBJECTS = {
    "verification": "Verify your email",
    "reset": "Password Reset Request",
    "reset_done": "Password Reset Successfully",
    "already_registered": "You already have an account",
    "invitation": "Invite to join {title}!",
    "key_verification": "Activate your {title} account",
    "email_change": "{title} Email Address Change Verification",
    "email_changed": "Your {title} email address was changed",
    "hint": "Your {title} password hint",
    "new_sign_in": "New Login Detected - {title}",
    "password_changed": "Your {title} password was changed",
    "two_factor_enabled": "Two-factor authentication was switched on",
    "two_factor_disabled": "Two-factor authentication was switched off",
    "backup_code_used": "A backup code was used to sign in",
    "refresh_reused": "A session of yours was ended",
    "test": "{title} can send mail",
}
"""Template name → subject, as the wires have them (librechat-wire 11.2, librepass-wire 14)."""


class Message(msgspec.Struct, frozen=True):
    """One mail: which, to whom, and what it speaks of."""

    template: str
    to: str
    to_name: str
    values: dict[str, Any]


def rendered(message: Message, *, sender: str, sender_name: str, title: str, now: int) -> EmailMessage:
    """The mail as it is sent, plain text and HTML. Raises ValueError for an address that would break a header."""
    moment = datetime.fromtimestamp(now / 1_000_000, UTC)
    values = {"title": title, "name": message.to_name, "year": moment.year, **message.values}
    mail = EmailMessage()
    mail["From"] = formataddr((_one_line(sender_name), sender))
    mail["To"] = formataddr((_one_line(message.to_name), message.to)) if message.to_name else message.to
    mail["Subject"] = SUBJECTS[message.template].format(title=_one_line(title))
    mail["Date"] = format_datetime(moment)
    mail["Message-ID"] = make_msgid(domain=sender.rpartition("@")[2] or "localhost")
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content(_templates.get_template(f"{message.template}.txt").render(values))
    mail.add_alternative(_templates.get_template(f"{message.template}.html").render(values), subtype="html")
    return mail


def _one_line(text: str) -> str:
    return " ".join(text.split())[:200]
