"""One round: every operation in its turn, the yardstick next to what it measures. Repeated, A and B alternate."""

from __future__ import annotations

import msgspec

from bench import hashing
from bench.hashing import RawHashing
from bench.load import Driver, Plan, Result, Stream
from bench.peers import PeerServer
from bench.server import Measured, OstiaryServer
from bench.world import World

PROBES = 4
PROBE_RATE = 100.0
"""Requests a second of each kind of probe while logins saturate: enough for a p99, too few to be a load."""
BETWEEN = "between logins"
IDLE = "otherwise idle"
ALONE = "login, one client"


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
    peers: dict[str, dict[str, Figures]] = {}


def measure(server: OstiaryServer, driver: Driver, world: World, cost: int, seconds: float, peers: list[PeerServer]) -> Round:
    """Everything once; each of the peers right behind the operation of ours that it is held against."""
    figures: dict[str, Figures] = {}

    def play(*streams: Stream) -> dict[str, Result]:
        results = driver.play(Plan(server.port, seconds, list(streams)))
        if "refresh" in results:
            world.keep_cookies(results["refresh"].cookies)
        return results

    def alone(stream: Stream) -> None:
        figures[stream.name], cookies = measured(server, driver, stream, seconds)
        if stream.name == "refresh":
            world.keep_cookies(cookies)

    def probed(when: str, *company: Stream) -> None:
        server.settle()
        results = play(world.pre_logins(PROBES, PROBE_RATE), world.refreshes(PROBES, PROBE_RATE), *company)
        for name, result in results.items():
            figures[f"{name}, {when}" if name != "login" else "login, probed meanwhile"] = _figures(result, seconds)

    others: dict[str, dict[str, Figures]] = {peer.peer.name: {} for peer in peers}
    alone(world.registrations(seconds))
    server.settle()
    yardstick = hashing.measure(cost, seconds)
    alone(world.logins())
    _beside(others, peers, driver, seconds, "login")
    figures[ALONE] = _figures(play(msgspec.structs.replace(world.logins(1), name=ALONE))[ALONE], seconds)
    alone(world.session_checks())
    _beside(others, peers, driver, seconds, "session check")
    alone(world.refreshes())
    _beside(others, peers, driver, seconds, "refresh")
    alone(world.pre_logins())
    alone(world.key_logins())
    probed(IDLE)
    probed(BETWEEN, world.logins())
    return Round(yardstick, figures, others)


def _beside(others: dict[str, dict[str, Figures]], peers: list[PeerServer], driver: Driver, seconds: float, name: str) -> None:
    for peer in peers:
        stream = {"login": peer.logins, "session check": peer.session_checks, "refresh": peer.refreshes}[name]()
        if stream is None:
            continue
        others[peer.peer.name][name], cookies = measured(peer, driver, stream, seconds)
        if name == "refresh" and any(cookies):
            peer.keep_cookies(cookies)


def measured(server: Measured, driver: Driver, stream: Stream, seconds: float) -> tuple[Figures, list[str]]:
    """One stream against one server, and its clients' newest cookies."""
    server.settle()
    before = server.cpu()
    result = driver.play(Plan(server.port, seconds, [stream]))[stream.name]
    return _figures(result, seconds, (server.cpu() - before) / max(1, result.requests)), result.cookies


def _figures(result: Result, seconds: float, cpu: float | None = None) -> Figures:
    latencies = sorted(result.latencies)

    def at(share: float) -> float:
        return latencies[min(len(latencies) - 1, int(len(latencies) * share))] if latencies else 0.0

    return Figures(len(latencies) / seconds, at(0.5), at(0.99), result.requests, cpu, result.failures)
