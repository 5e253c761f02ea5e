"""`ostiary serve`: check, migrate, listen, say so, serve."""

from __future__ import annotations

import asyncio
import errno
import json
import multiprocessing
import os
import shutil
import signal
import socket
import sys
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import click
import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from ostiary import __version__
from ostiary.app import keys_of
from ostiary.cli.config import without_password
from ostiary.cli.desk import explained
from ostiary.cli.output import TroubleError
from ostiary.cli.protocol import GuardedProtocol, raise_file_limit
from ostiary.observability.logging import set_up
from ostiary.settings import Settings
from ostiary.storage.migrate import at_head, make_tables, migrate

BACKLOG = 2048
WORKER_SECONDS = 60
WIRES = {"librechat": "LibreChat's", "librepass": "LibrePass's"}


@click.command("serve")
@click.option("--json", "as_json", is_flag=True, help="Say where it listens as one JSON value.")
def serve(*, as_json: bool) -> None:
    """Serve both wires until interrupted. The settings come from the environment and from .env (docs/settings.md)."""
    farewell = _Farewell()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, farewell)
    with explained():
        settings = Settings.load()
    set_up(settings.server.log_format, settings.server.log_level)
    with explained(settings):
        keys_of(settings)
        if not asyncio.run(at_head(settings.database_url)) and not make_tables(settings.database_url):
            _migrate_apart(settings)
    raise_file_limit()
    listener = _listen(settings.server.host, settings.server.port)
    # PORT=0 lets the system choose: from here on, links in mails and the processes that are started know what it chose.
    os.environ["PORT"] = str(listener.getsockname()[1])
    settings = Settings.load()
    facts = announced(settings)
    click.echo(json.dumps(facts) if as_json else _text(facts))
    sys.exit(_run(settings, listener, farewell))


def _migrate_apart(settings: Settings) -> None:
    """Bring the database to this version's tables. Raises TroubleError.

    What makes tables ends with a process of its own: what serves never has it in memory. Forked while there is no other thread.
    """
    fork = multiprocessing.get_context("fork")
    hears, tells = fork.Pipe(duplex=False)
    child = fork.Process(target=_migrate, args=(settings, tells), name="migration")
    child.start()
    tells.close()
    try:
        trouble: str | None = hears.recv()
    except EOFError:
        child.join()
        trouble = f"The process that makes the database's tables ended without a word (exit code {child.exitcode}). Start again."
    child.join()
    if trouble:
        raise TroubleError(trouble)


def _migrate(settings: Settings, tells: Connection) -> None:
    try:
        with explained(settings):
            asyncio.run(migrate(settings.database_url))
    except TroubleError as error:
        tells.send(error.format_message())
    else:
        tells.send(None)


class _Farewell:
    """Notes that someone asked to end. Raising would not do: in a destructor an exception is lost, and the order with it.

    The server hears for itself while it runs, and raises what it heard again when all is done; noted here, that is no failure.
    """

    def __init__(self) -> None:
        self.is_said = False

    def __call__(self, _number: int, _frame: object) -> None:
        self.is_said = True


class _Server(uvicorn.Server):
    """Does not even begin when it was asked to end before."""

    def __init__(self, config: uvicorn.Config, farewell: _Farewell) -> None:
        super().__init__(config)
        self._farewell = farewell

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        if self._farewell.is_said:
            self.should_exit = True
            return
        await super().startup(sockets)


def announced(settings: Settings) -> dict[str, Any]:
    """What an operator wants to know first."""
    server, mail = settings.server, settings.mail
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(server.host, server.host)  # noqa: S104 - compared, not bound
    url = f"http://{f'[{host}]' if ':' in host else host}:{server.port}"
    return {
        "version": __version__,
        "url": url,
        "wires": list(server.dialects),
        "database": without_password(settings.database_url),
        "data": str(server.data),
        "mail": f"SMTP server {mail.host}" if mail.is_configured else f"local mailbox {server.data / 'mailbox'}",
        "first_account": _first_account(settings, url),
        "pages": url if settings.page_origins else None,
        "mailbox": f"{url}/mailbox" if settings.page_origins and not mail.is_configured else None,
        "warnings": settings.warnings(),
    }


