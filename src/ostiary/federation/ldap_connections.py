"""Connections to a directory: TLS verified before anything is said, a few kept open, all in threads, none longer than the limit.

ldap3 is told what to do at every step, because by itself it reopens a lost connection without StartTLS and binds on it, follows
referrals, sends a server's password wherever one points, and shares one server's state between threads.
"""

from __future__ import annotations

import asyncio
import math
import socket
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Literal, TypeVar

import ldap3
import msgspec
from ldap3.core.exceptions import LDAPException

from ostiary.identity.refusals import Busy, DirectoryUnavailable, Refusal
from ostiary.observability.logging import log
from ostiary.settings import Directory
from ostiary.settings.directory import LdapServer

SUCCESS = 0
REST = 2_000_000
"""Microseconds in which a directory that did not answer is not asked again; after them one sign-in tries."""
IDLE_SECONDS = 60
"""Shorter than firewalls forget a silent connection."""
WAITING_PER_CONNECTION = 8
_SCOPES: dict[str, Literal["BASE", "SUBTREE"]] = {"entry": "BASE", "subtree": "SUBTREE"}

Kind = Literal["service", "person"]
"""Whose name a connection is bound in: the service that searches, or whoever was checked last."""
Result = TypeVar("Result")


class TroubleError(Exception):
    """The directory did not do what it is for. `is_down` when others need not try for a while."""

    def __init__(self, text: str, *, is_down: bool = False) -> None:
        super().__init__(text)
        self.is_down = is_down


class LinkLostError(TroubleError):
    """A connection cannot be made, or is gone."""

    def __init__(self, text: str) -> None:
        super().__init__(text, is_down=True)


class Outcome(msgspec.Struct, frozen=True):
    """A result code (RFC 4511 section 4.1.9) and the directory's own words."""

    code: int
    text: str


class Entry(msgspec.Struct, frozen=True):
    """An entry found; the names of its attributes are lower-case."""

    dn: str
    values: Mapping[str, Sequence[bytes]]


class _CheckedTls(ldap3.Tls):
    """TLS by Python's own rules: the chain and the host's name, in one handshake."""

    def __init__(self, context: ssl.SSLContext, host: str) -> None:
        super().__init__(validate=context.verify_mode)
        self._context = context
        self._host = host

    def wrap_socket(self, connection: ldap3.Connection, do_handshake: bool = False) -> None:  # noqa: ARG002, FBT001, FBT002 - ldap3's
        connection.socket = self._context.wrap_socket(
            connection.socket, server_hostname=self._host, do_handshake_on_connect=False
        )
        connection.socket.do_handshake()


