"""The front desk: which wire is this request's? It reads the body, chooses, and adds what all answers share.

Both APIs live under `/api/auth` and `/api/user`. A path that one wire alone knows is that wire's. Where they meet, and where
neither knows the path, what is presented decides (contract, "Both wires on one origin").
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from random import getrandbits

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from ostiary.dialects.guard import Fault, Guard
from ostiary.dialects.own_sessions import END_PATH
from ostiary.http.calls import AddressReader, Call, Header, MalformedBodyError, json_response, raw_response
from ostiary.http.cookies import DEVICE_COOKIE
from ostiary.http.wire import PAGES, Wire
from ostiary.identity.context import Client, Services
from ostiary.observability.logging import log, request_id

VAULT_PATIENCE = 6
"""A vault call's body may be a hundred times as large, and take this many times as long."""
KEY_MEMBERS = ("publicKey", "sharedKey")
VAULT_PATHS = ("/api/cipher", "/api/collection", "/api/user/email", "/api/user/password", "/account/key")
SAML_PATHS = frozenset({"/oauth/saml/callback", "/api/admin/oauth/saml/callback"})
MAX_SAML_BODY = 512 * 1024
"""256 KB of XML (`federation.saml_xml.MAX_BYTES`) in Base64, in a form: groups by the hundred stand in such answers."""
TRANSPORT = "ostiary.transport"
"""Where a server may leave the connection in the scope: whoever has hung up is not hashed for."""
ARRIVED = "ostiary.arrived"
"""Where a server may leave a function that gives the body if all of it is here; else, and for None, it is waited for."""
MEETING_PATHS = frozenset({"/api/auth/register", "/api/user/delete"})
_TOO_SLOW = Fault(408, "The body took too long", "body_too_slow")
_NOBODY = Client("")
_CONTENT_POLICY = b"content-security-policy"
_NOTHING_LOADS: Header = (_CONTENT_POLICY, b"default-src 'none'; frame-ancestors 'none'; base-uri 'none'")
"""For answers that are not pages; a page brings its own, and may say better what the shared headers say."""
_WITH_BODY = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_METHODS = frozenset({*_WITH_BODY, "GET", "HEAD", "OPTIONS"})


class _TooLargeError(Exception):
    pass


class _TooSlowError(Exception):
    pass


class _GoneError(Exception):
    pass


