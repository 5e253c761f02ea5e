"""Secrets that a test can tell anywhere: what was handed out or typed in, and every form in which it could turn up again."""

from __future__ import annotations

import re
import secrets
import sqlite3
import subprocess
from base64 import b32decode, b64encode
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

SHORTEST = 6


@dataclass
class Canaries:
    """Name → value. An address may stand where accounts are kept; nothing else may stand anywhere."""

    values: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, value: str) -> str:
        """Note a secret; one name may have many."""
        assert len(value) >= SHORTEST, (name, value)
        self.values[f"{name} {len(self.values)}"] = value
        return value

    def fresh(self, name: str) -> str:
        """A text that nobody else has."""
        return self.add(name, f"canary-{secrets.token_hex(8)}-Lantern")

    def found_in(self, data: bytes, *, without: str = "") -> list[str]:
        """The names of those that are in there, in any form; `without` leaves out names that begin so."""
        lowered = data.lower()
        return [
            name
            for name, value in self.values.items()
            if not (without and name.startswith(without)) and any(_is_in(form, lowered) for form in _forms(name, value))
        ]


def _forms(name: str, value: str) -> Iterator[bytes]:
    raw = value.encode()
    yield raw.lower()
    if len(value) <= 8:
        # Codes: any longer form of so few characters would turn up by chance.
        return
    yield quote(value, safe="").lower().encode()
    yield raw.hex().encode()
    yield b64encode(raw).rstrip(b"=").lower()
    if re.fullmatch(r"([0-9a-fA-F]{2}){16,}", value):
        yield bytes.fromhex(value).lower()
    if name.startswith("totp secret"):
        secret = b32decode(value + "=" * (-len(value) % 8))
        yield secret.lower()
        yield secret.hex().encode()
    if value.startswith("eyJ"):
        yield value.rpartition(".")[2].lower().encode()


def _is_in(form: bytes, data: bytes) -> bool:
    if len(form) > 8:
        return form in data
    # A code is found as a word of its own: digits within a longer number are no code.
    return re.search(rb"(?<![0-9a-z.])" + re.escape(form) + rb"(?![0-9a-z])", data) is not None


def dump(url: str, pg_dump: Path) -> Iterator[tuple[str, str]]:
    """Every line of the database as a backup has it, with the table that it is of."""
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
            for line in connection.iterdump():
                found = re.match(r'INSERT INTO "(\w+)"', line)
                yield (found[1] if found else ""), line
        return
    done = subprocess.run([pg_dump, "--dbname", url], capture_output=True, text=True, check=True)
    table = ""
    for line in done.stdout.splitlines():
        if found := re.match(r"COPY public\.(\w+) ", line):
            table = found[1]
        elif line == "\\.":
            table = ""
        yield table, line
