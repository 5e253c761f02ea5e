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
    """Signs in whoever names themselves at its page; knows these clients."""

    def __init__(self, clients: list[dict[str, Any]]) -> None:
        super().__init__()
        self._clients = clients

    @property
    def issuer(self) -> str:
        """`http://127.0.0.1:41234`."""
        return f"http://127.0.0.1:{self.port}"

    def _prepare(self) -> None:
        if shutil.which("node") is None or not (HERE / "node_modules" / "oidc-provider").is_dir():
            text = "node or its packages are missing: `make test` installs them"
            raise ServiceError(text)

    def _command(self) -> list[str]:
        return ["node", str(HERE / "openid.mjs"), json.dumps({"port": self.port, "clients": self._clients})]

    def _is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.issuer}/.well-known/openid-configuration", timeout=1, trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False