def _first_account(settings: Settings, url: str) -> list[str]:
    role = "" if settings.policy.bootstrap == "first-user" else " --role ADMIN"
    ways = [f"{_program()} user create ada@example.org{role}"]
    if (
        settings.policy.allow_registration
        and settings.policy.bootstrap == "first-user"
        and "librechat" in settings.server.dialects
    ):
        password = "choose-a-long-one"  # noqa: S105 - an example
        fields = {"name": "Ada Lovelace", "email": "ada@example.org", "password": password, "confirm_password": password}
        ways.append(f"curl -H 'Content-Type: application/json' -d '{json.dumps(fields)}' {url}/api/auth/register")
    return ways


def _program() -> str:
    """What to type in order to call this program again."""
    called = Path(sys.argv[0])
    if called.name == "__main__.py":
        return "python -m ostiary"
    return "ostiary" if shutil.which(called.name) else str(called)


def _text(facts: dict[str, Any]) -> str:
    wires = " and ".join(WIRES[name] for name in facts["wires"])
    lines = [
        f"Ostiary {facts['version']} listens on {facts['url']} and speaks {wires} wire.",
        f"Database: {facts['database']}. Secrets and data: {facts['data']}.",
        f"Mail goes to the {facts['mail']}.",
        "The first account becomes ADMIN. Make it in this folder, with the same settings, in one of these ways:",
        *(f"  {way}" for way in facts["first_account"]),
        *([f"Pages for people: {facts['pages']}."] if facts["pages"] else []),
        *([f"Mails are shown to you, on this machine, at {facts['mailbox']}."] if facts["mailbox"] else []),
        *(f"Warning: {warning}." for warning in facts["warnings"]),
    ]
    return "\n".join(lines)


def _listen(host: str, port: int) -> socket.socket:
    """A socket that takes connections from now on: none is refused while the first process starts. Raises TroubleError."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror as error:
        text = f"HOST={host} is not an address of this machine. Use 127.0.0.1, or 0.0.0.0 for all."
        raise TroubleError(text) from error
    family, kind, protocol, _, address = found[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        reasons = {
            errno.EADDRINUSE: f"Port {port} on {host} is in use. Stop what listens there, or set PORT.",
            errno.EACCES: f"Port {port} may not be opened by this user. Set PORT to 1024 or above.",
            errno.EADDRNOTAVAIL: f"HOST={host} is not an address of this machine. Use 127.0.0.1, or 0.0.0.0 for all.",
        }
        raise TroubleError(reasons.get(error.errno or 0, f"Cannot listen on {host}, port {port}: {error.strerror}.")) from error
    listener.set_inheritable(True)
    return listener


def _run(settings: Settings, listener: socket.socket, farewell: _Farewell) -> int:
    config = uvicorn.Config(
        "ostiary.app:create_app",
        factory=True,
        workers=settings.server.workers,
        loop="uvloop",
        http=GuardedProtocol,
        ws="none",
        interface="asgi3",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=5,
        # A process that is still importing does not answer yet; on a busy machine that takes longer than uvicorn's five seconds,
        # and whoever is replaced for it starts all over again.
        timeout_worker_healthcheck=WORKER_SECONDS,
        timeout_graceful_shutdown=10,
    )
    if settings.server.workers > 1:
        if farewell.is_said:
            return 0
        supervisor = Multiprocess(config, sockets=[listener])
        supervisor.run()
        return int(any(process.exitcode == STARTUP_FAILURE for process in supervisor.processes))
    server = _Server(config, farewell)
    try:
        server.run(sockets=[listener])
    except SystemExit:
        # The application did not come up; the log has the reason.
        return 1
    return 0 if server.started or farewell.is_said else 1
