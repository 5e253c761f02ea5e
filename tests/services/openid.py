"""The npm package `oidc-provider`: a certified OpenID provider that nobody here wrote, as itself and as the well-known ones."""

from __future__ import annotations

import json
import shutil
import ssl
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import httpx

from tests.services import Server, ServiceError, certificates

HERE = Path(__file__).parent.parent / "node"
SECRET = "a secret of thirty-two characters or more"
TENANT = "7d2b5ae7-0b0a-4c1b-9d0f-2f6c3f0a9c11"
PLAYED_HOSTS = (
    "accounts.google.com",
    "www.facebook.com",
    "graph.facebook.com",
    "github.com",
    "api.github.com",
    "discord.com",
    "login.microsoftonline.com",
    "graph.microsoft.com",
    "1.1.1.1",
)
"""The last stands for any public address: whoever asks it for a picture with a bearer gets none."""


async def agree(person: httpx.AsyncClient, url: str, subject: str, back: str) -> str:
    """Sign in there, agree, and be sent back: the address that begins with `back`."""
    for _ in range(12):
        if url.startswith(back):
            return url
        answer = await person.get(f"{url}?as={subject}" if "/interaction/" in url else url)
        assert answer.is_redirect, answer.text
        url = urljoin(url, answer.headers["location"])
    raise AssertionError(f"the provider goes round in circles: {url}")


def _check_node() -> None:
    if shutil.which("node") is None or not (HERE / "node_modules" / "oidc-provider").is_dir():
        text = "node or its packages are missing: `make test` installs them"
        raise ServiceError(text)


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
        _check_node()

    def _command(self) -> list[str]:
        given = {"port": self.port, "host": self._host, "clients": self._clients, "pages": self._pages}
        return ["node", str(HERE / "openid.mjs"), json.dumps(given)]

    def _is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.issuer}/.well-known/openid-configuration", timeout=1, trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False


class PlayedProviders(Server):
    """Google, Facebook, GitHub, Discord and Entra at their own host names, behind an HTTP proxy that reaches nothing else."""

    def __init__(self, back: str) -> None:
        super().__init__()
        self._back = back

    @property
    def proxy(self) -> str:
        """The proxy's address."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def settings(self) -> dict[str, str]:
        """What an operator would set to reach them, and to be known to them."""
        known = {
            f"{name}_{what}": value
            for name in ("GOOGLE", "FACEBOOK", "GITHUB", "DISCORD", "OPENID")
            for what, value in (("CLIENT_ID", "ostiary"), ("CLIENT_SECRET", SECRET))
        }
        return {
            **known,
            "ALLOW_SOCIAL_LOGIN": "true",
            "ALLOW_SOCIAL_REGISTRATION": "true",
            "OPENID_ISSUER": f"https://login.microsoftonline.com/{TENANT}/v2.0",
            "OSTIARY_OPENID_EMAIL_IS_VERIFIED": "true",
            "OPENID_AVATAR_AUTHORIZED_ORIGINS": "https://graph.microsoft.com",
            "PROXY": self.proxy,
            "OSTIARY_FEDERATION_CA_PATH": str(self._files.authority),
        }

    def browser(self) -> httpx.AsyncClient:
        """Somebody's browser, as the providers see it."""
        trust = ssl.create_default_context(cafile=str(self._files.authority))
        return httpx.AsyncClient(proxy=self.proxy, verify=trust, trust_env=False)

    def _prepare(self) -> None:
        _check_node()
        self._files = certificates.make(self.directory, hosts=PLAYED_HOSTS)

    def _command(self) -> list[str]:
        given = {
            "port": self.port,
            "certificate": str(self._files.certificate),
            "key": str(self._files.key),
            "back": self._back,
            "tenant": TENANT,
        }
        return ["node", str(HERE / "played.mjs"), json.dumps(given)]

    def _is_ready(self) -> bool:
        try:
            return httpx.get(self.proxy, timeout=1, trust_env=False).status_code == 204
        except httpx.HTTPError:
            return False
