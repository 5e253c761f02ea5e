"""Parsers under atheris, guided by coverage: `python -m tests.fuzz.guided SECONDS NAME…`.

The program is loaded and instrumented once, which takes as long as many a run; each parser then has a process that forks off.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from pathlib import Path

import atheris  # type: ignore[import-untyped]

with atheris.instrument_imports(include=["ostiary"]):
    from tests.fuzz.parsers import PARSERS

CORPUS = Path(__file__).parent / "corpus"
LONGEST = 4096
PATIENCE = 60
"""Seconds; what takes longer for one input has no end."""


def run(name: str, seconds: int) -> bool:
    """Whether nothing was found; what was is printed, with the bytes."""
    with tempfile.TemporaryDirectory(prefix="ostiary-fuzz-") as given:
        folder = Path(given)
        said, found = folder / "said", folder / "found"
        found.mkdir()
        process = os.fork()
        if process == 0:
            _fuzz(name, seconds, said, found)
        _, status = os.waitpid(process, 0)
        text = said.read_text(errors="replace")
        done = re.search(r"^Done (\d+) runs in (\d+) second", text, re.MULTILINE)
        is_clean = status == 0 and done is not None
        print(f"{name:<16} {'clean' if is_clean else 'FAILED'}  {f'{done[1]} inputs in {done[2]} s' if done else ''}", flush=True)
        if not is_clean:
            print(text[-3000:])
        for file in () if is_clean else found.glob("*-*"):
            print(f"  the bytes: {file.read_bytes()!r}", flush=True)
    return is_clean


def _fuzz(name: str, seconds: int, said: Path, found: Path) -> None:
    """In the forked process, which ends with it."""
    with said.open("wb") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    corpus = found.parent / "corpus"
    corpus.mkdir()
    arguments = [f"-max_total_time={seconds}", f"-artifact_prefix={found}/", f"-max_len={LONGEST}", f"-timeout={PATIENCE}"]
    parser, code = PARSERS[name], object()

    def one(data: bytes) -> None:
        try:
            parser(data)
        except BaseException:
            (found / "crash-input").write_bytes(data)
            raise

    try:
        atheris.Setup([name, str(corpus), str(CORPUS / name), *arguments], one)
        atheris.Fuzz()
        code = None
    except SystemExit as left:
        code = left.code
    finally:
        # Not by the ordinary way: what this process inherited is not its own to tidy up.
        os._exit(1 if code else 0)


if __name__ == "__main__":
    outcomes = [run(name, int(sys.argv[1])) for name in sys.argv[2:]]
    sys.exit(0 if all(outcomes) else 1)
