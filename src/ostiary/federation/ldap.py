"""Sign-in by an LDAP directory (librechat-wire 9): find exactly one entry, bind as it, and read who it is and what it may."""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from functools import partial

from ostiary.federation.ldap_connections import SUCCESS, Entry, Exchange, Link, Outcome, TroubleError
from ostiary.federation.ldap_servers import Servers
from ostiary.identity.accounts import USER
from ostiary.identity.context import Context
from ostiary.identity.federated import Assertion
from ostiary.identity.refusals import DirectoryRefused, GroupRefused
from ostiary.settings import Directory
from ostiary.settings.directory import DN_PLACE, PLACE

MOST_PASSWORD = 1024
MOST_TEXT = 256
MOST_EMAIL, MOST_LOCAL_PART = 254, 64
"""RFC 5321 section 4.5.3.1."""
FALLBACK_DOMAIN = "ldap.local"

SIZE_LIMIT, REFERRAL, CONSTRAINT, NO_SUCH_OBJECT, INVALID_CREDENTIALS = 4, 10, 19, 32, 49
_WRONG = frozenset({INVALID_CREDENTIALS, NO_SUCH_OBJECT, 34, 48, 50, 53})
"""Results of a bind that say no more than no (RFC 4511 section 4.1.9)."""

AD_REASONS = {
    "530": "not_at_this_time",
    "531": "not_at_this_workstation",
    "532": "password_expired",
    "533": "account_disabled",
    "534": "account_disabled",
    "701": "account_expired",
    "773": "password_must_change",
    "775": "account_locked",
}
"""Active Directory's sub-codes of invalidCredentials."""

_AD_CODE = re.compile(r"\bdata ([0-9a-f]{3,4})\b", re.IGNORECASE)
_ADDRESS = re.compile(r"[^\s@<>\"(),:;\\]+@[^\s@<>\"(),:;\\]+")
_SAFE = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.@")
_NOT_LOCAL_PART = re.compile(r"[^A-Za-z0-9._+-]+")
_AROUND_SEPARATORS = re.compile(r"\s*([,=+])\s*")
_BINARY = frozenset({"objectguid", "objectsid", "guid"})
_USUAL_ATTRIBUTES = ("displayName", "mail", "uid", "cn", "name", "commonname", "givenName", "sn", "sAMAccountName")


