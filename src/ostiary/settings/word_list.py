"""The operator's file of refused passwords: UTF-8 text, a password a line. One that cannot serve stops the start."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from ostiary.settings.reading import SettingsError

NAME = "OSTIARY_PASSWORD_BLOCKLIST"
MOST_BYTES = 64 * 1024 * 1024
_DIGEST = re.compile(r"\s*[0-9A-Fa-f]{32,64}\s*(:\s*\d+\s*)?")


def check(path: Path) -> None:
    """Whether every line can be read, and there is one. Raises SettingsError."""
    first = next(lines(path), None)
    if first is not None and _DIGEST.fullmatch(first):
        raise SettingsError(f"{NAME} holds digests. Give a text file with a password a line, or set OSTIARY_HIBP_URL")
    count = sum(1 for _ in lines(path))
    if count == 0:
        raise SettingsError(f"{NAME} is empty. Give a text file with a password a line, or remove the setting")


def lines(path: Path) -> Iterator[str]:
    """Its passwords, as they are written. Raises SettingsError."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise SettingsError(f"{NAME} is larger than {MOST_BYTES >> 20} MB. Keep the most common passwords alone")
        with path.open(encoding="utf-8-sig") as file:
            for number, line in enumerate(file, 1):
                if "\0" in line:
                    raise SettingsError(f"{NAME} has NUL in line {number}. Give a UTF-8 text file with a password a line")
                if word := line.rstrip("\r\n"):
                    yield word
    except UnicodeDecodeError as error:
        raise SettingsError(f"{NAME} is not UTF-8. Save it as UTF-8 text, a password a line") from error
    except OSError as error:
        raise SettingsError(f"{NAME} cannot be read ({error.strerror}). Give the path of a readable text file") from error
