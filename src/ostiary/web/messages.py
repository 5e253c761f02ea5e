"""What pages say: one catalogue a language, and which of them a browser gets."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from ostiary.http import cookies
from ostiary.http.calls import Call

LANGUAGES = {"en": "English", "de": "Deutsch"}
"""Code → the language's own name. A code's catalogue is `messages/<code>.toml`."""
COOKIE = "ostiary_language"
COOKIE_SECONDS = 365 * 24 * 3600
QUERY = "lang"


class Catalogue:
    """One language's texts. A text may hold places, `{name}`; what stands for them is escaped where the page is written."""

    def __init__(self, language: str, texts: Mapping[str, str]) -> None:
        self.language = language
        self.texts = texts

    def __call__(self, key: str, **values: object) -> str:
        """The text; raises KeyError for one that is not there. With `count=` the text is `key.one` or `key.other`."""
        if "count" in values:
            key = f"{key}.{'one' if values['count'] == 1 else 'other'}"
        return self.texts[key].format(**values)

    def get(self, key: str, fallback: str, **values: object) -> str:
        """The text, or that of another key."""
        return self(key if key in self.texts else fallback, **values)


@cache
def catalogue(language: str) -> Catalogue:
    """The catalogue of one of LANGUAGES."""
    text = (files("ostiary.web") / "messages" / f"{language}.toml").read_text(encoding="utf-8")
    return Catalogue(language, dict(_flat(tomllib.loads(text), "")))


def of(call: Call) -> Catalogue:
    """The catalogue for this browser: what it chose here, now or before, else what it asks every site for."""
    for chosen in (call.query(QUERY), cookies.read(call, COOKIE)):
        if chosen in LANGUAGES:
            return catalogue(chosen)
    return catalogue(_accepted(call.header(b"accept-language") or "") or call.settings.pages.language)


def _accepted(header: str) -> str | None:
    """The best of our languages by RFC 9110 section 12.5.4, if there is one."""
    wishes: list[tuple[float, int, str]] = []
    for place, part in enumerate(header[:1000].split(",")):
        tag, _, parameters = part.partition(";")
        language = tag.strip().lower().partition("-")[0]
        name, _, value = parameters.strip().partition("=")
        try:
            quality = float(value) if name.strip() == "q" else 1.0
        except ValueError:
            quality = 0.0
        if language in LANGUAGES and quality > 0:
            wishes.append((-quality, place, language))
    return min(wishes)[2] if wishes else None


def _flat(table: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
    for key, value in table.items():
        if isinstance(value, str):
            yield f"{prefix}{key}", value
        else:
            yield from _flat(value, f"{prefix}{key}.")
