"""What a run found: JSON to compare with, and a table to read."""

from __future__ import annotations

import platform
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import msgspec

from bench import goals, rounds
from bench.findings import Conditions, Report
from bench.hashing import CORES
from bench.load import WARM_SECONDS
from bench.rounds import Figures
from bench.server import TICKS

_HEAD = (
    f"{'operation':<32}{'requests/s':>10} {'(min to max)':<17}{'p50 ms':>8}{'p99 ms':>9}"
    f"  {'server CPU us':>13} {'(min to max)':<17}{'failed':>6}"
)
LIGHT = ("session check", "refresh", "preLogin", "key login")


def conditions(engine: str, cost: int, clients: int, seconds: float, *, is_quick: bool) -> Conditions:
    """These, and what the machine says of itself."""
    found = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    at = datetime.now(UTC).isoformat(timespec="seconds")
    return Conditions(engine, cost, clients, seconds, is_quick, at, processor=found[1] if found else platform.machine())


def write(report: Report, folder: Path) -> list[Path]:
    """`<date>-<engine>.json`, `.txt` and `.md`."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"{report.conditions.at[:10]}-{report.conditions.engine}"
    data, table, page = (folder / f"{stem}.{kind}" for kind in ("json", "txt", "md"))
    data.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n")
    table.write_text(text(report) + goals.text(report), encoding="utf-8")
    page.write_text(goals.page(report), encoding="utf-8")
    return [data, table, page]


def text(report: Report) -> str:
    """The table."""
    return "\n".join([*_preface(report), "", _HEAD, *_rows(report), "", *_ratios(report), "", *_notes(report)]) + "\n"


def _preface(report: Report) -> list[str]:
    how = report.conditions
    durable = "synchronous=FULL" if how.engine == "sqlite" else "fsync on; its own CPU is not in the figures"
    return [
        f"Ostiary {how.version}, {how.at}: {how.engine} ({durable}), bcrypt cost {how.cost}, one process",
        f"{how.cores} cores of {how.processor}, Python {how.python}; the load runs on the same cores",
        f"{how.clients} clients; medians of {len(report.rounds)} rounds of {how.seconds:g} s, warmed up for {WARM_SECONDS:g} s",
        *(["QUICK: too short to mean anything"] if how.is_quick else []),
    ]


def _rows(report: Report) -> list[str]:
    return [_row(name, [found.figures[name] for found in report.rounds]) for name in report.rounds[0].figures]


def _row(name: str, figures: list[Figures]) -> str:
    def spread(of: Callable[[Figures], float], width: int) -> str:
        values = [of(one) for one in figures]
        return f"{_short(median(values)):>{width}} {f'({_short(min(values))} to {_short(max(values))})':<17}"

    latencies = f"{median(one.p50 for one in figures) * 1e3:>8.2f}{median(one.p99 for one in figures) * 1e3:>9.2f}"
    cpu = f"{'':>31}" if figures[0].cpu is None else spread(lambda one: (one.cpu or 0) * 1e6, 13)
    failed = sum(sum(one.failures.values()) for one in figures)
    return f"{name:<32}{spread(lambda one: one.rate, 10)}{latencies}  {cpu}{failed:>6}"


def _ratios(report: Report) -> list[str]:
    found = report.rounds
    raw = [one.hashing for one in found]
    pairs = [(one.figures["login"], one.hashing) for one in found]

    def line(what: str, values: list[float], unit: str = "") -> str:
        return f"{what:<66}{_short(median(values)):>8}{unit} ({_short(min(values))} to {_short(max(values))})"

    def busy(name: str) -> list[float]:
        return [
            one.figures[f"{name}, {rounds.BETWEEN}"].p99 / max(1e-9, one.figures[f"{name}, {rounds.IDLE}"].p99) for one in found
        ]

    return [
        line(f"bcrypt package alone, {CORES} threads, checks/s", [one.rate for one in raw]),
        line("bcrypt package alone, CPU of one check", [one.cpu * 1e3 for one in raw], " ms"),
        line("logins/s, of that rate in the same round", [login.rate / one.rate for login, one in pairs]),
        line("server CPU of a login, of one bare check in the same round", [(login.cpu or 0) / one.cpu for login, one in pairs]),
        line("server CPU of a login beyond one bare check", [((login.cpu or 0) - one.cpu) * 1e6 for login, one in pairs], " us"),
        line("preLogin p99 between logins, of its idle p99", busy("preLogin")),
        line("refresh p99 between logins, of its idle p99", busy("refresh")),
        line("start to first answer, with tables to make", [report.start_seconds], " s"),
        line("start to first answer", report.starts or [report.start_seconds], " s"),
        line(f"memory after {report.requests} requests, {report.conditions.packages}", [report.memory / 1e6], " MB"),
    ]


def _notes(report: Report) -> list[str]:
    fewest = min(one.figures["login"].requests for one in report.rounds)
    often = min(one.figures[name].requests for one in report.rounds for name in LIGHT)
    login_error, light_error = (2e6 / TICKS / max(1, requests) for requests in (fewest, often))
    return [
        f"Server CPU is user and system time of the whole process tree from /proc/PID/stat, in ticks of {1000 / TICKS:g} ms:",
        f"good to {login_error:.0f} us a login and {light_error:.1f} us a light request in one round.",
        "A key login is its second request, with a shared key made for the server key that preLogin had just handed out;",
        "its figure holds the mail that tells the owner of it, as a registration's holds the mail that verifies the address.",
        f"Probes come {rounds.PROBE_RATE:g} times a second from {rounds.PROBES} clients and are timed from when they were due.",
    ]


def _short(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"
