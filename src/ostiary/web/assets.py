"""Style sheets, scripts and pictures: read once at start, served from memory under a name that changes with their contents.

The whole set has one version, `/assets/<version>/<path>`, so that a script can import its neighbour by a relative path.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from starlette.responses import Response

from ostiary.http.calls import Call, Header, raw_response
from ostiary.http.wire import Endpoint
from ostiary.settings import Pages as PageSettings
from ostiary.settings import SettingsError
from ostiary.settings.pages import LOGO_TYPES, MAX_LOGO
from ostiary.web import theme

TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".wasm": "application/wasm",
    ".txt": "text/plain; charset=utf-8",
    ".json": "application/json; charset=utf-8",
    **LOGO_TYPES,
}
OUR_ACCENT = "#3a5bc7"
_HEADERS: list[Header] = [
    (b"cache-control", b"public, max-age=31536000, immutable"),
    # A worker has the policy of its own file. Those that know a password may compute, and connect to nobody.
    (b"content-security-policy", b"default-src 'none'; script-src 'self' 'wasm-unsafe-eval'"),
]
_PICTURE: list[Header] = [
    _HEADERS[0],
    (b"content-security-policy", b"default-src 'none'; style-src 'unsafe-inline'; sandbox"),
]


class Assets:
    """Raises SettingsError for a logo that cannot be used."""

    def __init__(self, settings: PageSettings) -> None:
        contents = dict(_packaged(files("ostiary.web") / "static", ""))
        contents["theme.css"] = theme.style(settings).encode()
        contents["mark.svg"] = contents["mark.svg"].replace(OUR_ACCENT.encode(), settings.accent.encode())
        self.logo = "mark.svg"
        if settings.logo:
            self.logo = f"logo{Path(settings.logo).suffix.lower()}"
            contents[self.logo] = _logo(settings.logo)
        digest = sha256()
        for path, content in sorted(contents.items()):
            digest.update(f"{path} {len(content)}\n".encode() + content)
        self._base = f"/assets/{digest.hexdigest()[:12]}"
        self._contents = contents

    def url(self, path: str) -> str:
        """Where the file is served. Raises KeyError for one that is not there."""
        if path not in self._contents:
            raise KeyError(path)
        return f"{self._base}/{path}"

    def endpoints(self) -> Iterator[tuple[str, Endpoint]]:
        """Every file's path, and what answers there."""
        for path, content in self._contents.items():
            yield f"{self._base}/{path}", _endpoint(content, Path(path).suffix.lower())


def _endpoint(content: bytes, suffix: str) -> Endpoint:
    media_type = TYPES[suffix].encode()
    headers = _PICTURE if suffix in LOGO_TYPES else _HEADERS

    async def serve(_call: Call) -> Response:
        return raw_response(content, media_type, headers=headers)

    return serve


def _packaged(folder: Traversable, prefix: str) -> Iterator[tuple[str, bytes]]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _packaged(entry, f"{prefix}{entry.name}/")
        elif Path(entry.name).suffix in TYPES:
            yield f"{prefix}{entry.name}", entry.read_bytes()


def _logo(path: str) -> bytes:
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise SettingsError(f"OSTIARY_LOGO cannot be read ({error.strerror}). Give the path of a readable picture") from error
    if len(content) > MAX_LOGO:
        raise SettingsError(f"OSTIARY_LOGO is larger than {MAX_LOGO // 1024} KiB. Give a smaller picture")
    return content
