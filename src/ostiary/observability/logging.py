"""Structured logs: one event per outcome, the same keys everywhere, JSON or readable; never a secret, never a whole address."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable
from contextvars import ContextVar
from typing import NoReturn, TextIO

import msgspec
import structlog
from structlog.typing import EventDict, Processor

request_id: ContextVar[str] = ContextVar("request_id", default="")

log: structlog.stdlib.BoundLogger = structlog.get_logger("ostiary")


_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING}
_STAMP = structlog.processors.TimeStamper(fmt="iso", utc=True)
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


class _Output:
    """Where this program's own lines go and what they look like; `set_up` chooses. Other libraries' go by way of `logging`."""

    stream: TextIO = sys.stderr
    least = logging.INFO
    render: Callable[[EventDict], str]


def set_up(log_format: str, level: str) -> None:
    """Send every log line of this process to standard error in one format."""
    is_json = log_format == "json" or (log_format == "auto" and not sys.stderr.isatty())
    _Output.stream = sys.stderr
    _Output.least = logging.getLevelNamesMapping()[level.upper()]
    # Not the renderer's own choice: where `rich` is installed that shows local variables, and with them passwords.
    console = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)
    _Output.render = staticmethod(_json_line if is_json else lambda event: console(None, "", event))
    shared: list[Processor] = [structlog.stdlib.add_log_level, structlog.stdlib.add_logger_name, _STAMP, _with_request_id]
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
    structlog.configure(
        processors=[_loud_enough, structlog.stdlib.add_log_level, _STAMP, _with_request_id, _write],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=lambda *_: None,
        cache_logger_on_first_use=True,
    )


def _loud_enough(_logger: object, method: str, event: EventDict) -> EventDict:
    if _LEVELS.get(method, logging.ERROR) < _Output.least:
        raise structlog.DropEvent
    return event


def _write(_logger: object, _method: str, event: EventDict) -> NoReturn:
    """The end of a line: written here, and handed to nobody else."""
    event["logger"] = "ostiary"
    _Output.stream.write(f"{_rendered(None, '', event)}\n")
    raise structlog.DropEvent


def _rendered(_logger: object, _method: str, event: EventDict) -> str:
    line = _Output.render(event)
    # The text of somebody else's exception may have carried it here.
    return _GIVES_ACCESS.sub("(hidden)", line) if "@" in line or "lp_" in line or "eyJ" in line else line


def _json_line(event: EventDict) -> str:
    if event.get("exc_info"):
        event = structlog.processors.format_exc_info(None, "", event)
    return msgspec.json.encode(event, enc_hook=str).decode("utf-8", "replace")


def _with_request_id(_logger: object, _method: str, event: EventDict) -> EventDict:
    if found := request_id.get():
        event.setdefault("request_id", found)
    return event
