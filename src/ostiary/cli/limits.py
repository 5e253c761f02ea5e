"""The limits for an operator: each with its numbers, what it is counted by, and what the running server refused for it."""

from __future__ import annotations

from collections.abc import Sequence

import httpx
from prometheus_client.parser import text_string_to_metric_families

from ostiary.cli.output import spoken
from ostiary.identity.audit import AuditEvent
from ostiary.identity.rules import Rules
from ostiary.limits.store import MICROSECONDS, Rule
from ostiary.settings import Settings

SECONDS = 2
MINUTE = 60
_COUNTED_BY = {
    "address": "by address (of IPv6 a /64)",
    "network": "by network (IPv4 /24, IPv6 /48)",
    "server": "for the whole server",
    "newcomers": "for networks with no part in spending the server's",
    "account": "by account",
    "device": "by known device",
    "lockout.device": "by known device or place",
    "recipient": "by recipient",
    "challenge": "by pending sign-in",
}
_OTHERWISE = "by address, e-mail, account or key"
Met = tuple[int, int | None, int | None]
Refused = dict[str, Met]
"""By limit: how often since the server began, when last (microseconds), and how many it allows there."""


async def described(settings: Settings) -> list[tuple[str, str]]:
    """Name and description of every limit, and a line about the server that was asked."""
    refused = await _refused(settings)
    if refused is None:
        about = "no server answered, so nothing is known of what they refused."
    else:
        about = "what they refused is counted since the server that answered was started."
    return [("limits", about), *[(f"limit {rule.name}", _text(rule, refused)) for rule in Rules.of(settings)]]


def spraying(found: Sequence[AuditEvent]) -> str:
    """What the day's suspicions say."""
    newest = found[0]
    return (
        f"one password over many accounts was suspected {len(found)} time(s) in the last day, last at {spoken(newest.at)} UTC "
        f"({newest.reason}). Strangers are held back, known devices are not. Look: ostiary audit list --event spray:suspected"
    )


def _text(rule: Rule, refused: Refused | None) -> str:
    kind = _COUNTED_BY.get(rule.name) or _COUNTED_BY.get(rule.name.rpartition(".")[2], _OTHERWISE)
    minutes = rule.period / (MINUTE * MICROSECONDS)
    times, last_at, allowed = (refused or {}).get(rule.name, (0, None, None))
    capacity = allowed or rule.capacity
    text = f"{capacity} in {minutes:g} minute(s), {kind}"
    if rule.name.startswith("spray."):
        text = f"suspected at {capacity} names in {minutes:g} minute(s), {kind}"
    if refused is not None:
        text += f"; met {times} time(s)" + (f", last at {spoken(last_at)} UTC" if last_at else "")
    return f"{text}."


async def _refused(settings: Settings) -> Refused | None:
    server = settings.server
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(server.host, server.host)  # noqa: S104 - compared, not bound
    token = server.metrics_token.get_secret_value()
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        async with httpx.AsyncClient(timeout=SECONDS, trust_env=False) as client:
            answer = await client.get(f"http://{host}:{server.port}/metrics", headers=headers)
    except (httpx.HTTPError, httpx.InvalidURL):
        return None
    if answer.status_code != httpx.codes.OK:
        return None
    try:
        samples = [sample for family in text_string_to_metric_families(answer.text) for sample in family.samples]
    except ValueError:
        # Something else listens there.
        return None
    times = {sample.labels["limit"]: int(sample.value) for sample in samples if sample.name == "ostiary_limited_total"}
    last = {sample.labels["limit"]: int(sample.value) for sample in samples if sample.name == "ostiary_limited_at"}
    most = {sample.labels["limit"]: int(sample.value) for sample in samples if sample.name == "ostiary_limit_capacity"}
    return {name: (count, last[name] * MICROSECONDS if name in last else None, most.get(name)) for name, count in times.items()}
