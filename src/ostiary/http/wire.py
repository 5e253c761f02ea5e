"""What every wire is made of: routes, and the one place where an answer is found for whatever goes wrong.

Paths without parameters are answered straight from a table, the few with parameters by Starlette's patterns. FastAPI writes the
OpenAPI document, and is loaded when somebody asks for that (docs/decisions/001-http.md, 014-parts.md).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import cached_property, partial
from re import Pattern
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import compile_path

from ostiary.http.calls import Call, MalformedBodyError
from ostiary.identity.asks import Answer
from ostiary.identity.refusals import Refusal
from ostiary.observability.logging import log
from ostiary.parts import Part
from ostiary.storage.database import UnavailableError, UnstorableError

if TYPE_CHECKING:
    import fastapi
else:
    fastapi = Part("fastapi")

PAGES = "ostiary.pages"
"""Where a call has the pages (a `Wire`), when a browser opens a route for people by a name that has some."""
Endpoint = Callable[[Call], Awaitable[Response]]
Schema = Mapping[str, Any]
Body = Schema | Callable[[], Schema]
_UNDERSCORED = str.maketrans("/", "_", "{}")


class Wire:
    """One dialect's application. A dialect fills in the routes and says how trouble sounds in its words."""

    name: str = ""

    def __init__(self) -> None:
        self.exact: dict[tuple[str, str], Endpoint] = {}
        self.paths: set[str] = set()
        self.harmless: set[tuple[str, str]] = set()
        """GET routes that change nothing, so that HEAD may run them."""
        self.opened: set[tuple[str, str]] = set()
        """Routes that people come to by a link: trouble there may be shown as a page."""
        self._prefixes: tuple[str, ...] = ()
        self._patterns: dict[str, tuple[Pattern[str], dict[str, Endpoint]]] = {}
        self._entries: list[Callable[[], tuple[str, Endpoint, dict[str, Any]]]] = []

    def route(
        self,
        method: str,
        path: str,
        endpoint: Endpoint,
        *,
        summary: str,
        answers: Mapping[int, Schema],
        body: Body | None = None,
        query: Mapping[str, Schema] | None = None,
        tag: str = "",
        is_harmless: bool = True,
        is_opened: bool = False,
    ) -> None:
        """Serve `endpoint`; the rest is its entry in the OpenAPI document, and looked at when somebody asks for that.

        `is_opened` says that people come here, by a link in a mail or on their way back from elsewhere: where there are pages, a
        browser is shown trouble as one of them; every other client reads it in this wire's words.
        """
        guarded = partial(self._guarded, endpoint)
        if "{" not in path:
            self.exact[method, path] = guarded
            self.paths.add(path)
        else:
            self._prefixes += (path.partition("{")[0],)
            self._patterns.setdefault(path, (compile_path(path)[0], {}))[1][method] = guarded
        if method == "GET" and is_harmless:
            self.harmless.add((method, path))
        if is_opened:
            self.opened.add((method, path))
        about = {"summary": summary, "tags": [tag or self.name]}
        self._entries.append(partial(self._entry, method, path, guarded, about, answers, body, query or {}))

    def _entry(
        self,
        method: str,
        path: str,
        endpoint: Endpoint,
        about: Mapping[str, Any],
        answers: Mapping[int, Schema],
        body: Body | None,
        query: Mapping[str, Schema],
    ) -> tuple[str, Endpoint, dict[str, Any]]:
        parameters = [
            {"name": name, "in": "query", "required": False, "schema": dict(schema)} for name, schema in query.items()
        ] + [
            {"name": part[1:-1], "in": "path", "required": True, "schema": {"type": "string"}}
            for part in path.split("/")
            if part.startswith("{")
        ]
        extra: dict[str, Any] = {"parameters": parameters} if parameters else {}
        if body is not None:
            schema = dict(body() if callable(body) else body)
            extra["requestBody"] = {"required": False, "content": {"application/json": {"schema": schema}}}
        entry = {
            "methods": [method],
            **about,
            "response_class": Response,
            "status_code": min(answers),
            "responses": {status: dict(schema) for status, schema in answers.items()},
            "openapi_extra": extra,
            "operation_id": f"{self.name}_{method.lower()}_{path.strip('/').translate(_UNDERSCORED)}",
        }
        return path, endpoint, entry

    @cached_property
    def app(self) -> fastapi.FastAPI:
        """The same routes as FastAPI has them: what the OpenAPI document is written from."""
        app = fastapi.FastAPI(openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
        for path, endpoint, entry in (made() for made in self._entries):
            app.add_api_route(path, _adapted(endpoint), **entry)
        return app

    def answer(self, call: Call) -> Awaitable[Response]:
        """The answer, whatever happens."""
        endpoint = self.exact.get((call.method, call.path))
        return endpoint(call) if endpoint is not None else self._by_pattern(call)

    @property
    def answers(self) -> Mapping[str, Answer]:
        """What this wire does about strangers' requests for mail (`identity.asks`)."""
        return {}

    def knows(self, path: str) -> bool:
        """Whether a route of this wire has the path, under any method."""
        return path in self.paths or (bool(self._prefixes) and path.startswith(self._prefixes))

    def refused(self, call: Call, refusal: Refusal) -> Response:
        """The wire's words for a refusal."""
        raise NotImplementedError

    def malformed(self, call: Call) -> Response:
        """The wire's words for a body that cannot be read."""
        raise NotImplementedError

    def unavailable(self, call: Call, retry_after: int) -> Response:
        """The wire's words for "not now"; with Retry-After."""
        raise NotImplementedError

    def failed(self, call: Call) -> Response:
        """The wire's words for a fault of ours."""
        raise NotImplementedError

    def not_found(self, call: Call) -> Response:
        """The wire's words for an unknown path."""
        raise NotImplementedError

    def wrong_method(self, call: Call, allowed: str) -> Response:
        """The wire's words for a known path under another method; with Allow."""
        raise NotImplementedError

    def too_large(self, call: Call) -> Response:
        """The wire's words for a body over the limit."""
        raise NotImplementedError

    def turned_away(self, call: Call, status: int, text: str) -> Response:
        """The wire's words for a request that goes no further than its head; the connection ends with it."""
        raise NotImplementedError

    async def _guarded(self, endpoint: Endpoint, call: Call) -> Response:
        face: Wire = call.scope.get(PAGES, self)
        try:
            return await endpoint(call)
        except Refusal as refusal:
            return face.refused(call, refusal)
        except (MalformedBodyError, UnstorableError):
            return face.malformed(call)
        except UnavailableError as error:
            log.warning("dependency:unavailable", error=str(error), path=call.path)
            self._count_failure(call)
            return face.unavailable(call, error.retry_after)
        except Exception:
            log.exception("request:failed", path=call.path)
            self._count_failure(call)
            return face.failed(call)

    def _count_failure(self, call: Call) -> None:
        call.services.metrics.failures.labels(self.name).inc()

    async def _by_pattern(self, call: Call) -> Response:
        """A path without parameters is never another route's parameter."""
        for pattern, endpoints in self._patterns.values() if call.path not in self.paths else ():
            if call.method in endpoints and (found := pattern.match(call.path)):
                call.path_params = found.groupdict()
                return await endpoints[call.method](call)
        if allowed := self.allowed_methods(call.path):
            return self.wrong_method(call, allowed)
        return self.not_found(call)

    def allowed_methods(self, path: str) -> str:
        """The methods that a path knows, for `Allow`. A path without parameters is never another route's parameter."""
        methods = {method for method, known in self.exact if known == path}
        for pattern, endpoints in self._patterns.values() if not methods else ():
            if pattern.match(path):
                methods |= set(endpoints)
        return ", ".join(sorted(methods))


def _adapted(endpoint: Endpoint) -> Callable[[Request], Awaitable[Response]]:
    async def adapted(request: Request) -> Response:
        call: Call = request.scope["ostiary.call"]
        call.path_params = request.path_params
        return await endpoint(call)

    return adapted
