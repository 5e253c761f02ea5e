"""What growth costs: more clients, more processes, a thousand times the accounts, on both engines. A table and a plot."""

from __future__ import annotations

import asyncio
import os
import random
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import asyncpg
import msgspec

from bench import plot, report
from bench.goals import short
from bench.load import Client, Driver, Stream
from bench.rounds import Figures, measured
from bench.server import DurablePostgres, OstiaryServer
from bench.world import World, login, pre_login
from ostiary.storage import tables
from tests.services.redis import RedisServer

ENGINES = ("sqlite", "postgresql")
CLIENTS = (1, 4, 16, 64, 256)
USUAL_CLIENTS = 16
WORKERS = (2, 4)
FEW, MANY = 1_000, 1_000_000
OPERATIONS = ("session check", "refresh", "preLogin", "login")
OVERHEAD_SECONDS = 170
"""For starts, for accounts, and for the million."""
CELLS = len(ENGINES) * (len(CLIENTS) + len(WORKERS) + 1)


class Cell(msgspec.Struct):
    """One server under one load."""

    engine: str
    workers: int
    clients: int
    accounts: int
    figures: dict[str, Figures]


class _Clock:
    def __init__(self, minutes: float) -> None:
        self.ends_at = time.monotonic() + 60 * minutes
        self.seconds = max(0.2, min(3.0, (60 * minutes - OVERHEAD_SECONDS) / CELLS / len(OPERATIONS) - 0.5))

    def is_over(self, what: str) -> bool:
        if time.monotonic() < self.ends_at:
            return False
        print(f"bench: no time left for {what}", file=sys.stderr)
        return True


def run(minutes: float, documents: Path, *, is_quick: bool) -> list[Cell]:
    """Measure within so many minutes, print the table, and write it and its plot."""
    clock = _Clock(minutes)
    found: list[Cell] = []
    with Driver() as driver:
        for engine in ENGINES:
            found += _by_clients_and_accounts(engine, driver, clock, is_quick=is_quick)
            found += _by_workers(engine, driver, clock, is_quick=is_quick)
    print("\n".join(_table(found)))
    documents.mkdir(parents=True, exist_ok=True)
    (documents / "growth.md").write_text(_page(found, clock.seconds), encoding="utf-8")
    (documents / "growth.svg").write_text(_plot(found), encoding="utf-8")
    return found


def _by_clients_and_accounts(engine: str, driver: Driver, clock: _Clock, *, is_quick: bool) -> Iterator[Cell]:
    few, many = (50, 500) if is_quick else (FEW, MANY)
    steps = CLIENTS[1:3] if is_quick else CLIENTS
    with ExitStack() as exits:
        database = exits.enter_context(DurablePostgres()).url() if engine == "postgresql" else ""
        server = exits.enter_context(OstiaryServer(_environment(database, 1)))
        world = World(server.port, max(steps), max(steps), 3)
        _fill(server, database, 0, few)
        for clients in steps:
            if not clock.is_over(f"{clients} clients on {engine}"):
                yield Cell(engine, 1, clients, few, _measured(server, driver, world, clients, few, clock.seconds))
        if not clock.is_over(f"{many:,} accounts on {engine}"):
            _fill(server, database, few, many)
            yield Cell(engine, 1, USUAL_CLIENTS, many, _measured(server, driver, world, USUAL_CLIENTS, many, clock.seconds))


def _by_workers(engine: str, driver: Driver, clock: _Clock, *, is_quick: bool) -> Iterator[Cell]:
    for workers in WORKERS[:1] if is_quick else WORKERS:
        if clock.is_over(f"{workers} processes on {engine}"):
            continue
        few = 50 if is_quick else FEW
        with ExitStack() as exits:
            redis = exits.enter_context(RedisServer())
            database = exits.enter_context(DurablePostgres()).url() if engine == "postgresql" else ""
            server = exits.enter_context(OstiaryServer({**_environment(database, workers), "REDIS_URL": redis.url}))
            world = World(server.port, USUAL_CLIENTS, USUAL_CLIENTS, 3)
            _fill(server, database, 0, few)
            yield Cell(engine, workers, USUAL_CLIENTS, few, _measured(server, driver, world, USUAL_CLIENTS, few, clock.seconds))


def _environment(database: str, workers: int) -> dict[str, str]:
    given = {"BCRYPT_COST": "10", "OSTIARY_WORKERS": str(workers)}
    return {**given, "DATABASE_URL": database} if database else given


def _measured(
    server: OstiaryServer, driver: Driver, world: World, clients: int, accounts: int, seconds: float
) -> dict[str, Figures]:
    print(f"bench: {clients} clients, {accounts:,} accounts", file=sys.stderr)
    streams = (
        world.session_checks(clients),
        world.refreshes(clients),
        Stream("preLogin", [Client([pre_login(email) for email in _some(accounts)]) for _ in range(clients)]),
        Stream("login", [Client([login(email) for email in _some(accounts)]) for _ in range(clients)]),
    )
    found = {}
    for stream in streams:
        figures, cookies = measured(server, driver, stream, seconds)
        found[stream.name] = figures
        if stream.name == "refresh":
            world.keep_cookies(cookies)
    return found


def _some(accounts: int) -> list[str]:
    return [f"filler{random.randint(1, accounts)}@example.com" for _ in range(200)]


