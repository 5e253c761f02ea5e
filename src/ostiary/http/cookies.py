"""The cookies of our own pages, and the mark of a known device. Those that other wires' clients expect are the dialects'.

A page's cookie is Lax: it must come along when a provider sends the browser back, and no form of another site brings it. Behind
TLS its name begins with `__Host-`, so that nobody who holds a neighbouring host name can plant one here (RFC 6265bis 4.1.3.2).
"""

from __future__ import annotations

from ostiary.http.calls import Call, Header
from ostiary.identity import challenges
from ostiary.settings import Settings

DEVICE_COOKIE = "ostiary_device"
DEVICE_LIFE = 365 * 24 * 3600 * 1_000_000
SESSION = "ostiary_session"
CHALLENGE = "ostiary_challenge"


def is_secure(settings: Settings) -> bool:
    """Whether our pages' cookies may only travel under TLS."""
    return settings.secure_cookies or settings.server.public_server_url.startswith("https://")


def read(call: Call, name: str) -> str | None:
    """What the browser shows of a page's cookie; None when it has none."""
    return call.cookie(_full(call, name)) or None


def kept(call: Call, name: str, value: str, seconds: int | None = None) -> Header:
    """A page's cookie: for so many seconds, or as long as the browser runs."""
    life = "" if seconds is None else f"; Max-Age={seconds}"
    secure = "; Secure" if is_secure(call.settings) else ""
    return (b"set-cookie", f"{_full(call, name)}={value}; Path=/{life}; HttpOnly{secure}; SameSite=Lax".encode())


def dropped(call: Call, name: str) -> Header:
    """A page's cookie, taken away."""
    return kept(call, name, "", 0)


def session(call: Call, token: str, life: int) -> Header:
    """What the browser shows our pages from now on, for so many microseconds."""
    return kept(call, SESSION, token, life // 1_000_000)


def challenge(call: Call, secret: str) -> Header:
    """What the browser answers the page that asks for a factor with."""
    return kept(call, CHALLENGE, secret, challenges.LIFE // 1_000_000)


def device(call: Call, mark: str) -> Header:
    """The mark of a known device: no page's alone, so under the name that every wire gives it."""
    secure = "; Secure" if is_secure(call.settings) else ""
    text = f"{DEVICE_COOKIE}={mark}; Path=/; Max-Age={DEVICE_LIFE // 1_000_000}; HttpOnly{secure}; SameSite=Strict"
    return (b"set-cookie", text.encode())


def _full(call: Call, name: str) -> str:
    return f"__Host-{name}" if is_secure(call.settings) else name
