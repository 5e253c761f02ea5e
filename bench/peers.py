"""Other people's servers beside ours in one run: programs from a folder outside the tree, packages from registries.

The folder has one program a peer; it is given by `--peers` or BENCH_PEERS. What they need is installed once, into the
cache. All run with bcrypt of cost 10, SQLite in WAL mode with synchronous=NORMAL, and limits off: kinder than what ours has.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from bench.load import CHAINED, Client, Stream
from bench.production import BUILT_FOR
from bench.server import Measured
from bench.wire import Connection, Reply, request
from bench.world import PASSWORD, SignedIn, fresh_email

PYTHON_PACKAGES = (
    "fastapi-users[sqlalchemy]",
    "aiosqlite",
    "uvicorn",
    "uvloop",
    "httptools",
    "bcrypt",
    "django-allauth[headless]",
    "django>=5.2,<5.3",
    "gunicorn",
    "pyjwt",
    "cryptography",
)
NODE_PACKAGES = (
    "better-auth",
    "better-sqlite3",
    "bcrypt",
    "bcryptjs@^2.4.3",
    "express@5",
    "passport@^0.6.0",
    "passport-local",
    "passport-jwt",
    "jsonwebtoken@9",
    "cookie-parser",
)
AGENT = {"user_agent": "bench"}


@dataclass(frozen=True, slots=True)
class Peer:
    """One of them: how it starts, and how its clients ask for what ours are asked for."""

    name: str
    folder: str
    workers: int
    command: Callable[[Path, int, int], list[str]]
    ready: str
    register: Callable[[str], bytes]
    login: Callable[[str], bytes]
    token: Callable[[Reply], str]
    check: Callable[[str], bytes]
    refresh: Callable[[str], bytes] | None = None
    prepare: Callable[[Path], list[str]] | None = None
    chain: str = ""
    """The member of its JSON that the next refresh carries, where it sets no cookie; `refresh` is then given its value."""


def _json_token(name: str) -> Callable[[Reply], str]:
    return lambda reply: str(reply.json()[name])


def _form(path: str, fields: dict[str, str]) -> bytes:
    payload = urlencode(fields)
    head = f"host: 127.0.0.1\r\ncontent-type: application/x-www-form-urlencoded\r\ncontent-length: {len(payload)}"
    return f"POST {path} HTTP/1.1\r\n{head}\r\n\r\n{payload}".encode()


def _bearer(path: str) -> Callable[[str], bytes]:
    return lambda token: request("GET", path, authorization=f"Bearer {token}")


EXPRESS = Peer(
    "Express, in LibreChat's shape",
    "express",
    2,
    lambda _cache, _port, _workers: ["node", "server.js"],
    "/api/user",
    lambda email: request("POST", "/api/auth/register", {"email": email, "password": PASSWORD, "name": "U"}),
    lambda email: request("POST", "/api/auth/login", {"email": email, "password": PASSWORD}),
    _json_token("token"),
    _bearer("/api/user"),
    lambda _token: request("POST", "/api/auth/refresh", cookie=f"refreshToken={CHAINED.decode()}"),
)
BETTER_AUTH = Peer(
    "better-auth",
    "better_auth",
    1,
    lambda _cache, _port, _workers: ["node", "server.mjs"],
    "/api/auth/ok",
    lambda email: request("POST", "/api/auth/sign-up/email", {"email": email, "password": PASSWORD, "name": "U"}),
    lambda email: request("POST", "/api/auth/sign-in/email", {"email": email, "password": PASSWORD}),
    _json_token("token"),
    _bearer("/api/auth/get-session"),
    # It mints an access token and rotates nothing.
    _bearer("/api/auth/token"),
)
FASTAPI_USERS = Peer(
    "fastapi-users",
    "fastapi_users",
    2,
    lambda cache, port, workers: [
        f"{cache}/venv/bin/uvicorn",
        "app:app",
        *("--host", "127.0.0.1", "--port", str(port), "--workers", str(workers), "--loop", "uvloop", "--http", "httptools"),
        *("--no-access-log", "--log-level", "error"),
    ],
    "/openapi.json",
    lambda email: request("POST", "/auth/register", {"email": email, "password": PASSWORD}),
    lambda email: _form("/auth/jwt/login", {"username": email, "password": PASSWORD}),
    _json_token("access_token"),
    _bearer("/users/me"),
    None,
    lambda cache: [f"{cache}/venv/bin/python", "app.py"],
)
ALLAUTH = Peer(
    "django-allauth, headless",
    "allauth",
    2,
    lambda cache, port, workers: [
        f"{cache}/venv/bin/gunicorn",
        "app:application",
        *("-b", f"127.0.0.1:{port}", "-w", str(workers), "-k", "gthread", "--threads", "4", "--keep-alive", "30"),
        *("--log-level", "error"),
    ],
    "/_allauth/app/v1/config",
    lambda email: request("POST", "/_allauth/app/v1/auth/signup", {"email": email, "password": PASSWORD}, **AGENT),
    lambda email: request("POST", "/_allauth/app/v1/auth/login", {"email": email, "password": PASSWORD}, **AGENT),
    lambda reply: str(reply.json()["meta"]["session_token"]),
    lambda token: request("GET", "/_allauth/app/v1/auth/session", x_session_token=token, **AGENT),
    lambda token: request("POST", "/_allauth/app/v1/tokens/refresh", {"refresh_token": token}, **AGENT),
    lambda cache: [f"{cache}/venv/bin/python", "app.py", "migrate", "-v0"],
    "refresh_token",
)
PEERS = (EXPRESS, BETTER_AUTH, FASTAPI_USERS, ALLAUTH)


class PeerServer(Measured):
    """One of them, running in a copy of its folder, with the accounts that its clients sign in to."""

    end_signal = signal.SIGTERM

    def __init__(self, peer: Peer, programs: Path, cache: Path) -> None:
        super().__init__()
        self.peer = peer
        self._programs = programs
        self._cache = cache
        self._emails: list[str] = []
        self._browsers: list[SignedIn] = []

    def populate(self, clients: int, accounts: int) -> None:
        """Register, and sign one browser in for each client."""
        emails = [fresh_email() for _ in range(max(clients, accounts))]
        with Connection(self.port) as connection:
            for email in emails:
                _accepted(connection, self.peer.register(email))
            for email in emails[:clients]:
                reply = _accepted(connection, self.peer.login(email))
                self._browsers.append(SignedIn(email, self.peer.token(reply), reply.chained(self.peer.chain)))
        self._emails = emails

    def logins(self) -> Stream:
        clients = len(self._browsers)
        shares = [self._emails[start::clients] for start in range(clients)]
        return Stream("login", [Client([self.peer.login(email) for email in share]) for share in shares])

    def session_checks(self) -> Stream:
        return Stream("session check", [Client([self.peer.check(browser.bearer)]) for browser in self._browsers])

    def refreshes(self) -> Stream | None:
        if self.peer.refresh is None:
            return None
        ask, member = self.peer.refresh, self.peer.chain
        # In a body the token is as long as the one before it, so that the request's length stays true.
        raw = [
            ask(browser.cookie).replace(browser.cookie.encode(), CHAINED) if member else ask(browser.bearer)
            for browser in self._browsers
        ]
        return Stream(
            "refresh",
            [Client([ask_of], browser.cookie, member) for ask_of, browser in zip(raw, self._browsers, strict=True)],
        )

    def keep_cookies(self, cookies: list[str]) -> None:
        """Go on from here."""
        self._browsers = [
            SignedIn(browser.email, browser.bearer, cookie) for browser, cookie in zip(self._browsers, cookies, strict=True)
        ]

    def _prepare(self) -> None:
        shutil.copytree(self._programs / self.peer.folder, self.directory / "program")
        (self.directory / "program" / "node_modules").symlink_to(self._cache / "node" / "node_modules")
        if self.peer.prepare is not None:
            command = ["env", *self._variables(), *self.peer.prepare(self._cache)]
            subprocess.run(command, cwd=self.directory / "program", check=True, capture_output=True)

    def _command(self) -> list[str]:
        self._begin()
        serve = self.peer.command(self._cache, self.port, self.peer.workers)
        return ["env", f"--chdir={self.directory / 'program'}", *self._variables(), *serve]

    def _variables(self) -> list[str]:
        given = {
            "DB": str(self.directory / "peer.db"),
            "HASH": "bcrypt10",
            "PORT": str(self.port),
            "WORKERS": str(self.peer.workers),
            "NODE_PATH": str(self._cache / "node" / "node_modules"),
        }
        return [f"{name}={value}" for name, value in given.items()]

    def _ask_whether_ready(self, connection: Connection) -> None:
        connection.timed(request("GET", self.peer.ready))


def _accepted(connection: Connection, raw: bytes) -> Reply:
    reply, _ = connection.timed(raw)
    if reply.status >= 300:
        raise ValueError(f"{raw.partition(b' HTTP')[0].decode()} answered {reply.status}: {reply.body[:300]!r}")
    return reply


def install(cache: Path) -> None:
    """Put what the peers need into the cache, unless it is there."""
    done = cache / "installed.json"
    wanted = json.dumps([PYTHON_PACKAGES, NODE_PACKAGES, BUILT_FOR])
    if done.exists() and done.read_text() == wanted:
        return
    cache.mkdir(parents=True, exist_ok=True)
    print(f"bench: installing the peers' packages into {cache}", file=sys.stderr)
    _run([sys.executable, "-m", "venv", "--clear", "venv"], cache)
    _run([f"{cache}/venv/bin/pip", "install", "--quiet", *PYTHON_PACKAGES], cache)
    node = cache / "node"
    node.mkdir(exist_ok=True)
    (node / "package.json").write_text("{}")
    _run(["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", *NODE_PACKAGES], node)
    # Its ready-made binary lies elsewhere than in a registry; Debian's Node headers and a compiler make another.
    root = subprocess.run(["npm", "root", "-g"], capture_output=True, text=True, check=True).stdout.strip()
    gyp = f"{root}/npm/node_modules/node-gyp/bin/node-gyp.js"
    _run(["node", gyp, "rebuild", "--release", "--nodedir=/usr"], node / "node_modules" / "better-sqlite3")
    done.write_text(wanted)


def _run(command: list[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"bench: {' '.join(command)} failed: {done.stderr[-2000:]}")


def found(option: str) -> Path | None:
    """The folder of their programs, or None with a word about it."""
    given = option or os.environ.get("BENCH_PEERS", "")
    if not given:
        print("bench: no peers: neither --peers nor BENCH_PEERS names their folder", file=sys.stderr)
        return None
    folder = Path(given)
    missing = [peer.folder for peer in PEERS if not (folder / peer.folder).is_dir()]
    missing += [program for program in ("node", "npm") if shutil.which(program) is None]
    if missing:
        print(f"bench: no peers: {', '.join(missing)} not found (looked in {folder})", file=sys.stderr)
        return None
    return folder


def cache_folder(option: str) -> Path:
    """Where their packages are kept."""
    given: Any = option or os.environ.get("BENCH_CACHE", "")
    return Path(given or Path.home() / ".cache" / "ostiary-bench").resolve()
