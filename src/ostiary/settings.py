"""Settings: one frozen class per subject, read once at start, checked together.

Every variable is listed in `docs/settings.md` (a test compares). A variable `X` that holds a secret can be given as `X_FILE`.
"""

from __future__ import annotations

import ast
import ipaddress
import operator
import os
from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self
from urllib.parse import urlsplit

from dotenv import dotenv_values
from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError

EXAMPLE_SECRETS = frozenset(
    {
        # Printed in LibreChat's public example file: whoever copies the file shares these with everyone.
        "16f8c0ef4a5d391b26034086c628469d3f9f497f08163ab9b40137092f2909ef",
        "eaa5191f2914e30b9387fd84e254e4ba6fc51b4654968a9b0803b456a54b8418",
        "f34be427ebb29de8d88c107a71546019685ed8b241d8f2ed00c3df97ad2566f0",
    },
)
MIN_SECRET_LENGTH = 32
LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})


class SettingsError(Exception):
    """A setting that cannot be used; the text names the variable and the remedy."""


_OPERATORS: dict[type[ast.AST], Callable[..., float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Mod: operator.mod,
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
}


def arithmetic(text: str) -> float:
    """The value of a text made of numbers, `+ - * / %` and brackets, such as `1000 * 60 * 15`; ValueError for all else."""

    def value(node: ast.AST) -> float:
        match node:
            case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
                return number
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
                return _OPERATORS[type(op)](value(left), value(right))
            case ast.UnaryOp(op=op, operand=operand) if type(op) in _OPERATORS:
                return _OPERATORS[type(op)](value(operand))
        msg = "must be a number, or numbers joined by + - * / %"
        raise ValueError(msg)

    if len(text) > 100:  # noqa: PLR2004 - no honest setting is longer
        msg = "is too long for a number"
        raise ValueError(msg)
    try:
        return value(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, ZeroDivisionError, RecursionError) as error:
        msg = "must be a number, or numbers joined by + - * / %"
        raise ValueError(msg) from error


def _whole(given: object) -> object:
    if not isinstance(given, str):
        return given
    number = arithmetic(given)
    if number != int(number):
        msg = "must be a whole number"
        raise ValueError(msg)
    return int(number)


def _flag(given: object) -> object:
    if not isinstance(given, str):
        return given
    word = given.strip().lower()
    if word in {"true", "on"}:
        return True
    if word in {"false", "off"}:
        return False
    msg = "must be true or false"
    raise ValueError(msg)


def _milliseconds(given: object) -> object:
    return timedelta(milliseconds=arithmetic(given)) if isinstance(given, str) else given


def _seconds(given: object) -> object:
    return timedelta(seconds=arithmetic(given)) if isinstance(given, str) else given


def _minutes(given: object) -> object:
    return timedelta(minutes=arithmetic(given)) if isinstance(given, str) else given


def _comma_list(given: object) -> object:
    return tuple(item for part in given.split(",") if (item := part.strip())) if isinstance(given, str) else given


def _no_slash(given: object) -> object:
    return given.rstrip("/") if isinstance(given, str) else given


Whole = Annotated[int, BeforeValidator(_whole)]
Flag = Annotated[bool, BeforeValidator(_flag)]
Milliseconds = Annotated[timedelta, BeforeValidator(_milliseconds), Field(gt=timedelta(0), le=timedelta(days=3650))]
Seconds = Annotated[timedelta, BeforeValidator(_seconds), Field(ge=timedelta(0), le=timedelta(days=3650))]
Minutes = Annotated[timedelta, BeforeValidator(_minutes), Field(gt=timedelta(0), le=timedelta(days=366))]
Names = Annotated[tuple[str, ...], BeforeValidator(_comma_list)]
Origin = Annotated[str, BeforeValidator(_no_slash)]


class Group(BaseModel):
    """One subject's settings. A field's alias is its variable; several aliases are other products' names for it."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=False)
    title: ClassVar[str]

    @classmethod
    def variables(cls) -> dict[str, tuple[str, ...]]:
        """Field name → the variables that set it, the preferred one first."""
        names: dict[str, tuple[str, ...]] = {}
        for field, info in cls.model_fields.items():
            alias = info.validation_alias or field.upper()
            names[field] = tuple(map(str, alias.choices)) if isinstance(alias, AliasChoices) else (str(alias),)
        return names

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> Self:
        """Build from variables; raises SettingsError naming the first variable that cannot be used."""
        given = {
            names[0]: environment[found]
            for names in cls.variables().values()
            if (found := next((name for name in names if environment.get(name)), None))
        }
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            name = str(first["loc"][0])
            field = next(f for f, names in cls.variables().items() if name in names)
            reason = first["msg"].removeprefix("Value error, ")
            remedy = cls.model_fields[field].description or "see docs/settings.md"
            text = f"{name} {reason[:1].lower()}{reason[1:]}. It is: {remedy}"
            raise SettingsError(text) from None


def setting(default: Any, *names: str, about: str, **limits: Any) -> Any:  # noqa: ANN401 - a typed field of any type
    """A field with its variable (or variables), its meaning in one line, and its limits."""
    alias = AliasChoices(*names) if len(names) > 1 else names[0]
    return Field(default, validation_alias=alias, description=about, **limits)


class Server(Group):
    """Where Ostiary listens and what the outside calls it."""

    title = "Server"
    host: str = setting("127.0.0.1", "HOST", about="the address to listen on")
    port: Whole = setting(3080, "PORT", about="the port to listen on, 0 to 65535", ge=0, le=65535)
    workers: Whole = setting(1, "OSTIARY_WORKERS", about="processes; more than one needs REDIS_URL", ge=1, le=64)
    data: Path = setting(Path("data"), "OSTIARY_DATA", about="folder of the database, the secrets and the mailbox")
    client_url: Origin = setting("", "DOMAIN_CLIENT", about="what links in mails and redirects start with")
    server_url: Origin = setting("", "DOMAIN_SERVER", about="what callbacks and token issuers start with")
    trusted_proxies: Names = setting((), "TRUSTED_PROXIES", about="comma list of CIDRs whose X-Forwarded-For is believed")
    trusted_hops: Whole = setting(0, "TRUST_PROXY", about="how many proxies stand in front; 0 means none", ge=0, le=16)
    address_header: str = setting(
        "remoteAddr", "HTTP_IP_HEADER", about="header with the client's address, believed from TRUSTED_PROXIES alone",
    )
    origins: Names = setting((), "CORS_ALLOWED_ORIGINS", about="comma list of further origins that may call the API")
    dialects: Names = setting(("librechat", "librepass"), "OSTIARY_DIALECTS", about="the wires to serve, comma list")
    librechat_host: str = setting("", "OSTIARY_LIBRECHAT_HOST", about="host name that speaks LibreChat's wire alone")
    librepass_host: str = setting("", "OSTIARY_LIBREPASS_HOST", about="host name that speaks LibrePass's wire alone")
    no_index: Flag = setting(True, "NO_INDEX", about="send X-Robots-Tag: noindex")
    max_body: Whole = setting(65536, "OSTIARY_MAX_BODY", about="bytes of a request body, vault calls aside", ge=1024)
    max_vault_body: Whole = setting(8388608, "OSTIARY_MAX_VAULT_BODY", about="bytes of a vault call's body", ge=1024)
    metrics_token: SecretStr = setting(SecretStr(""), "OSTIARY_METRICS_TOKEN", about="bearer that may read /metrics")
    log_format: Literal["auto", "json", "readable"] = setting(
        "auto", "OSTIARY_LOG_FORMAT", about="json, readable, or auto: readable on a terminal",
    )
    log_level: Literal["debug", "info", "warning", "error"] = setting(
        "info", "OSTIARY_LOG_LEVEL", about="debug, info, warning or error",
    )
    node_env: str = setting("", "NODE_ENV", about="production makes cookies Secure, as in LibreChat")
    app_title: str = setting("", "APP_TITLE", about="the name that mails and authenticators show; default Ostiary, to LibreChat's clients LibreChat")

    @property
    def title(self) -> str:
        """APP_TITLE, or our own name."""
        return self.app_title or "Ostiary"

    @cached_property
    def public_client_url(self) -> str:
        """DOMAIN_CLIENT, or the address that it listens on."""
        return self.client_url or self._listening

    @cached_property
    def public_server_url(self) -> str:
        """DOMAIN_SERVER, or the address that it listens on."""
        return self.server_url or self._listening

    @property
    def _listening(self) -> str:
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(self.host, self.host)  # noqa: S104 - compared, not bound
        return f"http://{host}:{self.port}"


class Storage(Group):
    """Where rows and shared counters live."""

    title = "Storage"
    database_url: str = setting("", "DATABASE_URL", about="sqlite:///path or postgresql://…; default <OSTIARY_DATA>/ostiary.db")
    redis_url: str = setting("", "REDIS_URL", about="redis://… to share limits and lockouts between processes")
    pool_size: Whole = setting(10, "OSTIARY_DATABASE_POOL", about="PostgreSQL connections of one process", ge=1, le=500)


class Secrets(Group):
    """Keys. What is not given is generated once and kept under OSTIARY_DATA."""

    title = "Secrets"
    jwt_secret: SecretStr = setting(SecretStr(""), "JWT_SECRET", about="signs access tokens; 32 characters or more")
    jwt_refresh_secret: SecretStr = setting(SecretStr(""), "JWT_REFRESH_SECRET", about="signs refresh tokens; not JWT_SECRET")
    creds_key: SecretStr = setting(SecretStr(""), "CREDS_KEY", about="LibreChat's key for stored secrets: 64 hex digits")
    creds_iv: SecretStr = setting(SecretStr(""), "CREDS_IV", about="LibreChat's, 32 hex digits; kept for its files, not used")
    root_key: SecretStr = setting(SecretStr(""), "OSTIARY_ROOT_KEY", about="root of every derived key; 32 characters or more")


class Mail(Group):
    """How mail leaves. Without EMAIL_HOST it goes to the local mailbox under OSTIARY_DATA."""

    title = "Mail"
    host: str = setting("", "EMAIL_HOST", "MAIL_SMTP", about="the SMTP server; unset: the local mailbox")
    port: Whole = setting(0, "EMAIL_PORT", "MAIL_SMTP_PORT", about="its port; default 25, 587 or 465 by encryption", ge=0, le=65535)
    encryption: Literal["", "none", "starttls", "tls"] = setting(
        "", "EMAIL_ENCRYPTION", about="none, starttls or tls; default starttls",
    )
    starttls: Flag | None = setting(None, "MAIL_SMTP_TLS_ENABLED", about="LibrePass's name: true is starttls, false is none")
    username: str = setting("", "EMAIL_USERNAME", "MAIL_SMTP_USERNAME", about="the SMTP login, if it needs one")
    password: SecretStr = setting(SecretStr(""), "EMAIL_PASSWORD", "MAIL_SMTP_PASSWORD", about="the SMTP password")
    authenticate: Flag = setting(True, "MAIL_SMTP_AUTH", about="LibrePass's name: false sends without a login")
    sender: str = setting("", "EMAIL_FROM", "SMTP_EMAIL_ADDRESS", about="the address that mails come from")
    sender_name: str = setting("", "EMAIL_FROM_NAME", about="the name that mails come from; default APP_TITLE")
    allow_self_signed: Flag = setting(False, "EMAIL_ALLOW_SELFSIGNED", about="true switches the certificate check off")
    certificate_host: str = setting("", "EMAIL_ENCRYPTION_HOSTNAME", about="the name expected in the server's certificate")
    new_sign_in: Flag = setting(True, "EMAIL_NEW_LOGIN", about="mail the owner when someone signs in from a new place")

    @property
    def is_configured(self) -> bool:
        """Whether mail leaves by SMTP."""
        return bool(self.host)

    @property
    def transport(self) -> Literal["none", "starttls", "tls"]:
        """The encryption to use."""
        if self.encryption:
            return self.encryption
        return "none" if self.starttls is False else "starttls"


class Passwords(Group):
    """Password accounts."""

    title = "Passwords"
    bcrypt_cost: Whole = setting(12, "BCRYPT_COST", about="bcrypt's cost, 4 to 16", ge=4, le=16)
    min_length: Whole = setting(8, "MIN_PASSWORD_LENGTH", about="shortest password, 1 to 128", ge=1, le=128)
    hashing_threads: Whole = setting(0, "OSTIARY_HASHING_THREADS", about="threads that hash; 0: one per core", ge=0, le=256)
    hashing_queue: Whole = setting(256, "OSTIARY_HASHING_QUEUE", about="hashes that may wait before 503 is answered", ge=1)


class Sessions(Group):
    """How long things live, and what may be used twice."""

    title = "Sessions"
    access_life: Milliseconds = setting(timedelta(minutes=15), "SESSION_EXPIRY", about="life of an access token, milliseconds")
    refresh_life: Milliseconds = setting(timedelta(days=7), "REFRESH_TOKEN_EXPIRY", about="life of a session, milliseconds")
    refresh_grace: Seconds = setting(
        timedelta(seconds=30), "OSTIARY_REFRESH_GRACE", about="seconds in which a rotated refresh token still answers",
    )
    cookie_secure: Flag | None = setting(None, "SESSION_COOKIE_SECURE", about="true or false decides the Secure attribute")
    key_idle: Seconds = setting(timedelta(days=30), "OSTIARY_KEY_SESSION_IDLE", about="seconds an lp_ key may lie unused")
    key_max_age: Seconds = setting(timedelta(days=180), "OSTIARY_KEY_SESSION_MAX_AGE", about="seconds an lp_ key may live")
    per_account: Whole = setting(100, "OSTIARY_SESSIONS_PER_ACCOUNT", about="sessions kept; the oldest ends first", ge=1)
    handshake_period: Seconds = setting(
        timedelta(seconds=300), "OSTIARY_HANDSHAKE_PERIOD", about="seconds for which one X25519 server key is handed out",
        ge=timedelta(seconds=10), le=timedelta(days=1),
    )
    totp_reuse: Literal["never", "per-session"] = setting(
        "never", "OSTIARY_TOTP_REUSE", about="never, or per-session: one code may serve two sign-ins",
    )


class Policy(Group):
    """Who may come in, and what a stranger is told."""

    title = "Policy"
    allow_registration: Flag = setting(True, "ALLOW_REGISTRATION", about="true lets anyone register")
    allow_email_login: Flag = setting(True, "ALLOW_EMAIL_LOGIN", about="true lets password accounts sign in")
    allow_email_login_override: Flag = setting(False, "ALLOW_EMAIL_LOGIN_OVERRIDE", about="true overrides ALLOW_EMAIL_LOGIN=false")
    allow_password_reset: Flag = setting(True, "ALLOW_PASSWORD_RESET", about="true lets owners reset a password by mail")
    allow_unverified: Flag | None = setting(None, "ALLOW_UNVERIFIED_EMAIL_LOGIN", about="true lets unverified addresses sign in")
    allow_social_login: Flag = setting(False, "ALLOW_SOCIAL_LOGIN", about="true shows and serves other providers")
    allow_social_registration: Flag = setting(False, "ALLOW_SOCIAL_REGISTRATION", about="true makes accounts for provider users")
    allow_account_deletion: Flag = setting(True, "ALLOW_ACCOUNT_DELETION", about="false keeps owners from deleting accounts")
    register_auto_login: Flag = setting(False, "REGISTER_AUTO_LOGIN", about="true signs in at registration")
    verification_required: Flag | None = setting(
        None, "EMAIL_VERIFICATION_REQUIRED", about="true: sign in after verification only; default: whether SMTP is set",
    )
    csrf_token_required: Flag = setting(
        False, "OSTIARY_CSRF_TOKEN_REQUIRED", about="true asks cookie-reading requests for X-CSRF-Token as well",
    )
    reveal_accounts: Flag = setting(False, "OSTIARY_REVEAL_ACCOUNTS", about="true tells strangers whether an account exists")
    bootstrap: Literal["first-user", "cli"] = setting(
        "first-user", "OSTIARY_BOOTSTRAP", about="first-user: the first account is ADMIN; cli: only the command line makes one",
    )
    allowed_domains: Names = setting((), "OSTIARY_ALLOWED_DOMAINS", about="comma list of mail domains that may register")
    terms_version: str = setting("", "OSTIARY_TERMS_VERSION", about="changing it asks everyone to accept the terms again")
    terms_url: str = setting("", "OSTIARY_TERMS_URL", about="where the terms of service are; shown by clients")
    privacy_url: str = setting("", "OSTIARY_PRIVACY_URL", about="where the privacy policy is; shown by clients")
    banner: str = setting("", "OSTIARY_BANNER", about="a message that LibreChat's client shows on top")


class Limits(Group):
    """Rate limits, lockout, bans. Windows are minutes, as in LibreChat."""

    title = "Limits"
    rate_limits: Flag = setting(True, "RATE_LIMITS", about="off switches every limiter off; lockout stays")
    librepass_limits: Flag = setting(True, "RATE_LIMIT_ENABLED", about="LibrePass's name: false does that for its routes")
    lockout: Flag = setting(True, "LOCKOUT", about="per-account back-off after failed proofs")
    lockout_max: Whole = setting(10, "OSTIARY_LOCKOUT_MAX", about="failed proofs from unknown devices before the door closes", ge=1)
    lockout_window: Minutes = setting(timedelta(minutes=15), "OSTIARY_LOCKOUT_WINDOW", about="minutes it stays closed")
    login_max: Whole = setting(7, "LOGIN_MAX", about="sign-ins per address and window", ge=1)
    login_window: Minutes = setting(timedelta(minutes=5), "LOGIN_WINDOW", about="its window, minutes")
    register_max: Whole = setting(5, "REGISTER_MAX", about="registrations per address and window", ge=1)
    register_window: Minutes = setting(timedelta(minutes=60), "REGISTER_WINDOW", about="its window, minutes")
    reset_max: Whole = setting(2, "RESET_PASSWORD_MAX", about="reset requests per address and window", ge=1)
    reset_window: Minutes = setting(timedelta(minutes=2), "RESET_PASSWORD_WINDOW", about="its window, minutes")
    reset_submission_max: Whole | None = setting(None, "RESET_PASSWORD_SUBMISSION_MAX", about="resets submitted; default RESET_PASSWORD_MAX")
    reset_submission_window: Minutes | None = setting(None, "RESET_PASSWORD_SUBMISSION_WINDOW", about="its window, minutes")
    verify_max: Whole = setting(2, "VERIFY_EMAIL_MAX", about="verification mails asked for", ge=1)
    verify_window: Minutes = setting(timedelta(minutes=2), "VERIFY_EMAIL_WINDOW", about="its window, minutes")
    verify_submission_max: Whole | None = setting(None, "VERIFY_EMAIL_SUBMISSION_MAX", about="verifications submitted; default VERIFY_EMAIL_MAX")
    verify_submission_window: Minutes | None = setting(None, "VERIFY_EMAIL_SUBMISSION_WINDOW", about="its window, minutes")
    factor_max: Whole | None = setting(None, "TWO_FACTOR_TEMP_MAX", about="second-factor answers; default LOGIN_MAX")
    factor_window: Minutes | None = setting(None, "TWO_FACTOR_TEMP_WINDOW", about="its window, minutes; default LOGIN_WINDOW")
    ban_violations: Flag = setting(False, "BAN_VIOLATIONS", about="true bans after repeated violations")
    ban_duration: Milliseconds = setting(timedelta(hours=2), "BAN_DURATION", about="length of such a ban, milliseconds")
    ban_interval: Whole = setting(20, "BAN_INTERVAL", about="violations between two bans", ge=1)
    login_score: Whole = setting(1, "LOGIN_VIOLATION_SCORE", about="what a refused sign-in over the limit counts", ge=0)
    registration_score: Whole = setting(1, "REGISTRATION_VIOLATION_SCORE", about="likewise for registrations", ge=0)
    reset_score: Whole = setting(1, "RESET_PASSWORD_VIOLATION_SCORE", about="likewise for reset requests", ge=0)
    reset_submission_score: Whole = setting(1, "RESET_PASSWORD_SUBMISSION_VIOLATION_SCORE", about="likewise for resets", ge=0)
    verify_score: Whole = setting(1, "VERIFY_EMAIL_VIOLATION_SCORE", about="likewise for verification mails", ge=0)
    verify_submission_score: Whole = setting(1, "VERIFY_EMAIL_SUBMISSION_VIOLATION_SCORE", about="likewise for verifications", ge=0)
    factor_score: Whole = setting(1, "TWO_FACTOR_TEMP_VIOLATION_SCORE", about="likewise for second-factor answers", ge=0)


class LibrePass(Group):
    """What only LibrePass's wire knows."""

    title = "LibrePass"
    api_domain: str = setting("", "API_DOMAIN", about="host in LibrePass's mail links; default DOMAIN_SERVER")
    web_url: Origin = setting("", "WEB_URL", about="where mail links end; default DOMAIN_CLIENT")
    max_ciphers: Whole = setting(500, "LIMIT_USER_CIPHERS", about="vault rows of one account", ge=1)


class Settings(BaseModel):
    """All of them."""

    model_config = ConfigDict(frozen=True)
    server: Server
    storage: Storage
    secrets: Secrets
    mail: Mail
    passwords: Passwords
    sessions: Sessions
    policy: Policy
    limits: Limits
    librepass: LibrePass

    @classmethod
    def groups(cls) -> dict[str, type[Group]]:
        """Field name → group class, in the order in which they are documented."""
        return {name: info.annotation for name, info in cls.model_fields.items() if info.annotation is not None}

    @classmethod
    def load(cls, environment: Mapping[str, str] | None = None) -> Settings:
        """Read and check; without an argument from the process's environment and `.env`. Raises SettingsError."""
        given = _environment() if environment is None else dict(environment)
        known = {name for group in cls.groups().values() for names in group.variables().values() for name in names}
        _resolve_files(given, known)
        for name in sorted(given):
            if name.startswith("OSTIARY_") and name not in known and name.removesuffix("_FILE") not in known:
                text = f"{name} is not a setting of Ostiary. Remove it, or correct the spelling (docs/settings.md lists all)"
                raise SettingsError(text)
        settings = cls(**{name: group.read(given) for name, group in cls.groups().items()})
        settings.check()
        return settings

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
        own = {_origin(self.server.public_client_url), _origin(self.server.public_server_url)}
        if not self.server.client_url and self.server.host in LOOPBACK_HOSTS:
            own |= {f"http://{host}:{self.server.port}" for host in ("localhost", "127.0.0.1", "[::1]")}
        return frozenset({*own, *self.server.origins})

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
        for complaint in (
            self._secrets_complaint(), self._server_complaint(), self._mail_complaint(), self._session_complaint(),
        ):
            if complaint:
                raise SettingsError(complaint)

    def warnings(self) -> list[str]:
        """What an operator should know at start although it works."""
        found = []
        if self.passwords.bcrypt_cost < 10:  # noqa: PLR2004 - OWASP's floor
            found.append("BCRYPT_COST below 10 makes stolen hashes cheap to guess; use 10 or more outside of tests")
        if not self.limits.rate_limits:
            found.append("RATE_LIMITS=off: nobody is slowed down; switch it on before strangers can reach this server")
        if self.policy.reveal_accounts:
            found.append("OSTIARY_REVEAL_ACCOUNTS=true tells strangers who has an account here")
        if self.server.host not in LOOPBACK_HOSTS and not self.server.client_url:
            found.append("DOMAIN_CLIENT is not set: links in mails will name the listening address")
        return found

    def _secrets_complaint(self) -> str | None:
        given = {
            name: getattr(self.secrets, field).get_secret_value()
            for field, (name, *_) in Secrets.variables().items()
            if getattr(self.secrets, field).get_secret_value()
        }
        for name, value in given.items():
            if value in EXAMPLE_SECRETS:
                return f"{name} is the value of a public example file. Take a fresh one: openssl rand -hex 32"
        for name in ("JWT_SECRET", "JWT_REFRESH_SECRET", "OSTIARY_ROOT_KEY"):
            if name in given and (len(given[name]) < MIN_SECRET_LENGTH or len(set(given[name])) < 8):  # noqa: PLR2004
                return f"{name} is too weak: 32 characters or more, not repeated ones. Take a fresh one: openssl rand -hex 32"
        if "CREDS_KEY" in given and not _is_hex(given["CREDS_KEY"], 64):
            return "CREDS_KEY must be 64 hex digits. Take a fresh one: openssl rand -hex 32"
        strong = [given[name] for name in ("JWT_SECRET", "JWT_REFRESH_SECRET", "CREDS_KEY", "OSTIARY_ROOT_KEY") if name in given]
        if len(set(strong)) < len(strong):
            return "JWT_SECRET, JWT_REFRESH_SECRET, CREDS_KEY and OSTIARY_ROOT_KEY must all differ: give each its own value"
        return None

    def _server_complaint(self) -> str | None:
        server = self.server
        if server.workers > 1 and not self.storage.redis_url:
            return "OSTIARY_WORKERS above 1 needs REDIS_URL, so that limits hold across processes. Set it, or use one worker"
        if "*" in server.origins:
            return "CORS_ALLOWED_ORIGINS must name exact origins: * would let every site act for its visitors"
        if unknown := [name for name in server.dialects if name not in {"librechat", "librepass"}] or not server.dialects:
            return f"OSTIARY_DIALECTS must be librechat, librepass or both, not {unknown}"
        for name, url in (("DOMAIN_CLIENT", server.client_url), ("DOMAIN_SERVER", server.server_url)):
            if url and (urlsplit(url).scheme not in {"http", "https"} or not urlsplit(url).hostname):
                return f"{name} must be an address such as https://id.example.org"
        for entry in server.trusted_proxies:
            try:
                ipaddress.ip_network(entry, strict=False)
            except ValueError:
                return f"TRUSTED_PROXIES: {entry!r} is not an address range such as 10.0.0.0/8"
        if server.address_header != "remoteAddr" and not server.trusted_proxies:
            return "HTTP_IP_HEADER is believed from TRUSTED_PROXIES alone: set the proxy's address there"
        scheme = urlsplit(self.database_url).scheme
        if scheme not in {"sqlite", "postgresql", "postgres"}:
            return f"DATABASE_URL must begin with sqlite:/// or postgresql://, not {scheme}:"
        if self.storage.redis_url and urlsplit(self.storage.redis_url).scheme not in {"redis", "rediss", "unix"}:
            return "REDIS_URL must begin with redis://, rediss:// or unix://"
        return None

    def _mail_complaint(self) -> str | None:
        mail = self.mail
        if mail.is_configured and "@" not in mail.sender:
            return "EMAIL_HOST is set, so EMAIL_FROM must be the address that mails come from"
        if mail.is_configured and mail.transport == "none" and mail.password.get_secret_value() and mail.host not in LOOPBACK_HOSTS:
            return "EMAIL_ENCRYPTION=none would send EMAIL_PASSWORD in the clear. Use starttls or tls"
        return None

    def _session_complaint(self) -> str | None:
        for name, life in (("SESSION_EXPIRY", self.sessions.access_life), ("REFRESH_TOKEN_EXPIRY", self.sessions.refresh_life)):
            if life < timedelta(seconds=1) or life % timedelta(seconds=1):
                return f"{name} must be whole seconds, in milliseconds, such as 900000"
        if self.sessions.refresh_grace > timedelta(minutes=10):
            return "OSTIARY_REFRESH_GRACE above 600 seconds would hide stolen refresh tokens. Use 30"
        return None


def _environment() -> dict[str, str]:
    from_file = {name: value for name, value in dotenv_values(".env").items() if value is not None}
    return {**from_file, **os.environ}


def _resolve_files(environment: dict[str, str], known: set[str]) -> None:
    for name in sorted(known):
        path = environment.get(f"{name}_FILE")
        if not path or environment.get(name):
            continue
        try:
            environment[name] = Path(path).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            text = f"{name}_FILE cannot be read ({type(error).__name__}). Give the path of a readable text file"
            raise SettingsError(text) from error


def _is_hex(text: str, length: int) -> bool:
    return len(text) == length and all(character in "0123456789abcdefABCDEF" for character in text)


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
