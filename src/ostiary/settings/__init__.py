"""Settings: one frozen class per subject, read once at start, checked together.

Every variable is listed in `docs/settings.md` (a test compares). A variable `X` that holds a secret can be given as `X_FILE`.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints
from urllib.parse import urlsplit

import msgspec

from ostiary.parts import Part
from ostiary.settings import misspelt, word_list
from ostiary.settings.directory import Directory
from ostiary.settings.pages import Pages
from ostiary.settings.providers import (
    Apple,
    Discord,
    Facebook,
    Federation,
    GitHub,
    Google,
    OpenID,
    is_safe_url,
    other_variables,
    read_others,
)
from ostiary.settings.reading import Group, SecretStr, SettingsError
from ostiary.settings.saml import Saml
from ostiary.settings.subjects import (
    LibrePass,
    Limits,
    Mail,
    Passwords,
    Policy,
    Secrets,
    Server,
    Sessions,
    Storage,
)

if TYPE_CHECKING:
    import dotenv
else:
    dotenv = Part("dotenv")

__all__ = [
    "Apple",
    "Directory",
    "Discord",
    "Facebook",
    "Federation",
    "GitHub",
    "Google",
    "Group",
    "LibrePass",
    "Limits",
    "Mail",
    "OpenID",
    "Pages",
    "Passwords",
    "Policy",
    "Saml",
    "SecretStr",
    "Secrets",
    "Server",
    "Sessions",
    "Settings",
    "SettingsError",
    "Storage",
]

EXAMPLE_SECRETS = frozenset(
    {
        # Printed in LibreChat's public example file: whoever copies the file shares these with everyone.
        "16f8c0ef4a5d391b26034086c628469d3f9f497f08163ab9b40137092f2909ef",
        "eaa5191f2914e30b9387fd84e254e4ba6fc51b4654968a9b0803b456a54b8418",
        "f34be427ebb29de8d88c107a71546019685ed8b241d8f2ed00c3df97ad2566f0",
    },
)
MIN_SECRET_LENGTH = 32
MOST_USEFUL_LIMIT = 10_000
FOREIGN = {
    "DATABASE_URI": ("DATABASE_URL", "postgresql://USER:PASSWORD@HOST/NAME"),
    "EMAIL_SERVICE": ("EMAIL_HOST", "the service's SMTP server"),
    "MAILGUN_API_KEY": ("EMAIL_HOST", "smtp.mailgun.org, with EMAIL_USERNAME and EMAIL_PASSWORD"),
}
"""Names of the originals that cannot be honoured and must not be passed over in silence, and what to set instead."""
LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})
_BARE_ADDRESS = re.compile(r"[^@\s<>\"]+@[^@\s<>\"]+")


class Settings(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """All of them."""

    server: Server
    storage: Storage
    secrets: Secrets
    mail: Mail
    passwords: Passwords
    sessions: Sessions
    policy: Policy
    limits: Limits
    pages: Pages
    librepass: LibrePass
    federation: Federation
    google: Google
    facebook: Facebook
    github: GitHub
    discord: Discord
    apple: Apple
    openid: OpenID
    saml: Saml
    directory: Directory
    openid_others: dict[str, OpenID] = msgspec.field(default_factory=dict)
    """Further OpenID providers, by the name in `/oauth/<name>`."""
    slips: tuple[tuple[str, str], ...] = ()
    """Names in the environment that are almost a setting's, and that setting's: other programs' names stand there too."""

    @classmethod
    @cache
    def groups(cls) -> dict[str, type[Group]]:
        """Field name → group class, in the order in which they are documented."""
        return {name: kind for name, kind in get_type_hints(cls).items() if isinstance(kind, type) and issubclass(kind, Group)}

    @classmethod
    def load(cls, environment: Mapping[str, str] | None = None) -> Settings:
        """Read and check; without an argument from the process's environment and `.env`. Raises SettingsError."""
        given = _environment() if environment is None else dict(environment)
        known = {name for group in cls.groups().values() for names in group.variables().values() for name in names}
        known |= other_variables(given)
        _resolve_files(given, known)
        for name in sorted(given):
            if name.startswith("OSTIARY_") and name not in known and name.removesuffix("_FILE") not in known:
                text = f"{name} is not a setting of Ostiary. Remove it, or correct the spelling (docs/settings.md lists all)"
                raise SettingsError(text)
        read: dict[str, Any] = {name: group.read(given) for name, group in cls.groups().items()}
        slips = misspelt.slips(given, frozenset(known | FOREIGN.keys()))
        settings = cls(**read, openid_others=read_others(given), slips=tuple(slips))
        settings.check()
        for name, (ours, form) in FOREIGN.items():
            if given.get(name) and not given.get(ours):
                raise SettingsError(f"{name} is not read by Ostiary. Set {ours} to {form}, or remove {name}")
        return settings

    @cached_property
    def reuses_tokens(self) -> bool:
        """Whether any provider's tokens serve as ours (OPENID_REUSE_TOKENS)."""
        return any(provider.reuse_tokens for provider in (self.openid, *self.openid_others.values()))

    @property
    def database_url(self) -> str:
        """DATABASE_URL, or the embedded database under OSTIARY_DATA."""
        return self.storage.database_url or f"sqlite:///{self.server.data / 'ostiary.db'}"

    @cached_property
    def requires_verification(self) -> bool:
        """Whether an unverified address keeps its owner from signing in (contract, "Settings")."""
        if self.policy.allow_unverified:
            return False
        if self.policy.verification_required is not None:
            return self.policy.verification_required
        return self.mail.is_configured

    @cached_property
    def browser_origins(self) -> frozenset[str]:
        """The origins whose pages may use cookies and read answers, exactly as browsers write them."""
        return frozenset({*self._own_origins, *map(_origin, self.server.origins)})

    @property
    def api_url(self) -> str:
        """What links to the API start with: API_DOMAIN is LibrePass's name for it, always https (librepass-wire 12)."""
        domain = self.librepass.api_domain
        return f"https://{domain}" if domain else self.server.public_server_url

    @cached_property
    def page_origins(self) -> frozenset[str]:
        """The origins that our own pages are served under; none where DOMAIN_CLIENT is another's, who has pages of its own."""
        ours = _origin(self.server.public_client_url) == _origin(self.server.public_server_url)
        return self._own_origins if ours and self.pages.are_served else frozenset()

    @cached_property
    def _own_origins(self) -> frozenset[str]:
        own = {_origin(self.server.public_client_url), _origin(self.server.public_server_url)}
        if not self.server.client_url and self.server.host in LOOPBACK_HOSTS:
            own |= {f"http://{host}:{self.server.port}" for host in ("localhost", "127.0.0.1", "[::1]")}
        return frozenset(own)

    @cached_property
    def secure_cookies(self) -> bool:
        """The Secure attribute (librechat-wire 1.6): the setting decides, else production on a public host name."""
        if self.sessions.cookie_secure is not None:
            return self.sessions.cookie_secure
        host = urlsplit(self.server.server_url).hostname or ""
        local = host in LOOPBACK_HOSTS or host.endswith(".localhost")
        return self.server.node_env == "production" and not local

    def check(self) -> None:
        """Combinations that would be dangerous or cannot work; raises SettingsError with the remedy."""
        if self.passwords.blocklist is not None:
            word_list.check(self.passwords.blocklist)
        if self.passwords.breaches_url and not is_safe_url(self.passwords.breaches_url):
            raise SettingsError("OSTIARY_HIBP_URL must begin with https://, such as https://api.pwnedpasswords.com")
        for complaints in (
            self._secrets_complaints(),
            self._server_complaints(),
            self._storage_complaints(),
            self._mail_complaints(),
            self._session_complaints(),
            self.federation.complaints(),
            self.openid.complaints(),
            self.saml.complaints(),
            self.pages.complaints(),
            self.directory.complaints(),
            *(openid.complaints(name.upper()) for name, openid in self.openid_others.items()),
        ):
            for complaint in complaints:
                raise SettingsError(complaint)

    def warnings(self) -> list[str]:
        """What an operator should know at start although it works."""
        found = [
            f"{name} is not read by Ostiary, but {meant} is. Correct the spelling, or remove it" for name, meant in self.slips
        ]
        if self.passwords.bcrypt_cost < 10:  # noqa: PLR2004 - OWASP's floor
            found.append("BCRYPT_COST below 10 makes stolen hashes cheap to guess; use 10 or more outside of tests")
        if not self.limits.rate_limits:
            found.append("RATE_LIMITS=off: nobody is slowed down; switch it on before strangers can reach this server")
        if not self.passwords.refuse_common:
            found.append("OSTIARY_REFUSE_COMMON_PASSWORDS=false takes passwords that whoever guesses tries first")
        if self.limits.rate_limits and self.limits.login_max > MOST_USEFUL_LIMIT:
            found.append(f"LOGIN_MAX={self.limits.login_max} slows down nobody who guesses; 7 is LibreChat's")
        if self.policy.reveal_accounts:
            found.append("OSTIARY_REVEAL_ACCOUNTS=true tells strangers who has an account here")
        if self.server.host not in LOOPBACK_HOSTS and not self.server.client_url:
            found.append("DOMAIN_CLIENT is not set: links in mails will name the listening address")
        found += [*self._proxy_warnings(), *self._mail_warnings()]
        return [*found, *self.directory.warnings(), *self.saml.warnings(datetime.now(UTC))]

    def _proxy_warnings(self) -> Iterator[str]:
        server = self.server
        if server.trusted_hops and not server.trusted_proxies and server.host not in LOOPBACK_HOSTS:
            yield (
                f"TRUST_PROXY={server.trusted_hops} takes the client's address from X-Forwarded-For, and with HOST={server.host} "
                "anybody may send one past the proxy. Name the proxy in TRUSTED_PROXIES, or listen on 127.0.0.1"
            )

    def _mail_warnings(self) -> Iterator[str]:
        mail = self.mail
        if not mail.is_configured or mail.host in LOOPBACK_HOSTS:
            return
        if mail.transport == "none":
            yield f"reset links cross the network to {mail.host} in the clear. Set EMAIL_ENCRYPTION to starttls or tls"
        elif mail.allow_self_signed:
            yield "EMAIL_ALLOW_SELFSIGNED=true lets whoever is between read reset links. Give the server a true certificate"

    def _secrets_complaints(self) -> Iterator[str]:
        given = {
            name: getattr(self.secrets, field).get_secret_value()
            for field, (name, *_) in Secrets.variables().items()
            if getattr(self.secrets, field).get_secret_value()
        }
        for name, value in given.items():
            if value in EXAMPLE_SECRETS:
                yield f"{name} is the value of a public example file. Take a fresh one: openssl rand -hex 32"
        for name in ("JWT_SECRET", "JWT_REFRESH_SECRET", "OSTIARY_ROOT_KEY"):
            if name in given and (len(given[name]) < MIN_SECRET_LENGTH or len(set(given[name])) < 8):  # noqa: PLR2004
                yield f"{name} is too weak: 32 characters or more, not repeated ones. Take a fresh one: openssl rand -hex 32"
        if "CREDS_KEY" in given and not _is_hex(given["CREDS_KEY"], 64):
            yield "CREDS_KEY must be 64 hex digits. Take a fresh one: openssl rand -hex 32"
        strong = [given[name] for name in ("JWT_SECRET", "JWT_REFRESH_SECRET", "CREDS_KEY", "OSTIARY_ROOT_KEY") if name in given]
        if len(set(strong)) < len(strong):
            yield "JWT_SECRET, JWT_REFRESH_SECRET, CREDS_KEY and OSTIARY_ROOT_KEY must all differ: give each its own value"

    def _server_complaints(self) -> Iterator[str]:
        server = self.server
        if server.workers > 1 and not self.storage.redis_url:
            yield "OSTIARY_WORKERS above 1 needs REDIS_URL, so that limits hold across processes. Set it, or use one worker"
        if "*" in server.origins:
            yield "CORS_ALLOWED_ORIGINS must name exact origins: * would let every site act for its visitors"
        yield from (
            f"CORS_ALLOWED_ORIGINS: {entry!r} is not an origin such as https://app.example.org"
            for entry in server.origins
            if not _is_origin(entry.rstrip("/"))
        )
        if not server.dialects or not set(server.dialects) <= {"librechat", "librepass"}:
            yield f"OSTIARY_DIALECTS must be librechat, librepass or both, not {','.join(server.dialects)}"
        for name, url in (("DOMAIN_CLIENT", server.client_url), ("DOMAIN_SERVER", server.server_url)):
            if url and not _is_origin(_origin(url)):
                yield f"{name} must be an address such as https://id.example.org"
        yield from (
            f"TRUSTED_PROXIES: {entry!r} is not an address range such as 10.0.0.0/8"
            for entry in server.trusted_proxies
            if not _is_network(entry)
        )
        if any(entry.endswith("/0") for entry in server.trusted_proxies):
            yield "TRUSTED_PROXIES with /0 would believe everybody's X-Forwarded-For. Name the proxy's own address"
        if server.address_header != "remoteAddr" and not server.trusted_proxies:
            yield "HTTP_IP_HEADER is believed from TRUSTED_PROXIES alone: set the proxy's address there"

    def _storage_complaints(self) -> Iterator[str]:
        url = self.database_url
        if not url.startswith(("sqlite:///", "postgresql://", "postgres://")):
            yield f"DATABASE_URL must begin with sqlite:/// or postgresql://, not {url.partition('/')[0]}"
        if url.startswith("sqlite:///") and ("?" in url or url.removeprefix("sqlite:///") in {"", ":memory:"}):
            yield "DATABASE_URL must name a file: sqlite:///relative/path.db or sqlite:////absolute/path.db"
        if self.storage.redis_url and not self.storage.redis_url.startswith(("redis://", "rediss://", "unix://")):
            yield "REDIS_URL must begin with redis://, rediss:// or unix://"

    def _mail_complaints(self) -> Iterator[str]:
        mail = self.mail
        if mail.is_configured and not _BARE_ADDRESS.fullmatch(mail.sender):
            yield "EMAIL_HOST is set, so EMAIL_FROM must be the address that mails come from, such as ostiary@example.org"
        if (
            mail.is_configured
            and mail.transport == "none"
            and mail.password.get_secret_value()
            and mail.host not in LOOPBACK_HOSTS
        ):
            yield "EMAIL_ENCRYPTION=none would send EMAIL_PASSWORD in the clear. Use starttls or tls"

    def _session_complaints(self) -> Iterator[str]:
        for name, life in (
            ("SESSION_EXPIRY", self.sessions.access_life),
            ("REFRESH_TOKEN_EXPIRY", self.sessions.refresh_life),
        ):
            if life < timedelta(seconds=1) or life % timedelta(seconds=1):
                yield f"{name} must be whole seconds, in milliseconds, such as 900000"
        if self.sessions.refresh_grace > timedelta(minutes=10):
            yield "OSTIARY_REFRESH_GRACE above 600 seconds would hide stolen refresh tokens. Use 30"


