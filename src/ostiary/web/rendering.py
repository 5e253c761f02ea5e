"""From a template to an answer: the texts of the browser's language, the form's token, and headers that let nothing else in."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol
from urllib.parse import parse_qsl, urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.responses import Response

from ostiary.http import cookies
from ostiary.http.calls import Call, Header, raw_response
from ostiary.web import forms, messages

ASSETS = "ostiary.assets"
"""Where a page's call has the files that pages refer to: an `Addresses`."""
HTML = b"text/html; charset=utf-8"
POLICY = (
    b"default-src 'none'; script-src 'self'; worker-src 'self'; connect-src 'self'; style-src 'self'; "
    b"img-src 'self' data:; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
_OWN: list[Header] = [
    (b"cache-control", b"no-store"),
    # With `no-referrer` browsers would hide from us where a form comes from. Nobody else learns an address either way.
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
    (b"vary", b"Accept-Language, Cookie"),
]

_templates = Environment(
    loader=PackageLoader("ostiary.web"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


class Addresses(Protocol):
    """Where a page's files are."""

    logo: str

    def url(self, path: str) -> str:
        """The file's address."""
        ...


def page(
    call: Call,
    template: str,
    status: int = 200,
    headers: Iterable[Header] = (),
    **values: Any,  # noqa: ANN401 - what the template needs
) -> Response:
    """The page. In a template: `t(key)` a text, `asset(path)` a file, `form_token` for its forms, `site` the settings."""
    texts = messages.of(call)
    assets: Addresses = call.scope[ASSETS]
    token, token_cookie = forms.token(call)
    body = _templates.get_template(template).render(
        {
            "t": texts,
            "language": texts.language,
            "languages": [(code, name, _in_language(call, code)) for code, name in messages.LANGUAGES.items()],
            "asset": assets.url,
            "logo": assets.url(assets.logo),
            "form_token": token,
            "site": call.settings,
            "title": call.settings.server.product_name,
            "path": call.path,
            "problem": "",
            "notice": "",
            **values,
        }
    )
    own = [*_OWN, (b"content-security-policy", POLICY), *_language_cookie(call), *token_cookie, *headers]
    return raw_response(body.encode(), HTML, status, own)


def see(path: str, headers: Iterable[Header] = ()) -> Response:
    """Go on to another page of ours, with GET (RFC 9110 section 15.4.4). The path is ours, never the request's."""
    return raw_response(b"", None, 303, [(b"location", path.encode("ascii")), (b"cache-control", b"no-store"), *headers])


def _in_language(call: Call, code: str) -> str:
    """This page's address, in a language. The other parameters stay."""
    text = call.scope["query_string"].decode("ascii", "replace")
    try:
        kept = [(name, value) for name, value in parse_qsl(text, max_num_fields=20) if name != messages.QUERY]
    except ValueError:
        kept = []
    return f"?{urlencode([*kept, (messages.QUERY, code)])}"


def _language_cookie(call: Call) -> list[Header]:
    chosen = call.query(messages.QUERY)
    if chosen not in messages.LANGUAGES:
        return []
    return [cookies.kept(call, messages.COOKIE, chosen, messages.COOKIE_SECONDS)]
