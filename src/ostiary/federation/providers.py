"""What is configured: providers that a browser is sent to, by name, and the directory that replaces local passwords, if any."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Protocol

import msgspec

from ostiary.federation import presets
from ostiary.federation.breaches import PATIENCE, BreachedPasswords
from ostiary.federation.flows import Flow
from ostiary.federation.oauth2 import OAuth2Provider
from ostiary.federation.oidc import OpenIDProvider, Registration
from ostiary.federation.pictures import Pictures
from ostiary.federation.transport import Transport
from ostiary.identity.federated import Assertion, Directory
from ostiary.parts import Part
from ostiary.settings import Discord, Facebook, GitHub, OpenID, Settings

if TYPE_CHECKING:
    from ostiary.federation import apple, ldap, saml
else:
    apple = Part("ostiary.federation.apple")
    ldap = Part("ostiary.federation.ldap")
    saml = Part("ostiary.federation.saml")


class RedirectProvider(Protocol):
    """A provider that a browser is sent to and comes back from."""

    name: str
    """As in `/oauth/<name>`."""
    label: str
    """What people call it: a word for a sentence to name it by."""
    button: str
    """The operator's own text of its button, which may be a sentence; empty where there is none."""
    may_create: bool
    """Whether someone unknown gets an account."""
    allows_unsolicited: bool
    """Whether an answer may come without a flow, from a browser that the provider sent here by itself."""

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


class Federation(msgspec.Struct):
    """Everything configured. Nothing here is global; `app.py` builds it."""

    redirect: dict[str, RedirectProvider] = msgspec.field(default_factory=dict)
    directory: Directory | None = None
    breaches: BreachedPasswords | None = None

    async def close(self) -> None:
        """Let go of everything."""
        for provider in self.redirect.values():
            await provider.close()
        if self.directory is not None:
            await self.directory.close()
        if self.breaches is not None:
            await self.breaches.close()


def build_federation(settings: Settings, clock: Callable[[], int]) -> Federation:
    """What the settings describe; nothing is asked before it is needed, so a provider that is down never keeps us from starting.

    `clock` is the services' (microseconds): the only one that times in assertions are held against.
    """
    federation = Federation(
        directory=ldap.LdapDirectory(settings.directory) if settings.directory.is_configured else None,
        breaches=breached_passwords(settings),
    )
    if settings.policy.allow_social_login:
        for provider in (*_oauth2(settings), *_openid(settings, clock)):
            federation.redirect[provider.name] = provider
        if settings.saml.is_configured:
            federation.redirect["saml"] = saml.SamlProvider(settings, clock)
    return federation


def breached_passwords(settings: Settings) -> BreachedPasswords | None:
    """Who knows the passwords of breaches, if the settings name one."""
    shared, url = settings.federation, settings.passwords.breaches_url
    return BreachedPasswords(url, Transport(PATIENCE, proxy=shared.proxy, authorities=shared.authorities)) if url else None


def callback_url(settings: Settings, name: str) -> str:
    """Where the provider sends browsers back to: what must be registered there, letter by letter."""
    group = getattr(settings, name, None) or settings.openid_others.get(name)
    given: str = getattr(group, "callback", "") or f"/oauth/{name}/callback"
    return given if given.startswith(("https://", "http://")) else f"{settings.server.public_server_url}{given}"


def _oauth2(settings: Settings) -> Iterator[RedirectProvider]:
    may_create = settings.policy.allow_social_registration
    github = settings.github
    found: tuple[tuple[presets.OAuth2Preset, Discord | Facebook | GitHub], ...] = (
        (presets.DISCORD, settings.discord),
        (presets.FACEBOOK, settings.facebook),
        (presets.github_enterprise(github.enterprise_url) if github.enterprise_url else presets.GITHUB, github),
    )
    for preset, group in found:
        if group.is_configured:
            line = _line(settings, agent=github.user_agent if group is github else "")
            yield OAuth2Provider(preset, group.client_id, group.client_secret.get_secret_value(), line, may_create=may_create)


def _openid(settings: Settings, clock: Callable[[], int]) -> Iterator[RedirectProvider]:
    may_create = settings.policy.allow_social_registration
    if settings.google.is_configured:
        known = Registration(settings.google.client_id, settings.google.client_secret.get_secret_value)
        yield OpenIDProvider(presets.GOOGLE, known, OpenID(), _line(settings), clock, may_create=may_create)
    if settings.apple.is_configured:
        known = Registration(settings.apple.client_id, apple.AppleSecret(settings.apple, clock), is_secret_posted=True)
        yield OpenIDProvider(presets.APPLE, known, OpenID(), _line(settings), clock, may_create=may_create)
    for name, group in {"openid": settings.openid, **settings.openid_others}.items():
        if group.is_configured:
            known = Registration(group.client_id, group.client_secret.get_secret_value, is_secret_posted=group.generate_nonce)
            line = _line(settings, allow_http=group.allow_http)
            seen = Pictures(settings.federation, group.picture_origins, allow_http=group.allow_http)
            preset = presets.openid(group, name)
            yield OpenIDProvider(preset, known, group, line, clock, may_create=group.allow_registration, pictures=seen)


def _line(settings: Settings, *, allow_http: bool = False, agent: str = "") -> Transport:
    shared = settings.federation
    return Transport(shared.timeout, proxy=shared.proxy, authorities=shared.authorities, allow_http=allow_http, agent=agent)
