"""Names that are one slip away from a setting: a letter too many, one missing, two swapped, another one, or small ones."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cache

LEAST_LENGTH = 6
"""Shorter names are near too many that have nothing to do with us."""


def slips(given: Iterable[str], known: frozenset[str]) -> list[tuple[str, str]]:
    """Each name given that is none of ours, and the one that is probably meant."""
    shortened = _shortened(known)
    found = []
    for name in sorted(given):
        if name in known or name.removesuffix("_FILE") in known or len(name) < LEAST_LENGTH:
            continue
        upper = name.upper()
        near = [upper] if upper in known else [shortened[short] for short in _one_less(upper) if short in shortened]
        if near:
            found.append((name, near[0]))
    return found


@cache
def _shortened(known: frozenset[str]) -> Mapping[str, str]:
    return {short: name for name in sorted(known) if len(name) >= LEAST_LENGTH for short in _one_less(name)}


def _one_less(name: str) -> Iterator[str]:
    """The name itself, and the name without one of its letters: two names one slip apart share one of these."""
    yield name
    for place in range(len(name)):
        yield name[:place] + name[place + 1 :]
