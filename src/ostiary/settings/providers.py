"""Providers that a browser is sent to: LibreChat's variables, and ours for what it cannot say (librechat-wire 7.1, 8, 14)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar, Literal
from urllib.parse import urlsplit

from ostiary.settings.reading import Flag, Group, Milliseconds, Names, Origin, Seconds, SecretStr, SettingsError, Whole, setting

LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})
RESERVED = frozenset({"google", "facebook", "github", "discord", "apple", "openid", "saml", "ldap", "local", "error", "success"})
LONGEST_LOGOUT_URL = 2000
MOST_CLOCK_TOLERANCE = timedelta(seconds=60)
_NAMED = re.compile(r"OPENID_([A-Z0-9]+)_ISSUER")
_TOKEN_KIND = Literal["", "access", "id", "userinfo"]
_NO_SECRET = SecretStr("")


class Federation(Group):
    """What all of them share."""

    title = "Sign-in elsewhere"
    proxy: str = setting("", "PROXY", about="an HTTP proxy through which providers are asked")
    authorities: str = setting(
        "", "OSTIARY_FEDERATION_CA_PATH", about="file with CAs (PEM) that count for providers beside those of the system"
    )
    timeout: Seconds = setting(
        timedelta(seconds=9),
        "OSTIARY_FEDERATION_TIMEOUT",
        about="seconds that a provider may take for everything that one sign-in asks of it, at most 10",
        gt=timedelta(0),
        le=timedelta(seconds=10),
    )
    admin_panel_url: Origin = setting(
        "http://localhost:3000", "ADMIN_PANEL_URL", about="the administration panel that /api/admin/oauth sends browsers back to"
    )
    graph_scopes: Names = setting(
        ("User.Read", "Files.Read", "Files.Read.All", "Sites.Read.All"),
        "OSTIARY_GRAPH_SCOPES",
        about="comma list of scopes that /api/auth/graph-token may be asked for",
    )

    def complaints(self) -> Iterator[str]:
        """What cannot work."""
        if self.authorities and not Path(self.authorities).is_file():
            yield "OSTIARY_FEDERATION_CA_PATH is not a file that can be read. Give the path of certificates (PEM)"


class Google(Group):
    """Google: OpenID Connect."""

    title = "Google"
    client_id: str = setting("", "GOOGLE_CLIENT_ID", about="the client id of Google's console")
    client_secret: SecretStr = setting(_NO_SECRET, "GOOGLE_CLIENT_SECRET", about="its secret")
    callback: str = setting("/oauth/google/callback", "GOOGLE_CALLBACK_URL", about="path that Google sends browsers back to")

    @property
    def is_configured(self) -> bool:
        """Whether it can be offered."""
        return bool(self.client_id and self.client_secret.get_secret_value())


class Facebook(Group):
    """Facebook: OAuth 2.0 and the Graph API."""

    title = "Facebook"
    client_id: str = setting("", "FACEBOOK_CLIENT_ID", about="the app's id")
    client_secret: SecretStr = setting(_NO_SECRET, "FACEBOOK_CLIENT_SECRET", about="the app's secret")
    callback: str = setting(
        "/oauth/facebook/callback", "FACEBOOK_CALLBACK_URL", about="path that Facebook sends browsers back to"
    )

    @property
    def is_configured(self) -> bool:
        """Whether it can be offered."""
        return bool(self.client_id and self.client_secret.get_secret_value())


class GitHub(Group):
    """GitHub, or a GitHub Enterprise Server."""

    title = "GitHub"
    client_id: str = setting("", "GITHUB_CLIENT_ID", about="the OAuth app's client id")
    client_secret: SecretStr = setting(_NO_SECRET, "GITHUB_CLIENT_SECRET", about="its secret")
    callback: str = setting("/oauth/github/callback", "GITHUB_CALLBACK_URL", about="path that GitHub sends browsers back to")
    enterprise_url: Origin = setting(
        "", "GITHUB_ENTERPRISE_BASE_URL", about="address of an Enterprise Server; default github.com"
    )
    user_agent: str = setting("", "GITHUB_ENTERPRISE_USER_AGENT", about="the User-Agent to ask it with; default Ostiary")

    @property
    def is_configured(self) -> bool:
        """Whether it can be offered."""
        return bool(self.client_id and self.client_secret.get_secret_value())


class Discord(Group):
    """Discord: OAuth 2.0."""

    title = "Discord"
    client_id: str = setting("", "DISCORD_CLIENT_ID", about="the application's client id")
    client_secret: SecretStr = setting(_NO_SECRET, "DISCORD_CLIENT_SECRET", about="its secret")
    callback: str = setting("/oauth/discord/callback", "DISCORD_CALLBACK_URL", about="path that Discord sends browsers back to")

    @property
    def is_configured(self) -> bool:
        """Whether it can be offered."""
        return bool(self.client_id and self.client_secret.get_secret_value())


class Apple(Group):
    """Sign in with Apple: OpenID Connect, its answer posted, its client secret signed by us."""

    title = "Apple"
    client_id: str = setting("", "APPLE_CLIENT_ID", about="the services id")
    team_id: str = setting("", "APPLE_TEAM_ID", about="the team's id")
    key_id: str = setting("", "APPLE_KEY_ID", about="the key's id")
    private_key_path: str = setting("", "APPLE_PRIVATE_KEY_PATH", about="file with the key (.p8)")
    private_key: SecretStr = setting(_NO_SECRET, "OSTIARY_APPLE_PRIVATE_KEY", about="the key itself, PEM, in place of the path")
    callback: str = setting("/oauth/apple/callback", "APPLE_CALLBACK_URL", about="path that Apple sends browsers back to")

    @property
    def is_configured(self) -> bool:
        """Whether it can be offered."""
        has_key = bool(self.private_key_path or self.private_key.get_secret_value())
        return bool(self.client_id and self.team_id and self.key_id and has_key)


class OpenID(Group):
    """An OpenID provider. Others come beside it under names of their own: `OPENID_<NAME>_ISSUER` and so on."""

    title = "OpenID Connect"
    prefix: ClassVar[str] = "OPENID_"
    client_id: str = setting("", "OPENID_CLIENT_ID", about="the client id there")
    client_secret: SecretStr = setting(_NO_SECRET, "OPENID_CLIENT_SECRET", about="its secret; none with OPENID_USE_PKCE=true")
    issuer: str = setting("", "OPENID_ISSUER", about="the issuer, exactly as its discovery document names it")
    session_secret: SecretStr = setting(_NO_SECRET, "OPENID_SESSION_SECRET", about="LibreChat's; not needed here")
    scope: str = setting("openid profile email", "OPENID_SCOPE", about="the scopes to ask for")
    callback: str = setting(
        "/oauth/openid/callback", "OPENID_CALLBACK_URL", about="path that the provider sends browsers back to"
    )
    label: str = setting("Continue with OpenID", "OPENID_BUTTON_LABEL", about="the text of the button")
    called: str = setting(
        "OpenID", "OSTIARY_OPENID_NAME", about='what people call it, as in "Connect …"; a named provider\'s is its name'
    )
    image_url: str = setting("", "OPENID_IMAGE_URL", about="the picture of the button")
    auto_redirect: Flag = setting(False, "OPENID_AUTO_REDIRECT", about="true sends browsers there without a button")
    use_pkce: Flag = setting(False, "OPENID_USE_PKCE", about="true: a public client without a secret. PKCE is used always")
    generate_nonce: Flag = setting(
        False, "OPENID_GENERATE_NONCE", about="true sends the secret in the body. A nonce is used always"
    )
    audience: Names = setting((), "OPENID_AUDIENCE", about="comma list of further audiences; the first is asked for")
    username_claim: str = setting("", "OPENID_USERNAME_CLAIM", about="claim with the username")
    name_claim: str = setting("", "OPENID_NAME_CLAIM", about="claim with the full name")
    email_claim: str = setting("", "OPENID_EMAIL_CLAIM", about="claim with the address; default email, preferred_username, upn")
    required_role: Names = setting((), "OPENID_REQUIRED_ROLE", about="comma list of roles of which one is needed")
    required_role_path: str = setting("", "OPENID_REQUIRED_ROLE_PARAMETER_PATH", about="dotted path of the claim with the roles")
    required_role_kind: _TOKEN_KIND = setting("", "OPENID_REQUIRED_ROLE_TOKEN_KIND", about="where it is: id, access or userinfo")
    admin_role: str = setting("", "OPENID_ADMIN_ROLE", about="the role that makes an ADMIN")
    admin_role_path: str = setting("", "OPENID_ADMIN_ROLE_PARAMETER_PATH", about="dotted path of the claim with it")
    admin_role_kind: _TOKEN_KIND = setting("", "OPENID_ADMIN_ROLE_TOKEN_KIND", about="where it is: id, access or userinfo")
    role_sync: Flag = setting(False, "OPENID_ROLE_SYNC_ENABLED", about="true sets the account's role from a claim")
    role_sync_source: _TOKEN_KIND = setting("id", "OPENID_ROLE_SYNC_SOURCE", about="where it is: id, access or userinfo")
    role_sync_claim: str = setting("", "OPENID_ROLE_SYNC_CLAIM", about="dotted path of the claim with the roles")
    role_sync_priority: Names = setting((), "OPENID_ROLE_SYNC_ROLE_PRIORITY", about="comma list of roles, the first found wins")
    role_sync_fallback: str = setting("", "OPENID_ROLE_SYNC_FALLBACK_ROLE", about="the role when none is found")
    role_sync_api: Flag = setting(
        False,
        "OPENID_ROLE_SYNC_API_ENABLED",
        about="true sets it at every request with one of the provider's tokens too, not at sign-ins alone",
    )
    graph_url: Origin = setting(
        "https://graph.microsoft.com",
        "OSTIARY_OPENID_GRAPH_URL",
        about="Microsoft Graph, asked for groups that are too many for a token; other national clouds have their own",
    )
    clock_tolerance: Seconds = setting(
        MOST_CLOCK_TOLERANCE, "OPENID_CLOCK_TOLERANCE", about="seconds that clocks may differ; more than 60 counts as 60"
    )
    picture_origins: Names = setting(
        (),
        "OPENID_AVATAR_AUTHORIZED_ORIGINS",
        about="comma list of origins that pictures may come from with the person's token, and from inside the network",
    )
    keys_cached: Milliseconds = setting(
        timedelta(minutes=1), "OPENID_JWKS_URL_CACHE_TIME", about="milliseconds for which its keys are kept"
    )
    use_end_session: Flag = setting(False, "OPENID_USE_END_SESSION_ENDPOINT", about="true signs out at the provider too")
    post_logout_url: str = setting(
        "", "OPENID_POST_LOGOUT_REDIRECT_URI", about="where it sends browsers after that; default DOMAIN_CLIENT/login"
    )
    max_logout_url: Whole = setting(
        LONGEST_LOGOUT_URL, "OPENID_MAX_LOGOUT_URL_LENGTH", about="characters of a sign-out address with an ID token", ge=1
    )
    reuse_tokens: Flag = setting(
        False, "OPENID_REUSE_TOKENS", about="true keeps its tokens (sealed) and takes them as bearers; Microsoft Graph needs it"
    )
    reuse_max_age: Milliseconds = setting(
        timedelta(minutes=15),
        "OPENID_REUSE_MAX_SESSION_AGE_MS",
        about="milliseconds for which /api/auth/refresh repeats the provider's token without asking there",
    )
    refresh_audience: str = setting("", "OPENID_REFRESH_AUDIENCE", about="the audience to name when its tokens are renewed")
    on_behalf_for_userinfo: Flag = setting(
        False, "OPENID_ON_BEHALF_FLOW_FOR_USERINFO_REQUIRED", about="true exchanges the token before userinfo is asked"
    )
    on_behalf_scope: str = setting("user.read", "OPENID_ON_BEHALF_FLOW_USERINFO_SCOPE", about="the scope of that exchange")
    allow_registration: Flag = setting(
        True, "OSTIARY_OPENID_REGISTRATION", about="false lets in only those who have an account here"
    )
    email_is_verified: Flag = setting(
        False, "OSTIARY_OPENID_EMAIL_IS_VERIFIED", about="true: it hands out only addresses that it owns, whatever the flag says"
    )
    allow_http: Flag = setting(False, "OSTIARY_OPENID_ALLOW_HTTP", about="true allows an issuer without TLS on another machine")

    @property
    def is_configured(self) -> bool:
        """Whether it can be offered."""
        return bool(self.client_id and self.issuer and (self.use_pkce or self.client_secret.get_secret_value().strip()))

    def complaints(self, name: str = "") -> Iterator[str]:
        """What would be dangerous or cannot work. `name` is the part of the variables between `OPENID_` and the rest."""
        found: list[str] = []
        if self.issuer and not is_safe_url(self.issuer, allow_http=self.allow_http):
            found.append(
                "OPENID_ISSUER must begin with https://: without TLS anybody on the way can sign in as anybody. "
                "OSTIARY_OPENID_ALLOW_HTTP=true allows it"
            )
        if self.required_role and not (self.required_role_path and self.required_role_kind):
            found.append("OPENID_REQUIRED_ROLE needs OPENID_REQUIRED_ROLE_PARAMETER_PATH and OPENID_REQUIRED_ROLE_TOKEN_KIND")
        if self.admin_role and not (self.admin_role_path and self.admin_role_kind):
            found.append("OPENID_ADMIN_ROLE needs OPENID_ADMIN_ROLE_PARAMETER_PATH and OPENID_ADMIN_ROLE_TOKEN_KIND")
        if self.role_sync_api and not self.role_sync:
            found.append("OPENID_ROLE_SYNC_API_ENABLED needs OPENID_ROLE_SYNC_ENABLED=true")
        if not is_safe_url(self.graph_url):
            found.append("OSTIARY_OPENID_GRAPH_URL must begin with https://: a person's token is sent there")
        if self.role_sync and not self.role_sync_claim:
            found.append("OPENID_ROLE_SYNC_ENABLED needs OPENID_ROLE_SYNC_CLAIM: the claim with the roles")
        if "ADMIN" in {role.upper() for role in (*self.role_sync_priority, self.role_sync_fallback)}:
            found.append("OPENID_ROLE_SYNC_ROLE_PRIORITY and _FALLBACK_ROLE may not name ADMIN: OPENID_ADMIN_ROLE does that")
        if "openid" not in self.scope.split():
            found.append("OPENID_SCOPE must hold openid, such as: openid profile email")
        yield from (named(text, name) for text in found)


def is_safe_url(url: str, *, allow_http: bool = False) -> bool:
    """Whether tokens may travel there: https, or this machine, or an explicit decision."""
    try:
        parts = urlsplit(url)
    except ValueError:
        # Such as `https://[`.
        return False
    if parts.scheme == "https":
        return bool(parts.hostname)
    return parts.scheme == "http" and bool(parts.hostname) and (allow_http or parts.hostname in LOOPBACK_HOSTS)


def named(text: str, name: str) -> str:
    """`OPENID_…` in a text as another provider's variable: `OPENID_WORK_…`."""
    return text.replace(OpenID.prefix, f"{OpenID.prefix}{name}_") if name else text


