"""Forms that only our own pages can send: the browser says where a form comes from, and the form shows what only we could write.

The token is bound to a cookie of the browser and to its session, if it has one: one that an attacker got for a browser of their
own fits no other (OWASP, "Signed Double-Submit Cookie"), and signing in changes what fits. So nobody signs another person's
browser in to an account of their own either.
"""

from __future__ import annotations

import hmac

from ostiary.crypto.tokens import random_hex
from ostiary.http import cookies
from ostiary.http.calls import Call, Header
from ostiary.identity.refusals import Refusal

FIELD = "form_token"
COOKIE = "ostiary_form"
_COOKIE_LENGTH = 32
_SAME = frozenset({"same-origin", "none"})


class FormRefused(Refusal):
    """The form is not one that this browser got from us, or is too old."""

    code = "form_refused"


class Form(dict[str, str]):
    """What was typed, by field."""

    def text(self, name: str) -> str:
        """The field, without blanks around it; empty when it is absent or cannot be stored."""
        value = self.get(name, "").strip()
        return "" if "\0" in value else value

    def secret(self, name: str) -> str:
        """The field exactly as typed; empty when it is absent."""
        return self.get(name, "")


def token(call: Call) -> tuple[str, list[Header]]:
    """A token for the forms of a page, and the cookie to send with the page."""
    bound, headers = cookies.read(call, COOKIE) or "", []
    if len(bound) != _COOKIE_LENGTH:
        bound = random_hex(_COOKIE_LENGTH // 2)
        headers = [cookies.kept(call, COOKIE, bound)]
    nonce = random_hex(8)
    return f"{nonce}.{_mac(call, bound, nonce)}", headers


def posted(call: Call) -> Form:
    """The form in this request. Raises FormRefused, MalformedBodyError."""
    _require_own_page(call)
    form = Form(call.form())
    nonce, _, mac = form.pop(FIELD, "").partition(".")
    bound = cookies.read(call, COOKIE) or ""
    if len(bound) != _COOKIE_LENGTH or not hmac.compare_digest(mac.encode("utf-8", "replace"), _mac(call, bound, nonce).encode()):
        raise FormRefused("token")
    return form


def _require_own_page(call: Call) -> None:
    origin, site = call.header(b"origin"), call.header(b"sec-fetch-site")
    if origin is not None and origin not in call.settings.page_origins:
        raise FormRefused("origin")
    if site is not None and site not in _SAME:
        raise FormRefused("site")


def _mac(call: Call, bound: str, nonce: str) -> str:
    session = cookies.read(call, cookies.SESSION) or ""
    return call.services.digester.digest("form", f"{nonce}\0{bound}\0{session}").hex()[:32]
