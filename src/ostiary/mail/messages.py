"""What we write. Each mail has a text and an HTML template of the same name; values are escaped in HTML, and kept to one line."""

from __future__ import annotations

import re
import secrets
from datetime import UTC, datetime
from email.headerregistry import Address
from email.policy import SMTPUTF8, default
from email.utils import format_datetime, make_msgid
from functools import lru_cache
from typing import Any

import msgspec
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

_templates = Environment(
    loader=PackageLoader("ostiary.mail"),
    autoescape=select_autoescape(["html"]),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    # The templates are the program's own: they do not change while it runs, and are not looked at for it.
    auto_reload=False,
)

MOST_HEADER = 80
_UNRULY = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]+")
_PLAIN_NAME = re.compile(r"[A-Za-z0-9]+(?: [A-Za-z0-9]+){0,3}")
_PLAIN_ADDRESS = re.compile(r"[A-Za-z0-9][A-Za-z0-9_+-]*(?:\.[A-Za-z0-9_+-]+)*@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*")
_MOST_LINE = 78
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
    "factor_locked": "Second-factor codes of your {title} account are locked",
    "backup_codes_made": "New backup codes for your {title} account",
    "backup_code_used": "A backup code of your {title} account was used",
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


def rendered(message: Message, *, sender: str, sender_name: str, title: str, now: int) -> bytes:
    """The mail as it is sent, plain text and HTML. Raises ValueError for an address that would break a header.

    The standard library writes each header that is not the same as last time or plain; putting the parts together is ten lines,
    and takes it five times as long.
    """
    moment = datetime.fromtimestamp(now / 1_000_000, UTC)
    name = greetable(message.to_name)
    given = {"title": title, "name": name, "year": moment.year, **message.values}
    values = {key: one_line(value) if isinstance(value, str) else value for key, value in given.items()}
    is_ascii = (sender + message.to).isascii()
    boundary = f"=_{secrets.token_hex(16)}"
    head = (
        _mailbox("From", sender_name, sender, is_ascii=is_ascii),
        _mailbox("To", name, message.to, is_ascii=is_ascii),
        _header("Subject", SUBJECTS[message.template].format(title=one_line(title)[:MOST_HEADER]), is_ascii=is_ascii),
        f"Date: {format_datetime(moment)}\n",
        f"Message-ID: {make_msgid(domain=sender.rpartition('@')[2] or 'localhost')}\n",
        "Auto-Submitted: auto-generated\n",
        "MIME-Version: 1.0\n",
        f'Content-Type: multipart/alternative; boundary="{boundary}"\n\n',
    )
    parts = (_part(boundary, message.template, kind, subtype, values) for kind, subtype in (("txt", "plain"), ("html", "html")))
    return "".join((*head, *parts, f"--{boundary}--\n")).encode("utf-8", "replace")


def _part(boundary: str, template: str, kind: str, subtype: str, values: dict[str, Any]) -> str:
    text = _templates.get_template(f"{template}.{kind}").render(values)
    # Not quoted-printable, which would break links for whoever reads the file; no line comes near SMTP's limit of 998.
    return (
        f'--{boundary}\nContent-Type: text/{subtype}; charset="utf-8"\nContent-Transfer-Encoding: 8bit\n\n'
        f"{text.rstrip(chr(10))}\n\n"
    )


def one_line(text: str) -> str:
    """The text without what could begin another line, or turn the reading direction of what follows."""
    return _UNRULY.sub(" ", text).strip()


def greetable(name: str) -> str:
    """The name, unless it looks like a link: anybody can register a stranger's address under the name `prize.example/win`."""
    name = one_line(name)
    return "" if _LINKS.search(name) else name[:MOST_HEADER].strip()


def _mailbox(header: str, name: str, address: str, *, is_ascii: bool) -> str:
    name = one_line(name)[:MOST_HEADER].strip()
    line = f"{header}: {name} <{address}>\n" if name else f"{header}: {address}\n"
    if len(line) <= _MOST_LINE and _PLAIN_ADDRESS.fullmatch(address) and (not name or _PLAIN_NAME.fullmatch(name)):
        return line
    local, _, domain = address.rpartition("@")
    try:
        return _header(header, str(Address(name, local, domain)), is_ascii=is_ascii)
    except ValueError:
        if not name:
            raise
        # A name that stands for a line break (RFC 2047) must not keep the mail from its owner.
        return _mailbox(header, "", address, is_ascii=is_ascii)


@lru_cache(maxsize=256)
def _header(header: str, value: str, *, is_ascii: bool) -> str:
    """The header's line or lines, as the standard library folds and encodes them. Raises ValueError for one that would break."""
    policy = default if is_ascii else SMTPUTF8.clone(linesep="\n")
    return str(policy.fold(*policy.header_store_parse(header, value)))
