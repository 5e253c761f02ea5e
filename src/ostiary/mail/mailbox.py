"""The local mailbox: without SMTP, mails are files under OSTIARY_DATA, readable by the owner alone."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4


class LocalMailbox:
    """A folder of `.eml` files, one a mail, named by the moment."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    async def send(self, mail: bytes) -> None:
        """Write the file whole or not at all."""
        name = f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}-{uuid4().hex[:8]}.eml"
        draft = self.folder / f".{name}"
        try:
            file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileNotFoundError:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(file, "wb", buffering=0) as writing:
            writing.write(mail)
        draft.rename(self.folder / name)
