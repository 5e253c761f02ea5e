"""SQLite: reads inline on the loop, one writer whose commits are grouped and whose fsync never blocks the loop.

A durable commit costs 160 us alone and 30 us in company (docs/decisions/002-data-layer.md), so units that wait for the writer
while a commit is being written all go into the next one, each behind the first with a savepoint of its own. What SQLite has in
its log (WAL) is copied into the file beside the commits: within one of them, as SQLite would have it, it takes as long as ten.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType
from typing import Any, Self, TypeVar

from sqlalchemy.dialects import sqlite as dialect

from ostiary.storage.statements import Compiled, Compiler, Query, Statement
from ostiary.storage.trouble import UnavailableError, UnstorableError

Row = TypeVar("Row")

_compiled = Compiler(dialect.dialect(paramstyle="named"), dialect.insert)

BUSY_SECONDS = 5.0
MOST_UNITS_PER_COMMIT = 128
ROWS_PER_CHECKPOINT = 400
"""About a thousand pages, of which SQLite would make a checkpoint by itself: rows of ours lie in three indexes."""
MOST_PAGES = 4000
"""Of the log, where rows are large or the copy does not come along: then the commit copies after all."""
MOST_ROUNDS = 4


def connect(path: str) -> sqlite3.Connection:
    """A connection in autocommit mode with the pragmas that every user of the file needs."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=512, timeout=BUSY_SECONDS)
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "temp_store=MEMORY", "cache_size=-2000"):
        connection.execute(f"PRAGMA {pragma}")
    return connection


def prepare_file(path: str) -> None:
    """Make the file and its folder, readable by the owner alone."""
    file = Path(path)
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not file.exists():
        file.touch(mode=0o600)


class _Group:
    """Units that become durable together."""

    __slots__ = ("_waiting", "size")

    def __init__(self) -> None:
        self.size = 0
        self._waiting: list[asyncio.Future[None]] = []

    def durable(self) -> asyncio.Future[None]:
        """Done when the group is durable. Each unit's own: one that is waited for no more takes it from nobody else."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        return future

    def settle(self, error: BaseException | None) -> None:
        """Tell each unit, as the commit ended."""
        for future in self._waiting:
            _settle(future, error)


class _Thread:
    """Does one thing after another away from the loop, at a fraction of what an executor costs for each."""

    def __init__(self, name: str) -> None:
        self._work: SimpleQueue[tuple[Callable[[], object], asyncio.Future[None]] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def do(self, work: Callable[[], object]) -> asyncio.Future[None]:
        """Done when it is done; holds what it raised."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._work.put((work, done))
        return done

    def close(self) -> None:
        """Finish what was given to it, and end."""
        self._work.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (given := self._work.get()) is not None:
            work, done = given
            error: BaseException | None = None
            try:
                work()
            except BaseException as raised:  # noqa: BLE001 - whoever waits for it hears of it
                error = raised
            # A loop that was closed meanwhile waits for nothing any more.
            with contextlib.suppress(RuntimeError):
                done.get_loop().call_soon_threadsafe(_settle, done, error)


def _settle(done: asyncio.Future[None], error: BaseException | None) -> None:
    if done.cancelled():
        return
    if error is None:
        done.set_result(None)
    else:
        done.set_exception(error)


class _Checkpoints:
    """Copies the log into the file, in a thread and over a connection of its own, while commits go on.

    The log begins anew only with a transaction that finds all of it copied at its begin. Where one follows another none would, so
    that the writer copies the little that has come meanwhile itself, between two of them, when `is_unfinished` says so.
    """

    def __init__(self, path: str) -> None:
        self._connection = connect(path)
        self._thread = _Thread("checkpoint")
        self._copying: asyncio.Future[None] | None = None
        self._rows_before = 0
        self.is_unfinished = False

    def begin_if_due(self, rows: int) -> None:
        """Copy, if enough rows have been written since the last time. `rows` counts all that this process has written."""
        if self._copying is not None or rows - self._rows_before < ROWS_PER_CHECKPOINT:
            return
        self._rows_before = rows
        self._copying = self._thread.do(self._copy)
        self._copying.add_done_callback(self._copied)

    def close(self) -> None:
        """Finish what is being copied, and close."""
        self._thread.close()
        self._connection.close()

    def _copy(self) -> None:
        # SQLite waits for the disk here only when nothing was committed meanwhile: the second round, of a few pages, mostly finds
        # it so. Else the writer waits.
        before = 0
        for _ in range(MOST_ROUNDS):
            pages = _copy_log(self._connection)
            if pages <= before:
                return
            before = pages

    def _copied(self, _done: asyncio.Future[None]) -> None:
        self._copying, self.is_unfinished = None, True


