"""A request as the faces of the core see it, and the few headers that all answers share."""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Iterable, Mapping, MutableMapping
from typing import Any
from urllib.parse import parse_qsl, unquote_to_bytes

import msgspec
from starlette.responses import Response

from ostiary.identity.context import Client, Context, Services, begin
from ostiary.limits.store import Taken
from ostiary.settings import Settings

Header = tuple[bytes, bytes]
JSON = b"application/json; charset=utf-8"
_LIMIT_NAMES = frozenset({b"x-ratelimit-limit", b"x-ratelimit-remaining", b"x-ratelimit-reset", b"retry-after"})
_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder()


NONE: frozenset[bytes] = frozenset()


class MalformedBodyError(Exception):
    """The body is not the JSON that it claims to be."""


class Call:
    """One request: its scope, its whole body, who asks, and the services that answer."""

    __slots__ = (
        "_repeated",
        "body",
        "client",
        "extra_headers",
        "headers",
        "is_limited",
        "method",
        "path",
        "path_params",
        "scope",
        "services",
    )

    def __init__(self, scope: MutableMapping[str, Any], body: bytes, services: Services, client: Client) -> None:
        self.scope = scope
        self.body = body
        self.services = services
        self.client = client
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.path_params: Mapping[str, str] = {}
        self.extra_headers: list[Header] = []
        self.is_limited = True
        given = scope["headers"]
        self.headers: dict[bytes, bytes] = dict(given)
        """By name, the last of several."""
        self._repeated = repeated(given) if len(self.headers) < len(given) else NONE

    @property
    def settings(self) -> Settings:
        """The settings."""
        return self.services.settings

    def begin(self) -> Context:
        """A unit of work for this client."""
        return begin(self.services, self.client, is_limited=self.is_limited)

    def header(self, name: bytes) -> str | None:
        """A header's value; None when it is absent or given twice."""
        value = self.headers.get(name)
        return None if value is None or name in self._repeated else value.decode("latin-1")

    def bearer(self) -> str | None:
        """The credentials of `Authorization: Bearer …`, the scheme in any case, one blank; None for anything else."""
        scheme, _, credentials = (self.header(b"authorization") or "").partition(" ")
        return credentials if scheme.lower() == "bearer" and credentials and " " not in credentials else None

    def cookie(self, name: str) -> str | None:
        """A cookie's value; None when it is absent or, under this name, sent twice with different values."""
        if b"cookie" not in self.headers:
            return None
        values = {
            value
            for key, header in self.scope["headers"]
            if key == b"cookie"
            for pair in header.decode("latin-1").split(";")
            for found, equals, value in [pair.strip().partition("=")]
            if equals and found == name
        }
        return values.pop() if len(values) == 1 else None

    def query(self, name: str, *, plus_is_blank: bool = True) -> str | None:
        """The first value of a query parameter, percent-decoded; None when it is absent."""
        wanted = name.encode()
        for part in self.scope["query_string"].split(b"&"):
            key, _, value = part.partition(b"=")
            if key == wanted or (b"%" in key and unquote_to_bytes(key) == wanted):
                return unquote_to_bytes(value.replace(b"+", b" ") if plus_is_blank else value).decode("utf-8", "replace")
        return None

    def json(self) -> Any:  # noqa: ANN401 - whatever the client sent
        """The body as JSON (RFC 8259), or MalformedBodyError."""
        try:
            return _decoder.decode(self.body)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            raise MalformedBodyError from error

    def form(self) -> dict[str, str]:
        """The body as a form, the last of equal names, or MalformedBodyError."""
        try:
            return dict(parse_qsl(self.body.decode("utf-8"), keep_blank_values=True, max_num_fields=50))
        except (ValueError, UnicodeDecodeError) as error:
            raise MalformedBodyError from error

    def show_limit(self, taken: Taken | None) -> None:
        """Put the limit's headers into the answer; a later limit's take the place of an earlier one's."""
        if taken is not None:
            kept = [header for header in self.extra_headers if header[0] not in _LIMIT_NAMES]
            self.extra_headers = [*kept, *limit_headers(taken)]


