"""What operators and their machines ask, outside both wires: health, readiness, metrics, the OpenAPI document."""

from __future__ import annotations

import asyncio
import hmac
from html import escape
from typing import TYPE_CHECKING, Any

from starlette.responses import Response

from ostiary import __version__
from ostiary.crypto.desks import Width
from ostiary.crypto.hashing import HashingPool
from ostiary.http.calls import Call, is_direct_loopback, json_response, raw_response, text_response
from ostiary.http.wire import Wire
from ostiary.identity import audit_chain
from ostiary.identity.audit_chain import BrokenChainError
from ostiary.identity.context import MICROSECONDS
from ostiary.identity.refusals import Refusal
from ostiary.mail import outbox
from ostiary.observability.metrics import Metrics
from ostiary.parts import Part
from ostiary.storage.database import UnavailableError

if TYPE_CHECKING:
    from fastapi.openapi import utils as openapi
else:
    openapi = Part("fastapi.openapi.utils")

PING_SECONDS = 2
JSON_TYPE = "application/json"
_TEXT = {"description": "Text", "content": {"text/html": {"schema": {"type": "string"}}}}
_PLAIN = {"description": "Prometheus", "content": {"text/plain; version=0.0.4; charset=utf-8": {"schema": {"type": "string"}}}}
_JSON = {"description": "JSON", "content": {"application/json": {"schema": {"type": "object"}}}}


class Operations(Wire):
    """See the module."""

    name = "operations"

    def __init__(self, wires: list[Wire]) -> None:
        super().__init__()
        self._wires = wires
        self._document: dict[str, Any] = {}
        ready = {200: _TEXT, 503: _TEXT}
        self.route("GET", "/health", self._health, summary="Whether it is ready to serve", answers=ready)
        self.route("GET", "/livez", self._live, summary="Whether the process lives", answers={200: _TEXT})
        self.route("GET", "/readyz", self._ready, summary="Each dependency", answers={200: _JSON, 503: _JSON})
        self.route("GET", "/metrics", self._metrics, summary="Prometheus metrics", answers={200: _PLAIN, 403: _JSON})
        self.route("GET", "/openapi.json", self._openapi, summary="This document", answers={200: _JSON})
        self.route("GET", "/docs", self._docs, summary="This document, to read", answers={200: _TEXT})

    async def _health(self, call: Call) -> Response:
        state = await dependencies(call)
        is_ready = can_serve(state)
        return text_response("OK" if is_ready else "NOT_READY", 200 if is_ready else 503)

    async def _live(self, _call: Call) -> Response:
        return text_response("OK")

    async def _ready(self, call: Call) -> Response:
        state = await dependencies(call)
        is_ready = can_serve(state)
        return json_response({"status": "ready" if is_ready else "not_ready", **state}, 200 if is_ready else 503)

    async def _metrics(self, call: Call) -> Response:
        token = call.settings.server.metrics_token.get_secret_value()
        presented = (call.bearer() or "").encode()
        # The address is judged after proxies: behind one, everybody's peer is loopback.
        may = hmac.compare_digest(presented, token.encode()) if token else is_direct_loopback(call)
        if not may:
            return json_response({"message": "Metrics need OSTIARY_METRICS_TOKEN, or a request from this machine"}, 403)
        _read_hasher(call.services.metrics, call.services.hasher)
        call.services.metrics.limit_keys.set(len(call.services.limits))
        call.services.metrics.limit_pushed_out.set(call.services.limits.pushed_out)
        await _read_queues(call)
        return raw_response(call.services.metrics.render(), b"text/plain; version=0.0.4; charset=utf-8")

    async def _openapi(self, call: Call) -> Response:
        return json_response(await asyncio.to_thread(self.document, call.settings.server.public_server_url))

    async def _docs(self, call: Call) -> Response:
        document = await asyncio.to_thread(self.document, call.settings.server.public_server_url)
        return raw_response(_page(document).encode(), b"text/html; charset=utf-8")

    def document(self, server: str) -> dict[str, Any]:
        """One OpenAPI document over both wires; where they meet, an operation holds both bodies and all answers."""
        if not self._document:
            wires = (*self._wires, self)
            written = _merged(
                [openapi.get_openapi(title="Ostiary", version=__version__, routes=each.app.routes) for each in wires]
            )
            self._document = {**written, "servers": [{"url": server}]}
        return self._document

    def refused(self, call: Call, refusal: Refusal) -> Response:  # noqa: ARG002 - nothing here refuses
        return json_response({"message": refusal.code}, 400)

    def malformed(self, call: Call) -> Response:  # noqa: ARG002
        return json_response({"message": "Malformed request"}, 400)

    def unavailable(self, call: Call, retry_after: int) -> Response:  # noqa: ARG002
        return json_response({"message": "Not available now"}, 503, [(b"retry-after", b"%d" % retry_after)])

    def failed(self, call: Call) -> Response:  # noqa: ARG002
        return json_response({"message": "An unknown error occurred."}, 500)

    def not_found(self, call: Call) -> Response:  # noqa: ARG002
        return json_response({"message": "Endpoint not found"}, 404)

    def wrong_method(self, call: Call, allowed: str) -> Response:  # noqa: ARG002
        return json_response({"message": "Method not allowed"}, 405, [(b"allow", allowed.encode())])

    def too_large(self, call: Call) -> Response:  # noqa: ARG002
        return json_response({"message": "Request body too large"}, 413, [(b"connection", b"close")])

    def turned_away(self, call: Call, status: int, text: str) -> Response:  # noqa: ARG002
        return json_response({"message": text}, status, [(b"connection", b"close")])


