"""The npm package `oidc-provider`: a certified OpenID provider that nobody here wrote."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import httpx

from tests.services import Server, ServiceError

HERE = Path(__file__).parent.parent / "node"


class OpenIDServer(Server):
    """Signs in whoever names themselves; knows these clients. With `pages`, by the pages that come with it, for a browser.

    A browser takes `host="localhost"` for another site than 127.0.0.1, as a provider is another site.
    """

    def __init__(self, clients: list[dict[str, Any]], *, host: str = "127.0.0.1", pages: bool = False) -> None:
        super().__init__()
        self._clients = clients
        self._host = host
        self._pages = pages

    @property
    def issuer(self) -> str:
        """`http://127.0.0.1:41234`."""
        return f"http://{self._host}:{self.port}"

    def _prepare(self) -> None:
        if shutil.which("node") is None or not (HERE / "node_modules" / "oidc-provider").is_dir():
            text = "node or its packages are missing: `make test` installs them"
            raise ServiceError(text)

    def _command(self) -> list[str]:
        given = {"port": self.port, "host": self._host, "clients": self._clients, "pages": self._pages}
        return ["node", str(HERE / "openid.mjs"), json.dumps(given)]

    def _is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.issuer}/.well-known/openid-configuration", timeout=1, trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False
