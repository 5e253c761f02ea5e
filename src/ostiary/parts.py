"""Parts that not every deployment needs, imported when something of them is first used (docs/decisions/014-parts.md)."""

from __future__ import annotations

import importlib
from typing import Any


class Part:
    """Stands where a module would: `redis = Part("ostiary.limits.redis")`, beside an import for the type checker alone."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:  # noqa: ANN401 - whatever the module has
        return getattr(importlib.import_module(self._name), attribute)
