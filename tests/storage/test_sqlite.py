"""The embedded engine: one writer whose commits are grouped, beside other processes that hold the file."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from ostiary.storage import sqlite
from ostiary.storage.database import UnavailableError
from ostiary.storage.sqlite import SQLite
from tests.storage import notes

HOLDER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
connection.execute("INSERT INTO markers VALUES ('holder', '', 0)")
print("held", flush=True)
sys.stdin.readline()
connection.execute("COMMIT")
print("gone", flush=True)
"""


@pytest.fixture
def engine() -> str:
    return "sqlite"


@pytest.fixture
def path(database_url: str) -> str:
    return database_url.removeprefix("sqlite:///")


@pytest.fixture
async def database(path: str) -> AsyncIterator[SQLite]:
    async with SQLite(path) as opened:
        yield opened


class Holder:
    """Another process that has the write lock."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def let_go(self) -> None:
        """Commit."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == "gone\n"


@contextmanager
def held(path: str) -> Iterator[Holder]:
    """The file's write lock, in another process."""
    command = [sys.executable, "-c", HOLDER, path]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield Holder(process)
        finally:
            process.kill()


async def test_a_new_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "new.db"

    async with SQLite(str(path)):
        pass

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


async def test_commits_are_durable_and_rules_are_kept(path: str) -> None:
    connection = sqlite.connect(path)

    found = {name: connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous", "foreign_keys")}
    connection.close()

    assert found == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}


async def test_a_unit_waits_for_another_process_without_stopping_the_loop(database: SQLite, path: str) -> None:
    with held(path) as holder:
        waiting = asyncio.create_task(notes.keep(database, "a"))
        for _ in range(50):
            await asyncio.sleep(0.001)
            assert await notes.kept(database) == []
        is_waiting = not waiting.done()
        holder.let_go()
        async with asyncio.timeout(10):
            await waiting

    assert is_waiting
    assert await notes.kept(database) == ["a", "holder"]


async def test_a_lock_that_is_held_too_long_means_try_again(database: SQLite, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "BUSY_SECONDS", 0.05)
    with held(path) as holder:
        for name in ("a", "b"):
            with pytest.raises(UnavailableError):
                await notes.keep(database, name)
        holder.let_go()

    await notes.keep(database, "c")
    assert await notes.kept(database) == ["c", "holder"]


async def test_units_queue_behind_a_held_lock_and_all_get_through(database: SQLite, path: str) -> None:
    with held(path) as holder:
        waiting = [asyncio.create_task(notes.keep(database, f"n{number}")) for number in range(20)]
        await asyncio.sleep(0.01)
        holder.let_go()
        async with asyncio.timeout(10):
            await asyncio.gather(*waiting)

    assert len(await notes.kept(database)) == 21


async def test_a_unit_cancelled_while_it_waits_for_another_process_blocks_nobody(database: SQLite, path: str) -> None:
    """The thread still asks for the lock when nobody waits for it any more: what it gets must be given back."""
    with held(path) as holder:
        waiting = asyncio.create_task(notes.keep(database, "cancelled"))
        await asyncio.sleep(0.02)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        next_ = asyncio.create_task(notes.keep(database, "next"))
        await asyncio.sleep(0.02)
        holder.let_go()

        async with asyncio.timeout(4):
            await next_
            await notes.keep(database, "last")

    other = sqlite3.connect(path, timeout=0)
    other.execute("INSERT INTO markers VALUES ('other', '', 0)")
    other.commit()
    other.close()
    assert await notes.kept(database) == ["holder", "last", "next", "other"]


async def test_closing_after_a_cancelled_wait_lets_the_lock_go(path: str) -> None:
    database = SQLite(path)
    with held(path) as holder:
        waiting = asyncio.create_task(notes.keep(database, "cancelled"))
        await asyncio.sleep(0.02)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        holder.let_go()
        async with asyncio.timeout(10):
            await database.close()

    other = sqlite3.connect(path, timeout=0)
    other.execute("INSERT INTO markers VALUES ('other', '', 0)")
    other.commit()
    other.close()


