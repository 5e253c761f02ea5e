"""What commands print: one JSON value with `--json`, lines for a person without; and how they ask and fail."""

from __future__ import annotations

import functools
import json
import re
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import click
import msgspec

UNITS = {"s": timedelta(seconds=1), "m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}
LONGEST = timedelta(days=3650)
_PART = re.compile(r"([0-9]{1,9})([smhd])")
_WHOLE = re.compile(rf"(?:{_PART.pattern})+")


class TroubleError(click.ClickException):
    """What a person can do something about: the words name what is wrong and what to do. Exit code 1."""


class Answer(msgspec.Struct, frozen=True):
    """What a command found or did: `value` for programs, `text` for people. A failure makes the exit code 1."""

    value: Any
    text: str
    is_failure: bool = False


class Duration(click.ParamType[timedelta]):
    """`90s`, `30m`, `2h`, `7d`, or several of them: `1d12h`."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:  # noqa: ANN401
        """Raises UsageError, naming the form."""
        if isinstance(value, timedelta):
            return value
        text = str(value).strip().lower()
        total = sum((int(number) * UNITS[unit] for number, unit in _PART.findall(text)), timedelta())
        if not _WHOLE.fullmatch(text) or not timedelta() < total <= LONGEST:
            self.fail(f"{value!r} is not a duration such as 90s, 30m, 2h or 7d (at most {LONGEST.days}d).", param, ctx)
        return total


def answering(body: Callable[..., Answer]) -> Callable[..., None]:
    """Give a command `--json`, print what it answers, and leave with 1 when that is a failure."""

    @click.option("--json", "as_json", is_flag=True, help="Print one JSON value.")
    @functools.wraps(body)
    def run(*, as_json: bool, **arguments: Any) -> None:  # noqa: ANN401 - the command's own
        answer = body(**arguments)
        click.echo(json.dumps(answer.value, indent=2) if as_json else answer.text)
        if answer.is_failure:
            click.get_current_context().exit(1)

    return run


def confirm(question: str, *, yes: bool) -> None:
    """Ask before something is destroyed, but only a person at a terminal. Aborts when the answer is no."""
    if not yes and sys.stdin.isatty():
        click.confirm(question, abort=True, err=True)


def note(words: str) -> None:
    """Tell a person something beside the answer."""
    click.echo(words, err=True)


def printable(value: object) -> str:
    """A text that came from outside, without what a terminal would obey."""
    text = "" if value is None else str(value)
    return "".join(character if character.isprintable() else f"\\x{ord(character):02x}" for character in text)


def moment(micros: int | None) -> str | None:
    """An instant for programs: `2026-01-31T12:00:00Z`."""
    return None if micros is None else datetime.fromtimestamp(micros // 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def spoken(micros: int | None) -> str:
    """An instant for people: `2026-01-31 12:00:00`, UTC."""
    return (moment(micros) or "-").replace("T", " ").removesuffix("Z")


def table(headings: Sequence[str], rows: Sequence[Sequence[object]], otherwise: str) -> str:
    """Columns under headings; `otherwise` when there are no rows."""
    if not rows:
        return otherwise
    cells = [tuple(headings), *(tuple(printable(value) or "-" for value in row) for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(headings))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells)


def facts(pairs: Sequence[tuple[str, object]]) -> str:
    """A name and a value a line, the values under one another."""
    width = max(len(name) for name, _ in pairs)
    return "\n".join(f"{name.ljust(width)}  {printable(value) or '-'}" for name, value in pairs)