def repeated(headers: Iterable[Header]) -> frozenset[bytes]:
    """The names that stand more than once."""
    counts = Counter(name for name, _ in headers)
    return frozenset(name for name, count in counts.items() if count > 1)


def limit_headers(taken: Taken) -> list[Header]:
    """`X-RateLimit-*`, and `Retry-After` when refused (librechat-wire 2.1)."""
    headers = [
        (b"x-ratelimit-limit", b"%d" % taken.rule.capacity),
        (b"x-ratelimit-remaining", b"%d" % taken.remaining),
        (b"x-ratelimit-reset", b"%d" % -(-taken.reset_at // 1_000_000)),
    ]
    return headers if taken.is_allowed else [*headers, (b"retry-after", b"%d" % max(1, taken.retry_after))]


def json_response(value: object, status: int = 200, headers: Iterable[Header] = ()) -> Response:
    """A compact JSON answer."""
    return raw_response(_encoder.encode(value), JSON, status, headers)


def text_response(text: str, status: int = 200, headers: Iterable[Header] = ()) -> Response:
    """A plain answer as Express sends a string: text/html."""
    return raw_response(text.encode(), b"text/html; charset=utf-8", status, headers)


def redirect(location: str, status: int = 302) -> Response:
    """A redirect; the address must come from settings, never from the request's Host."""
    return raw_response(b"", None, status, [(b"location", location.encode("latin-1", "replace"))])


def raw_response(body: bytes, media_type: bytes | None, status: int = 200, headers: Iterable[Header] = ()) -> Response:
    """An answer with exactly these headers, and its length."""
    response = Response.__new__(Response)
    response.status_code = status
    response.body = body
    response.background = None
    response.raw_headers = [(b"content-length", b"%d" % len(body)), *headers]
    if media_type is not None:
        response.raw_headers.append((b"content-type", media_type))
    return response


def is_direct_loopback(call: Call) -> bool:
    """Whether this machine asks, and nobody through it: behind a proxy, everybody's peer is loopback."""
    forwarded = any(name in (b"x-forwarded-for", b"forwarded") for name, _ in call.scope["headers"])
    peer = call.scope["client"][0] if call.scope.get("client") else "127.0.0.1"
    try:
        return ipaddress.ip_address(peer).is_loopback and not forwarded
    except ValueError:
        return False


class AddressReader:
    """Who asks, behind proxies: `X-Forwarded-For` counts only as far as the settings believe it."""

    def __init__(self, settings: Settings) -> None:
        self._hops = settings.server.trusted_hops
        self._networks = [ipaddress.ip_network(entry, strict=False) for entry in settings.server.trusted_proxies]
        named = settings.server.address_header
        self._header = b"" if named == "remoteAddr" else named.lower().encode("latin-1")

    def __call__(self, scope: Mapping[str, Any]) -> str:
        """The client's address: the socket's peer, or the right-most address that no believed proxy owns."""
        peer: str = scope["client"][0] if scope.get("client") else "127.0.0.1"
        if not self._hops and not self._networks:
            return peer
        if self._header and self._is_trusted(peer):
            given = [value for key, value in scope["headers"] if key == self._header]
            return _parsed(given[0].decode("latin-1")) or peer if len(given) == 1 else peer
        lines = [value.decode("latin-1") for key, value in scope["headers"] if key == b"x-forwarded-for"]
        hops = [entry for line in lines for entry in line.split(",")][::-1]
        address = peer
        for index, entry in enumerate(hops):
            if not (index < self._hops or self._is_trusted(address)):
                break
            parsed = _parsed(entry)
            if parsed is None:
                return address
            address = parsed
        return address

    def _is_trusted(self, address: str) -> bool:
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(parsed in network for network in self._networks)


def _parsed(text: str) -> str | None:
    text = text.strip()[:64]
    if text.count(":") == 1:
        text = text.partition(":")[0]
    elif text.startswith("["):
        text = text[1:].partition("]")[0]
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return None