class FrontDesk:
    """Hands each request to a wire. `password_wire` is the default; `key_wire` answers what looks like its own."""

    def __init__(
        self, services: Services, operations: Wire, password_wire: Wire | None, key_wire: Wire | None, pages: Wire | None = None
    ) -> None:
        settings = services.settings
        self._services = services
        self._operations = operations
        self._pages = pages
        self._outside = dict.fromkeys(pages.paths if pages else (), pages) | dict.fromkeys(operations.paths, operations)
        """Paths that are no wire's."""
        self._password_wire = password_wire
        self._key_wire = key_wire
        self._address = AddressReader(settings)
        self._hosts = {
            host.lower(): wire
            for host, wire in (
                (settings.server.librechat_host, password_wire),
                (settings.server.librepass_host, key_wire),
            )
            if host and wire
        }
        self._owners = self._known_to_one()
        """Paths that one wire alone has, where both are served under every name."""
        self._origins = {origin.encode("latin-1", "replace") for origin in settings.browser_origins}
        self._guard = Guard(settings)
        self._body_seconds = settings.server.body_time.total_seconds()
        self._max_body = settings.server.max_body
        self._max_vault_body = settings.server.max_vault_body
        self._shared: list[Header] = [
            (b"cache-control", b"no-store"),
            (b"x-content-type-options", b"nosniff"),
            (b"referrer-policy", b"no-referrer"),
            (b"x-frame-options", b"DENY"),
            (b"cross-origin-resource-policy", b"same-origin"),
        ]
        if settings.server.no_index:
            self._shared.append((b"x-robots-tag", b"noindex"))
        if settings.server.public_server_url.startswith("https://"):
            self._shared.append((b"strict-transport-security", b"max-age=31536000"))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        # A name for the log, and nothing that guards anything.
        identifier = f"{getrandbits(64):016x}"
        request_id.set(identifier)
        call = Call(scope, b"", self._services, _NOBODY)
        call.client = self._client(call, identifier)
        try:
            fault = self._guard(call.scope)
            response = self._turned_away(call, fault) if fault else await self._answer(call, receive)
        except _GoneError:
            log.info("request:abandoned", path=call.path)
            return
        own = response.raw_headers
        shared = [*self._shared, (b"x-request-id", identifier.encode()), *self._cors(call.headers.get(b"origin"))]
        if _CONTENT_POLICY in (named := dict(own)):
            shared = [header for header in shared if header[0] not in named]
        else:
            shared.append(_NOTHING_LOADS)
        headers = [*own, *call.extra_headers, *shared]
        await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
        await send({"type": "http.response.body", "body": response.body})

    def _client(self, call: Call, identifier: str) -> Client:
        scope, device = call.scope, ""
        agent = (call.headers.get(b"user-agent") or b"").decode("latin-1")
        if call.headers.get(b"cookie") is not None:
            for name, value in scope["headers"]:
                if name == b"cookie" and b"ostiary_device=" in value:
                    device = value.decode("latin-1").partition(f"{DEVICE_COOKIE}=")[2].partition(";")[0].strip()
        transport = scope.get(TRANSPORT)
        return Client(self._address(scope), agent, identifier, device, _never if transport is None else transport.is_closing)

    async def _answer(self, call: Call, receive: Receive) -> Response:
        """Choose the wire, read the body, and let the wire answer."""
        # Taken out, since it leads back to the scope: nothing is left for the collector of garbage.
        arrived = call.scope.pop(ARRIVED, None)
        if call.method == "OPTIONS":
            return self._options(call)
        wire = self._by_path(call)
        if call.method not in _METHODS:
            return wire.wrong_method(call, wire.allowed_methods(call.path))
        if call.method == "HEAD":
            return self._head(call, wire) or await self._hand_over(call, wire)
        if call.method in _WITH_BODY:
            try:
                call.body = await self._body(call, receive, arrived)
            except _TooLargeError:
                return wire.too_large(call)
            except _TooSlowError:
                return self._turned_away(call, _TOO_SLOW)
        if call.path in MEETING_PATHS:
            wire = self._by_contents(call, wire)
        return await self._hand_over(call, wire)

    def _hand_over(self, call: Call, wire: Wire) -> Awaitable[Response]:
        is_opened = (call.method, call.path) in wire.opened
        if is_opened and self._pages is not None and _wants_page(call) and self._has_pages(call):
            call.scope[PAGES] = self._pages
        return wire.answer(call)

    async def _body(self, call: Call, receive: Receive, arrived: Callable[[], bytes | None] | None) -> bytes:
        most, seconds = self._max_body, self._body_seconds
        if call.path.startswith(VAULT_PATHS):
            most, seconds = self._max_vault_body, VAULT_PATIENCE * seconds
        if call.path in SAML_PATHS:
            most = max(most, MAX_SAML_BODY)
        body = arrived() if arrived is not None else None
        if body is None:
            return await _read_body(call.headers.get(b"content-length") or b"", receive, most, seconds)
        if len(body) > most:
            raise _TooLargeError
        return body

    def _turned_away(self, call: Call, fault: Fault) -> Response:
        host = (call.header(b"host") or "")[:80] if fault.reason.startswith("host") else None
        log.info("request:turned_away", path=call.path[:200], reason=fault.reason, **({"host": host} if host else {}))
        self._services.metrics.turned_away.labels(fault.reason).inc()
        return self._by_path(call).turned_away(call, fault.status, fault.text)

    def _wires_at(self, call: Call) -> tuple[Wire | None, Wire | None]:
        """The wires served under the name that the request came by: a wire with a host name of its own has no other."""
        if not self._hosts:
            return self._password_wire, self._key_wire
        here = self._hosts.get(_host(call))

        def served(wire: Wire | None) -> Wire | None:
            is_here = wire is here if here is not None else wire not in self._hosts.values()
            return wire if is_here else None

        return served(self._password_wire), served(self._key_wire)

    def _known_to_one(self) -> Mapping[str, Wire]:
        wires = [wire for wire in (self._password_wire, self._key_wire) if wire is not None]
        if self._hosts or len(wires) == 1:
            return {}
        paths = {path for wire in wires for path in wire.paths if path not in self._outside}
        knowing = {path: [wire for wire in wires if wire.knows(path)] for path in paths}
        return {path: found[0] for path, found in knowing.items() if len(found) == 1}

    def _by_path(self, call: Call) -> Wire:
        if (owner := self._owners.get(call.path)) is not None:
            return owner
        outside = self._outside.get(call.path)
        if outside is not None and (outside is not self._pages or self._has_pages(call)):
            return outside
        password_wire, key_wire = self._wires_at(call)
        if password_wire is None or key_wire is None:
            return password_wire or key_wire or self._operations
        in_password, in_key = password_wire.knows(call.path), key_wire.knows(call.path)
        if in_password != in_key:
            return password_wire if in_password else key_wire
        if call.path == END_PATH:
            # Both have it, for a wire that is served alone; its links are LibrePass's too.
            return key_wire
        if not in_password and self._pages is not None and _is_for_a_person(call) and self._has_pages(call):
            return self._pages
        return key_wire if _looks_like_key(call) else password_wire

    def _has_pages(self, call: Call) -> bool:
        """Whether the name that the request came by is not one that a wire has to itself."""
        return not self._hosts or _host(call) not in self._hosts

    def _by_contents(self, call: Call, wire: Wire) -> Wire:
        """Where both wires have the path, what is presented decides."""
        password_wire, key_wire = self._wires_at(call)
        if password_wire is None or key_wire is None:
            return wire
        if _has_key_bearer(call):
            return key_wire
        try:
            body = call.json() if call.body else {}
        except MalformedBodyError:
            return key_wire if _looks_like_key(call) else password_wire
        if not isinstance(body, Mapping):
            return key_wire if _looks_like_key(call) else password_wire
        # A body with both kinds of credential goes to the password wire, which refuses it: the desk never guesses.
        if any(member in body for member in KEY_MEMBERS) and "password" not in body:
            return key_wire
        return password_wire

    def _head(self, call: Call, wire: Wire) -> Response | None:
        # A mail scanner's HEAD must do nothing. Where GET changes nothing, it is answered alike; the server drops the body.
        if ("GET", call.path) in wire.exact and ("GET", call.path) not in wire.harmless:
            return raw_response(b"", None)
        if "GET" not in wire.allowed_methods(call.path):
            return wire.wrong_method(call, allowed) if (allowed := wire.allowed_methods(call.path)) else wire.not_found(call)
        call.method = "GET"
        # The server's own copy goes on saying HEAD: it drops the body.
        call.scope = {**call.scope, "method": "GET"}
        return None

    def _options(self, call: Call) -> Response:
        allowed, origin = self._by_path(call).allowed_methods(call.path), call.headers.get(b"origin")
        if origin is None:
            return raw_response(b"", None, 204, [(b"allow", (allowed or "OPTIONS").encode())])
        if origin not in self._origins:
            text = "Invalid CORS request"
            return json_response({"error": text, "status": 403, "message": text}, 403)
        asked = call.headers.get(b"access-control-request-headers")
        return raw_response(
            b"",
            None,
            204,
            [
                (b"access-control-allow-methods", b"GET, HEAD, PUT, PATCH, POST, DELETE, OPTIONS"),
                (b"access-control-max-age", b"1800"),
                *([(b"access-control-allow-headers", asked)] if asked else []),
            ],
        )

    def _cors(self, origin: bytes | None) -> list[Header]:
        if origin is None:
            return []
        vary: Header = (b"vary", b"Origin")
        if origin not in self._origins:
            return [vary]
        return [vary, (b"access-control-allow-origin", origin), (b"access-control-allow-credentials", b"true")]


