"""The database as the core sees it: units of work on SQLite or PostgreSQL behind one small face."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar
from urllib.parse import urlsplit

from ostiary.parts import Part
from ostiary.storage.sqlite import SQLite
from ostiary.storage.statements import Query, Statement
from ostiary.storage.trouble import UnavailableError, UnstorableError

if TYPE_CHECKING:
    from ostiary.storage import postgresql
else:
    postgresql = Part("ostiary.storage.postgresql")

__all__ = ["Database", "UnavailableError", "Unit", "UnstorableError", "open_database"]

Row = TypeVar("Row")


class Unit(Protocol):
    """One unit of work.

    Until its first write it holds nothing: each read sees what is committed at that moment, and hashing or talking to others is
    free. From its first write on it is one transaction; on SQLite it then has the only writer, so nothing may be awaited but
    the database. Whatever was read before must be asked again in the writing statement's own WHERE.
    """

    async def start(self) -> None:
        """Begin the transaction now rather than with the first write: for a unit that goes straight from reading to writing.

        On SQLite the writer's connection still has in its cache what every commit empties from the readers'.
        """
        ...

    async def one(self, query: Query[Row], **values: Any) -> Row | None:  # noqa: ANN401 - column values
        """The first row, or None."""
        ...

    async def all(self, query: Query[Row], **values: Any) -> list[Row]:  # noqa: ANN401
        """All rows."""
        ...

    async def run(self, statement: Statement, **values: Any) -> int:  # noqa: ANN401
        """Write; the number of rows touched."""
        ...

    async def run_returning(self, query: Query[Row], **values: Any) -> Row | None:  # noqa: ANN401
        """Write with RETURNING; the first row, or None when none was touched."""
        ...

    async def run_many(self, statement: Statement, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write the same statement for many rows."""
        ...

    async def commit(self) -> None:
        """Make it durable; returns when it is."""
        ...

    async def rollback(self) -> None:
        """Undo every write of this unit."""
        ...


class Database(Protocol):
    """An open database. UnavailableError means: not now, try again."""

    engine: str

    def unit(self) -> Unit:
        """A fresh unit of work."""
        ...

    async def ping(self) -> None:
        """Raise UnavailableError unless it answers."""
        ...

    async def close(self) -> None:
        """Finish what is under way and let go."""
        ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


async def open_database(url: str, pool_size: int = 10) -> Database:
    """Open `sqlite:///path` or `postgresql://…`. The tables must be there (`storage.migrate`)."""
    if urlsplit(url).scheme == "sqlite":
        return SQLite(url.removeprefix("sqlite:///"))
    return await postgresql.PostgreSQL.connect(url, pool_size)