def _copy_log(connection: sqlite3.Connection) -> int:
    """How many pages the log had when the copy began; 0 when it failed, and then the log keeps what it has until the next."""
    try:
        is_busy, pages, _ = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    except sqlite3.Error:
        return 0
    return 0 if is_busy else int(pages)


class _Writer:
    """The one writing connection: handed from unit to unit; committed in its own thread when nobody else waits."""

    def __init__(self, path: str) -> None:
        self.connection = connect(path)
        for pragma in ("busy_timeout=0", f"wal_autocheckpoint={MOST_PAGES}"):
            self.connection.execute(f"PRAGMA {pragma}")
        self._thread = _Thread("commit")
        self._checkpoints = _Checkpoints(path)
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._idle = asyncio.Event()
        self._idle.set()
        self._group: _Group | None = None

    async def enter(self) -> _Group:
        """Wait for the writer, and join or open the group's transaction: behind a savepoint, unless nobody's writes are in it."""
        if not self._idle.is_set():
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self._pass_on()
                raise
        else:
            self._idle.clear()
        group = self._group or await self._begin()
        if group.size:
            try:
                self.connection.execute("SAVEPOINT unit")
            except BaseException as error:
                self._pass_on()
                raise _translated(error) from error
        group.size += 1
        return group

    def leave(self, group: _Group, *, keep: bool) -> None:
        """Keep or undo what the unit wrote, and hand the writer on; the unit is durable when its group is."""
        if not self.connection.in_transaction:
            # A full disk or a failing one: SQLite has undone the whole transaction, and every unit in it must hear of it.
            group.settle(UnavailableError("the transaction was undone"))
            self._group = None
        elif group.size > 1:
            if not keep:
                self.connection.execute("ROLLBACK TO unit")
            self.connection.execute("RELEASE unit")
        elif not keep:
            self.connection.execute("ROLLBACK")
            self._group = None
        self._pass_on()

    async def close(self) -> None:
        """Wait for the commit under way, then close."""
        await self._idle.wait()
        self._checkpoints.close()
        self._thread.close()
        self.connection.close()

    async def _begin(self) -> _Group:
        try:
            self.connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            # Another process writes (the command line, a second worker): wait for it in the thread, not on the loop.
            begun = self._thread.do(self._begin_patiently)
            try:
                await asyncio.shield(begun)
            except asyncio.CancelledError:
                # The thread goes on asking. The turn ends when it is answered, and the next in the queue gets what it got.
                begun.add_done_callback(self._begun_for_nobody)
                raise
            except BaseException as error:
                self._pass_on()
                raise _translated(error) from error
        self._group = _Group()
        return self._group

    def _begun_for_nobody(self, begun: asyncio.Future[None]) -> None:
        if begun.exception() is None:
            self._group = _Group()
        self._pass_on()

    def _begin_patiently(self) -> None:
        deadline = time.monotonic() + BUSY_SECONDS
        while True:
            try:
                self.connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.002)
            else:
                return

    def _pass_on(self) -> None:
        is_full = self._group is not None and self._group.size >= MOST_UNITS_PER_COMMIT
        while self._waiting and not is_full:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        if self._group is None:
            self._idle.set()
            return
        group, self._group = self._group, None
        commit = self._thread.do(self._commit)
        commit.add_done_callback(lambda done: self._committed(group, done.exception()))

    def _commit(self) -> None:
        self.connection.execute("COMMIT")

    def _committed(self, group: _Group, error: BaseException | None) -> None:
        if error is not None and self.connection.in_transaction:
            self.connection.execute("ROLLBACK")
        group.settle(_translated(error) if error is not None else None)
        if self._checkpoints.is_unfinished:
            self._checkpoints.is_unfinished = False
            self._thread.do(partial(_copy_log, self.connection)).add_done_callback(lambda _: self._pass_on())
        else:
            self._checkpoints.begin_if_due(self.connection.total_changes)
            self._pass_on()


