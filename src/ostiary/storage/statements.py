"""Statements: written in SQLAlchemy Core next to the noun that they belong to, compiled once for the engine in use.

The ORM and Core's execution cost 10 to 60 times the driver's (docs/decisions/002-data-layer.md); the text costs nothing twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

import msgspec
from sqlalchemy import Dialect
from sqlalchemy.sql import ClauseElement

Row_co = TypeVar("Row_co", covariant=True)
Insert = Callable[..., Any]
"""The engine's own `insert`, which knows `on_conflict_do_nothing` and `on_conflict_do_update`."""
Clause = ClauseElement | Callable[[Insert], ClauseElement]


class Statement:
    """A statement without rows in its answer. `clause` may be a function of the engine's own `insert`."""

    __slots__ = ("clause",)

    def __init__(self, clause: Clause) -> None:
        self.clause = clause


class Query(Statement, Generic[Row_co]):
    """A statement whose rows become `row(*columns)`, in the order of its columns."""

    __slots__ = ("row",)

    def __init__(self, row: Callable[..., Row_co], clause: Clause) -> None:
        super().__init__(clause)
        self.row = row


class Compiled(msgspec.Struct, frozen=True):
    """SQL text, the names of its parameters in order, and the values of those that the statement itself fixed."""

    sql: str
    names: tuple[str, ...]
    fixed: Mapping[str, Any]


class Compiler(dict[Statement, Compiled]):
    """Each statement's text for one engine; what is asked for and not there yet is compiled, once."""

    def __init__(self, dialect: Dialect, insert: Insert) -> None:
        super().__init__()
        self._dialect = dialect
        self._insert = insert

    def __missing__(self, statement: Statement) -> Compiled:
        found = self[statement] = self._compile(statement)
        return found

    def _compile(self, statement: Statement) -> Compiled:
        clause = statement.clause(self._insert) if callable(statement.clause) else statement.clause
        compiled = clause.compile(dialect=self._dialect, compile_kwargs={"render_postcompile": True})
        fixed = {name: bind.effective_value for name, bind in compiled.binds.items() if not bind.required}  # type: ignore[attr-defined]
        positions = getattr(compiled, "positiontup", None)
        return Compiled(str(compiled), tuple(positions or compiled.params), fixed)
