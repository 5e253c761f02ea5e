"""Passwords that whoever guesses tries first: common ones, the operator's own list, the words of the person and the place.

NIST SP 800-63B-4 section 3.1.1.2: a new password is compared with such a list, and nothing is asked of its composition.
"""

from __future__ import annotations

import importlib.util
import unicodedata
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from ostiary.parts import Part
from ostiary.settings import Settings, SettingsError
from ostiary.settings.word_list import lines

PACKAGE = "zxcvbn"
zxcvbn = Part(PACKAGE)
"""A twentieth of the start; first asked in a thread of its own, by whoever chooses a password."""
LEAST_ENTRIES = 20_000
ADVISED_CHARACTERS = 72
MOST_READINGS = 4
SHORTEST_WORD = 4
LEAST_BESIDE = 6
"""So many letters or digits must be left of a password once the words of person and place are taken out."""
_OUR_WORDS = ("ostiary", "librechat", "librepass")


class Person(Protocol):
    """Whose password it is to be."""

    @property
    def email(self) -> str: ...

    @property
    def name(self) -> str: ...

    @property
    def username(self) -> str | None: ...


class Blocklist:
    """One for the process. The common passwords are loaded by the first who chooses one: 15 MB, and 0.1 s of a thread."""

    def __init__(self, path: Path | None) -> None:
        """Raises SettingsError when a list cannot serve: nothing is skipped in silence."""
        if importlib.util.find_spec(PACKAGE) is None:
            raise SettingsError(f"The Python package {PACKAGE}, which has the common passwords, is missing. Run scripts/setup")
        # A text's hash is SipHash with a key of this process: eight bytes an entry, and nobody can find a collision beforehand.
        self._own = array("q", sorted(map(hash, map(folded, lines(path)))) if path is not None else ())

    def __len__(self) -> int:
        return len(self._own) + sum(map(len, common().values()))

    def __contains__(self, password: str) -> bool:
        word = folded(password)
        digest = hash(word)
        place = bisect_left(self._own, digest)
        is_own = place < len(self._own) and self._own[place] == digest
        return is_own or any(word in ranks for ranks in common().values())


def folded(text: str) -> str:
    """As lists and passwords are compared: composed, and without case."""
    # Most lines of a long list are ASCII, where `lower` does the same for less.
    return text.lower() if text.isascii() else unicodedata.normalize("NFC", text).casefold()


@lru_cache(maxsize=1)
def common() -> Mapping[str, Mapping[str, int]]:
    """Leaked passwords, words and names, most of them English, each with its rank."""
    found: Mapping[str, Mapping[str, int]] = zxcvbn.matching.RANKED_DICTIONARIES
    if sum(map(len, found.values())) < LEAST_ENTRIES:
        raise RuntimeError(f"the lists of {PACKAGE} are not whole")
    return found


def advice(password: str) -> str:
    """What would make it better, in a sentence or two; empty where nothing comes to mind."""
    text = password[:ADVISED_CHARACTERS]
    matching = zxcvbn.matching
    # Every reading of `4`, `$` and their like is tried: four cost 0.1 s, and one can ask for readings that cost 6 s.
    if prod(map(len, matching.relevant_l33t_subtable(text, matching.L33T_TABLE).values())) > MOST_READINGS:
        return ""
    feedback = zxcvbn.zxcvbn(text)["feedback"]
    return " ".join(sentence for sentence in (feedback["warning"], *feedback["suggestions"]) if sentence)


def is_of_own_words(password: str, person: Person, settings: Settings) -> bool:
    """Whether little is left of it without the words of the person and the place (ASVS 5.0, 6.1.2 and 6.2.11)."""
    rest = whole = _letters(password)
    for word in sorted(_words(person, settings), key=len, reverse=True):
        rest = rest.replace(word, " ")
    return rest != whole and len(rest.replace(" ", "")) < LEAST_BESIDE


def _words(person: Person, settings: Settings) -> set[str]:
    server = settings.server
    local, _, domain = person.email.partition("@")
    urls = (server.public_client_url, server.public_server_url)
    hosts = [domain, server.librechat_host, server.librepass_host, *(urlsplit(url).hostname or "" for url in urls)]
    labels = [label for host in hosts for label in host.split(".")[:-1]]
    names = [person.email, local, person.name, person.username or "", server.product_name, *labels, *_OUR_WORDS]
    parts = [part for name in names for part in (name, *_split(name))]
    return {word for part in parts if len(word := _letters(part)) >= SHORTEST_WORD and not word.isdecimal()}


def _split(name: str) -> Iterable[str]:
    return "".join(character if character.isalnum() else " " for character in name).split()


def _letters(text: str) -> str:
    return "".join(character for character in folded(text) if character.isalnum())