class LdapDirectory:
    """The directory that replaces local passwords."""

    name = "ldap"

    def __init__(self, settings: Directory) -> None:
        self._settings = settings
        self._servers = Servers(settings)
        self._issuer = f"ldap:{same_name(settings.search_base)}"
        wanted = (
            *_USUAL_ATTRIBUTES,
            settings.id_attribute,
            settings.username_attribute,
            settings.email_attribute,
            *settings.name_attributes,
            settings.group_attribute,
        )
        self._attributes = tuple(dict.fromkeys(attribute for attribute in wanted if attribute))

    async def authenticate(self, ctx: Context, identifier: str, password: str) -> Assertion:
        """Who this is. Raises DirectoryRefused, GroupRefused, DirectoryUnavailable, Busy."""
        secret = _checked_form(identifier, password)
        return await self._servers.run(partial(self._identified, identifier.strip(), secret), ctx.now)

    async def check(self, now: int) -> None:
        """Look at the search base of every server. Raises DirectoryUnavailable; DirectoryRefused when it is not there."""
        await self._servers.run_at_each(self._check_base, now)

    async def close(self) -> None:
        """Let go of connections."""
        await self._servers.close()

    def _check_base(self, exchange: Exchange) -> None:
        settings = self._settings
        if settings.bind_template:
            exchange.ask("person", lambda _: None)
            return
        outcome, _ = exchange.ask(
            "service", lambda link: link.search(settings.search_base, "(objectClass=*)", ["1.1"], scope="entry", most=1)
        )
        _check_search(outcome)

    def _identified(self, identifier: str, password: bytes, exchange: Exchange) -> Assertion:
        if self._settings.bind_template:
            entry, groups = exchange.ask("person", partial(self._bound_directly, identifier, password))
        else:
            entry = self._searched_and_bound(exchange, identifier, password)
            groups = exchange.ask("service", partial(self._groups, identifier, entry))
        return self._assertion(entry, groups)

    def _searched_and_bound(self, exchange: Exchange, identifier: str, password: bytes) -> Entry:
        entry = exchange.ask("service", partial(self._found, identifier))
        if entry is None:
            # A bind that must fail, so that a name that is nobody's takes as long as a wrong password.
            nobody = f"cn={secrets.token_hex(16)},{self._settings.search_base}"
            exchange.ask("person", lambda link: link.bind(nobody, secrets.token_hex(16).encode()))
            raise DirectoryRefused("unknown_account")
        _check_bind(exchange.ask("person", lambda link: link.bind(entry.dn, password)))
        return entry

    def _bound_directly(self, identifier: str, password: bytes, link: Link) -> tuple[Entry, set[str]]:
        """Bind by the template; whose entry is read is settled by a bind too, so that no filter can answer for another."""
        template = self._settings.bind_template
        if "=" in template:
            dn = template.replace(PLACE, escaped(identifier))
            _check_bind(link.bind(dn, password))
            outcome, entries = link.search(dn, "(objectClass=*)", self._attributes, scope="entry", most=1)
            _check_search(outcome)
            if len(entries) != 1:
                raise DirectoryRefused("unknown_account")
            entry = entries[0]
        else:
            _check_bind(link.bind(template.replace(PLACE, identifier), password))
            found = self._found(identifier, link)
            if found is None:
                raise DirectoryRefused("unknown_account")
            entry = found
            _check_bind(link.bind(entry.dn, password))
        return entry, self._groups(identifier, entry, link)

    def _found(self, identifier: str, link: Link) -> Entry | None:
        """The one entry that the filter finds; None when there is none, or more than one."""
        settings = self._settings
        filter_text = bracketed(settings.search_filter.replace(PLACE, escaped(identifier)))
        outcome, entries = link.search(settings.search_base, filter_text, self._attributes, scope="subtree", most=2)
        _check_search(outcome)
        return entries[0] if len(entries) == 1 and outcome.code == SUCCESS and entries[0].dn else None

    def _groups(self, identifier: str, entry: Entry, link: Link) -> set[str]:
        """The person's groups, as the entry lists them and as they list the person."""
        settings = self._settings
        groups = {same_name(text) for text in _texts(entry, settings.group_attribute)}
        if settings.group_base and (settings.permitted or settings.roles):
            name = _first(entry, "uid") or identifier
            filter_text = bracketed(settings.group_filter.replace(DN_PLACE, escaped(entry.dn)).replace(PLACE, escaped(name)))
            outcome, found = link.search(settings.group_base, filter_text, ["1.1"], scope="subtree")
            _check_search(outcome)
            groups |= {same_name(group.dn) for group in found}
        return groups

    def _assertion(self, entry: Entry, groups: set[str]) -> Assertion:
        settings = self._settings
        if settings.permitted and groups.isdisjoint(map(same_name, settings.permitted)):
            raise GroupRefused("no_permitted_group", entry.values)
        subject = _first(entry, settings.id_attribute, *(() if settings.id_attribute else ("uid", "sAMAccountName", "mail")))
        if not subject:
            raise DirectoryRefused("no_stable_id")
        username = _first(entry, settings.username_attribute, "givenName", "mail") or subject
        names = settings.name_attributes
        full_name = " ".join(filter(None, (_first(entry, name) for name in names)))
        return Assertion(
            provider=self.name,
            issuer=self._issuer,
            subject=subject,
            email=self._email(entry, username),
            is_email_verified=True,
            name=(full_name or _first(entry, "cn", "name", "commonname", "displayName") or username)[:MOST_TEXT],
            username=username[:MOST_TEXT],
            role=self._role(groups),
            amr=("pwd",),
            claims={**{name: _texts(entry, name) for name in entry.values}, "dn": entry.dn, "groups": sorted(groups)},
        )

    def _role(self, groups: set[str]) -> str | None:
        roles = self._settings.roles_by_group
        if not roles:
            return None
        return next((role for role, group in roles if same_name(group) in groups), USER)

    def _email(self, entry: Entry, username: str) -> str:
        """The first address; what is none is not taken for one (W-51), and a name of its own is made where there is none."""
        for attribute in (self._settings.email_attribute, "mail"):
            address = _first(entry, attribute)
            if len(address) <= MOST_EMAIL and _ADDRESS.fullmatch(address):
                return address
        return f"{_NOT_LOCAL_PART.sub('_', username)[:MOST_LOCAL_PART]}@{FALLBACK_DOMAIN}"


