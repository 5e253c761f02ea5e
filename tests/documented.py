"""Every answer that a test gets from a house is compared with the OpenAPI document: its status, its kind, its shape."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

import httpx
import jsonschema_rs

from ostiary.app import documented

_KNOWN = {"GET", "POST", "PUT", "PATCH", "DELETE"}


async def compare(response: httpx.Response) -> None:
    """A hook for the test's clients: an answer that the document does not name fails the test that asked."""
    request = response.request
    if request.method not in _KNOWN or (operation := _operation(request.method, request.url.path)) is None:
        return
    await response.aread()
    where = f"{request.method} {request.url.path} → {response.status_code}"
    answers = operation["responses"]
    assert str(response.status_code) in answers, f"{where} is not documented, only {sorted(answers)}: {response.text[:200]}"
    contents = answers[str(response.status_code)].get("content", {})
    media_type = response.headers.get("content-type", "").partition(";")[0]
    assert media_type in contents or not (media_type or contents), f"{where} is {media_type!r}, documented is {sorted(contents)}"
    schema = contents.get(media_type, {}).get("schema")
    if schema is not None and media_type == "application/json":
        jsonschema_rs.validate(schema, response.json())


@lru_cache(maxsize=4096)
def _operation(method: str, path: str) -> dict[str, Any] | None:
    for pattern, operations in _patterns():
        if pattern.fullmatch(path):
            found: dict[str, Any] | None = operations.get(method.lower())
            return found
    return None


@lru_cache(maxsize=1)
def _patterns() -> list[tuple[re.Pattern[str], dict[str, Any]]]:
    paths = sorted(documented()["paths"].items(), key=lambda item: item[0].count("{"))
    return [(re.compile(re.sub(r"\{\w+\}", "[^/]+", path)), operations) for path, operations in paths]
