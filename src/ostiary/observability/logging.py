"""Structured logs: one event per outcome, the same keys everywhere, JSON or readable; never a secret, never a whole address."""

from __future__ import annotations

import logging
import re
import sys
import traceback
from collections.abc import Callable
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from ostiary.parts import Part

if TYPE_CHECKING:
    import structlog
else:
    structlog = Part("structlog")

request_id: ContextVar[str] = ContextVar("request_id", default="")

_GIVES_ACCESS = re.compile(r"[^\s\"'()<>=:,/\\]+@[\w.-]+|\blp_\w{16,}|\beyJ[\w-]+\.[\w-]+\.[\w-]*")
"""An address, and the tokens of both wires."""

# These would name whole URLs, with codes in their queries, or every step of a migration.
_QUIETER = {
    "uvicorn.error": "WARNING",
    "uvicorn.access": "ERROR",
    "alembic": "WARNING",
    "httpx": "WARNING",
    "httpcore": "WARNING",
}


Line = dict[str, Any]


def _json_line(line: Line) -> str:
    if found := line.pop("exc_info", None):
        error = sys.exc_info()[1] if found is True else found[1]
        line["exception"] = "".join(traceback.format_exception(error)).rstrip()
    return msgspec.json.encode(line, enc_hook=str).decode("utf-8", "replace")


class _Output:
    """Which lines are written and what they look like; `set_up` chooses."""

    least = logging.INFO
    render: Callable[[Line], str] = staticmethod(_json_line)


class _Log:
    """This program's own lines, written at once; those of other libraries come by way of `logging` (`_Others`)."""

    def info(self, event: str, **keys: Any) -> None:  # noqa: ANN401 - whatever the line should say
        """A line."""
        self._write("info", logging.INFO, event, keys)

    def warning(self, event: str, **keys: Any) -> None:  # noqa: ANN401
        """A line that an operator should look at."""
        self._write("warning", logging.WARNING, event, keys)

    def error(self, event: str, **keys: Any) -> None:  # noqa: ANN401
        """A line that an operator must look at."""
        self._write("error", logging.ERROR, event, keys)

    def exception(self, event: str, **keys: Any) -> None:  # noqa: ANN401
        """The same with the trace of the exception that is being handled."""
        self._write("error", logging.ERROR, event, {**keys, "exc_info": True})

    def _write(self, level: str, number: int, event: str, keys: Line) -> None:
        if number < _Output.least:
            return
        sys.stderr.write(f"{_rendered({**keys, 'event': event, 'level': level}, 'ostiary')}\n")


log = _Log()


class _Others(logging.Formatter):
    """Lines of other libraries, as ours are."""

    def format(self, record: logging.LogRecord) -> str:
        """See `logging`."""
        line: Line = {"event": record.getMessage(), "level": record.levelname.lower()}
        if record.exc_info:
            line["exc_info"] = record.exc_info
        return _rendered(line, record.name)


def set_up(log_format: str, level: str) -> None:
    """Send every log line of this process to standard error in one format."""
    is_json = log_format == "json" or (log_format == "auto" and not sys.stderr.isatty())
    _Output.least = logging.getLevelNamesMapping()[level.upper()]
    _Output.render = staticmethod(_json_line if is_json else _console())
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Others())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name, quieter in _QUIETER.items():
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).setLevel(quieter)


def _console() -> Callable[[Line], str]:
    # Not the renderer's own choice: where `rich` is installed that shows local variables, and with them passwords.
    console = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)
    return lambda line: console(None, "", line)


def _rendered(line: Line, logger: str) -> str:
    """With its moment, the request that it belongs to, and who says it."""
    line["timestamp"] = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    if found := request_id.get():
        line.setdefault("request_id", found)
    line["logger"] = logger
    text = _Output.render(line)
    # The text of somebody else's exception may have carried it here.
    return _GIVES_ACCESS.sub("(hidden)", text) if "@" in text or "lp_" in text or "eyJ" in text else text