async def test_a_full_disk_means_try_again_and_nothing_is_half_written(database: SQLite) -> None:
    """A failure of that kind rolls the whole transaction back, with every unit that was to become durable in it."""
    await notes.keep(database, "before")
    pages = database._writer.connection.execute("PRAGMA page_count").fetchone()[0]
    database._writer.connection.execute(f"PRAGMA max_page_count={pages}")
    large = "x" * 300_000

    async def write(name: str, value: str) -> None:
        unit = database.unit()
        try:
            await unit.run(notes.add, name=name, value=value, at=0)
        except BaseException:
            await unit.rollback()
            raise
        await unit.commit()

    names = [f"{'large' if number % 2 else 'small'}{number}" for number in range(10)]
    async with asyncio.timeout(10):
        found = await asyncio.gather(
            *(write(name, large if name.startswith("large") else "") for name in names), return_exceptions=True
        )
    database._writer.connection.execute("PRAGMA max_page_count=1000000")

    promised = {name for name, result in zip(names, found, strict=True) if result is None}
    assert all(result is None or isinstance(result, UnavailableError) for result in found)
    assert not [name for name in promised if name.startswith("large")]
    assert {"before", *promised} == set(await notes.kept(database))
    async with asyncio.timeout(10):
        await write("after", large)
    assert "after" in await notes.kept(database)


async def test_a_commit_that_fails_is_told_to_every_unit_in_it(database: SQLite, path: str) -> None:
    await notes.keep(database, "before")
    first, second = database.unit(), database.unit()
    await first.run(notes.add, name="first", value="", at=0)
    entered = asyncio.create_task(second.run(notes.add, name="second", value="", at=0))
    await asyncio.sleep(0)
    committed = asyncio.create_task(first.commit())
    await entered
    # As a failing disk would: the transaction is gone before it is committed.
    database._writer.connection.execute("ROLLBACK")

    found = await asyncio.gather(committed, second.commit(), return_exceptions=True)

    assert all(isinstance(result, UnavailableError) for result in found)
    assert await notes.kept(database) == ["before"]
    async with asyncio.timeout(10):
        await notes.keep(database, "after")
    assert await notes.kept(database) == ["after", "before"]


async def test_more_units_than_one_commit_takes_are_all_committed(database: SQLite) -> None:
    many = sqlite.MOST_UNITS_PER_COMMIT * 2 + 5

    async with asyncio.timeout(20):
        await asyncio.gather(*(notes.keep(database, f"n{number:04d}") for number in range(many)))

    assert len(await notes.kept(database)) == many


async def test_a_commit_that_the_engine_refuses_is_no_commit(database: SQLite) -> None:
    await notes.keep(database, "before")
    unit = database.unit()
    await unit.run(notes.add, name="refused", value="", at=0)
    database._writer.connection.execute("PRAGMA defer_foreign_keys=ON")
    database._writer.connection.execute("INSERT INTO ciphers VALUES ('nobody', 'x', 0, '', NULL, 0, 0, 0, 0, 0)")

    with pytest.raises(UnavailableError):
        await unit.commit()

    assert await notes.kept(database) == ["before"]
    async with asyncio.timeout(10):
        await notes.keep(database, "after")


def in_the_file(path: str) -> set[str]:
    """The names that are in the file itself, whatever its log has."""
    with closing(sqlite3.connect(f"file:{path}?immutable=1", uri=True)) as connection:
        return {name for (name,) in connection.execute("SELECT name FROM markers")}


def log_size(path: str) -> int:
    """Bytes."""
    return Path(f"{path}-wal").stat().st_size


async def copied(database: SQLite) -> None:
    """Wait for the copy under way."""
    copying = database._writer._checkpoints._copying
    assert copying is not None
    await copying


async def test_the_log_is_copied_into_the_file_beside_the_commits(
    database: SQLite, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "ROWS_PER_CHECKPOINT", 3)

    await notes.keep(database, "a")
    await notes.keep(database, "b")
    before = in_the_file(path)
    await notes.keep(database, "c")
    await copied(database)

    assert before == set()
    assert in_the_file(path) == {"a", "b", "c"}


async def test_what_no_copy_catches_up_with_is_copied_between_two_commits(
    database: SQLite, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a log that is always written to would never begin anew."""
    monkeypatch.setattr(sqlite, "ROWS_PER_CHECKPOINT", 3)
    database._writer._checkpoints._connection.close()  # its copies fail from here on

    for name in "abc":
        await notes.keep(database, name)
    await copied(database)
    before = in_the_file(path)
    await notes.keep(database, "d")
    await notes.keep(database, "e")

    assert before == set()
    assert in_the_file(path) == {"a", "b", "c", "d"}


async def test_the_log_stays_small_where_rows_are_large(database: SQLite, path: str) -> None:
    for number in range(120):
        await notes.keep(database, f"{number}", "x" * 300_000)

    assert log_size(path) < 20_000_000


async def test_the_log_stays_small_however_many_write(database: SQLite, path: str) -> None:
    async def write(number: int) -> None:
        for at in range(250):
            await notes.keep(database, f"{number}-{at}", "x" * 1500)

    await asyncio.gather(*map(write, range(16)))

    assert len(await notes.kept(database)) == 4000
    assert log_size(path) < 6_000_000
