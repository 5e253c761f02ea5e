"""PostgreSQL: a pool of asyncpg connections with prepared statements."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

import asyncpg
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import asyncpg as dialect

from ostiary.storage.statements import Compiled, Compiler, Query, Statement
from ostiary.storage.trouble import UnavailableError, UnstorableError

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

Row = TypeVar("Row")

_compiled = Compiler(dialect.dialect(), postgresql.insert)  # type: ignore[no-untyped-call]

CONNECT_SECONDS = 5.0
COMMAND_SECONDS = 10.0

_TROUBLE = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    # A server that ends the connection while a statement is sent leaves the driver in the middle of its protocol.
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    # Another unit was quicker (the same address, an account deleted meanwhile): trying again finds what it did.
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.TooManyConnectionsError,
    asyncpg.OperatorInterventionError,
)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (asyncpg.DataError, UnicodeEncodeError, OverflowError) as error:
        raise UnstorableError(type(error).__name__) from error
    except _TROUBLE as error:
        raise UnavailableError(type(error).__name__) from error


def _arguments(compiled: Compiled, values: Mapping[str, Any]) -> list[Any]:
    if compiled.fixed:
        values = {**compiled.fixed, **values}
    return [values[name] for name in compiled.names]


class PostgreSQLUnit:
    """A unit of work on PostgreSQL (see `storage.database.Unit`)."""

    __slots__ = ("_connection", "_pool")

    def __init__(self, pool: asyncpg.Pool[asyncpg.Record]) -> None:
        self._pool = pool
        self._connection: PoolConnectionProxy[asyncpg.Record] | None = None

    async def start(self) -> None:
        if self._connection is None:
            with _translated():
                await self._start()

    async def one(self, query: Query[Row], **values: Any) -> Row | None:  # noqa: ANN401
        compiled = _compiled[query]
        with _translated():
            row = await (self._connection or self._pool).fetchrow(compiled.sql, *_arguments(compiled, values))
        return None if row is None else query.row(*row)

    async def all(self, query: Query[Row], **values: Any) -> list[Row]:  # noqa: ANN401
        compiled = _compiled[query]
        with _translated():
            rows = await (self._connection or self._pool).fetch(compiled.sql, *_arguments(compiled, values))
        return [query.row(*row) for row in rows]

    async def run(self, statement: Statement, **values: Any) -> int:  # noqa: ANN401
        compiled = _compiled[statement]
        with _translated():
            connection = self._connection or await self._start()
            status: str = await connection.execute(compiled.sql, *_arguments(compiled, values))
        return int(status.rpartition(" ")[2])

    async def run_returning(self, query: Query[Row], **values: Any) -> Row | None:  # noqa: ANN401
        await self.start()
        return await self.one(query, **values)

    async def run_many(self, statement: Statement, rows: Sequence[Mapping[str, Any]]) -> None:
        if not rows:
            return
        compiled = _compiled[statement]
        with _translated():
            connection = self._connection or await self._start()
            await connection.executemany(compiled.sql, [_arguments(compiled, row) for row in rows])

    async def commit(self) -> None:
        await self._end("COMMIT")

    async def rollback(self) -> None:
        await self._end("ROLLBACK")

    async def _start(self) -> PoolConnectionProxy[asyncpg.Record]:
        connection = await self._pool.acquire(timeout=CONNECT_SECONDS)
        try:
            await connection.execute("BEGIN")
        except BaseException:
            await self._pool.release(connection)
            raise
        self._connection = connection
        return connection

    async def _end(self, command: str) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        try:
            with _translated():
                status = await connection.execute(command)
            if status != command:
                # A COMMIT of a failed transaction answers ROLLBACK: the caller must not take it for durable.
                raise UnavailableError(status)
        finally:
            await asyncio.shield(self._pool.release(connection))


class PostgreSQL:
    """An open pool."""

    engine = "postgresql"

    def __init__(self, pool: asyncpg.Pool[asyncpg.Record]) -> None:
        self._pool = pool

    @classmethod
    async def connect(cls, url: str, pool_size: int) -> PostgreSQL:
        """Open the pool; raises UnavailableError when the server does not answer."""
        with _translated():
            pool = await asyncpg.create_pool(
                url,
                min_size=1,
                max_size=pool_size,
                timeout=CONNECT_SECONDS,
                command_timeout=COMMAND_SECONDS,
                # The default reset costs a round trip after every look-up; units leave nothing behind to reset.
                reset=_nothing_to_reset,
            )
        return cls(pool)

    def unit(self) -> PostgreSQLUnit:
        return PostgreSQLUnit(self._pool)

    async def ping(self) -> None:
        with _translated():
            await self._pool.fetchval("SELECT 1", timeout=2)

    async def close(self) -> None:
        try:
            await asyncio.wait_for(self._pool.close(), CONNECT_SECONDS)
        except TimeoutError:
            self._pool.terminate()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()


async def _nothing_to_reset(connection: asyncpg.Connection[asyncpg.Record]) -> None:
    """Units end their transactions themselves."""
