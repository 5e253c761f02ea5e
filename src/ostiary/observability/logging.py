"""Structured logs: one event per outcome, the same keys everywhere, JSON or readable; never a secret, never a whole address."""

from __future__ import annotations

import logging
import sys
from contextvars import ContextVar
from typing import Any

import msgspec
import structlog

request_id: ContextVar[str] = ContextVar("request_id", default="")

log: structlog.stdlib.BoundLogger = structlog.get_logger("ostiary")


# These would name whole URLs, with codes in their queries, or every step of a migration.
_QUIETER = {
    "uvicorn.error": "WARNING",
    "uvicorn.access": "ERROR",
    "alembic": "WARNING",
    "httpx": "WARNING",
    "httpcore": "WARNING",
}


def set_up(log_format: str, level: str) -> None:
    """Send every log line of this process to standard error in one format."""
    is_json = log_format == "json" or (log_format == "auto" and not sys.stderr.isatty())
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _with_request_id,
    ]
    renderer: list[structlog.typing.Processor] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(serializer=_json)]
        if is_json
        else [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer],
        ),
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name, quieter in _QUIETER.items():
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).setLevel(quieter)
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )


def _with_request_id(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    if found := request_id.get():
        event.setdefault("request_id", found)
    return event


def _json(value: Any, **_options: Any) -> str:  # noqa: ANN401 - structlog's own signature
    return msgspec.json.encode(value, enc_hook=str).decode("utf-8", "replace")
