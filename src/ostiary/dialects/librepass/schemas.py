"""What LibrePass's clients send and get. Types are checked by decoding, rules of form here (librepass-wire 4 and 9)."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from typing import Annotated, Any

import msgspec

from ostiary.crypto import x25519
from ostiary.dialects.librepass import errors
from ostiary.dialects.librepass.errors import BodyRefused
from ostiary.identity import vault
from ostiary.identity.context import MICROSECONDS
from ostiary.identity.public_keys import NewKey, Parameters
from ostiary.identity.refusals import CollectionRefused, RowRefused
from ostiary.identity.vault import Collection, Rewritten, Row

MOST_EMAIL = 254
"""The longest address that mail can carry (RFC 5321 section 4.5.3.1.3)."""
MOST_LOCAL_PART = 64
MOST_DOMAIN = 255
MOST_LABEL = 63
MOST_HINT = 256
"""The original declares 100 and checks nothing; Android's field has no limit (section 4)."""
MOST_SECRET = 128
"""Base32 digits of a TOTP secret; clients make 32 (section 13)."""
MOST_COLLECTION_NAME = 32
LATEST_SECOND = 253_402_300_799
"""The last second of the year 9999."""

# What may not be there. Of what may, which is all beyond ASCII, the compiler would look at each of a million characters.
_SPECIAL = r'\x00-\x20"(),.:;<>@\[\\\]\x7f'
_ATOM = rf"[^{_SPECIAL}]+"
_QUOTED = r'"(?:[^\x00-\x1f"\\\x7f]|\\\\|\\")+"'
_LOCAL_PART = re.compile(rf"(?:{_ATOM}|{_QUOTED})(?:\.(?:{_ATOM}|{_QUOTED}))*")
_LABEL_CHARACTER = rf"[^{_SPECIAL}-]"
_LABEL = rf"{_LABEL_CHARACTER}(?:(?:-*{_LABEL_CHARACTER})*)"
_DOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII | re.IGNORECASE)


def _documented(**schema: Any) -> msgspec.Meta:  # noqa: ANN401 - JSON Schema
    """A rule for the OpenAPI document; it is checked by `_require`, so that its breach has the wire's own message."""
    return msgspec.Meta(extra_json_schema=schema)


Email = Annotated[str, _documented(maxLength=MOST_EMAIL, format="email")]
Key = Annotated[str, _documented(pattern="^[0-9A-Fa-f]{64}$")]
Hint = Annotated[str, _documented(maxLength=MOST_HINT)]
Id = Annotated[str, _documented(format="uuid")]
Hex = Annotated[str, _documented(pattern="^[0-9A-Fa-f]+$", maxLength=vault.MOST_DIGITS)]
Lanes = Annotated[int, _documented(minimum=1, maximum=10)]
Memory = Annotated[int, _documented(minimum=20480, maximum=153600)]
Passes = Annotated[int, _documented(minimum=1, maximum=10)]
Seconds = Annotated[int, _documented(minimum=0, maximum=LATEST_SECOND)]


def is_email(text: str) -> bool:
    """The rule that the original applies (section 4), and no character that a mail header could break at."""
    local_part, at, domain = text.rpartition("@")
    if not at or len(text) > MOST_EMAIL or len(local_part) > MOST_LOCAL_PART or not text.isprintable():
        return False
    return bool(_LOCAL_PART.fullmatch(local_part)) and _is_domain(domain)


def _is_domain(domain: str) -> bool:
    if domain.startswith("[") and domain.endswith("]"):
        literal = domain[1:-1]
        try:
            if literal.lower().startswith("ipv6:"):
                ipaddress.IPv6Address(literal[5:])
            else:
                ipaddress.IPv4Address(literal)
        except ValueError:
            return False
        return True
    if not _DOMAIN.fullmatch(domain):
        return False
    if domain.isascii():
        return len(domain) <= MOST_DOMAIN and max(map(len, domain.split("."))) <= MOST_LABEL
    try:
        return len(domain.encode("idna")) <= MOST_DOMAIN
    except UnicodeError:
        return False


def _require(*rules: bool) -> None:
    if not all(rules):
        raise BodyRefused(errors.INVALID)


def _is_key(text: str) -> bool:
    return x25519.decode_key(text) is not None


def _is_hint(text: str | None) -> bool:
    return text is None or (len(text) <= MOST_HINT and "\0" not in text)


def _require_ids(*ids: str | None) -> None:
    """A malformed UUID is a wrong type to the original's clients (section 2)."""
    if not all(text is None or _UUID.fullmatch(text) for text in ids):
        raise BodyRefused(errors.UNREADABLE)


class Registration(msgspec.Struct, frozen=True, rename="camel"):
    """`POST /api/auth/register` (6.1)."""

    email: Email
    shared_key: Key
    parallelism: Lanes
    memory: Memory
    iterations: Passes
    public_key: Key
    password_hint: Hint | None = None

    def __post_init__(self) -> None:
        _require(is_email(self.email), _is_key(self.shared_key), _is_key(self.public_key), _is_hint(self.password_hint))

    @property
    def key(self) -> NewKey:
        """The key to store."""
        return NewKey(self.public_key, self.shared_key)

    @property
    def parameters(self) -> Parameters:
        """How the client derived it."""
        return Parameters(self.parallelism, self.memory, self.iterations)


class Login(msgspec.Struct, frozen=True, rename="camel"):
    """`POST /api/auth/oauth?grantType=login` (6.3). An address that nobody can have is an unknown one, not a malformed one."""

    email: Annotated[str, _documented(maxLength=MOST_EMAIL)]
    shared_key: Key

    def __post_init__(self) -> None:
        _require(len(self.email) <= MOST_EMAIL, "\0" not in self.email, _is_key(self.shared_key))


