"""Passwords that whoever guesses tries first: common ones, the operator's own list, the words of the person and the place.

NIST SP 800-63B-4 section 3.1.1.2: a new password is compared with such a list, and nothing is asked of its composition.
"""

from __future__ import annotations

import ast
import importlib.util
import re
import unicodedata
from array import array
from bisect import bisect_left
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Protocol
from urllib.parse import urlsplit

from ostiary.settings import Settings, SettingsError
from ostiary.settings.word_list import lines

PACKAGE = "zxcvbn"
LEAST_ENTRIES = 20_000
SHORTEST_WORD = 4
LEAST_BESIDE = 6
"""So many letters or digits must be left of a password once the words of person and place are taken out."""
_LIST = re.compile(r'"(\w+)": ("[^"]+")\.split\(","\)')
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
    """One for the process. The common passwords are read by the first who chooses one, in a thread."""

    def __init__(self, path: Path | None) -> None:
        """Raises SettingsError when a list cannot serve: nothing is skipped in silence."""
        if importlib.util.find_spec(PACKAGE) is None:
            raise SettingsError(f"The Python package {PACKAGE}, which has the common passwords, is missing. Run scripts/setup")
        self._own = digests(map(folded, lines(path))) if path is not None else array("q")

    def __len__(self) -> int:
        return len(self._own) + len(common())

    def __contains__(self, password: str) -> bool:
        digest = hash(folded(password))
        return _holds(self._own, digest) or _holds(common(), digest)


def digests(words: Iterable[str]) -> array[int]:
    """Eight bytes for each, sorted.

    A text's hash is SipHash with a key of this process: nobody can find a collision beforehand.
    """
    found = array("q", map(hash, words))
    # By quarters: what sorting takes beside, a quarter does not take at once, and the process does not keep.
    return array("q", (digest for part in range(-2, 2) for digest in sorted(each for each in found if each >> 62 == part)))


def folded(text: str) -> str:
    """As lists and passwords are compared: composed, and without case."""
    # Most lines of a long list are ASCII, where `lower` does the same for less.
    return text.lower() if text.isascii() else unicodedata.normalize("NFC", text).casefold()


_reading = Lock()


@lru_cache(maxsize=1)
def _common() -> array[int]:
    found = digests(word[0] for words in shipped().values() for word in re.finditer("[^,]+", words))
    if len(found) < LEAST_ENTRIES:
        raise RuntimeError(f"the lists of {PACKAGE} are not whole")
    return found


def common() -> array[int]:
    """Leaked passwords, words and names, most of them English: the digests of what is shipped."""
    # Four who come first together would each take the memory that reading takes.
    with _reading:
        return _common()


def shipped() -> dict[str, str]:
    """The lists of the package by name, their words with commas between.

    They are read as a text: imported, the package keeps every word and its rank, in 13 MB.
    """
    package = importlib.util.find_spec(PACKAGE)
    folders = (package and package.submodule_search_locations) or ["."]
    text = (Path(folders[0]) / "frequency_lists.py").read_text(encoding="utf-8")
    return {name: ast.literal_eval(words) for name, words in _LIST.findall(text)}


def _holds(known: array[int], digest: int) -> bool:
    place = bisect_left(known, digest)
    return place < len(known) and known[place] == digest


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
