"""One root, many keys: every key that Ostiary uses on its own data is derived from the root key (RFC 5869)."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF


class Keys(msgspec.Struct, frozen=True):
    """The secrets of one deployment."""

    jwt_secret: bytes
    jwt_refresh_secret: bytes
    creds_key: bytes
    root: bytes

    def derive(self, purpose: str, length: int = 32) -> bytes:
        """The key for one purpose: the same on every node and after every restart, useless for any other purpose."""
        return derive(self.root, purpose, length)


def derive(root: bytes, purpose: str, length: int = 32) -> bytes:
    """The key that a root gives for one purpose."""
    return HKDF(SHA256(), length, salt=None, info=b"ostiary " + purpose.encode()).derive(root)


def load_or_create(folder: Path, names: tuple[str, ...]) -> dict[str, str]:
    """Read `secrets.env` in the folder; add what is missing. The file is readable by its owner alone (0600).

    Two processes that start together agree: the file appears whole, by a link that only one of them can make.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / "secrets.env"
    kept = _read(path)
    missing = [name for name in names if name not in kept]
    if not missing:
        return kept
    complete = kept | {name: secrets.token_hex(32) for name in missing}
    text = "# Made once by Ostiary. Keep it secret, keep it backed up: without it nobody's second factor can be read.\n"
    text += "".join(f"{name}={value}\n" for name, value in complete.items())
    draft = folder / f".secrets.{os.getpid()}.{secrets.token_hex(4)}"
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    try:
        if kept:
            draft.replace(path)
        else:
            os.link(draft, path)
    except FileExistsError:
        return load_or_create(folder, names)
    finally:
        draft.unlink(missing_ok=True)
    return complete


def _read(path: Path) -> dict[str, str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return {}
    pairs = (line.partition("=") for line in lines if "=" in line and not line.startswith("#"))
    return {name.strip(): value.strip() for name, _, value in pairs}
