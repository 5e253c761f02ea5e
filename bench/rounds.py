"""One round: every operation in its turn, the yardstick next to what it measures. Repeated, A and B alternate."""

from __future__ import annotations

import msgspec

from bench import hashing
from bench.hashing import RawHashing
from bench.load import Driver, Plan, Result, Stream
from bench.server import OstiaryServer
from bench.world import World

PROBES = 4
PROBE_RATE = 100.0
"""Requests a second of each kind of probe while logins saturate: enough for a p99, too few to be a load."""
BETWEEN = "between logins"
IDLE = "otherwise idle"


class Figures(msgspec.Struct):
    """One operation in one round: answers a second, latencies and server CPU of a request in seconds."""

    rate: float
    p50: float
    p99: float
    requests: int
    cpu: float | None
    failures: dict[str, int]


class Round(msgspec.Struct):
    """One round: figures by operation, and what the yardstick said right before the logins."""

    hashing: RawHashing
    figures: dict[str, Figures]


def measure(server: OstiaryServer, driver: Driver, world: World, cost: int, seconds: float) -> Round:
    """Everything once."""
    figures: dict[str, Figures] = {}

    def play(*streams: Stream) -> dict[str, Result]:
        results = driver.play(Plan(server.port, seconds, list(streams)))
        if "refresh" in results:
            world.keep_cookies(results["refresh"].cookies)
        return results

    def alone(stream: Stream) -> None:
        server.settle()
        before = server.cpu()
        result = play(stream)[stream.name]
        figures[stream.name] = _figures(result, seconds, (server.cpu() - before) / max(1, result.requests))

    def probed(when: str, *company: Stream) -> None:
        server.settle()
        results = play(world.pre_logins(PROBES, PROBE_RATE), world.refreshes(PROBES, PROBE_RATE), *company)
        for name, result in results.items():
            figures[f"{name}, {when}" if name != "login" else "login, probed meanwhile"] = _figures(result, seconds)

    alone(world.registrations(seconds))
    server.settle()
    yardstick = hashing.measure(cost, seconds)
    alone(world.logins())
    alone(world.session_checks())
    alone(world.refreshes())
    alone(world.pre_logins())
    alone(world.key_logins())
    probed(IDLE)
    probed(BETWEEN, world.logins())
    return Round(yardstick, figures)


def _figures(result: Result, seconds: float, cpu: float | None = None) -> Figures:
    latencies = sorted(result.latencies)

    def at(share: float) -> float:
        return latencies[min(len(latencies) - 1, int(len(latencies) * share))] if latencies else 0.0

    return Figures(len(latencies) / seconds, at(0.5), at(0.99), result.requests, cpu, result.failures)
