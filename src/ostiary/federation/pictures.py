"""Pictures of people, fetched from where a provider says: bounded, not from inside our network, the bearer for whom it is meant.

The address comes from outside, and could make this server ask what its sender cannot reach (SSRF). Unless its origin is the
provider's own, or the operator named it, every address of its host must be public, and one that was looked at is the one asked.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlsplit

from ostiary.federation.transport import certificates
from ostiary.identity.pictures import Picture
from ostiary.identity.refusals import FederationRefused
from ostiary.parts import Part
from ostiary.settings.providers import Federation, is_safe_url

if TYPE_CHECKING:
    import httpx
else:
    httpx = Part("httpx")

SECONDS = 2
MOST_BYTES = 512 * 1024
OK = 200
_KINDS = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
)
_GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")
_TRANSLATED = ipaddress.ip_network("64:ff9b::/96")
"""NAT64's prefix (RFC 6052): the last 32 bits are an IPv4 address."""

Reader = Callable[[], Awaitable[Picture]]


class Pictures:
    """Where pictures are fetched from. `named` are origins that may lie inside, and get a bearer."""

    def __init__(self, settings: Federation, named: Iterable[str] = (), *, allow_http: bool = False) -> None:
        self._settings = settings
        self._named = frozenset(filter(None, map(origin_of, named)))
        self._allow_http = allow_http

    def reader(self, url: str, bearer: str = "", own: Iterable[str] = ()) -> Reader:
        """Fetches this one when called. `own` are addresses of the provider, trusted like those named."""
        trusted = self._named | set(filter(None, map(origin_of, own)))

        async def read() -> Picture:
            try:
                async with asyncio.timeout(SECONDS):
                    return await self._read(url, bearer, is_trusted=origin_of(url) in trusted)
            except TimeoutError as error:
                raise FederationRefused("picture_slow") from error

        return read

    async def _read(self, url: str, bearer: str, *, is_trusted: bool) -> Picture:
        if not is_safe_url(url, allow_http=is_trusted and self._allow_http):
            raise FederationRefused("picture_without_tls")
        parts = urlsplit(url)
        headers = {"accept": "image/*", "accept-encoding": "identity", "user-agent": "Ostiary"}
        extensions = {}
        if is_trusted:
            headers |= {"authorization": f"Bearer {bearer}"} if bearer else {}
        else:
            # The address that was looked at is the one that is asked: a name could be another one's a moment later.
            headers["host"], extensions["sni_hostname"] = parts.netloc.rpartition("@")[2], parts.hostname or ""
            url = _at(parts, await public_address(parts))
        try:
            content = await self._content(url, headers, extensions)
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise FederationRefused("picture_unreachable") from error
        return Picture(kind_of(content), content)

    async def _content(self, url: str, headers: dict[str, str], extensions: dict[str, str]) -> bytes:
        line = httpx.AsyncClient(
            verify=certificates(self._settings.authorities),
            proxy=self._settings.proxy or None,
            trust_env=False,
            follow_redirects=False,
            timeout=SECONDS,
        )
        async with line, line.stream("GET", url, headers=headers, extensions=extensions) as response:
            if response.status_code != OK:
                raise FederationRefused(f"picture_status_{response.status_code}")
            parts: list[bytes] = []
            async for part in response.aiter_raw():
                parts.append(part)
                if sum(map(len, parts)) > MOST_BYTES:
                    raise FederationRefused("picture_too_large")
            return b"".join(parts)


def origin_of(url: str) -> str:
    """Scheme, host and port; empty for what has none."""
    try:
        parts = urlsplit(url)
        port = parts.port or {"https": 443, "http": 80}.get(parts.scheme, 0)
    except ValueError:
        return ""
    return f"{parts.scheme}://{parts.hostname}:{port}" if parts.hostname and port else ""


def kind_of(content: bytes) -> str:
    """The media type by the first bytes, whatever was announced. Raises FederationRefused for all but these four kinds."""
    for beginning, kind in _KINDS:
        if content.startswith(beginning):
            return kind
    if content.startswith(b"RIFF") and content[8:12] == b"WEBP":
        return "image/webp"
    raise FederationRefused("picture_of_no_kind")


def is_public(address: str) -> bool:
    """Whether an address is somebody's on the Internet; mapped and translated ones are what they stand for."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        inner = found.ipv4_mapped
        if found in _TRANSLATED:
            inner = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
        if found not in _GLOBAL_UNICAST or found.sixtofour is not None or found.teredo is not None:
            return False
    return found.is_global and not found.is_multicast


async def public_address(parts: SplitResult) -> str:
    """An address of the host. Raises FederationRefused when it has none, or one that is not public."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(parts.hostname, parts.port or 443, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise FederationRefused("picture_unreachable") from error
    addresses = [str(entry[4][0]) for entry in found]
    if not addresses or not all(map(is_public, addresses)):
        raise FederationRefused("picture_inside")
    return addresses[0]


def _at(parts: SplitResult, address: str) -> str:
    host = f"[{address}]" if ":" in address else address
    return parts._replace(netloc=f"{host}:{parts.port}" if parts.port else host).geturl()