class Link:
    """One connection. Its calls block, and raise TroubleError."""

    def __init__(self, settings: Directory, there: LdapServer, tls: ssl.SSLContext, seconds: float) -> None:
        server = ldap3.Server(
            there.host,
            port=there.port,
            use_ssl=there.is_tls,
            tls=_CheckedTls(tls, there.host),
            get_info=ldap3.NONE,
            allowed_referral_hosts=[],
            connect_timeout=math.ceil(seconds),
        )
        self.last_used = 0.0
        self._starts_tls = settings.starttls
        self._needs_tls = settings.starttls or there.is_tls
        self._connection = ldap3.Connection(
            server,
            auto_referrals=False,
            auto_escape=False,
            check_names=False,
            read_only=True,
            return_empty_attributes=False,
            receive_timeout=math.ceil(seconds),
        )

    def open(self) -> None:
        """Connect, and encrypt where that is set, before anything else is said."""
        try:
            self._guarded(lambda: self._connection.open(read_server_info=False))
            if self._starts_tls:
                self._guarded(lambda: self._connection.start_tls(read_server_info=False))
            self._check_open()
        except BaseException:
            self.close()
            raise

    def bind(self, name: str, password: bytes) -> Outcome:
        """Prove a name. An empty one or an empty password would be somebody else's success (RFC 4513 section 5.1)."""
        if not name or not password:
            raise ValueError("a bind needs a name and a password")
        self._check_open()
        self._guarded(
            lambda: self._connection.rebind(user=name, password=password, authentication=ldap3.SIMPLE, read_server_info=False)
        )
        self._connection.password = None
        return self._outcome()

    def search(
        self, base: str, filter_text: str, attributes: Sequence[str], *, scope: Literal["entry", "subtree"], most: int = 0
    ) -> tuple[Outcome, list[Entry]]:
        """Entries below the base. References to other directories are not followed and not counted."""
        self._check_open()
        self._guarded(
            lambda: self._connection.search(
                base,
                filter_text,
                search_scope=_SCOPES[scope],
                dereference_aliases=ldap3.DEREF_NEVER,
                attributes=list(attributes),
                size_limit=most,
            )
        )
        found = [
            Entry(str(answer["dn"]), {str(name).lower(): list(values) for name, values in answer["raw_attributes"].items()})
            for answer in self._connection.response or ()
            if answer.get("type") == "searchResEntry"
        ]
        return self._outcome(), found

    def cut(self) -> None:
        """Make whoever waits on this connection give up; may be called from another thread."""
        pipe = self._connection.socket
        if pipe is not None:
            with suppress(OSError):
                socket.socket.shutdown(pipe, socket.SHUT_RDWR)

    def close(self) -> None:
        """Let go, without a word to a directory that may not listen."""
        pipe = self._connection.socket
        with suppress(Exception):
            self._connection.strategy.close()
        if pipe is not None:
            pipe.close()

    def _check_open(self) -> None:
        """Before every call: on a closed connection ldap3 would open another, in the clear.

        Whether it is encrypted is not asked of ldap3: what counts is what the next byte goes through.
        """
        if self._connection.closed or (self._needs_tls and not isinstance(self._connection.socket, ssl.SSLSocket)):
            raise LinkLostError("closed, or not encrypted")

    def _guarded(self, call: Callable[[], object]) -> None:
        try:
            call()
        except (LDAPException, OSError) as error:
            raise LinkLostError(f"{type(error).__name__}: {error}"[:300]) from error
        except Exception as error:
            # The decoder raises whatever the bytes of an answer lead it to.
            raise TroubleError(f"unreadable answer ({type(error).__name__})") from error

    def _outcome(self) -> Outcome:
        result = self._connection.result
        if not isinstance(result, dict):
            raise TroubleError("no result")
        return Outcome(int(result["result"]), str(result.get("message") or ""))


