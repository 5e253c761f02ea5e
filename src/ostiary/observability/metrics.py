"""Prometheus metrics. Labels come from closed lists: never an address, never an account."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest


class Metrics:
    """One registry per application, so that two applications in one process do not add up."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.events = Counter("ostiary_events", "Outcomes, by audit event", ["event"], registry=self.registry)
        self.refusals = Counter("ostiary_refusals", "Refusals, by code", ["code"], registry=self.registry)
        self.limited = Counter("ostiary_limited", "Requests over a limit, by limit", ["limit"], registry=self.registry)
        self.password_checks = Counter("ostiary_password_checks", "Password hashes computed", registry=self.registry)
        self.hashing_waiting = Gauge("ostiary_hashing_waiting", "Hashes waiting or running", registry=self.registry)
        self.hashing_calls = Gauge(
            "ostiary_hashing_calls", "Calls that computed hashes, several in lanes", registry=self.registry
        )
        self.hashing_done = Gauge("ostiary_hashing_done", "Hashes asked for and ended", registry=self.registry)
        self.hashing_wait = Gauge("ostiary_hashing_wait_seconds", "Estimated wait of one who came now", registry=self.registry)
        self.hashing_lanes = Gauge("ostiary_hashing_lanes", "Hashes that a thread computes together", registry=self.registry)
        self.hashing_threads = Gauge("ostiary_hashing_threads", "Threads that hash", registry=self.registry)
        self.hashing_shed = Gauge("ostiary_hashing_shed", "Hashes not computed, by reason", ["reason"], registry=self.registry)
        self.breach_checks = Counter(
            "ostiary_breach_checks", "New passwords looked up in breaches, by outcome", ["outcome"], registry=self.registry
        )
        self.failures = Counter("ostiary_failures", "Requests answered with 5xx", ["dialect"], registry=self.registry)
        self.turned_away = Counter(
            "ostiary_turned_away", "Requests turned away unread, by reason", ["reason"], registry=self.registry
        )
        self.mails = Counter("ostiary_mails", "Mails, by outcome", ["outcome"], registry=self.registry)

    def render(self) -> bytes:
        """The text exposition format."""
        return generate_latest(self.registry)
