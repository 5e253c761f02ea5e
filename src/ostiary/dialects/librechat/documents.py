"""The wire's shapes for the OpenAPI document."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

Answer = dict[str, Any]
_TEXT = {"type": "string"}


def object_of(**properties: dict[str, Any]) -> Answer:
    """A JSON answer with these members, all of them always there."""
    return _json({"type": "object", "properties": properties, "required": list(properties)})


def _json(schema: dict[str, Any]) -> Answer:
    return {"description": "JSON", "content": {"application/json": {"schema": schema}}}


def _fields(*required: str, optional: tuple[str, ...] = ()) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": dict.fromkeys((*required, *optional), _TEXT),
        "required": list(required),
    }


MESSAGE = object_of(message=_TEXT)
TEXT: Answer = {"description": "Text", "content": {"text/html": {"schema": _TEXT}}}
TEXT_OR_MESSAGE: Answer = {"description": "Text or JSON", "content": {**TEXT["content"], **MESSAGE["content"]}}
EMPTY: Answer = {"description": "Nothing", "content": {"application/json": {}}}
METADATA: Answer = {"description": "SAML metadata", "content": {"application/samlmetadata+xml": {"schema": _TEXT}}}
PICTURE: Answer = {"description": "A picture", "content": {f"image/{kind}": {} for kind in ("png", "jpeg", "gif", "webp")}}
MOVED: Answer = {"description": "Redirect", "headers": {"Location": {"schema": _TEXT}}}
ANY_OBJECT: Answer = {"description": "JSON", "content": {"application/json": {}}}
ADMIN_ERROR = object_of(error=_TEXT, error_code=_TEXT)
USER = object_of(_id=_TEXT, id=_TEXT, email=_TEXT, name=_TEXT, role=_TEXT, provider=_TEXT, twoFactorEnabled={"type": "boolean"})
_USER_SCHEMA = USER["content"]["application/json"]["schema"]
_TOKEN_AND_USER = {
    "type": "object",
    "properties": {"token": _TEXT, "user": _USER_SCHEMA},
    "required": ["token", "user"],
}
_PENDING = {
    "type": "object",
    "properties": {"twoFAPending": {"const": True}, "tempToken": _TEXT, "message": _TEXT},
    "required": ["twoFAPending", "tempToken", "message"],
}
SIGNED_IN = _json({"anyOf": [_TOKEN_AND_USER, _PENDING]})
REGISTERED = _json(
    {"type": "object", "properties": {"message": _TEXT, "token": _TEXT, "user": _USER_SCHEMA}, "required": ["message"]}
)
REFRESHED: Answer = {
    "description": "Token and user, or a text without a cookie",
    "content": {**TEXT["content"], **_json(_TOKEN_AND_USER)["content"]},
}
ENROLMENT = object_of(otpauthUrl=_TEXT, secret=_TEXT, qrCode=_TEXT, backupCodes={"type": "array", "items": _TEXT})
BACKUP_CODES = object_of(
    backupCodes={"type": "array", "items": _TEXT},
    backupCodesHash={"type": "array", "items": {"type": "object"}},
)
GRAPH_TOKEN = object_of(access_token=_TEXT, token_type=_TEXT, expires_in={"type": "integer"}, scope=_TEXT)
TERMS = object_of(termsAccepted={"type": "boolean"}, termsAcceptedAt={"type": ["string", "null"]})

LOGIN = _fields("email", "password")
REGISTER = _fields("name", "email", "password", "confirm_password", optional=("username", "token"))
RESET = _fields("userId", "token", "password", optional=("confirm_password",))
EMAIL = _fields("email")
VERIFY = _fields("email", "token", optional=("userId",))
CODE = _fields(optional=("token", "backupCode"))
VERIFY_TEMP = _fields("tempToken", optional=("token", "backupCode"))
ANY_BODY: dict[str, Any] = {"type": "object"}

_MALFORMED = 400
_UNAVAILABLE = (413, 503)


def answers(known: Mapping[int, Answer], *messages: int) -> dict[int, Answer]:
    """These answers, a message for each of these statuses, and what any route can say: malformed, too large, not now."""
    found: dict[int, Answer] = dict(known)
    for status in (*messages, _MALFORMED, *_UNAVAILABLE):
        message = {**MESSAGE, "description": HTTPStatus(status).phrase}
        found[status] = _either(found[status], message) if status in found else message
    return found


def _either(one: Answer, other: Answer) -> Answer:
    """An answer of this shape or of that."""
    schemas = [
        part["content"]["application/json"].get("schema", {})
        for part in (one, other)
        if "application/json" in part.get("content", {})
    ]
    if len(schemas) < 2:  # noqa: PLR2004 - only one is JSON
        return {**other, **one, "content": {**other.get("content", {}), **one.get("content", {})}}
    return {**one, "content": {**one["content"], "application/json": {"schema": {"anyOf": schemas}}}}
