"""What would make a password better: a program of its own, so that zxcvbn with its lists is in no server's memory.

`python -m ostiary.identity.adviser` reads the password from standard input, as JSON, and prints sentences.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from math import prod

from zxcvbn import matching, zxcvbn  # type: ignore[import-untyped] # it has no types

NICE = 10
ADVISED_CHARACTERS = 72
MOST_READINGS = 4


def advice(password: str) -> str:
    """What would make it better, in a sentence or two; empty where nothing comes to mind."""
    text = password[:ADVISED_CHARACTERS]
    # Every reading of `4`, `$` and their like is tried: four cost 0.1 s, and one can ask for readings that cost 6 s.
    if prod(map(len, matching.relevant_l33t_subtable(text, matching.L33T_TABLE).values())) > MOST_READINGS:
        return ""
    feedback = zxcvbn(text)["feedback"]
    return " ".join(sentence for sentence in (feedback["warning"], *feedback["suggestions"]) if sentence)


if __name__ == "__main__":
    # Whoever signs in goes first, where the system lets a process step back.
    with contextlib.suppress(OSError):
        os.nice(NICE)
    sys.stdout.write(advice(json.load(sys.stdin)))
