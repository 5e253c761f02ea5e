"""The LDAP directory that checks names and passwords in place of our own (librechat-wire 9), and what cannot go together."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Annotated, ClassVar, NamedTuple
from urllib.parse import urlsplit

from ostiary.settings.reading import Flag, Group, Kind, Names, Seconds, SecretStr, Whole, setting

PLACE = "{{username}}"
"""Where the escaped name goes in a filter or a template."""
DN_PLACE = "{{dn}}"
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_ATTRIBUTE = re.compile(r"[A-Za-z][A-Za-z0-9-]*(;[A-Za-z0-9-]+)*|[0-9]+(\.[0-9]+)+")
_ROLE = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_DEFAULT_PORTS = {"ldap": 389, "ldaps": 636}


def _semicolon_list(text: str) -> tuple[str, ...]:
    """Names of groups hold commas, so a semicolon stands between them."""
    return tuple(item for part in text.split(";") if (item := part.strip()))


class LdapServer(NamedTuple):
    """Where one of a directory's servers listens; `is_tls` means TLS from the first byte."""

    host: str
    port: int
    is_tls: bool


Groups = Annotated[tuple[str, ...], Kind(_semicolon_list)]


class Directory(Group):
    """Sign-in by LDAP. With LDAP_URL and LDAP_USER_SEARCH_BASE it replaces local passwords on LibreChat's wire."""

    title: ClassVar[str] = "LDAP"
    url: str = setting(
        "",
        "LDAP_URL",
        about="ldap://host or ldaps://host of the directory, a list if it has several servers; unset: local passwords",
    )
    search_base: str = setting("", "LDAP_USER_SEARCH_BASE", about="DN under which people are searched")
    bind_dn: str = setting("", "LDAP_BIND_DN", about="DN that searches; unset: an anonymous search")
    bind_credentials: SecretStr = setting(SecretStr(""), "LDAP_BIND_CREDENTIALS", about="the password of LDAP_BIND_DN")
    search_filter: str = setting(
        "mail={{username}}", "LDAP_SEARCH_FILTER", about="filter that finds a person; {{username}} is what was typed, escaped"
    )
    ca_path: str = setting("", "LDAP_CA_CERT_PATH", about="file with the CA that signed the directory's certificate")
    verifies: Flag = setting(True, "LDAP_TLS_REJECT_UNAUTHORIZED", about="false switches the certificate check off")
    starttls: Flag = setting(False, "LDAP_STARTTLS", about="true encrypts an ldap:// connection before anything is said")
    id_attribute: str = setting("", "LDAP_ID", about="attribute that never changes; default uid, sAMAccountName, mail")
    username_attribute: str = setting("", "LDAP_USERNAME", about="attribute of the username; default givenName, mail")
    email_attribute: str = setting("", "LDAP_EMAIL", about="attribute of the address; default mail, then <username>@ldap.local")
    name_attributes: Names = setting(
        (), "LDAP_FULL_NAME", about="comma list of attributes that make the name; default cn, name, commonname, displayName"
    )
    shows_username: Flag = setting(False, "LDAP_LOGIN_USES_USERNAME", about="true lets clients ask for a username, not an e-mail")
    bind_template: str = setting(
        "",
        "OSTIARY_LDAP_BIND_TEMPLATE",
        about="bind directly, such as uid={{username}},ou=people,dc=example,dc=org or {{username}}@corp.example",
    )
    group_attribute: str = setting("memberOf", "OSTIARY_LDAP_GROUP_ATTRIBUTE", about="attribute that holds a person's groups")
    group_base: str = setting(
        "", "OSTIARY_LDAP_GROUP_SEARCH_BASE", about="DN under which groups are searched too, where entries do not list theirs"
    )
    group_filter: str = setting(
        "(|(member={{dn}})(uniqueMember={{dn}}))",
        "OSTIARY_LDAP_GROUP_FILTER",
        about="filter that finds the groups of {{dn}} or {{username}}",
    )
    permitted: Groups = setting(
        (), "OSTIARY_LDAP_PERMITTED_GROUPS", about="groups, semicolons between, whose members may sign in; unset: everyone"
    )
    roles: Groups = setting(
        (),
        "OSTIARY_LDAP_ROLES",
        about="ROLE:group list, semicolons between, the first that fits wins, others are USER; unset: roles are set here",
    )
    allows_clear_text: Flag = setting(
        False, "OSTIARY_LDAP_ALLOW_CLEAR_TEXT", about="true sends passwords over the network unencrypted"
    )
    timeout: Seconds = setting(
        timedelta(seconds=4),
        "OSTIARY_LDAP_TIMEOUT",
        about="seconds that one sign-in may take at the directory, up to 5",
        ge=timedelta(milliseconds=100),
        le=timedelta(seconds=5),
    )
    connections: Whole = setting(8, "OSTIARY_LDAP_CONNECTIONS", about="sign-ins at the directory at one time", ge=1, le=128)

    @property
    def is_configured(self) -> bool:
        """Whether the directory replaces local passwords."""
        return bool(self.url and self.search_base)

    @property
    def _urls(self) -> list[str]:
        return self.url.replace(",", " ").split()

    @cached_property
    def servers(self) -> tuple[LdapServer, ...]:
        """The directory's servers, all with the same entries."""
        found = map(urlsplit, self._urls)
        return tuple(
            LdapServer(parts.hostname or "", parts.port or _DEFAULT_PORTS[parts.scheme.lower()], parts.scheme.lower() == "ldaps")
            for parts in found
        )

    @cached_property
    def roles_by_group(self) -> tuple[tuple[str, str], ...]:
        """Role and group, in the order in which they are looked for."""
        return tuple((role.strip(), group.strip()) for role, _, group in (entry.partition(":") for entry in self.roles))

    def complaints(self) -> Iterator[str]:
        """What would be dangerous or cannot work, each with its remedy."""
        if not self.url and not self.search_base:
            return
        if not self.is_configured:
            missing = "LDAP_USER_SEARCH_BASE" if self.url else "LDAP_URL"
            yield f"{missing} is missing: LDAP needs LDAP_URL and LDAP_USER_SEARCH_BASE. Set both, or neither"
            return
        if not self._urls or not all(map(_is_server, self._urls)):
            yield "LDAP_URL must be an address such as ldaps://ldap.example.org, or ldap://ldap.example.org with LDAP_STARTTLS"
            return
        yield from self._transport_complaints()
        yield from self._bind_complaints()
        yield from self._form_complaints()

    def _transport_complaints(self) -> Iterator[str]:
        if self.starttls and any(server.is_tls for server in self.servers):
            yield "LDAP_STARTTLS is for ldap:// addresses, and LDAP_URL is ldaps://. Remove one of them"
        if self._speaks_in_the_clear and not self.allows_clear_text:
            yield (
                "LDAP_URL is ldap:// without LDAP_STARTTLS: passwords would cross the network in the clear. Use ldaps://, or "
                "LDAP_STARTTLS=true; OSTIARY_LDAP_ALLOW_CLEAR_TEXT=true does it nevertheless"
            )
        if self.ca_path and not self.verifies:
            yield (
                "LDAP_CA_CERT_PATH is set and LDAP_TLS_REJECT_UNAUTHORIZED=false would not look at it. "
                "Remove LDAP_TLS_REJECT_UNAUTHORIZED"
            )
        if self.ca_path and not Path(self.ca_path).is_file():
            yield "LDAP_CA_CERT_PATH is not a file that can be read. Give the path of the CA's certificate (PEM)"

    @property
    def _speaks_in_the_clear(self) -> bool:
        """Whether passwords would leave this machine unencrypted."""
        return not self.starttls and any(not server.is_tls and server.host not in _LOOPBACK for server in self.servers)

    def _bind_complaints(self) -> Iterator[str]:
        if self.bind_dn and not self.bind_credentials.get_secret_value():
            yield "LDAP_BIND_DN is set without LDAP_BIND_CREDENTIALS, which a directory takes for anonymous. Set both, or neither"
        if self.bind_credentials.get_secret_value() and not self.bind_dn:
            yield "LDAP_BIND_CREDENTIALS is set without LDAP_BIND_DN. Set both, or neither"
        if self.bind_template and self.bind_dn:
            yield "OSTIARY_LDAP_BIND_TEMPLATE binds as the person, LDAP_BIND_DN as a service. Remove one of them"
        if self.bind_template and PLACE not in self.bind_template:
            yield f"OSTIARY_LDAP_BIND_TEMPLATE must hold {PLACE}, such as uid={PLACE},ou=people,dc=example,dc=org"

    def _form_complaints(self) -> Iterator[str]:
        if PLACE not in self.search_filter or not _is_balanced(self.search_filter):
            yield f"LDAP_SEARCH_FILTER must be a filter that holds {PLACE}, such as (mail={PLACE})"
        if self.group_base and (
            not (DN_PLACE in self.group_filter or PLACE in self.group_filter) or not _is_balanced(self.group_filter)
        ):
            yield f"OSTIARY_LDAP_GROUP_FILTER must be a filter that holds {DN_PLACE} or {PLACE}, such as (member={DN_PLACE})"
        for name, attributes in (
            ("LDAP_ID", (self.id_attribute,)),
            ("LDAP_USERNAME", (self.username_attribute,)),
            ("LDAP_EMAIL", (self.email_attribute,)),
            ("LDAP_FULL_NAME", self.name_attributes),
            ("OSTIARY_LDAP_GROUP_ATTRIBUTE", (self.group_attribute,)),
        ):
            if not all(_ATTRIBUTE.fullmatch(attribute) for attribute in attributes if attribute):
                yield f"{name} must name an attribute, such as uid"
        if not all(_ROLE.fullmatch(role) and group for role, group in self.roles_by_group):
            yield "OSTIARY_LDAP_ROLES must be a list such as ADMIN:cn=admins,ou=groups,dc=example,dc=org;USER:cn=staff,…"

    def warnings(self) -> Iterator[str]:
        """What an operator should know although it works."""
        if not self.is_configured:
            return
        if not self.verifies and (self.starttls or any(server.is_tls for server in self.servers)):
            yield "LDAP_TLS_REJECT_UNAUTHORIZED=false: anyone on the way can pose as the directory and read passwords"
        if self._speaks_in_the_clear:
            yield "OSTIARY_LDAP_ALLOW_CLEAR_TEXT=true: passwords cross the network in the clear"


def _is_server(url: str) -> bool:
    """Whether it says where a server listens, and no more."""
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - raises where it is no number
    except ValueError:
        return False
    return parts.scheme.lower() in _DEFAULT_PORTS and bool(parts.hostname) and not parts.path.strip("/")


def _is_balanced(text: str) -> bool:
    """Whether brackets close in order, and something is compared."""
    depth = 0
    for character in text:
        depth += {"(": 1, ")": -1}.get(character, 0)
        if depth < 0:
            return False
    return depth == 0 and "=" in text