class FactorAnswer(msgspec.Struct, frozen=True, rename="camel"):
    """`POST /api/auth/oauth?grantType=2fa` (6.4)."""

    api_key: str
    code: str


class RewrittenRow(msgspec.Struct, frozen=True):
    """A row under the new key (section 7)."""

    id: Id
    data: Hex

    def __post_init__(self) -> None:
        _require_ids(self.id)
        vault.check_contents(self.data)


def rewritten(rows: Sequence[RewrittenRow]) -> list[Rewritten]:
    """The rows as the core takes them."""
    return [Rewritten(row.id.lower(), row.data) for row in rows]


class EmailChange(msgspec.Struct, frozen=True, rename="camel"):
    """`PATCH /api/user/email` (7.1)."""

    new_email: Email
    old_shared_key: Key
    new_public_key: Key
    new_shared_key: Key
    ciphers: list[RewrittenRow]

    def __post_init__(self) -> None:
        keys = (self.old_shared_key, self.new_public_key, self.new_shared_key)
        _require(is_email(self.new_email), *map(_is_key, keys))


class PasswordChange(msgspec.Struct, frozen=True, rename="camel"):
    """`PATCH /api/user/password` (7.3). iOS sends the hint as `passwordHint`."""

    old_shared_key: Key
    new_public_key: Key
    new_shared_key: Key
    parallelism: Lanes
    memory: Memory
    iterations: Passes
    ciphers: list[RewrittenRow]
    new_password_hint: Hint | None = None
    password_hint: Hint | None = None

    def __post_init__(self) -> None:
        _require(*map(_is_key, (self.old_shared_key, self.new_public_key, self.new_shared_key)), _is_hint(self.hint))

    @property
    def hint(self) -> str | None:
        """The new hint; none erases the old one."""
        return self.password_hint if self.new_password_hint is None else self.new_password_hint


class FactorSetUp(msgspec.Struct, frozen=True, rename="camel"):
    """`POST /api/user/setup/2fa` (7.4). `oldCode` is ours: a code of the factor that this one replaces."""

    shared_key: Key
    secret: Annotated[str, _documented(maxLength=MOST_SECRET)]
    code: str
    old_code: str | None = None

    def __post_init__(self) -> None:
        _require(_is_key(self.shared_key), len(self.secret) <= MOST_SECRET)


class Confirmation(msgspec.Struct, frozen=True, rename="camel"):
    """`DELETE /api/user/delete` (7.5), and switching the second factor off (ours)."""

    shared_key: Key
    code: str | None = None

    def __post_init__(self) -> None:
        _require(_is_key(self.shared_key))


class Cipher(msgspec.Struct, frozen=True, rename="camel"):
    """A vault row (9.1). Its contents are hex to us, and nothing more."""

    id: Id
    owner: Id
    type: Annotated[int, _documented(minimum=0, maximum=127)]
    protected_data: Hex
    collection: Id | None = None
    favorite: bool = False
    re_prompt: bool = False
    created: Seconds | None = None
    last_modified: Seconds | None = None

    def __post_init__(self) -> None:
        _require_ids(self.id, self.owner, self.collection)
        vault.check_contents(self.protected_data)
        moments = [moment for moment in (self.created, self.last_modified) if moment is not None]
        if not 0 <= self.type <= 127 or not all(0 <= moment <= LATEST_SECOND for moment in moments):  # noqa: PLR2004 - a byte
            raise RowRefused

    def row(self, owner_id: str, now: int) -> Row:
        """The row as stored. Raises RowRefused for another's."""
        if self.owner.lower() != owner_id:
            raise RowRefused("owner")
        seconds = now // MICROSECONDS
        return Row(
            owner_id=owner_id,
            id=self.id.lower(),
            type=self.type,
            protected_data=self.protected_data,
            collection_id=self.collection.lower() if self.collection else None,
            favorite=int(self.favorite),
            re_prompt=int(self.re_prompt),
            created=seconds if self.created is None else self.created,
            last_modified=seconds if self.last_modified is None else self.last_modified,
            written_at=now,
        )


class Sync(msgspec.Struct, frozen=True, rename="camel"):
    """`POST /api/cipher/sync` (9.1)."""

    last_sync_timestamp: Seconds
    updated: list[Cipher]
    deleted: list[Id]

    def __post_init__(self) -> None:
        _require(0 <= self.last_sync_timestamp <= LATEST_SECOND)
        _require_ids(*self.deleted)


class NewCollection(msgspec.Struct, frozen=True):
    """`PUT /api/collection` (9.1)."""

    name: Annotated[str, _documented(maxLength=MOST_COLLECTION_NAME)]
    id: Id | None = None

    def __post_init__(self) -> None:
        _require_ids(self.id)
        if len(self.name) > MOST_COLLECTION_NAME:
            raise CollectionRefused("name is too long")
        _require("\0" not in self.name)


def cipher_json(row: Row) -> dict[str, Any]:
    """A row as clients read it; a row in no collection has no such member (section 2, null members)."""
    collection = {} if row.collection_id is None else {"collection": row.collection_id}
    return {
        "id": row.id,
        "owner": row.owner_id,
        "type": row.type,
        "protectedData": row.protected_data,
        **collection,
        "favorite": bool(row.favorite),
        "rePrompt": bool(row.re_prompt),
        "created": row.created,
        "lastModified": row.last_modified,
    }


def collection_json(collection: Collection) -> dict[str, Any]:
    """A collection as clients read it."""
    return {
        "id": collection.id,
        "name": collection.name,
        "owner": collection.owner_id,
        "created": collection.created,
        "lastModified": collection.last_modified,
    }
