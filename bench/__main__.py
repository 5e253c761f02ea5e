"""`python -m bench`: start a server, measure it, print a table. It asks 127.0.0.1 alone and ends its own processes alone."""

from __future__ import annotations

import argparse
import signal
import sys
from contextlib import ExitStack
from pathlib import Path

from bench import documents, goals, growth, peers, production, report, rounds
from bench.findings import Report
from bench.load import ROOT, Driver
from bench.peers import PEERS, PeerServer
from bench.rounds import Round
from bench.server import DurablePostgres, OstiaryServer
from bench.world import World


def main() -> None:
    """Everything."""
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    if options.what == "growth":
        growth.run(options.minutes, options.documents, is_quick=options.quick)
        return
    found = _run(options)
    print(report.text(found), end="")
    print(goals.text(found), end="")
    if options.output:
        for path in report.write(found, options.output):
            print(f"bench: wrote {path.name}", file=sys.stderr)
    if options.documents and not options.quick:
        for path in documents.write(found, options.documents.parent):
            print(f"bench: wrote {path.name}", file=sys.stderr)
        growth.run(options.minutes, options.documents, is_quick=False)
    if any(figures.failures for one in found.rounds for figures in one.figures.values()):
        failures = {name: figures.failures for one in found.rounds for name, figures in one.figures.items() if figures.failures}
        sys.exit(f"bench: requests failed: {failures}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench", description="Measure Ostiary on this machine.")
    parser.add_argument("what", nargs="?", choices=("all", "growth"), default="all", help="growth: its table and plot alone")
    parser.add_argument("--peers", default="", help="folder of the peers' programs (BENCH_PEERS)")
    parser.add_argument("--cache", default="", help="where their packages are kept (BENCH_CACHE)")
    parser.add_argument("--minutes", type=float, default=6, help="that the cost of growth may take (%(default)g)")
    parser.add_argument(
        "--documents",
        type=Path,
        default=ROOT / "docs",
        help="folder of the documents to write into (docs)",
    )
    parser.add_argument("--rounds", type=int, default=5, help="how often everything is measured (%(default)s)")
    parser.add_argument("--seconds", type=float, default=2, help="of each measurement (%(default)s)")
    parser.add_argument("--clients", type=int, default=16, help="connections that ask at once (%(default)s)")
    parser.add_argument("--cost", type=int, default=10, help="of bcrypt (%(default)s)")
    parser.add_argument("--engine", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--output", type=Path, default=ROOT / "bench" / "results", help="folder to write to (bench/results)")
    parser.add_argument("--quick", action="store_true", help="a glance: one short round at cost 4, written only with --output")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.seconds, options.clients, options.cost = 1, 0.2, 4, 4
        if options.output == parser.get_default("output"):
            options.output = None
    return options


def _run(options: argparse.Namespace) -> Report:
    how = report.conditions(options.engine, options.cost, options.clients, options.seconds, is_quick=options.quick)
    with ExitStack() as exits:
        environment = {"BCRYPT_COST": str(options.cost)}
        if options.engine == "postgresql":
            environment["DATABASE_URL"] = exits.enter_context(DurablePostgres()).url()
        _say("starting the server")
        python = None if options.quick else production.interpreter(peers.cache_folder(options.cache))
        how.packages = "development" if python is None else "production"
        server = exits.enter_context(OstiaryServer(environment, python))
        # Measured as it runs from day to day: what makes the tables is loaded once in a deployment's life.
        first = server.start_seconds
        server.start_again()
        driver = exits.enter_context(Driver())
        others = [] if options.quick and not options.peers else _peers(options, exits)
        _say("registering accounts")
        per_client = 2 if options.quick else 4
        world = World(server.port, options.clients, options.clients * per_client, options.clients * 8 * per_client)
        found: list[Round] = []
        for number in range(1, options.rounds + 1):
            _say(f"round {number} of {options.rounds}")
            found.append(rounds.measure(server, driver, world, options.cost, options.seconds, others))
        requests = sum(figures.requests for one in found for figures in one.figures.values())
        memory = server.memory()
        others_started = {peer.peer.name: peer.start_seconds for peer in others}
        return Report(how, first, memory, requests, found, [server.start_again() for _ in range(options.rounds)], others_started)


def _peers(options: argparse.Namespace, exits: ExitStack) -> list[PeerServer]:
    """All of them, started, with their accounts; none when their programs are not there."""
    programs = peers.found(options.peers)
    if programs is None:
        return []
    cache = peers.cache_folder(options.cache)
    peers.install(cache)
    started = []
    for peer in PEERS:
        _say(f"starting {peer.name}")
        server = exits.enter_context(PeerServer(peer, programs, cache))
        server.populate(options.clients, options.clients * 2)
        started.append(server)
    return started


def _say(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr)


if __name__ == "__main__":
    main()