def other_names(environment: Mapping[str, str]) -> list[str]:
    """The names of further OpenID providers: those that have an issuer. Raises SettingsError for one that is taken."""
    names = sorted({found[1] for variable in environment if (found := _NAMED.fullmatch(variable.removesuffix("_FILE")))})
    for name in names:
        if name.lower() in RESERVED:
            raise SettingsError(f"OPENID_{name}_ISSUER: {name} names another way in. Choose another name for this provider")
    return names


def other_variables(environment: Mapping[str, str]) -> set[str]:
    """The variables that these providers know."""
    known = [variable for variables in OpenID.variables().values() for variable in variables]
    return {named(variable, name) for name in other_names(environment) for variable in known}


def read_others(environment: Mapping[str, str]) -> dict[str, OpenID]:
    """Further OpenID providers by name, as in `/oauth/<name>`. Raises SettingsError."""
    found: dict[str, OpenID] = {}
    for name in other_names(environment):
        theirs: dict[str, Any] = {
            variable: environment[named(variable, name)]
            for variables in OpenID.variables().values()
            for variable in variables
            if environment.get(named(variable, name))
        }
        theirs.setdefault("OPENID_CALLBACK_URL", f"/oauth/{name.lower()}/callback")
        theirs.setdefault("OPENID_BUTTON_LABEL", f"Continue with {name.title()}")
        theirs.setdefault("OSTIARY_OPENID_NAME", name.title())
        try:
            found[name.lower()] = OpenID.read(theirs)
        except SettingsError as error:
            raise SettingsError(named(str(error), name)) from error
    return found
