"""What a run found."""

from __future__ import annotations

import platform

import msgspec

import ostiary
from bench.hashing import CORES
from bench.rounds import Round


class Conditions(msgspec.Struct):
    """How it was measured."""

    engine: str
    cost: int
    clients: int
    seconds: float
    is_quick: bool = False
    at: str = ""
    version: str = ostiary.__version__
    python: str = platform.python_version()
    processor: str = ""
    cores: int = CORES
    packages: str = "development"
    """Whose packages the server ran with: `production` has no others."""


class Report(msgspec.Struct):
    """A run."""

    conditions: Conditions
    start_seconds: float
    memory: int
    requests: int
    rounds: list[Round]
    starts: list[float] = []
    """Seconds to the first answer on what was stored."""
    peers_started: dict[str, float] = {}