class SQLiteUnit:
    """A unit of work on SQLite (see `storage.database.Unit`)."""

    __slots__ = ("_connection", "_group", "_writer")

    def __init__(self, reader: sqlite3.Connection, writer: _Writer) -> None:
        self._connection = reader
        self._writer = writer
        self._group: _Group | None = None

    async def start(self) -> None:
        if self._group is None:
            self._group = await self._writer.enter()
            self._connection = self._writer.connection

    async def one(self, query: Query[Row], **values: Any) -> Row | None:  # noqa: ANN401
        row = self._execute(_compiled[query], values).fetchone()
        return None if row is None else query.row(*row)

    async def all(self, query: Query[Row], **values: Any) -> list[Row]:  # noqa: ANN401
        return [query.row(*row) for row in self._execute(_compiled[query], values).fetchall()]

    async def run(self, statement: Statement, **values: Any) -> int:  # noqa: ANN401
        if self._group is None:
            await self.start()
        return self._execute(_compiled[statement], values).rowcount

    async def run_returning(self, query: Query[Row], **values: Any) -> Row | None:  # noqa: ANN401
        if self._group is None:
            await self.start()
        rows = self._execute(_compiled[query], values).fetchall()
        return query.row(*rows[0]) if rows else None

    async def run_many(self, statement: Statement, rows: Sequence[Mapping[str, Any]]) -> None:
        if not rows:
            return
        if self._group is None:
            await self.start()
        compiled = _compiled[statement]
        try:
            self._connection.executemany(compiled.sql, [{**compiled.fixed, **row} for row in rows])
        except (sqlite3.OperationalError, sqlite3.IntegrityError, UnicodeEncodeError, OverflowError) as error:
            raise _translated(error) from error

    async def commit(self) -> None:
        if self._group is not None:
            group, self._group = self._group, None
            durable = group.durable()
            self._writer.leave(group, keep=True)
            await durable

    async def rollback(self) -> None:
        if self._group is not None:
            group, self._group = self._group, None
            self._writer.leave(group, keep=False)

    def _execute(self, compiled: Compiled, values: dict[str, Any]) -> sqlite3.Cursor:
        if compiled.fixed:
            values = {**compiled.fixed, **values}
        try:
            return self._connection.execute(compiled.sql, values)
        except (sqlite3.OperationalError, sqlite3.IntegrityError, UnicodeEncodeError, OverflowError) as error:
            raise _translated(error) from error


class SQLite:
    """An open SQLite file."""

    engine = "sqlite"

    def __init__(self, path: str) -> None:
        prepare_file(path)
        self._writer = _Writer(path)
        self._reader = connect(path)
        self._reader.execute("PRAGMA query_only=ON")

    def unit(self) -> SQLiteUnit:
        return SQLiteUnit(self._reader, self._writer)

    async def ping(self) -> None:
        try:
            self._reader.execute("SELECT 1 FROM accounts LIMIT 1").fetchone()
        except sqlite3.Error as error:
            raise UnavailableError from error

    async def close(self) -> None:
        await self._writer.close()
        self._reader.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()


def _translated(error: BaseException) -> BaseException:
    # An integrity error: another unit was quicker, an account was deleted meanwhile; trying again finds what it did.
    if isinstance(error, sqlite3.OperationalError | sqlite3.IntegrityError):
        unavailable = UnavailableError(str(error))
        unavailable.__cause__ = error
        return unavailable
    if isinstance(error, UnicodeEncodeError | OverflowError):
        return UnstorableError(type(error).__name__)
    return error