def _never() -> bool:
    return False


def _host(call: Call) -> str:
    return (call.header(b"host") or "").partition(":")[0].lower()


def _is_for_a_person(call: Call) -> bool:
    """Whether a browser asks for something to show: not a path of an API, and a page is welcome."""
    return not call.path.startswith(("/api/", "/oauth/")) and _wants_page(call)


def _wants_page(call: Call) -> bool:
    """Whether a page is welcome; `*/*`, which programs send, does not say so."""
    return "text/html" in (call.header(b"accept") or "")


def _has_key_bearer(call: Call) -> bool:
    presented = call.header(b"authorization") or ""
    return presented.removeprefix("Bearer ").startswith("lp_")


def _looks_like_key(call: Call) -> bool:
    return _has_key_bearer(call) or call.header(b"x-api") is not None


async def _read_body(declared: bytes, receive: Receive, most: int, seconds: float) -> bytes:
    """The whole body, counted while it comes."""
    if declared.isdigit() and int(declared[:20]) > most:
        raise _TooLargeError
    if declared == b"0":
        return b""
    parts: list[bytes] = []
    size = 0
    message: Message = {"more_body": True}
    try:
        async with asyncio.timeout(seconds):
            while message.get("more_body"):
                message = await _next(receive)
                parts.append(message.get("body", b""))
                size += len(parts[-1])
                if size > most:
                    raise _TooLargeError
    except TimeoutError as error:
        raise _TooSlowError from error
    return b"".join(parts)


async def _next(receive: Receive) -> Message:
    message = await receive()
    if message["type"] == "http.disconnect":
        raise _GoneError
    return message
