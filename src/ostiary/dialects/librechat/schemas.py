"""What LibreChat's client sends and gets: field rules with the texts that its server gives for them (librechat-wire 4, 5.3.1)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import regex

from ostiary.dialects.librechat.errors import CredentialsMissing, FieldsRefused
from ostiary.identity import addresses
from ostiary.identity.accounts import Account
from ostiary.identity.factors import BackupCode, FactorProof, TOTPCode
from ostiary.identity.passwords import MOST_CHARACTERS, is_blank
from ostiary.identity.refusals import PasswordRefused
from ostiary.settings import Settings

NAME_RANGE = (3, 80)
USERNAME_RANGE = (2, 80)
USUAL_MIN_PASSWORD = 8
_SCRIPTS = regex.compile(
    r"[\p{Latin}\p{Common}\p{Cyrillic}\p{Devanagari}\p{Han}\p{Arabic}\p{Hiragana}\p{Katakana}\p{Hangul}]*",
)
_INJECTIONS = ("'", "--", "$ne", "$gt", "$lt", "$or", "{", "}", "*", ";", "<", ">", "/", "=")
_SHORT_CODE = regex.compile(r"[0-9a-f]{8}", regex.IGNORECASE | regex.ASCII)
_KINDS = {type(None): "null", bool: "boolean", int: "number", float: "number", list: "array", dict: "object"}


def length(text: str) -> int:
    """How long JavaScript thinks a text is: UTF-16 code units."""
    return len(text) if text.isascii() else len(text.encode("utf-16-le", "surrogatepass")) // 2


def login_fields(body: Mapping[str, Any], settings: Settings) -> tuple[str, str]:
    """E-mail and password of a sign-in. Raises CredentialsMissing, FieldsRefused.

    A raised MIN_PASSWORD_LENGTH must not lock out those who registered before, so the usual minimum is the most that is asked.
    """
    if not body.get("email") or not body.get("password"):
        raise CredentialsMissing
    least = min(USUAL_MIN_PASSWORD, settings.passwords.min_length)
    complaints = _email(body) + _password(body, "password", least)
    _refuse(complaints)
    return body["email"], body["password"]


def directory_fields(body: Mapping[str, Any]) -> tuple[str, str]:
    """Name and password for a directory, which has rules of its own: any text (section 9). Raises CredentialsMissing."""
    identifier, password = body.get("email"), body.get("password")
    if not isinstance(identifier, str) or not isinstance(password, str) or not identifier or not password:
        raise CredentialsMissing
    return identifier, password


def registration_fields(body: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
    """Name, username, e-mail and password of a registration, other fields dropped. Raises FieldsRefused."""
    least = settings.passwords.min_length
    username = _username(body)
    passwords = _password(body, "password", least) + _password(body, "confirm_password", least)
    complaints = [*_string(body, "name", *NAME_RANGE), *username, *_email(body), *passwords]
    has_types = all(isinstance(body.get(field), str) for field in ("name", "email", "password", "confirm_password"))
    if has_types and not username and body["password"] != body["confirm_password"]:
        complaints.append(": The passwords did not match")
    _refuse(complaints)
    return {
        "name": body["name"],
        "username": _kept_username(body),
        "email": body["email"],
        "password": body["password"],
    }


def reset_fields(body: Mapping[str, Any], settings: Settings) -> tuple[str, str, str]:
    """Account id, token and new password of a reset: the rules of registration (W-14). Raises FieldsRefused."""
    complaints = _password(body, "password", settings.passwords.min_length)
    if not complaints and "confirm_password" in body and body["confirm_password"] != body["password"]:
        complaints.append(": The passwords did not match")
    _refuse(complaints)
    return text_of(body, "userId"), text_of(body, "token"), body["password"]


def password_complaint(refusal: PasswordRefused, settings: Settings) -> FieldsRefused:
    """The core's rule for new passwords in the wire's words."""
    texts = {
        "short": f"String must contain at least {settings.passwords.min_length} character(s)",
        "long": f"String must contain at most {MOST_CHARACTERS} character(s)",
        "blank": "Password cannot be only spaces",
        "common": "This password is too common.",
        "breached": "This password is known from a data breach.",
        "own_words": "Password cannot be made of your own name or address, or of this service's name",
    }
    text = texts.get(refusal.reason, "Invalid input")
    return FieldsRefused(f"password: {text} {refusal.advice}".rstrip())


def factor_proof(body: Mapping[str, Any]) -> FactorProof | None:
    """`token`, else `backupCode`; a backup code in `token` counts as one (section 15, row 17). None when neither was sent."""
    token, backup = body.get("token"), body.get("backupCode")
    if token:
        text = token if isinstance(token, str) else ""
        return BackupCode(text) if _SHORT_CODE.fullmatch(text) else TOTPCode(text)
    if backup:
        return BackupCode(backup if isinstance(backup, str) else "")
    return None


def text_of(body: Mapping[str, Any], field: str) -> str:
    """The field when it is a text that can be stored, else the empty text."""
    value = body.get(field)
    return value if isinstance(value, str) and "\0" not in value else ""


def user_json(account: Account, settings: Settings) -> dict[str, Any]:
    """The one shape of a user, in every answer (section 4, recommendation): the white list of `GET /api/user`."""
    return {
        "_id": account.id,
        "id": account.id,
        "name": account.name,
        "username": account.username,
        "email": account.email,
        "emailVerified": account.is_verified,
        "avatar": account.avatar,
        "provider": account.provider,
        "role": account.role,
        "plugins": [],
        "twoFactorEnabled": bool(account.has_factor),
        "termsAccepted": account.has_accepted(settings.policy.terms_version),
        "personalization": {"memories": True, "statefulCodeEnvironment": "user"},
        "favorites": [],
        "skillStates": {},
        "createdAt": iso(account.created_at),
        "updatedAt": iso(account.updated_at),
    }


@lru_cache(maxsize=512)
def iso(moment: int) -> str:
    """A moment as JavaScript writes it: `2026-01-31T12:00:00.000Z`."""
    return datetime.fromtimestamp(moment / 1_000_000, UTC).isoformat(timespec="milliseconds")[:23] + "Z"


def _refuse(complaints: list[str]) -> None:
    if complaints:
        raise FieldsRefused(" ".join(complaints))


def _string(body: Mapping[str, Any], field: str, least: int, most: int) -> list[str]:
    if field not in body:
        return [f"{field}: Required"]
    value = body[field]
    if not isinstance(value, str):
        return [f"{field}: Expected string, received {_KINDS.get(type(value), 'unknown')}"]
    complaints = []
    if length(value) < least:
        complaints.append(f"{field}: String must contain at least {least} character(s)")
    if length(value) > most:
        complaints.append(f"{field}: String must contain at most {most} character(s)")
    if "\0" in value:
        complaints.append(f"{field}: Invalid input")
    return complaints


def _username(body: Mapping[str, Any]) -> list[str]:
    value = body.get("username")
    if value is None or value == "":
        return []
    if not isinstance(value, str):
        return ["username: Invalid input"]
    complaints = _string(body, "username", *USERNAME_RANGE)
    if not _SCRIPTS.fullmatch(value[: USERNAME_RANGE[1] + 1]):
        complaints.append("username: Invalid characters in username")
    lowered = value.lower()
    if any(pattern in lowered for pattern in _INJECTIONS):
        complaints.append("username: Potential injection attack detected")
    return complaints


def _kept_username(body: Mapping[str, Any]) -> str | None:
    """As the original keeps it: lower-case; none given is the empty text, an emptied field is null (section 4)."""
    return (body["username"] or "").lower() or None if "username" in body else ""


def _email(body: Mapping[str, Any]) -> list[str]:
    value = body.get("email")
    if not isinstance(value, str):
        return _string(body, "email", 0, addresses.MOST_CHARACTERS)
    return [] if addresses.is_usual(value) else ["email: Invalid email"]


def _password(body: Mapping[str, Any], field: str, least: int) -> list[str]:
    complaints = _string(body, field, least, MOST_CHARACTERS)
    value = body.get(field)
    if isinstance(value, str) and is_blank(value):
        complaints.append(f"{field}: Password cannot be only spaces")
    return complaints
