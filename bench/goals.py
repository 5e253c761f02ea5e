"""The figures that the project has set itself, each beside its mark, and the tables for the documents."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from statistics import median
from typing import NamedTuple

from bench import rounds
from bench.findings import Report
from bench.rounds import Figures, Round

LIGHT = ("session check", "refresh")


class Goal(NamedTuple):
    """A figure of each round, and the mark that its median is held against."""

    what: str
    values: list[float]
    mark: float
    is_least: bool = False
    unit: str = ""

    @property
    def is_met(self) -> bool:
        found = median(self.values)
        return found >= self.mark if self.is_least else found <= self.mark

    @property
    def cells(self) -> tuple[str, str, str, str]:
        low, high = min(self.values), max(self.values)
        spread = f" ({short(low)} to {short(high)})" if len(self.values) > 1 else ""
        mark = f"{'at least' if self.is_least else 'at most'} {short(self.mark)}{self.unit}"
        return self.what, f"{short(median(self.values))}{self.unit}{spread}", mark, "met" if self.is_met else "missed"


def of(report: Report) -> list[Goal]:
    """All that this run can tell."""
    found = report.rounds

    def each(tell: Callable[[Round], float]) -> list[float]:
        return [tell(one) for one in found]

    goals = [
        Goal(
            "password logins a second, of what the bcrypt package does alone on all cores",
            each(lambda one: one.figures["login"].rate / one.hashing.rate),
            3.8,
            is_least=True,
        ),
        Goal("server CPU of a login, of one bare hash", each(lambda one: _cpu(one, "login") / one.hashing.cpu), 0.27),
        Goal(
            "one login on an idle server beyond 1.1 bare hashes",
            each(lambda one: (one.figures[rounds.ALONE].p50 - 1.1 * one.hashing.cpu) * 1e3),
            3,
            unit=" ms",
        ),
        Goal("server CPU of a key login", each(lambda one: _cpu(one, "key login") * 1e6), 300, unit=" us"),
        Goal("server CPU of preLogin", each(lambda one: _cpu(one, "preLogin") * 1e6), 80, unit=" us"),
    ]
    for name in ("preLogin", "refresh"):
        busy, idle = f"{name}, {rounds.BETWEEN}", f"{name}, {rounds.IDLE}"
        goals += [
            Goal(f"{name} p99 while logins saturate", [one.figures[busy].p99 * 1e3 for one in found], 15, unit=" ms"),
            Goal(
                f"{name} p99 while logins saturate, of its idle p99",
                [one.figures[busy].p99 / max(1e-9, one.figures[idle].p99) for one in found],
                5,
            ),
        ]
    goals += _beside_peers(found) if found[0].peers else []
    return [
        *goals,
        Goal("start to first answer", report.starts or [report.start_seconds], 1, unit=" s"),
        Goal(f"memory after {report.requests} requests", [report.memory / 1e6], 90, unit=" MB"),
    ]


def text(report: Report) -> str:
    """The marks, as a table to read."""
    rows = [goal.cells for goal in of(report)]
    lines = [f"{what:<78}{value:>30}   {mark:<20}{verdict}" for what, value, mark, verdict in rows]
    peers = [f"{name:<40}{cells}" for name, cells in _peer_rows(report)]
    return "\n".join(["", *lines, "", *peers, ""])


def page(report: Report) -> str:
    """The same for the documents, in Markdown."""
    how = report.conditions
    where = f"Ostiary {how.version} on {how.cores} cores of {how.processor}, shared with the load"
    load = f"{how.engine}, bcrypt cost {how.cost}, one process, {how.clients} clients"
    parts = [
        f"{where}: {load}, medians of {len(report.rounds)} rounds (lowest to highest), {how.at[:10]}.",
        "",
        "| figure | measured | mark | |",
        "| --- | --- | --- | --- |",
        *(f"| {what} | {value} | {mark} | {verdict} |" for what, value, mark, verdict in (goal.cells for goal in of(report))),
        "",
        "| operation | requests/s | p50 ms | p99 ms | server CPU |",
        "| --- | --- | --- | --- | --- |",
        *(_row(name, [one.figures[name] for one in report.rounds]) for name in report.rounds[0].figures),
    ]
    if report.rounds[0].peers:
        parts += [
            "",
            "| server | operation | requests/s | p50 ms | p99 ms | server CPU |",
            "| --- | --- | --- | --- | --- | --- |",
        ]
        parts += [f"| {name} {_row(operation, figures)}" for name, operation, figures in _peer_figures(report)]
    return "\n".join(parts) + "\n"


def _beside_peers(found: list[Round]) -> Iterator[Goal]:
    yield Goal(
        "password logins a second, of the best peer's",
        [one.figures["login"].rate / _best_rate(one, "login") for one in found],
        3.5,
        is_least=True,
    )
    for name in LIGHT:
        yield Goal(f"server CPU of a {name}, of the best peer's", [_cpu(one, name) / _best_cpu(one, name) for one in found], 0.2)
        yield Goal(
            f"{name}: requests a second, of the best peer's",
            [one.figures[name].rate / _best_rate(one, name) for one in found],
            3,
            is_least=True,
        )


def _best_rate(one: Round, name: str) -> float:
    return max(figures[name].rate for figures in one.peers.values() if name in figures) or 1e-9


def _best_cpu(one: Round, name: str) -> float:
    return min(figures[name].cpu or 1.0 for figures in one.peers.values() if name in figures)


def _cpu(one: Round, name: str) -> float:
    return one.figures[name].cpu or 0.0


def _peer_figures(report: Report) -> Iterator[tuple[str, str, list[Figures]]]:
    for name, operations in report.rounds[0].peers.items():
        for operation in operations:
            yield name, operation, [one.peers[name][operation] for one in report.rounds]


def _peer_rows(report: Report) -> Iterator[tuple[str, str]]:
    for name, operation, figures in _peer_figures(report):
        rate, cpu = median(one.rate for one in figures), median(one.cpu or 0 for one in figures) * 1e6
        yield f"{name}: {operation}", f"{short(rate):>9}/s {short(cpu):>9} us"
    for name, seconds in report.peers_started.items():
        yield f"{name}: start", f"{short(seconds):>9} s"


def _row(name: str, figures: list[Figures]) -> str:
    def middle(of_one: Callable[[Figures], float]) -> str:
        values = [of_one(one) for one in figures]
        return f"{short(median(values))} ({short(min(values))} to {short(max(values))})"

    cpu = "" if figures[0].cpu is None else f"{middle(lambda one: (one.cpu or 0) * 1e6)} us"
    p50, p99 = (short(median(one) * 1e3) for one in ([each.p50 for each in figures], [each.p99 for each in figures]))
    return f"| {name} | {middle(lambda one: one.rate)} | {p50} | {p99} | {cpu} |"


def short(value: float) -> str:
    """Three digits that count."""
    return f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}" if abs(value) < 100 else f"{value:,.0f}"
