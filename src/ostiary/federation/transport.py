"""How we ask providers: bounded in time and size, over TLS, no redirects, nothing taken from the environment."""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from urllib.parse import quote

import msgspec

from ostiary.identity.refusals import FederationRefused
from ostiary.parts import Part
from ostiary.settings.providers import is_safe_url

if TYPE_CHECKING:
    import httpx
else:
    httpx = Part("httpx")

MOST_BYTES = 1024 * 1024
CONNECT_SECONDS = 3
READ_SECONDS = 5
MOST_CONNECTIONS = 32
OK = 200
BAD_REQUEST = 400
GRANT_DEAD = "provider_refused_grant"
DEAD = frozenset({"invalid_grant", "interaction_required", "login_required", "consent_required"})
"""What a token endpoint says of a code or a refresh token that no second try will help (RFC 6749 section 5.2)."""
Result = TypeVar("Result")


class Transport:
    """A provider's line. Whatever goes wrong is a FederationRefused with a private reason; nothing sent is ever in it."""

    def __init__(
        self, timeout: timedelta, *, proxy: str = "", authorities: str = "", allow_http: bool = False, agent: str = ""
    ) -> None:
        """`authorities` is a file with CAs that count beside those that the system knows."""
        self._authorities = authorities
        self._seconds = timeout.total_seconds()
        self._proxy = proxy or None
        self._allow_http = allow_http
        self._agent = agent or "Ostiary"
        self._client: httpx.AsyncClient | None = None
        # Here, so that the library is loaded with what needs it, and not on the way of the first request.
        self._timeout = httpx.Timeout(READ_SECONDS, connect=CONNECT_SECONDS, pool=CONNECT_SECONDS)
        self._limits = httpx.Limits(max_connections=MOST_CONNECTIONS, max_keepalive_connections=4)

    @asynccontextmanager
    async def deadline(self) -> AsyncIterator[None]:
        """Everything asked inside takes no longer than the setting allows. Raises FederationRefused."""
        try:
            async with asyncio.timeout(self._seconds):
                yield
        except TimeoutError as error:
            raise FederationRefused("provider_slow") from error

    async def get(self, url: str, *, bearer: str = "") -> Any:  # noqa: ANN401 - JSON
        """The JSON at this address."""
        headers = {"authorization": f"Bearer {bearer}"} if bearer else {}
        return _decoded(await self._ask("GET", url, None, headers))

    async def text(self, url: str, headers: Mapping[str, str]) -> str:
        """The text at this address."""
        return (await self._ask("GET", url, None, {"accept": "text/plain", **headers})).decode("utf-8", "replace")

    async def post(self, url: str, form: Mapping[str, str], *, basic: tuple[str, str] | None = None) -> Any:  # noqa: ANN401
        """The JSON that a form is answered with."""
        headers = {"authorization": _basic(*basic)} if basic else {}
        return _decoded(await self._ask("POST", url, form, headers))

    async def post_json(self, url: str, value: object, bearer: str) -> Any:  # noqa: ANN401
        """The JSON that a JSON text is answered with."""
        headers = {"authorization": f"Bearer {bearer}", "content-type": "application/json"}
        return _decoded(await self._ask("POST", url, msgspec.json.encode(value), headers))

    async def close(self) -> None:
        """Let go of connections."""
        if self._client is not None:
            await self._client.aclose()

    async def _ask(self, method: str, url: str, body: Mapping[str, str] | bytes | None, headers: Mapping[str, str]) -> bytes:
        if not is_safe_url(url, allow_http=self._allow_http):
            raise FederationRefused("provider_without_tls")
        headers = {"accept": "application/json", "accept-encoding": "identity", "user-agent": self._agent, **headers}
        try:
            async with self.deadline():
                status, answer = await self._exchange(method, url, body, headers)
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise FederationRefused("provider_unreachable") from error
        if status != OK:
            raise FederationRefused(GRANT_DEAD if _says_dead(status, answer) else f"provider_status_{status}")
        return answer

    async def _exchange(
        self, method: str, url: str, body: Mapping[str, str] | bytes | None, headers: Mapping[str, str]
    ) -> tuple[int, bytes]:
        content = {"content": body} if isinstance(body, bytes) else {"data": body}
        async with self._line().stream(method, url, headers=headers, **content) as response:
            parts: list[bytes] = []
            size = 0
            async for part in response.aiter_raw():
                size += len(part)
                # What is larger is no token and no key set; it is not even read to its end.
                if size > MOST_BYTES:
                    raise FederationRefused("provider_answer_too_large")
                parts.append(part)
            return response.status_code, b"".join(parts)

    def _line(self) -> httpx.AsyncClient:
        if self._client is None:
            self._client = httpx.AsyncClient(
                verify=certificates(self._authorities),
                proxy=self._proxy,
                trust_env=False,
                follow_redirects=False,
                timeout=self._timeout,
                limits=self._limits,
            )
        return self._client


class Shared(Generic[Result]):
    """One run of a fetch for all who want it at the same moment."""

    def __init__(self, fetch: Callable[[], Awaitable[Result]]) -> None:
        self._fetch = fetch
        self._task: asyncio.Task[Result] | None = None

    async def __call__(self) -> Result:
        if self._task is None or self._task.done():
            self._task = asyncio.ensure_future(self._run())
            # If all who waited were cancelled, its failure is nobody's: asyncio would complain.
            self._task.add_done_callback(lambda task: task.cancelled() or task.exception())
        return await asyncio.shield(self._task)

    async def _run(self) -> Result:
        return await self._fetch()


def _decoded(body: bytes) -> Any:  # noqa: ANN401 - JSON
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise FederationRefused("provider_speaks_no_json") from error


def _says_dead(status: int, body: bytes) -> bool:
    if status != BAD_REQUEST:
        return False
    try:
        answer = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return False
    return isinstance(answer, dict) and answer.get("error") in DEAD


def _basic(name: str, password: str) -> str:
    """RFC 6749 section 2.3.1: both are form-encoded first."""
    pair = f"{quote(name, safe='')}:{quote(password, safe='')}"
    return "Basic " + base64.b64encode(pair.encode()).decode()


@lru_cache(maxsize=2)
def certificates(authorities: str) -> ssl.SSLContext:
    """The system's CAs, and those in this file."""
    context = ssl.create_default_context()
    if authorities:
        context.load_verify_locations(authorities)
    return context
