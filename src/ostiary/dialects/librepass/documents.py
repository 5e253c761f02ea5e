"""The wire's shapes for the OpenAPI document, made from the shapes that decode."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from http import HTTPStatus
from typing import Any

import msgspec

Answer = dict[str, Any]
_TEXT = {"type": "string"}
_ID = {"type": "string", "format": "uuid"}
_SECONDS = {"type": "integer"}
_FLAG = {"type": "boolean"}


def body_of(*shapes: type[msgspec.Struct]) -> Callable[[], dict[str, Any]]:
    """The JSON Schema of a body, whole, or of either body; made when somebody asks for it."""
    return partial(_schema_of, shapes)


def _schema_of(shapes: Sequence[type[msgspec.Struct]]) -> dict[str, Any]:
    schemas, parts = msgspec.json.schema_components(shapes, ref_template="{name}")
    inlined: list[dict[str, Any]] = [_inlined(schema, parts) for schema in schemas]
    return inlined[0] if len(inlined) == 1 else {"anyOf": inlined}


def _inlined(schema: Any, parts: Mapping[str, Any]) -> Any:  # noqa: ANN401 - JSON
    if isinstance(schema, list):
        return [_inlined(item, parts) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _inlined(parts[schema["$ref"]], parts)
    return {name: _inlined(value, parts) for name, value in schema.items()}


def object_of(**members: dict[str, Any]) -> dict[str, Any]:
    """An object with these members, all of them always there."""
    return {"type": "object", "properties": members, "required": list(members)}


def json_of(schema: dict[str, Any], description: str = "JSON") -> Answer:
    """A JSON answer."""
    return {"description": description, "content": {"application/json": {"schema": schema}}}


_ERROR = {
    "type": "object",
    "properties": {"error": _TEXT, "status": {"type": "integer"}, "message": _TEXT},
    "required": ["error", "status"],
}
_CIPHER = object_of(
    id=_ID,
    owner=_ID,
    type={"type": "integer"},
    protectedData=_TEXT,
    favorite=_FLAG,
    rePrompt=_FLAG,
    created=_SECONDS,
    lastModified=_SECONDS,
)
_CIPHER["properties"]["collection"] = _ID
_COLLECTION = object_of(id=_ID, name=_TEXT, owner=_ID, created=_SECONDS, lastModified=_SECONDS)
_SESSION = object_of(
    id=_ID,
    kind={"enum": ["browser", "key"]},
    current=_FLAG,
    address=_TEXT,
    userAgent=_TEXT,
    created=_SECONDS,
    lastUsed=_SECONDS,
    expires=_SECONDS,
)

EMPTY = json_of({"type": "object", "maxProperties": 0}, "Done")
ID = json_of(object_of(id=_ID), "The row's id")
PRE_LOGIN = json_of(
    object_of(
        parallelism={"type": "integer"},
        memory={"type": "integer"},
        iterations={"type": "integer"},
        serverPublicKey={"type": "string", "pattern": "^[0-9a-f]{64}$"},
    ),
    "How to derive the key, and the server's key",
)
SIGNED_IN = json_of(
    {"anyOf": [object_of(userId=_ID, apiKey=_TEXT, verified=_FLAG), {"type": "object", "maxProperties": 0}]},
    "`login`: the key, and whether it is good already; `2fa`: nothing more",
)
RECOVERY = json_of(object_of(recoveryCode=_TEXT), "The recovery code, shown this once")
CIPHER = json_of(_CIPHER)
CIPHERS = json_of({"type": "array", "items": _CIPHER})
STATE = json_of(object_of(ids={"type": "array", "items": _ID}, ciphers={"type": "array", "items": _CIPHER}))
COLLECTION = json_of(_COLLECTION)
COLLECTIONS = json_of({"type": "array", "items": _COLLECTION})
SESSIONS = json_of({"type": "array", "items": _SESSION}, "Live sessions, the last used first")
MOVED: Answer = {"description": "To the web client's page", "headers": {"Location": {"schema": _TEXT}}}
PAGE: Answer = {"description": "A page", "content": {"text/html": {"schema": _TEXT}}}
ACTUATOR: Answer = {
    "description": "Actuator",
    "content": {"application/vnd.spring-boot.actuator.v3+json": {"schema": {"type": "object"}}},
}

_ANY_ROUTE = (400, 413, 429, 503)


def answers(known: Mapping[int, Answer], *errors: int) -> dict[int, Answer]:
    """These answers, an error for each of these statuses, and those that any route can give."""
    found: dict[int, Answer] = dict(known)
    for status in (*errors, *_ANY_ROUTE):
        found.setdefault(status, json_of(_ERROR, HTTPStatus(status).phrase))
    return found
