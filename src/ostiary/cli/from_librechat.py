"""LibreChat's users, as `mongoexport --collection users` writes them: a JSON document a line, or one array (librechat-wire 4)."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ostiary.cli.output import TroubleError
from ostiary.cli.readings import Reading, UnmovableError, totp_secret
from ostiary.crypto.passwords import IMPORTED, MOST_COST, PasswordHash, imported, is_affordable
from ostiary.crypto.sealing import SealBrokenError, open_librechat
from ostiary.federation.ldap import same_name
from ostiary.federation.presets import APPLE, DISCORD, FACEBOOK, GITHUB, GOOGLE
from ostiary.identity import accounts
from ostiary.identity.federated import Config as Identity
from ostiary.identity.importing import Newcomer
from ostiary.settings import Settings

PRESETS = (GOOGLE, FACEBOOK, GITHUB, DISCORD, APPLE)
OTHERS = ("openid", "saml", "ldap")
_HEX_DIGEST = re.compile(r"[0-9a-f]{64}")
_ROLE = re.compile(r"[A-Z][A-Z0-9_-]{0,63}")
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+")
_MOST_EMAIL = 254


def issuers(settings: Settings, given: Iterable[str]) -> dict[str, str]:
    """Provider → the issuer under which its ids are kept: what was given, else what the settings say. Raises TroubleError."""
    found = {preset.name: preset.issuer for preset in PRESETS}
    if settings.github.enterprise_url:
        found[GITHUB.name] = settings.github.enterprise_url
    directory = settings.directory
    configured = {
        "openid": settings.openid.issuer,
        "saml": settings.saml.idp_issuer,
        "ldap": f"ldap:{same_name(directory.search_base)}" if directory.search_base else "",
    }
    for pair in given:
        provider, _, issuer = pair.partition("=")
        if provider not in OTHERS or not issuer:
            raise TroubleError(f"--issuer takes openid=…, saml=… or ldap=…, not {pair!r}.")
        configured[provider] = issuer
    return found | configured


async def read(file: Path, creds_key: bytes, issuers: Mapping[str, str]) -> AsyncIterator[Reading]:
    """Each account of the file. Raises TroubleError for a file that is no such export."""
    for number, document in enumerate(_documents(file), start=1):
        label = str(document.get("email") or f"document {number}")
        notes: list[str] = []
        try:
            newcomer = _newcomer(document, creds_key, issuers, notes)
        except UnmovableError as error:
            yield Reading(label, None, str(error), tuple(notes))
        else:
            yield Reading(label, newcomer, notes=tuple(notes))


def _documents(file: Path) -> Iterator[Mapping[str, Any]]:
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise TroubleError(f"{file} cannot be read as text ({type(error).__name__}).") from error
    try:
        found = (
            json.loads(text)
            if text.lstrip().startswith("[")
            else [json.loads(line) for line in text.splitlines() if line.strip()]
        )
    except json.JSONDecodeError as error:
        raise TroubleError(f"{file} is not an export by mongoexport: JSON is broken at line {error.lineno}.") from error
    for document in found:
        if not isinstance(document, dict) or "_id" not in document:
            raise TroubleError(f"{file} is not an export of users: a document without _id is in it.")
        yield document


def _newcomer(document: Mapping[str, Any], creds_key: bytes, issuers: Mapping[str, str], notes: list[str]) -> Newcomer:
    email = document.get("email")
    if not isinstance(email, str) or not _EMAIL.fullmatch(email.strip()) or len(email) > _MOST_EMAIL:
        raise UnmovableError("it has no e-mail address")
    created_at = _moment(document.get("createdAt")) or 0
    secret = _secret(document, creds_key)
    newcomer = Newcomer(
        id=_id(document["_id"]),
        email=email,
        name=_text(document, "name") or _text(document, "username") or email,
        created_at=created_at,
        traits=_traits(document, created_at, notes),
        password_hash=_password(document, notes),
        totp_secret=secret,
        backup_codes=_backup_codes(document, notes) if secret else (),
        identities=_identities(document, issuers, notes),
    )
    if newcomer.password_hash is None and not newcomer.identities:
        notes.append("it has no way in: its owner needs a password reset")
    if document.get("tenantId"):
        notes.append("it belonged to a tenant; there are none here")
    return newcomer


def _traits(document: Mapping[str, Any], created_at: int, notes: list[str]) -> dict[str, Any]:
    role = document.get("role") or accounts.USER
    if not isinstance(role, str) or not _ROLE.fullmatch(role):
        notes.append(f"its role {role!r} is no name of a role: it is {accounts.USER} here")
        role = accounts.USER
    accepted_at = _moment(document.get("termsAcceptedAt")) if document.get("termsAccepted") is True else None
    if document.get("termsAccepted") is True:
        accepted_at = accepted_at or created_at
    is_verified = document.get("emailVerified") is True
    return {
        "username": _text(document, "username") or None,
        "avatar": _text(document, "avatar") or None,
        "role": role,
        "provider": _text(document, "provider") or "local",
        "verified_at": created_at if is_verified else None,
        "terms_accepted_at": accepted_at,
        # These are the terms that were in force there; a version set here is another and is asked for anew.
        "terms_version": "" if accepted_at is not None else None,
        "updated_at": _moment(document.get("updatedAt")) or created_at,
        "expires_at": None if is_verified else _moment(document.get("expiresAt")),
    }


_EXCESS = "takes more time or memory than one sign-in may"


def _password(document: Mapping[str, Any], notes: list[str]) -> PasswordHash | None:
    found = document.get("password")
    if not found:
        return None
    stored = imported(found) if isinstance(found, str) else None
    if stored is None:
        notes.append("its password hash is not bcrypt, Argon2id or scrypt: its owner needs a password reset")
        return None
    if not is_affordable(stored):
        excess = f"has a cost of {stored.text[4:6]}, beyond {MOST_COST}" if stored.scheme == IMPORTED else _EXCESS
        notes.append(f"its password hash {excess}: its owner needs a password reset")
        return None
    return stored


def _secret(document: Mapping[str, Any], creds_key: bytes) -> str | None:
    if document.get("twoFactorEnabled") is not True:
        return None
    stored = document.get("totpSecret")
    try:
        return totp_secret(open_librechat(stored, creds_key) if isinstance(stored, str) else None)
    except (SealBrokenError, UnmovableError) as error:
        text = "its second factor cannot be opened: give CREDS_KEY as LibreChat had it (without the factor it would stand open)"
        raise UnmovableError(text) from error


def _backup_codes(document: Mapping[str, Any], notes: list[str]) -> tuple[str, ...]:
    found = document.get("backupCodes")
    codes = [code for code in found if isinstance(code, dict) and code.get("used") is not True] if isinstance(found, list) else []
    digests = tuple(str(code.get("codeHash")).lower() for code in codes)
    kept = tuple(digest for digest in digests if _HEX_DIGEST.fullmatch(digest))
    if len(kept) < len(digests):
        notes.append("some of its backup codes are no SHA-256 digests and were left behind")
    return kept


def _identities(document: Mapping[str, Any], issuers: Mapping[str, str], notes: list[str]) -> tuple[Identity, ...]:
    found = []
    for provider in issuers:
        subject = document.get(f"{provider}Id")
        if not isinstance(subject, str) or not subject:
            continue
        issuer = issuers[provider]
        stored = _text(document, "openidIssuer") if provider == "openid" else ""
        # The original takes slashes off the end; the provider, and so this server, may write one.
        if stored and stored != issuer.rstrip("/"):
            issuer = stored
        if not issuer:
            notes.append(f"its {provider} identity was left behind: name the issuer with --issuer {provider}=…")
            continue
        found.append(Identity(provider, issuer, subject, _text(document, "email") or None))
    return tuple(found)


def _id(value: object) -> str:
    if isinstance(value, dict):
        value = value.get("$oid")
    if not isinstance(value, str) or not value:
        raise UnmovableError("it has no id")
    return value


def _text(document: Mapping[str, Any], field: str) -> str:
    value = document.get(field)
    return value.replace("\0", "") if isinstance(value, str) else ""


def _moment(value: object) -> int | None:
    """MongoDB's extended JSON, relaxed or canonical, in microseconds."""
    if isinstance(value, dict):
        value = value.get("$date")
    if isinstance(value, dict):
        value = value.get("$numberLong")
    if isinstance(value, int) or (isinstance(value, str) and value.lstrip("-").isdigit()):
        return int(value) * 1000
    if not isinstance(value, str):
        return None
    try:
        read = datetime.fromisoformat(value)
    except ValueError:
        return None
    return int((read if read.tzinfo else read.replace(tzinfo=UTC)).timestamp() * 1_000_000)
