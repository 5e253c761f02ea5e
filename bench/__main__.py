"""`python -m bench`: start a server, measure it, print a table. It asks 127.0.0.1 alone and ends its own processes alone."""

from __future__ import annotations

import argparse
import signal
import sys
from contextlib import ExitStack
from pathlib import Path

from bench import report, rounds
from bench.load import ROOT, Driver
from bench.report import Report
from bench.rounds import Round
from bench.server import DurablePostgres, OstiaryServer
from bench.world import World


def main() -> None:
    """Everything."""
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    found = _run(options)
    print(report.text(found), end="")
    if options.output:
        for path in report.write(found, options.output):
            print(f"bench: wrote {path.name}", file=sys.stderr)
    if any(figures.failures for one in found.rounds for figures in one.figures.values()):
        failures = {name: figures.failures for one in found.rounds for name, figures in one.figures.items() if figures.failures}
        sys.exit(f"bench: requests failed: {failures}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench", description="Measure Ostiary on this machine.")
    parser.add_argument("--rounds", type=int, default=5, help="how often everything is measured (%(default)s)")
    parser.add_argument("--seconds", type=float, default=3, help="of each measurement (%(default)s)")
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
        server = exits.enter_context(OstiaryServer(environment))
        driver = exits.enter_context(Driver())
        _say("registering accounts")
        per_client = 2 if options.quick else 4
        world = World(server.port, options.clients, options.clients * per_client, options.clients * 8 * per_client)
        found: list[Round] = []
        for number in range(1, options.rounds + 1):
            _say(f"round {number} of {options.rounds}")
            found.append(rounds.measure(server, driver, world, options.cost, options.seconds))
        requests = sum(figures.requests for one in found for figures in one.figures.values())
        return Report(how, server.start_seconds, server.memory(), requests, found)


def _say(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr)


if __name__ == "__main__":
    main()
