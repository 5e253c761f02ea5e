"""OpenLDAP's slapd from Debian's packages: a small organisation, with TLS by a throw-away authority."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path
from typing import Literal

import ldap3

from tests.services import Server, ServiceError, certificates, free_port

PROGRAM = Path("/usr/sbin/slapd")
BASE = "dc=example,dc=org"
PEOPLE = f"ou=people,{BASE}"
GROUPS = f"ou=groups,{BASE}"
ADMIN, READER = f"cn=admin,{BASE}", f"cn=reader,{BASE}"
SECRET = "the directory's secret"
STRANGE = "127.0.0.2"
"""An address that it listens on too, and that its certificate does not name."""

CONFIG = """\
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
moduleload memberof
TLSCACertificateFile {tls.authority}
TLSCertificateFile {tls.certificate}
TLSCertificateKeyFile {tls.key}
database mdb
maxsize 67108864
suffix "{base}"
rootdn "{admin}"
rootpw "{secret}"
directory {directory}/rows
dbnosync
access to attrs=userPassword by anonymous auth by * none
access to * by users read by anonymous auth
overlay memberof
"""
ROWS = f"""\
dn: {BASE}
objectClass: dcObject
objectClass: organization
dc: example
o: Example

dn: {PEOPLE}
objectClass: organizationalUnit
ou: people

dn: {GROUPS}
objectClass: organizationalUnit
ou: groups

dn: {READER}
objectClass: organizationalRole
objectClass: simpleSecurityObject
cn: reader
userPassword: {SECRET}
"""


class SlapdServer(Server):
    """`ldap://127.0.0.1:port` (StartTLS offered) and `ldaps://127.0.0.1:tls_port`; nobody unknown may read."""

    def __init__(self) -> None:
        super().__init__()
        self.tls_port = 0
        self.made = 0

    @property
    def authority(self) -> Path:
        """The CA's certificate."""
        return self._tls.authority

    def settings(self, **changes: str) -> dict[str, str]:
        """What Ostiary is told to use it with a service account, in the clear over loopback."""
        return {
            "LDAP_URL": f"ldap://127.0.0.1:{self.port}",
            "LDAP_USER_SEARCH_BASE": PEOPLE,
            "LDAP_BIND_DN": READER,
            "LDAP_BIND_CREDENTIALS": SECRET,
            "LDAP_SEARCH_FILTER": "(|(mail={{username}})(uid={{username}}))",
            **changes,
        }

    def add_person(self, **attributes: str | list[str]) -> str:
        """Somebody new with the password `right horse`; the uid."""
        self.made += 1
        uid = f"person{self.made}"
        row: dict[str, str | list[str]] = {
            "cn": "Grace Hopper",
            "sn": "Hopper",
            "givenName": "Grace",
            "mail": f"{uid}@example.org",
            "userPassword": "right horse",
            **attributes,
        }
        self._as_admin("add", f"uid={uid},{PEOPLE}", ["inetOrgPerson"], {"uid": uid, **row})
        return uid

    def change(self, uid: str, **attributes: str | list[str]) -> None:
        """Replace attributes."""
        changes = {
            name: [(ldap3.MODIFY_REPLACE, [value] if isinstance(value, str) else value)] for name, value in attributes.items()
        }
        self._as_admin("modify", f"uid={uid},{PEOPLE}", changes)

    def add_group(self, *uids: str) -> str:
        """A new group with these members; its DN."""
        self.made += 1
        dn = f"cn=group{self.made},{GROUPS}"
        members = {"member": [f"uid={uid},{PEOPLE}" for uid in uids]}
        self._as_admin("add", dn, ["groupOfNames"], members)
        return dn

    def remove(self, dn: str) -> None:
        """Delete an entry."""
        self._as_admin("delete", dn)

    def _as_admin(self, operation: Literal["add", "modify", "delete"], *arguments: object) -> None:
        server = ldap3.Server("127.0.0.1", port=self.port, get_info=ldap3.NONE)
        admin = ldap3.Connection(server, ADMIN, SECRET, check_names=False)
        try:
            if not (admin.bind() and getattr(admin, operation)(*arguments)):
                raise ServiceError(str(admin.result))
        finally:
            admin.unbind()

    @property
    def _tls(self) -> certificates.Files:
        return certificates.Files(self.directory / "ca.pem", self.directory / "server.pem", self.directory / "server.key")

    @property
    def _config(self) -> Path:
        return self.directory / "slapd.conf"

    def _prepare(self) -> None:
        if not PROGRAM.exists():
            raise ServiceError("slapd is missing: `make test` installs Debian's")
        certificates.make(self.directory)
        (self.directory / "rows").mkdir()
        values = {"tls": self._tls, "base": BASE, "admin": ADMIN, "secret": SECRET, "directory": self.directory}
        self._config.write_text(CONFIG.format(**values))
        command = [str(PROGRAM), "-T", "add", "-f", str(self._config)]
        done = subprocess.run(command, input=ROWS, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise ServiceError(done.stderr)

    def _command(self) -> list[str]:
        self.tls_port = free_port()
        addresses = [f"ldap://{host}:{self.port} ldaps://{host}:{self.tls_port}" for host in ("127.0.0.1", STRANGE)]
        return [str(PROGRAM), "-d", "0", "-f", str(self._config), "-h", " ".join(addresses)]

    def _is_ready(self) -> bool:
        try:
            for port in (self.port, self.tls_port):
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            return False
        return True
