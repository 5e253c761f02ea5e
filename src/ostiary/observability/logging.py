"""Structured logs: one event per outcome, the same keys everywhere, JSON or readable; never a secret, never a whole address."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

import msgspec
import structlog
from structlog.typing import EventDict, Processor

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


def _json_line(event: EventDict) -> str:
    if event.get("exc_info"):
        event = structlog.processors.format_exc_info(None, "", event)
    return msgspec.json.encode(event, enc_hook=str).decode("utf-8", "replace")


class _Output:
    """Which lines are written and what they look like; `set_up` chooses."""

    least = logging.INFO
    render: Callable[[EventDict], str] = staticmethod(_json_line)


class _Log:
    """This program's own lines, written at once; those of other libraries go by way of `logging`."""

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

    def _write(self, level: str, number: int, event: str, keys: EventDict) -> None:
        if number < _Output.least:
            return
        line = _placed(None, "", {**keys, "event": event, "level": level})
        line["logger"] = "ostiary"
        sys.stderr.write(f"{_rendered(None, '', line)}\n")


log = _Log()


def set_up(log_format: str, level: str) -> None:
    """Send every log line of this process to standard error in one format."""
    is_json = log_format == "json" or (log_format == "auto" and not sys.stderr.isatty())
    _Output.least = logging.getLevelNamesMapping()[level.upper()]
    # Not the renderer's own choice: where `rich` is installed that shows local variables, and with them passwords.
    console = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)
    _Output.render = staticmethod(_json_line if is_json else lambda event: console(None, "", event))
    shared: list[Processor] = [structlog.stdlib.add_log_level, structlog.stdlib.add_logger_name, _placed]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _rendered],
        ),
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name, quieter in _QUIETER.items():
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).setLevel(quieter)


def _rendered(_logger: object, _method: str, event: EventDict) -> str:
    line = _Output.render(event)
    # The text of somebody else's exception may have carried it here.
    return _GIVES_ACCESS.sub("(hidden)", line) if "@" in line or "lp_" in line or "eyJ" in line else line


def _placed(_logger: object, _method: str, event: EventDict) -> EventDict:
    """With its moment, and the request that it belongs to."""
    event["timestamp"] = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    if found := request_id.get():
        event.setdefault("request_id", found)
    return event
