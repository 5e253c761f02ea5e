"""A SAML identity provider from npm (`samlp`), in a process of its own."""

from __future__ import annotations

import html
import re
import shutil
from pathlib import Path

import httpx

from tests.services import Server, ServiceError

PROGRAM = Path(__file__).parents[1] / "node" / "saml_idp.mjs"
_INPUT = re.compile(r'<input type="hidden"\s+name="(\w+)"\s+value="([^"]*)"')
_ACTION = re.compile(r'action="([^"]*)"')


class SamlIdp(Server):
    """Signs with this key; everyone is Ada there."""

    issuer = "urn:example:idp"

    def __init__(self, key: str, certificate: str) -> None:
        super().__init__()
        self._key = key
        self._certificate = certificate

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def _prepare(self) -> None:
        if shutil.which("node") is None or not (PROGRAM.parent / "node_modules" / "samlp").exists():
            text = "node or its package samlp is missing: `make test` installs both"
            raise ServiceError(text)
        (self.directory / "key.pem").write_text(self._key)
        (self.directory / "certificate.pem").write_text(self._certificate)

    def _command(self) -> list[str]:
        files = [str(self.directory / name) for name in ("key.pem", "certificate.pem")]
        # The package still calls `new Buffer`, which Node warns about; that is not what these tests are about.
        return ["node", "--no-deprecation", str(PROGRAM), str(self.port), *files]

    def _is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/ready", timeout=1).text == self.issuer
        except httpx.TransportError:
            return False


def form_of(page: str) -> tuple[str, dict[str, str]]:
    """Where the page posts itself to, and what."""
    action = _ACTION.search(page)
    assert action is not None, page
    return html.unescape(action.group(1)), {name: html.unescape(value) for name, value in _INPUT.findall(page)}