class Exchange:
    """One sign-in's use of connections, in a thread. It can be ended from outside."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._link: Link | None = None
        self._is_over = False

    def ask(self, kind: Kind, use: Callable[[Link], Result]) -> Result:
        """Use a connection that is open, else a new one; if an open one turns out to be dead, once more with a new one."""
        link = self._connections.idle(kind)
        if link is not None:
            try:
                return self._use(kind, link, use)
            except LinkLostError:
                self._connections.close_idle()
                if self._is_over:
                    raise
        return self._use(kind, self._connections.new_link(), use, is_new=True)

    def end(self) -> None:
        """Stop waiting for the directory."""
        self._is_over = True
        if self._link is not None:
            self._link.cut()

    def _check_wanted(self) -> None:
        if self._is_over:
            raise LinkLostError("given up")

    def _use(self, kind: Kind, link: Link, use: Callable[[Link], Result], *, is_new: bool = False) -> Result:
        self._link = link
        try:
            self._check_wanted()
            if is_new:
                link.open()
                if kind == "service":
                    self._connections.bind_service(link)
            result = use(link)
        except Refusal:
            self._connections.keep(kind, link)
            raise
        except BaseException:
            link.close()
            raise
        self._connections.keep(kind, link)
        return result


class Connections:
    """All connections to one server of a directory. `seconds` is what it may take of a sign-in's time."""

    def __init__(self, settings: Directory, server: LdapServer, seconds: float) -> None:
        self._settings = settings
        self._server = server
        self._seconds = seconds
        self._tls = tls_context(settings)
        self._threads = ThreadPoolExecutor(settings.connections, "ldap")
        self._idle: dict[Kind, list[Link]] = {"service": [], "person": []}
        self._under_way = 0
        self._is_down = False
        self._is_closed = False
        self._resting_until = 0

    async def run(self, work: Callable[[Exchange], Result], now: int) -> Result:
        """Do this in a thread, within the time limit. Raises DirectoryUnavailable, Busy, and the refusals of the work."""
        if 0 < self._resting_until - now <= REST:
            raise DirectoryUnavailable("resting")
        if self._is_down:
            # One tries; whoever comes meanwhile is not kept waiting.
            self._resting_until = now + REST
        if self._under_way >= self._settings.connections * WAITING_PER_CONNECTION:
            raise Busy("directory")
        exchange = Exchange(self)
        self._under_way += 1
        try:
            async with asyncio.timeout(self._seconds):
                result = await asyncio.get_running_loop().run_in_executor(self._threads, work, exchange)
        except Refusal:
            self._answered()
            raise
        except (TroubleError, TimeoutError) as error:
            exchange.end()
            raise self._troubled(error, now) from error
        except BaseException:
            exchange.end()
            raise
        finally:
            self._under_way -= 1
        self._answered()
        return result

    def new_link(self) -> Link:
        """Another connection, not open yet."""
        return Link(self._settings, self._server, self._tls, self._seconds)

    def bind_service(self, link: Link) -> None:
        """Bind as the service, if there is one; without, the search is anonymous."""
        settings = self._settings
        if not settings.bind_dn:
            return
        outcome = link.bind(settings.bind_dn, settings.bind_credentials.get_secret_value().encode())
        if outcome.code != SUCCESS:
            # Resting also keeps the directory from locking the service's own account.
            raise TroubleError(f"LDAP_BIND_DN is refused, code {outcome.code}: {outcome.text}"[:300], is_down=True)

    def idle(self, kind: Kind) -> Link | None:
        """The open connection of this kind used last, unless it lay too long."""
        while True:
            try:
                link = self._idle[kind].pop()
            except IndexError:
                return None
            if time.monotonic() - link.last_used < IDLE_SECONDS:
                return link
            link.close()

    def keep(self, kind: Kind, link: Link) -> None:
        """Keep it for the next, no more of them than there are threads."""
        link.last_used = time.monotonic()
        if self._is_closed or len(self._idle[kind]) >= self._settings.connections:
            link.close()
        else:
            self._idle[kind].append(link)

    def close_idle(self) -> None:
        """Close what nobody uses: a directory that was gone does not know these any more."""
        for links in self._idle.values():
            while links:
                with suppress(IndexError):
                    links.pop().close()

    async def close(self) -> None:
        """Let go of everything."""
        self._is_closed = True
        self._threads.shutdown(wait=False, cancel_futures=True)
        self.close_idle()

    def _answered(self) -> None:
        self._is_down = False
        self._resting_until = 0

    def _troubled(self, error: TroubleError | TimeoutError, now: int) -> DirectoryUnavailable:
        why = "too slow" if isinstance(error, TimeoutError) else str(error)
        if isinstance(error, TimeoutError) or error.is_down:
            self._is_down = True
            self._resting_until = now + REST
            self.close_idle()
        log.warning("directory:unavailable", server=f"{self._server.host}:{self._server.port}", reason=why)
        return DirectoryUnavailable(why)


def tls_context(settings: Directory) -> ssl.SSLContext:
    """Chain and host name are checked, against the CA given or the system's, unless LDAP_TLS_REJECT_UNAUTHORIZED=false."""
    context = ssl.create_default_context(cafile=settings.ca_path or None)
    if not settings.verifies:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
