"""Whose program is at the other end of a connection on this machine: the kernel tells the user of every socket (proc(5))."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

from ostiary.http.calls import Call

TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
_MAPPED = bytes(10) + b"\xff\xff"
"""Before an IPv4 address in a socket that speaks both (RFC 4291 section 2.5.5.2)."""
_LOCAL, _REMOTE, _USER = 1, 2, 7


def is_ours(call: Call) -> bool:
    """Whether the user who runs this server asks, through `sudo` too, or root, from whom nothing is hidden.

    Where the system does not tell, everybody on this machine counts.
    """
    user = _user_of(call)
    return user is None or str(user) in {"0", str(os.geteuid()), os.environ.get("SUDO_UID")}


def _user_of(call: Call) -> int | None:
    here, there = call.scope.get("server"), call.scope.get("client")
    if not here or not there:
        return None
    wanted = set(zip(_spellings(*there[:2]), _spellings(*here[:2]), strict=True))
    for table in TABLES:
        try:
            rows = table.read_text(encoding="ascii").splitlines()[1:]
        except OSError:
            continue
        for row in rows:
            fields = row.split()
            if (fields[_LOCAL], fields[_REMOTE]) in wanted:
                return int(fields[_USER])
    return None


def _spellings(host: str, port: int) -> Iterator[str]:
    """An address as the tables write it: words of four bytes in the machine's order. An IPv4 one may stand in either table."""
    try:
        packed = socket.inet_pton(socket.AF_INET6 if ":" in host else socket.AF_INET, host)
    except OSError:
        return
    for address in (packed,) if ":" in host else (packed, _MAPPED + packed):
        words = (int.from_bytes(address[start : start + 4], sys.byteorder) for start in range(0, len(address), 4))
        yield f"{''.join(f'{word:08X}' for word in words)}:{port:04X}"