def escaped(text: str) -> str:
    r"""Text as part of a filter (RFC 4515) or a DN (RFC 4514): all but letters, digits and `-_.@` as `\xx`, which both read."""
    return "".join(chr(byte) if byte in _SAFE else f"\\{byte:02x}" for byte in text.encode())


def bracketed(filter_text: str) -> str:
    """LibreChat's default filter has no brackets; ldap3 wants them."""
    text = filter_text.strip()
    return text if text.startswith("(") else f"({text})"


def same_name(name: str) -> str:
    """A DN or a group's name, such that two spellings of one are equal."""
    return _AROUND_SEPARATORS.sub(r"\1", name.strip()).casefold()


def _checked_form(identifier: str, password: str) -> bytes:
    """The password's bytes. A directory takes an empty password for "anonymous" and says yes (RFC 4513 section 5.1.2)."""
    if not identifier.strip() or "\0" in identifier or "\0" in password:
        raise DirectoryRefused("malformed")
    if not any(character.isprintable() and not character.isspace() for character in password):
        raise DirectoryRefused("empty_password")
    try:
        identifier.encode()
        secret = password.encode()
    except UnicodeEncodeError as error:
        raise DirectoryRefused("malformed") from error
    if len(secret) > MOST_PASSWORD:
        raise DirectoryRefused("malformed")
    return secret


def _check_bind(outcome: Outcome) -> None:
    """Raises DirectoryRefused, or TroubleError when the answer is not about the password."""
    if outcome.code == SUCCESS:
        return
    if outcome.code == CONSTRAINT:
        raise DirectoryRefused("retry_limit")
    if outcome.code not in _WRONG:
        raise TroubleError(f"bind: code {outcome.code}: {outcome.text}"[:300])
    found = _AD_CODE.search(outcome.text) if outcome.code == INVALID_CREDENTIALS else None
    raise DirectoryRefused(AD_REASONS.get(found[1].lower(), "mismatch") if found else "mismatch")


def _check_search(outcome: Outcome) -> None:
    if outcome.code == NO_SUCH_OBJECT:
        raise DirectoryRefused("bad_search_base")
    if outcome.code not in {SUCCESS, SIZE_LIMIT, REFERRAL}:
        raise TroubleError(f"search: code {outcome.code}: {outcome.text}"[:300])


def _texts(entry: Entry, attribute: str) -> list[str]:
    """The values as text; what is not text, in hexadecimal digits."""
    values: Sequence[bytes] = entry.values.get(attribute.lower(), ())
    return [_text(value, is_binary=attribute.lower() in _BINARY) for value in values]


def _text(value: bytes, *, is_binary: bool) -> str:
    try:
        text = value.hex() if is_binary else value.decode()
    except UnicodeDecodeError:
        return value.hex()
    return text.strip() if text.isprintable() else value.hex()


def _first(entry: Entry, *attributes: str) -> str:
    """The first value of the first attribute that has one (W-50)."""
    for attribute in attributes:
        for text in _texts(entry, attribute):
            if text:
                return text
    return ""
