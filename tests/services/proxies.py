"""The proxies of Debian's packages in front of Ostiary, with the configurations that `deploy/` ships: only names, ports and files differ."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
from pathlib import Path

from tests.services import Server, ServiceError, certificates, free_port

DEPLOY = Path(__file__).resolve().parent.parent.parent / "deploy"
NAME = "id.example.org"
"""What the shipped files call the server."""
SHIPPED_UPSTREAM = "127.0.0.1:3080"

_NGINX = """\
daemon off;
pid {directory}/pid;
error_log stderr;
{user}
events {{ }}
http {{
    include {directory}/ostiary.conf;
    access_log off;
    {temporary}
}}
"""
_TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
_CADDY = """\
{{
	admin off
	skip_install_trust
	http_port {port}
	https_port {secure_port}
	storage file_system {directory}
"""


class Proxy(Server):
    """Plain HTTP on `port`, TLS on `secure_port`, Ostiary behind it on `upstream`."""

    file = ""
    program = ""

    def __init__(self, upstream: int) -> None:
        super().__init__()
        self.upstream = upstream
        self.secure_port = 0
        self.waits = "10s"
        """How long the shipped file waits for what is slow; shorter ones keep a test short."""

    @property
    def url(self) -> str:
        """Where clients ask."""
        return f"https://{NAME}:{self.secure_port}"

    def connect(self, name: str = NAME, source: str = "127.0.0.1") -> ssl.SSLSocket:
        """A TLS connection to this name, its certificate checked."""
        plain = socket.create_connection(("127.0.0.1", self.secure_port), 30, (source, 0))
        return ssl.create_default_context(cafile=self._tls.authority).wrap_socket(plain, server_hostname=name)

    def _prepare(self) -> None:
        if self._program is None:
            text = f"{self.program} is missing: `make test` installs Debian's"
            raise ServiceError(text)
        self._tls = certificates.make(self.directory, hosts=(NAME,))

    def _command(self) -> list[str]:
        self.secure_port = free_port()
        self._configure(replaced((DEPLOY / self.file).read_text(), {SHIPPED_UPSTREAM: f"127.0.0.1:{self.upstream}"}))
        return [str(self._program), *self._words()]

    def _is_ready(self) -> bool:
        try:
            for port in (self.port, self.secure_port):
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            return False
        return True

    def _configure(self, shipped: str) -> None:
        raise NotImplementedError

    def _words(self) -> list[str]:
        raise NotImplementedError

    @property
    def _program(self) -> str | None:
        # Debian keeps nginx where only root's PATH looks.
        return shutil.which(self.program, path=f"{os.environ['PATH']}:/usr/sbin")


class NginxServer(Proxy):
    """deploy/nginx.conf."""

    file = "nginx.conf"
    program = "nginx"

    def _configure(self, shipped: str) -> None:
        changes = {
            "listen 80": f"listen {self.port}",
            "listen 443": f"listen {self.secure_port}",
            "listen [::]:80": f"listen [::]:{self.port}",
            "listen [::]:443": f"listen [::]:{self.secure_port}",
            "/etc/letsencrypt/live/id.example.org/fullchain.pem": str(self._tls.certificate),
            "/etc/letsencrypt/live/id.example.org/privkey.pem": str(self._tls.key),
            " 10s;": f" {self.waits};",
        }
        (self.directory / "ostiary.conf").write_text(replaced(shipped, changes))
        temporary = " ".join(f"{kind}_temp_path {self.directory}/{kind};" for kind in _TEMPORARY)
        user = "user root;" if os.geteuid() == 0 else ""
        (self.directory / "main.conf").write_text(_NGINX.format(directory=self.directory, user=user, temporary=temporary))

    def _words(self) -> list[str]:
        return ["-e", "stderr", "-p", str(self.directory), "-c", str(self.directory / "main.conf")]


class CaddyServer(Proxy):
    """deploy/Caddyfile."""

    file = "Caddyfile"
    program = "caddy"

    def _configure(self, shipped: str) -> None:
        own = _CADDY.format(port=self.port, secure_port=self.secure_port, directory=self.directory)
        changes = {
            "{\n\tservers": f"{own}\tservers",
            f"\n{NAME} {{\n": f"\n{NAME} {{\n\ttls {self._tls.certificate} {self._tls.key}\n",
            "read_header 10s": f"read_header {self.waits}",
        }
        (self.directory / "Caddyfile").write_text(replaced(shipped, changes))

    def _words(self) -> list[str]:
        return ["run", "--config", str(self.directory / "Caddyfile"), "--adapter", "caddyfile"]


def replaced(text: str, changes: dict[str, str]) -> str:
    """The text with each of these put in the other's place; what is not there to replace is an error of the test."""
    for old, new in changes.items():
        assert old in text, old
        text = text.replace(old, new)
    return text