def _fill(server: OstiaryServer, database: str, after: int, count: int) -> None:
    """Make accounts with a credential and a session each, all with the first account's password, as the engine can best."""
    begun = time.monotonic()
    if database:
        asyncio.run(_fill_postgres(database, after, count))
    else:
        file = next((server.directory / "data").glob("*.db"))
        with sqlite3.connect(file, timeout=60) as connection:
            # The rows are scattered over the indexes on purpose: that is bearable while all of them are in memory.
            connection.execute("PRAGMA cache_size=-800000")
            connection.execute("PRAGMA synchronous=OFF")
            for statement in _statements("printf('%08x', {0})", "printf('%012x', {0})"):
                connection.execute(statement, {"after": after, "count": count})
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()
        # Or the server's next checkpoint would have to write all of it: its first logins would wait for two seconds.
        with file.open("rb") as made:
            os.fsync(made.fileno())
    if time.monotonic() - begun > 1:
        print(f"bench: made {count - after:,} accounts in {time.monotonic() - begun:.0f} s", file=sys.stderr)


async def _fill_postgres(database: str, after: int, count: int) -> None:
    connection = await asyncpg.connect(database)
    await connection.execute("SET synchronous_commit = off")
    for statement in _statements("lpad(to_hex(({0})::bigint), 8, '0')", "lpad(to_hex(({0})::bigint), 12, '0')"):
        text = statement.replace(":after", str(after)).replace(":count", str(count))
        await connection.execute(text)
    await connection.execute("VACUUM ANALYZE accounts")
    await connection.execute("VACUUM ANALYZE sessions")
    await connection.close()


def _statements(hex8: str, hex12: str) -> Iterator[str]:
    series = "WITH RECURSIVE series(n) AS (SELECT :after + 1 UNION ALL SELECT n + 1 FROM series WHERE n < :count)"
    scattered = hex8.format("n * 2654435761 % 4294967296")

    def identity(kind: int) -> str:
        return f"{scattered} || '-000{kind}-4000-8000-' || {hex12.format('n')}"

    for table, kind, own in (
        (tables.accounts, 1, {"email": "'filler' || n || '@example.com'"}),
        (tables.credentials, 2, {"account_id": identity(1)}),
        (tables.sessions, 3, {"account_id": identity(1)}),
    ):
        owner = "id" if table is tables.accounts else "account_id"
        first = "(SELECT account_id FROM sessions WHERE kind = 'browser' ORDER BY created_at, id LIMIT 1)"
        values = {"id": identity(kind), **own}
        columns = [column.name for column in table.c]
        picked = ", ".join(values.get(name, f"model.{name}") for name in columns)
        model = f"(SELECT * FROM {table.name} WHERE {owner} = {first} LIMIT 1)"
        yield f"INSERT INTO {table.name} ({', '.join(columns)}) {series} SELECT {picked} FROM series, {model} AS model"


def _table(found: list[Cell]) -> Iterator[str]:
    yield f"{'engine':<12}{'processes':>9}{'clients':>9}{'accounts':>11}" + "".join(f"{name + '/s':>18}" for name in OPERATIONS)
    for cell in found:
        rates = "".join(f"{short(cell.figures[name].rate):>18}" for name in OPERATIONS)
        yield f"{cell.engine:<12}{cell.workers:>9}{cell.clients:>9}{cell.accounts:>11,}{rates}"


def _page(found: list[Cell], seconds: float) -> str:
    how = report.conditions("", 10, 0, seconds, is_quick=False)
    rows = [
        f"| {cell.engine} | {cell.workers} | {cell.clients} | {cell.accounts:,} | "
        + " | ".join(
            f"{short(figures.rate)} ({short(figures.p99 * 1e3)})" for figures in map(cell.figures.__getitem__, OPERATIONS)
        )
        + " |"
        for cell in found
    ]
    lines = [
        "# What growth costs",
        "",
        f"Requests a second and, in brackets, the 99th percentile in milliseconds; {seconds:.1f} s each, one round.",
        f"{how.cores} cores of {how.processor} carry the server, its database and the load together, so that more processes than",
        "one have little to win here. Refreshes and logins write and wait for the disk. bcrypt costs 10; every account has a",
        "credential and a session; preLogin and login ask for accounts drawn at random. `python -m bench growth` makes this",
        "page and the plot.",
        "",
        "![Requests a second by clients, by processes and by accounts](growth.svg)",
        "",
        "| engine | processes | clients | accounts | " + " | ".join(OPERATIONS) + " |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
        *rows,
    ]
    return "\n".join(lines) + "\n"


def _plot(found: list[Cell]) -> str:
    usual = [cell for cell in found if cell.workers == 1 and cell.clients == USUAL_CLIENTS]
    few = min((cell.accounts for cell in found), default=0)
    panels: list[tuple[str, list[Cell], Callable[[Cell], int]]] = [
        ("clients", [cell for cell in found if cell.workers == 1 and cell.accounts == few], lambda cell: cell.clients),
        (
            "processes",
            [cell for cell in found if cell.clients == USUAL_CLIENTS and cell.accounts == few],
            lambda cell: cell.workers,
        ),
        ("accounts", usual, lambda cell: cell.accounts),
    ]
    return plot.drawn(
        [
            plot.Panel(
                title,
                [
                    plot.Line(
                        name, engine, sorted((at(cell), cell.figures[name].rate) for cell in cells if cell.engine == engine)
                    )
                    for name in OPERATIONS
                    for engine in ENGINES
                ],
            )
            for title, cells, at in panels
        ]
    )
