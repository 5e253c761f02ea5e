"""What a whole run writes into README.md and docs/performance.md, between `<!-- bench: NAME -->` and `<!-- bench end -->`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from statistics import median

from bench import goals, rounds
from bench.findings import Report
from bench.goals import short

SHOWN = ("session check", "refresh", "preLogin", "key login", "login")

_PEERS_RUN = "with bcrypt of the same cost, limits off, and SQLite at synchronous=NORMAL where Ostiary runs FULL."


class UnmarkedError(Exception):
    """The document has no place of this name."""


def write(report: Report, root: Path) -> list[Path]:
    """The figures into README.md, the marks and all operations into docs/performance.md. Raises UnmarkedError."""
    places: tuple[tuple[Path, str, Callable[[Report], str]], ...] = (
        (root / "README.md", "figures", figures),
        (root / "docs" / "performance.md", "marks", goals.page),
    )
    for path, name, told in places:
        path.write_text(put(path.read_text(encoding="utf-8"), name, told(report)), encoding="utf-8")
    return [path for path, *_ in places]


def put(text: str, name: str, told: str) -> str:
    """The document with this in the place of that name. Raises UnmarkedError."""
    opening, end = f"<!-- bench: {name} -->", "<!-- bench end -->"
    found = re.compile(f"({re.escape(opening)}).*?({re.escape(end)})", re.DOTALL)
    if len(found.findall(text)) != 1:
        raise UnmarkedError(name)
    return found.sub(lambda match: f"{match[1]}\n{told.strip()}\n{match[2]}", text)


def figures(report: Report) -> str:
    """What a reader of the README wants to know."""
    how, found = report.conditions, report.rounds
    day = date.fromisoformat(how.at[:10])
    bare = short(median(one.hashing.cpu for one in found) * 1e3)
    where = f"{how.cores} cores of {how.processor} shared with the load, on which one bcrypt of cost {how.cost} takes {bare} ms"
    load = f"{how.engine} with durable commits, one process, {how.clients} clients"
    return "\n".join(
        [
            f"Of {day.day} {day:%B %Y}: {where};",
            f"{load}; medians of {len(found)} rounds (lowest to highest).",
            "",
            "| operation | requests/s | p50 | p99 | server CPU per request |",
            "| --- | --- | --- | --- | --- |",
            *(_row(name, report) for name in SHOWN if name in found[0].figures),
            "",
            "| in the same run | |",
            "| --- | --- |",
            *(f"| {what} | {value} |" for what, value in _facts(report)),
            *(["", f"Peers: {', '.join(found[0].peers)}; {_PEERS_RUN}"] if found[0].peers else []),
        ]
    )


def _facts(report: Report) -> Iterator[tuple[str, str]]:
    found = report.rounds
    yield (
        "server CPU of a login, of one bare bcrypt: a thread computes several side by side",
        _spread([(one.figures["login"].cpu or 0) / one.hashing.cpu for one in found]),
    )
    yield (
        "logins a second, of what the `bcrypt` package does with all cores",
        _spread([one.figures["login"].rate / one.hashing.rate for one in found]),
    )
    busy = [one.figures[f"refresh, {rounds.BETWEEN}"].p99 * 1e3 for one in found]
    yield "p99 of a refresh while logins saturate all cores", f"{_spread(busy)} ms"
    yield "start to first answer", f"{_spread(report.starts or [report.start_seconds])} s"
    memory = f"memory after {report.requests:,} requests, with the packages of {report.conditions.packages}"
    yield memory, f"{short(report.memory / 1e6)} MB"
    for goal in goals.of(report):
        if "best peer" in goal.what:
            yield goal.what, goal.cells[1]


def _row(name: str, report: Report) -> str:
    each = [one.figures[name] for one in report.rounds]
    p50, p99 = (short(median(values) * 1e3) for values in ([one.p50 for one in each], [one.p99 for one in each]))
    cpu = _spread([(one.cpu or 0) * 1e6 for one in each])
    return f"| {name} | {_spread([one.rate for one in each])} | {p50} ms | {p99} ms | {cpu} µs |"


def _spread(values: list[float]) -> str:
    return f"{short(median(values))} ({short(min(values))} to {short(max(values))})"