async def _read_queues(call: Call) -> None:
    """What waits in the database; what was read last while that is away."""
    metrics = call.services.metrics
    try:
        async with asyncio.timeout(PING_SECONDS), call.begin() as ctx:
            mails = await outbox.standing(ctx.db)
            metrics.mail_waiting.set(mails.waiting)
            metrics.mail_failing.set(mails.failing)
            metrics.mail_given_up.set(mails.given_up)
            metrics.mail_oldest.set((ctx.now - mails.oldest_at) // MICROSECONDS if mails.oldest_at is not None else 0)
            chain = await audit_chain.standing(ctx)
            metrics.audit_waiting.set(chain.waiting)
            metrics.audit_broken.set(0)
            if chain.head is not None:
                metrics.audit_head.set(chain.head.position)
                metrics.audit_head_at.set(chain.head.at // MICROSECONDS)
    except BrokenChainError:
        metrics.audit_broken.set(1)
    except (UnavailableError, TimeoutError):
        return


def _read_hasher(metrics: Metrics, hasher: HashingPool) -> None:
    metrics.hashing_waiting.set(hasher.waiting)
    metrics.hashing_running.set(hasher.computing)
    metrics.hashing_thread_seconds.set(hasher.thread_seconds)
    metrics.hashing_lane_seconds.set(hasher.lane_seconds)
    metrics.hashing_done.set(hasher.done)
    metrics.hashing_wait.set(hasher.estimated_wait())
    metrics.hashing_lanes.set(Width.lanes)
    metrics.hashing_threads.set(hasher.threads)
    for reason in ("full", "late", "gone"):
        metrics.hashing_shed.labels(reason).set(hasher.shed[reason])


def can_serve(state: dict[str, dict[str, Any]]) -> bool:
    """Whether the database answers: without Redis each process counts for itself, and that is no reason to stay away."""
    return bool(state["database"]["ok"])


async def dependencies(call: Call) -> dict[str, dict[str, Any]]:
    """What this process asks, and whether it answers within two seconds."""

    async def asked(name: str, ping: Any) -> tuple[str, dict[str, Any]]:  # noqa: ANN401 - a coroutine
        try:
            await asyncio.wait_for(ping, PING_SECONDS)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is not ready
            return name, {"ok": False, "error": type(error).__name__}
        return name, {"ok": True}

    services = call.services
    found = await asyncio.gather(asked("database", services.database.ping()), asked("limits", services.limits.ping()))
    return dict(found)


def _merged(documents: list[dict[str, Any]]) -> dict[str, Any]:
    whole = documents[0]
    for document in documents[1:]:
        for path, operations in document["paths"].items():
            for method, operation in operations.items():
                known = whole["paths"].setdefault(path, {}).get(method)
                whole["paths"][path][method] = _both(known, operation) if known else operation
    return whole


def _both(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    merged = {**one, "summary": f"{one['summary']}; {other['summary']}", "tags": [*one["tags"], *other["tags"]]}
    bodies = [part["requestBody"]["content"]["application/json"]["schema"] for part in (one, other) if "requestBody" in part]
    if bodies:
        merged["requestBody"] = {"required": False, "content": {"application/json": {"schema": {"anyOf": bodies}}}}
    responses: dict[str, Any] = dict(one["responses"])
    for status, answer in other["responses"].items():
        if status in responses:
            kinds = {**responses[status].get("content", {}), **answer.get("content", {})}
            schemas = [
                part["content"][JSON_TYPE].get("schema", {})
                for part in (responses[status], answer)
                if JSON_TYPE in part.get("content", {})
            ]
            if len(schemas) > 1:
                kinds[JSON_TYPE] = {"schema": {"anyOf": schemas}}
            responses[status] = {**answer, "content": kinds}
        else:
            responses[status] = answer
    return {**merged, "responses": responses}


def _page(document: dict[str, Any]) -> str:
    rows = "".join(
        f"<tr><td>{escape(method.upper())}</td><td><code>{escape(path)}</code></td>"
        f"<td>{escape(operation.get('summary', ''))}</td>"
        f"<td>{escape(', '.join(operation.get('tags', [])))}</td><td>{escape(', '.join(operation['responses']))}</td></tr>"
        for path, operations in sorted(document["paths"].items())
        for method, operation in operations.items()
    )
    return (
        "<!doctype html><html lang=en><meta charset=utf-8><title>Ostiary's API</title>"
        f"<h1>Ostiary {escape(__version__)}</h1><p>The whole document: <a href=/openapi.json>/openapi.json</a></p>"
        f"<table><thead><tr><th>Method<th>Path<th>What it does<th>Wire<th>Answers</thead><tbody>{rows}</tbody></table></html>"
    )
