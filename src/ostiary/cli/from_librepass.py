"""LibrePass's accounts, as its server keeps them in PostgreSQL (librepass-wire 4 and 22). Only read, in one snapshot."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any
from uuid import UUID

import asyncpg

from ostiary.cli.desk import Desk
from ostiary.cli.output import TroubleError
from ostiary.cli.readings import Reading, UnmovableError, totp_secret
from ostiary.crypto import x25519
from ostiary.crypto.tokens import KEY_PREFIX
from ostiary.identity import backup_codes
from ostiary.identity.context import micros
from ostiary.identity.importing import Newcomer, OldKey, OldToken
from ostiary.identity.public_keys import Parameters
from ostiary.identity.refusals import ParametersRefused

CONNECT_SECONDS = 10
TABLES = ("token_table", "cipher_table", "collection_table", "email_change_table")
_HEX = re.compile(r"(?:[0-9a-fA-F]{2})*")
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+")
_Record = Mapping[str, Any]
_Owned = Mapping[str, Mapping[UUID, Sequence[_Record]]]
_PROBE = x25519.private_key(bytes(range(32)))


async def read(desk: Desk, url: str) -> AsyncIterator[Reading]:
    """Each account of the database. Raises TroubleError when it cannot be read, or is another's."""
    try:
        connection = await asyncpg.connect(url, timeout=CONNECT_SECONDS)
    except (OSError, asyncpg.PostgresError, ValueError) as error:
        text = f"The database given with --from cannot be opened ({type(error).__name__}). It has the form postgresql://USER@HOST/NAME."
        raise TroubleError(text) from error
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            users, owned = await _rows(connection)
    finally:
        await connection.close()
    known = {user["id"] for user in users}
    for user in users:
        notes: list[str] = []
        try:
            newcomer = _newcomer(desk, user, owned, notes)
        except UnmovableError as error:
            yield Reading(str(user["email"]), None, str(error), tuple(notes))
        else:
            yield Reading(str(user["email"]), newcomer, notes=tuple(notes))
    for name in TABLES:
        orphans = sum(len(rows) for owner, rows in owned[name].items() if owner not in known)
        if orphans:
            yield Reading(f"{name}: {orphans} row(s)", None, "their owner does not exist")


async def _rows(connection: asyncpg.Connection[asyncpg.Record]) -> tuple[list[dict[str, Any]], _Owned]:
    if await connection.fetchval("SELECT to_regclass('user_table')") is None:
        raise TroubleError("The database given with --from has no user_table: it is not LibrePass's.")
    owned: dict[str, dict[UUID, list[dict[str, Any]]]] = {name: defaultdict(list) for name in TABLES}
    for name in TABLES:
        if await connection.fetchval("SELECT to_regclass($1)", name) is not None:
            for row in await connection.fetch(f"SELECT * FROM {name}"):  # noqa: S608 - a name from the list above
                owned[name][row["owner"]].append(dict(row))
    # Columns differ from release to release, so whole rows are read and each column is asked for by name.
    users = [dict(row) for row in await connection.fetch("SELECT * FROM user_table ORDER BY created, id")]
    return users, owned


def _newcomer(desk: Desk, user: _Record, owned: _Owned, notes: list[str]) -> Newcomer:
    email = str(user["email"])
    if not _EMAIL.fullmatch(email):
        raise UnmovableError("it has no e-mail address")
    if email != email.strip().lower():
        notes.append("its address is in lower case here; the owner goes on typing it as before, since the key depends on it")
    created_at = _moment(user.get("created")) or 0
    secret = totp_secret(user.get("two_factor_secret")) if user.get("two_factor_enabled") else None
    recovery = user.get("two_factor_recovery_code") if secret else None
    if owned["email_change_table"].get(user["id"]):
        notes.append("its change of address under way was left behind")
    return Newcomer(
        id=str(user["id"]),
        email=email,
        name="",
        created_at=created_at,
        traits={
            "provider": "key",
            "verified_at": created_at if user.get("email_verified") else None,
            "updated_at": _moment(user.get("last_modified")) or created_at,
        },
        key=_key(user, notes),
        totp_secret=secret,
        backup_codes=(sha256(backup_codes.normalised(recovery).encode()).hexdigest(),) if recovery else (),
        tokens=_tokens(desk, user, owned["token_table"].get(user["id"], []), notes),
        ciphers=_ciphers(owned["cipher_table"].get(user["id"], []), notes),
        collections=tuple(_collection(row) for row in owned["collection_table"].get(user["id"], [])),
    )


def _key(user: _Record, notes: list[str]) -> OldKey:
    raw = x25519.decode_key(str(user["public_key"]))
    if raw is None:
        raise UnmovableError("its public key is not 64 hex digits, so nobody can sign in with it")
    if x25519.agree(_PROBE, raw) is None:
        raise UnmovableError("its public key is of low order: anybody could sign in with it. Its owner must register anew")
    parameters = Parameters(int(user["parallelism"]), int(user["memory"]), int(user["iterations"]))
    try:
        parameters.check()
    except ParametersRefused:
        notes.append("its key derivation is outside the usual range; it was kept, since the key depends on it")
    return OldKey(x25519.canonical(raw).hex(), parameters, user.get("password_hint"))


def _tokens(desk: Desk, user: _Record, rows: Sequence[_Record], notes: list[str]) -> tuple[OldToken, ...]:
    """Those that would be accepted there: confirmed, used within the idle time, not older than the last change of password."""
    now, sessions = desk.services.clock(), desk.settings.sessions
    changed_at = _moment(user.get("last_password_change")) or 0
    kept = []
    for row in rows:
        created_at, used_at = _moment(row.get("created")) or 0, _moment(row.get("last_used")) or 0
        is_live = row["confirmed"] and created_at >= changed_at and now - used_at < micros(sessions.key_idle)
        if is_live and now - created_at < micros(sessions.key_max_age) and str(row["token"]).startswith(KEY_PREFIX):
            kept.append(OldToken(row["token"], str(row.get("last_ip") or ""), created_at, used_at))
    if len(kept) < len(rows):
        notes.append(f"{len(rows) - len(kept)} of its {len(rows)} API keys were unconfirmed or too old, and were left behind")
    return tuple(kept)


def _ciphers(rows: Sequence[_Record], notes: list[str]) -> tuple[dict[str, Any], ...]:
    found = []
    for row in rows:
        data = row.get("protected_data", row.get("data"))
        if not isinstance(data, str) or not _HEX.fullmatch(data):
            notes.append(f"its vault row {row['id']} does not hold hex and was left behind")
            continue
        collection = row.get("collection")
        created = (_moment(row.get("created")) or 0) // 1_000_000
        found.append(
            {
                "id": str(row["id"]),
                "type": int(row["type"]),
                "protected_data": data,
                "collection_id": str(collection) if collection else None,
                "favorite": int(bool(row.get("favorite"))),
                "re_prompt": int(bool(row.get("re_prompt"))),
                "created": created,
                "last_modified": (_moment(row.get("last_modified")) or 0) // 1_000_000 or created,
            }
        )
    return tuple(found)


def _collection(row: _Record) -> dict[str, Any]:
    created = (_moment(row.get("created")) or 0) // 1_000_000
    return {
        "id": str(row["id"]),
        "name": str(row["name"]),
        "created": created,
        "last_modified": (_moment(row.get("last_modified")) or 0) // 1_000_000 or created,
    }


def _moment(value: datetime | None) -> int | None:
    """Microseconds. The original's columns have no zone; its container runs on UTC."""
    if value is None:
        return None
    return int((value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp() * 1_000_000)
