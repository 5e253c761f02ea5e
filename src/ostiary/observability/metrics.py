"""Prometheus metrics. Labels come from closed lists: never an address, never an account."""

from __future__ import annotations

from functools import cache

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

MICROSECONDS = 1_000_000


class Metrics:
    """One registry per application, so that two applications in one process do not add up."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.events = Counter("ostiary_events", "Outcomes, by audit event", ["event"], registry=self.registry)
        self._event = cache(self.events.labels)
        self.refusals = Counter("ostiary_refusals", "Refusals, by code", ["code"], registry=self.registry)
        self.limited = Counter("ostiary_limited", "Requests over a limit, by limit", ["limit"], registry=self.registry)
        self.limited_at = Gauge(
            "ostiary_limited_at", "When a limit was last met, seconds since 1970", ["limit"], registry=self.registry
        )
        self.limit_capacity = Gauge("ostiary_limit_capacity", "What a limit allows", ["limit"], registry=self.registry)
        self.limit_period = Gauge("ostiary_limit_period_seconds", "Within how long", ["limit"], registry=self.registry)
        self.limit_keys = Gauge("ostiary_limit_keys", "Keys that this process counts", registry=self.registry)
        self.limit_pushed_out = Gauge(
            "ostiary_limit_keys_pushed_out", "Keys that had to make room before their time", registry=self.registry
        )
        self.password_checks = Counter("ostiary_password_checks", "Password hashes computed", registry=self.registry)
        self.hashing_waiting = Gauge("ostiary_hashing_waiting", "Hashes waiting or running", registry=self.registry)
        self.hashing_running = Gauge("ostiary_hashing_running", "Hashes that threads have in hand", registry=self.registry)
        self.hashing_thread_seconds = Gauge(
            "ostiary_hashing_thread_seconds", "For how long threads had a hash in hand, all told", registry=self.registry
        )
        self.hashing_lane_seconds = Gauge(
            "ostiary_hashing_lane_seconds", "For how long hashes were in hand, all told", registry=self.registry
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
        self.mail_waiting = Gauge("ostiary_mail_waiting", "Mails that wait in the database", registry=self.registry)
        self.mail_failing = Gauge("ostiary_mail_failing", "Of those, how many failed before", registry=self.registry)
        self.mail_given_up = Gauge("ostiary_mail_given_up", "Mails that were given up", registry=self.registry)
        self.mail_oldest = Gauge("ostiary_mail_oldest_seconds", "For how long the oldest has waited", registry=self.registry)
        self.audit_head = Gauge("ostiary_audit_head", "Rows of the audit that are linked, swept ones too", registry=self.registry)
        self.audit_head_at = Gauge(
            "ostiary_audit_head_at", "When the last one was linked, seconds since 1970", registry=self.registry
        )
        self.audit_waiting = Gauge("ostiary_audit_waiting", "Rows that wait to be linked", registry=self.registry)
        self.audit_broken = Gauge(
            "ostiary_audit_broken", "1 when the ends of the audit's chain are not as they were signed", registry=self.registry
        )
        self.mails = Counter("ostiary_mails", "Mails, by outcome", ["outcome"], registry=self.registry)

    def count(self, event: str) -> None:
        """An outcome."""
        self._event(event).inc()

    def describe_limit(self, name: str, capacity: int, seconds: float) -> None:
        """Show a limit before anybody meets it."""
        self.limited.labels(name)
        self.limit_capacity.labels(name).set(capacity)
        self.limit_period.labels(name).set(seconds)

    def refuse(self, name: str, now: int) -> None:
        """A limit was met."""
        self.limited.labels(name).inc()
        self.limited_at.labels(name).set(now // MICROSECONDS)

    def render(self) -> bytes:
        """The text exposition format."""
        return generate_latest(self.registry)
