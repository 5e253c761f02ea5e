"""The local mailbox as a page: for whoever tries Ostiary on this machine without SMTP, and for nobody else.

Mails hold links that give access. So it is there only without SMTP, only for a browser on this machine that asks under a name of
this machine (a name that an attacker owns can be made to point here), for no page of another site, and for no other user: the
mailbox's files are closed to them as well.
"""

from __future__ import annotations

import asyncio
import re
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from urllib.parse import urlsplit

from starlette.responses import Response

from ostiary.http import peers
from ostiary.http.calls import Call, is_direct_loopback
from ostiary.settings import LOOPBACK_HOSTS
from ostiary.web.problems import problem
from ostiary.web.rendering import page

PATH = "/mailbox"
MOST_MAILS = 100
_NAME = re.compile(r"[0-9]{8}T[0-9]{12}-[0-9a-f]{8}\.eml")
_ADDRESS = re.compile(r"(https?://[^\s<>\"]+)")


def is_open(call: Call) -> bool:
    """Whether this browser may read it."""
    return _is_there(call) and peers.is_ours(call)


def _is_there(call: Call) -> bool:
    host = urlsplit(f"//{call.header(b'host') or ''}").hostname or ""
    is_here = is_direct_loopback(call) and host in LOOPBACK_HOSTS
    return not call.settings.mail.is_configured and is_here and call.header(b"sec-fetch-site") in {None, "none", "same-origin"}


async def show(call: Call) -> Response:
    """The newest mails, or the one that `mail=` names. Its text, never its HTML: what strangers wrote runs nowhere."""
    if not _is_there(call):
        return problem(call, 404, "refused.not_found")
    if not peers.is_ours(call):
        return problem(call, 403, "refused.mailbox")
    folder = call.settings.server.data / "mailbox"
    name = call.query("mail")
    if name is None:
        return page(call, "mailbox.html", mails=await asyncio.to_thread(_listed, folder))
    mail = await asyncio.to_thread(_read, folder, name)
    if mail is None:
        return problem(call, 404, "refused.not_found")
    return page(call, "mail.html", mail=mail, parts=_parts(call, mail))


def _listed(folder: Path) -> list[tuple[str, EmailMessage]]:
    names = sorted((file.name for file in folder.glob("*.eml") if _NAME.fullmatch(file.name)), reverse=True)
    found = ((name, _read(folder, name)) for name in names[:MOST_MAILS])
    return [(name, mail) for name, mail in found if mail is not None]


def _read(folder: Path, name: str) -> EmailMessage | None:
    # Only names as the mailbox gives them: nothing here can lead out of the folder.
    if not _NAME.fullmatch(name):
        return None
    try:
        return message_from_bytes((folder / name).read_bytes(), policy=policy.default)
    except OSError:
        return None


def _parts(call: Call, mail: EmailMessage) -> list[tuple[str, bool]]:
    """The text in pieces, and whether each is an address of ours, to be followed; a stranger's words never are."""
    body = mail.get_body(("plain",))
    text = str(body.get_content()) if body is not None else ""
    ours = tuple(f"{origin}/" for origin in call.settings.page_origins)
    return [(piece, piece.startswith(ours)) for piece in _ADDRESS.split(text) if piece]
