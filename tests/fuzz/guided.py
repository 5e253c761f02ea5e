"""One parser under atheris, guided by coverage: `python -m tests.fuzz.guided NAME [libFuzzer's arguments]`."""

from __future__ import annotations

import sys

import atheris  # type: ignore[import-untyped]

with atheris.instrument_imports(include=["ostiary"]):
    from tests.fuzz.parsers import PARSERS

if __name__ == "__main__":
    parser = PARSERS[sys.argv[1]]
    atheris.Setup([sys.argv[0], *sys.argv[2:]], lambda data: parser(data) and None)
    atheris.Fuzz()
