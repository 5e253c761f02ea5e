"""The guard before the front desk: one look at the raw headers, before anything is read, decided or written.

A server in front may read an ambiguous request otherwise than we do, and what one of the two lets through the other never saw
(RFC 9112 sections 3.2 and 6.3). So a request that could be read in two ways is turned away, and so is one for a name not ours.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from itertools import chain
from typing import Any
from urllib.parse import urlsplit

import msgspec

from ostiary.http.calls import repeated
from ostiary.settings import LOOPBACK_HOSTS, Settings

MOST_HEADERS = 100
MOST_HEADER_BYTES = 32 * 1024
MOST_TARGET = 8 * 1024
MOST_REMEMBERED = 256
PROBES = frozenset({"/health", "/livez", "/readyz", "/metrics"})
"""Asked by machines that know an address and no name; their answers name nobody."""
_ONCE = frozenset(
    {b"host", b"content-length", b"transfer-encoding", b"content-encoding", b"content-type", b"authorization", b"origin"}
)
_HOST = re.compile(rb"(?:[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,252})|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
_EVERY_ADDRESS = frozenset({"0.0.0.0", "::", ""})  # noqa: S104 - compared, not bound


class Fault(msgspec.Struct, frozen=True):
    """Why a request goes no further: the status, a sentence for who sent it, a word for the log."""

    status: int
    text: str
    reason: str


_DUPLICATE = Fault(400, "A header that may stand once is there twice", "duplicate_header")
_FRAMING = Fault(400, "The length of the body is ambiguous", "ambiguous_length")
_NO_HOST = Fault(400, "The Host header is missing or malformed", "host_malformed")
_FOREIGN_HOST = Fault(400, "This server does not answer to that host name", "host_unknown")
_COMPRESSED = Fault(415, "Compressed bodies are not accepted", "content_encoding")
_HEADERS = Fault(431, "Too many headers, or too large", "headers_too_large")
_TARGET = Fault(414, "The address is too long", "target_too_long")


class Guard:
    """Says what is wrong with a request's head, or None. Built once; a few microseconds a request."""

    def __init__(self, settings: Settings) -> None:
        self._names = allowed_names(settings)
        self._by_address = settings.server.host in _EVERY_ADDRESS
        self._remembered: set[bytes] = set()

    def __call__(self, scope: Mapping[str, Any]) -> Fault | None:
        """What is wrong with the head of this request."""
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        found = dict(headers)
        if len(found) < len(headers) and not _ONCE.isdisjoint(repeated(headers)):
            return _DUPLICATE
        size = sum(map(len, chain.from_iterable(headers)))
        if size > MOST_HEADER_BYTES or len(headers) > MOST_HEADERS:
            return _HEADERS
        if len(scope["query_string"]) + len(scope.get("raw_path") or b"") > MOST_TARGET:
            return _TARGET
        return self._framing(found) or self._host(found.get(b"host"), scope)

    def _framing(self, found: dict[bytes, bytes]) -> Fault | None:
        length, transfer = found.get(b"content-length"), found.get(b"transfer-encoding")
        if length is not None and (transfer is not None or not length.isdigit()):
            return _FRAMING
        if transfer is not None and transfer.lower() != b"chunked":
            return _FRAMING
        if found.get(b"content-encoding", b"identity").lower() != b"identity":
            return _COMPRESSED
        return None

    def _host(self, host: bytes | None, scope: Mapping[str, Any]) -> Fault | None:
        if host in self._remembered:
            return None
        if host is None:
            return None if scope["http_version"] == "1.0" else _NO_HOST
        if not _HOST.fullmatch(host):
            return _NO_HOST
        if not self._is_ours(host.decode("ascii").lower()):
            return None if scope["path"] in PROBES else _FOREIGN_HOST
        if len(self._remembered) < MOST_REMEMBERED:
            self._remembered.add(host)
        return None

    def _is_ours(self, host: str) -> bool:
        name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
        if not self._names or name in self._names:
            return True
        return self._by_address and _is_address(name)


def allowed_names(settings: Settings) -> frozenset[str]:
    """The host names that are ours; none when nobody has said them, and then every well-formed one is taken.

    Listening on one address only, its name and the machine's own are known without being said.
    """
    server = settings.server
    urls = (server.client_url, server.server_url)
    names = (server.librechat_host, server.librepass_host, settings.librepass.api_domain, *server.allowed_hosts)
    said = {
        *(urlsplit(url).hostname or "" for url in urls),
        *(urlsplit(name if "://" in name else f"//{name}").hostname or "" for name in names),
    } - {""}
    if not said and server.host in _EVERY_ADDRESS:
        return frozenset()
    return frozenset({*said, *LOOPBACK_HOSTS, server.host.lower()})


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
