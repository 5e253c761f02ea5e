"""What we write. Each mail has a text and an HTML template of the same name; values are escaped in HTML, and kept to one line."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTPUTF8, default
from email.utils import format_datetime, make_msgid
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

MOST_HEADER = 80
_UNRULY = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]+")
_LINKS = re.compile(r"[/\\@]|:\S|\w\.\w{2}")

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
    "identity_linked": "Another way into your {title} account",
    "identity_unlinked": "A way into your {title} account was removed",
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
    name = greetable(message.to_name)
    given = {"title": title, "name": name, "year": moment.year, **message.values}
    values = {key: one_line(value) if isinstance(value, str) else value for key, value in given.items()}
    mail = EmailMessage(policy=default if (sender + message.to).isascii() else SMTPUTF8)
    mail["From"] = _mailbox(sender_name, sender)
    mail["To"] = _mailbox(name, message.to)
    mail["Subject"] = SUBJECTS[message.template].format(title=one_line(title)[:MOST_HEADER])
    mail["Date"] = format_datetime(moment)
    mail["Message-ID"] = make_msgid(domain=sender.rpartition("@")[2] or "localhost")
    mail["Auto-Submitted"] = "auto-generated"
    # Not quoted-printable, which would break links for whoever reads the file; no line comes near SMTP's limit of 998.
    mail.set_content(_templates.get_template(f"{message.template}.txt").render(values), cte="8bit")
    mail.add_alternative(_templates.get_template(f"{message.template}.html").render(values), subtype="html")
    return mail


def one_line(text: str) -> str:
    """The text without what could begin another line, or turn the reading direction of what follows."""
    return _UNRULY.sub(" ", text).strip()


def greetable(name: str) -> str:
    """The name, unless it looks like a link: anybody can register a stranger's address under the name `prize.example/win`."""
    name = one_line(name)
    return "" if _LINKS.search(name) else name[:MOST_HEADER].strip()


def _mailbox(name: str, address: str) -> Address:
    local, _, domain = address.rpartition("@")
    return Address(one_line(name)[:MOST_HEADER].strip(), local, domain)
