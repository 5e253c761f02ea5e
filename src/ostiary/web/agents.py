"""For people: what a User-Agent header stands for, and moments."""

from __future__ import annotations

from datetime import UTC, datetime

from ostiary.identity.context import MICROSECONDS

# The more special before those that they also claim to be.
_BROWSERS = (
    ("Edg", "Edge"),
    ("OPR/", "Opera"),
    ("Vivaldi", "Vivaldi"),
    ("SamsungBrowser", "Samsung Internet"),
    ("Firefox/", "Firefox"),
    ("FxiOS", "Firefox"),
    ("CriOS", "Chrome"),
    ("HeadlessChrome", "Chrome"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
    ("curl/", "curl"),
)
_SYSTEMS = (
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Android", "Android"),
    ("Windows", "Windows"),
    ("CrOS", "ChromeOS"),
    ("Mac OS X", "macOS"),
    ("Linux", "Linux"),
)
_MOST = 40


def described(user_agent: str) -> str:
    """`Firefox, Linux`; for a program that is no browser, the name that it gives itself; empty for nothing."""
    browser = next((name for mark, name in _BROWSERS if mark in user_agent), "")
    system = next((name for mark, name in _SYSTEMS if mark in user_agent), "")
    if not browser:
        browser = "".join(character for character in user_agent.partition(" ")[0] if character.isprintable())[:_MOST]
    return ", ".join(part for part in (browser, system) if part)


def moment(microseconds: int) -> tuple[str, str]:
    """An instant for machines (RFC 3339) and for people; a script shows it in the reader's own time."""
    at = datetime.fromtimestamp(microseconds // MICROSECONDS, UTC)
    return at.strftime("%Y-%m-%dT%H:%M:%SZ"), at.strftime("%Y-%m-%d %H:%M UTC")