def _environment() -> dict[str, str]:
    try:
        found = dotenv.dotenv_values(".env") if Path(".env").exists() else {}
    except (OSError, UnicodeDecodeError) as error:
        text = f".env in this folder cannot be read ({type(error).__name__}). Make it readable, or remove it"
        raise SettingsError(text) from error
    return {**{name: value for name, value in found.items() if value is not None}, **os.environ}


def _resolve_files(environment: dict[str, str], known: set[str]) -> None:
    for name in sorted(known):
        path = environment.get(f"{name}_FILE")
        if not path or environment.get(name):
            continue
        try:
            environment[name] = Path(path).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "it is not UTF-8"
            text = f"{name}_FILE cannot be read ({why}). Give the path of a readable text file"
            raise SettingsError(text) from error


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return True


def _is_hex(text: str, length: int) -> bool:
    return len(text) == length and all(character in "0123456789abcdefABCDEF" for character in text)


def _origin(url: str) -> str:
    """An address's origin as browsers write it: lower case, without the scheme's own port and what follows."""
    scheme, _, rest = url.lower().partition("://")
    return f"{scheme}://{rest.partition('/')[0].removesuffix(':443' if scheme == 'https' else ':80')}"


def _is_origin(text: str) -> bool:
    """Whether a browser could send it: scheme, host, perhaps a port, and nothing after."""
    try:
        parts = urlsplit(text)
        has_host = bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    is_bare = text == f"{parts.scheme}://{parts.netloc}" and not {"@", "*"} & set(text)
    return is_bare and has_host and parts.scheme in {"http", "https"}
