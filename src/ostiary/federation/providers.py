"""What is configured: providers that a browser is sent to, by name, and the directory that replaces local passwords, if any."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from ostiary.federation.flows import Flow
from ostiary.federation.ldap import LdapDirectory
from ostiary.federation.saml import SamlProvider
from ostiary.identity.federated import Assertion, Directory
from ostiary.settings import OpenID, Settings


class RedirectProvider(Protocol):
    """A provider that a browser is sent to and comes back from."""

    name: str
    """As in `/oauth/<name>`."""
    label: str
    may_create: bool
    """Whether someone unknown gets an account."""

    async def start(self, flow: Flow) -> str:
        """Where to send the browser. Raises FederationRefused when the provider cannot be asked now."""
        ...

    async def finish(self, flow: Flow, parameters: Mapping[str, str]) -> Assertion:
        """What the provider says, verified; it may talk to the provider, so call it before the first write.

        Raises FederationRefused with a private reason.
        """
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...


@dataclass(slots=True)
class Federation:
    """Everything configured. Nothing here is global; `app.py` builds it."""

    redirect: dict[str, RedirectProvider] = field(default_factory=dict)
    directory: Directory | None = None

    async def close(self) -> None:
        """Let go of everything."""
        for provider in self.redirect.values():
            await provider.close()
        if self.directory is not None:
            await self.directory.close()


def build_federation(settings: Settings, clock: Callable[[], int]) -> Federation:
    """What the settings describe; nothing is asked before it is needed, so a provider that is down never keeps us from starting.

    `clock` is the services' (microseconds): the only one that times in assertions are held against.
    """
    federation = Federation(directory=LdapDirectory(settings.directory) if settings.directory.is_configured else None)
    if settings.policy.allow_social_login and settings.saml.is_configured:
        federation.redirect["saml"] = SamlProvider(settings, clock)
    return federation
