"""The settings themselves, a frozen class for each subject. Defaults are the safe values; `docs/settings.md` lists them all."""

from __future__ import annotations

from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Literal

from ostiary.settings.reading import Flag, Group, Milliseconds, Minutes, Names, Origin, Seconds, SecretStr, Whole, setting


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
        "remoteAddr",
        "HTTP_IP_HEADER",
        about="header with the client's address, believed from TRUSTED_PROXIES alone",
    )
    origins: Names = setting((), "CORS_ALLOWED_ORIGINS", about="comma list of further origins that may call the API")
    dialects: Names = setting(("librechat", "librepass"), "OSTIARY_DIALECTS", about="the wires to serve, comma list")
    librechat_host: str = setting("", "OSTIARY_LIBRECHAT_HOST", about="host name that speaks LibreChat's wire alone")
    librepass_host: str = setting("", "OSTIARY_LIBREPASS_HOST", about="host name that speaks LibrePass's wire alone")
    allowed_hosts: Names = setting(
        (),
        "OSTIARY_ALLOWED_HOSTS",
        about="comma list of further host names it answers to, beside those of the domains",
    )
    no_index: Flag = setting(True, "NO_INDEX", about="send X-Robots-Tag: noindex")
    max_body: Whole = setting(65536, "OSTIARY_MAX_BODY", about="bytes of a request body, vault calls aside", ge=1024)
    max_vault_body: Whole = setting(8388608, "OSTIARY_MAX_VAULT_BODY", about="bytes of a vault call's body", ge=1024)
    body_time: Seconds = setting(
        timedelta(seconds=10),
        "OSTIARY_BODY_TIME",
        about="seconds in which a request's body must have come; vault calls have six times as long",
        ge=timedelta(seconds=1),
        le=timedelta(minutes=10),
    )
    head_time: Seconds = setting(
        timedelta(seconds=10),
        "OSTIARY_HEAD_TIME",
        about="seconds in which a request's head must have come",
        ge=timedelta(seconds=1),
        le=timedelta(minutes=10),
    )
    connections: Whole = setting(
        8192, "OSTIARY_MAX_CONNECTIONS", about="connections of one process; then the longest silent one goes", ge=16
    )
    connections_per_address: Whole = setting(
        256,
        "OSTIARY_MAX_CONNECTIONS_PER_ADDRESS",
        about="connections from one address or IPv6 /64; believed proxies and this machine aside",
        ge=1,
    )
    metrics_token: SecretStr = setting(SecretStr(""), "OSTIARY_METRICS_TOKEN", about="bearer that may read /metrics")
    log_format: Literal["auto", "json", "readable"] = setting(
        "auto",
        "OSTIARY_LOG_FORMAT",
        about="json, readable, or auto: readable on a terminal",
    )
    log_level: Literal["debug", "info", "warning", "error"] = setting(
        "info",
        "OSTIARY_LOG_LEVEL",
        about="debug, info, warning or error",
    )
    node_env: str = setting("", "NODE_ENV", about="production makes cookies Secure, as in LibreChat")
    app_title: str = setting(
        "",
        "APP_TITLE",
        about="the name that mails and authenticators show; default Ostiary, to LibreChat's clients LibreChat",
    )

    @property
    def product_name(self) -> str:
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
    audit_days: Whole = setting(365, "OSTIARY_AUDIT_DAYS", about="days for which the audit is kept", ge=1, le=36500)


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
    port: Whole = setting(
        0, "EMAIL_PORT", "MAIL_SMTP_PORT", about="its port; default 25, 587 or 465 by encryption", ge=0, le=65535
    )
    encryption: Literal["", "none", "starttls", "tls"] = setting(
        "",
        "EMAIL_ENCRYPTION",
        about="none, starttls or tls; default starttls",
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
    refuse_common: Flag = setting(
        True,
        "OSTIARY_REFUSE_COMMON_PASSWORDS",
        about="false takes common passwords, and those made of the owner's or the server's own names",
    )
    blocklist: Path | None = setting(
        None, "OSTIARY_PASSWORD_BLOCKLIST", about="UTF-8 text file of further passwords to refuse, one a line"
    )
    breaches_url: Origin = setting(
        "",
        "OSTIARY_HIBP_URL",
        about="https://api.pwnedpasswords.com or a mirror: new passwords of known breaches are refused",
    )
    hashing_threads: Whole = setting(
        0,
        "OSTIARY_HASHING_THREADS",
        about="threads of a process that hash; 0: the cores shared out among the processes",
        ge=0,
        le=256,
    )
    hashing_queue: Whole = setting(256, "OSTIARY_HASHING_QUEUE", about="hashes that may wait before 503 is answered", ge=1)
    hashing_wait: Seconds = setting(
        timedelta(seconds=10),
        "OSTIARY_HASHING_WAIT",
        about="seconds that a hash may have to wait, as estimated; beyond, 503 is answered at once",
        gt=timedelta(0),
    )
    hashing_memory: Whole = setting(
        256, "OSTIARY_HASHING_MEMORY", about="MB that imported Argon2id and scrypt hashes may take together while checked", ge=1
    )


class Sessions(Group):
    """How long things live, and what may be used twice."""

    title = "Sessions"
    access_life: Milliseconds = setting(timedelta(minutes=15), "SESSION_EXPIRY", about="life of an access token, milliseconds")
    refresh_life: Milliseconds = setting(timedelta(days=7), "REFRESH_TOKEN_EXPIRY", about="life of a session, milliseconds")
    refresh_grace: Seconds = setting(
        timedelta(seconds=30),
        "OSTIARY_REFRESH_GRACE",
        about="seconds in which a rotated refresh token still answers",
    )
    cookie_secure: Flag | None = setting(None, "SESSION_COOKIE_SECURE", about="true or false decides the Secure attribute")
    key_idle: Seconds = setting(timedelta(days=30), "OSTIARY_KEY_SESSION_IDLE", about="seconds an lp_ key may lie unused")
    key_max_age: Seconds = setting(timedelta(days=180), "OSTIARY_KEY_SESSION_MAX_AGE", about="seconds an lp_ key may live")
    per_account: Whole = setting(100, "OSTIARY_SESSIONS_PER_ACCOUNT", about="sessions kept; the oldest ends first", ge=1)
    handshake_period: Seconds = setting(
        timedelta(seconds=300),
        "OSTIARY_HANDSHAKE_PERIOD",
        about="seconds for which one X25519 server key is handed out",
        ge=timedelta(seconds=10),
        le=timedelta(days=1),
    )
    totp_reuse: Literal["never", "per-session"] = setting(
        "never",
        "OSTIARY_TOTP_REUSE",
        about="never, or per-session: one code may serve two sign-ins",
    )


class Policy(Group):
    """Who may come in, and what a stranger is told."""

    title = "Policy"
    allow_registration: Flag = setting(True, "ALLOW_REGISTRATION", about="true lets anyone register")
    allow_email_login: Flag = setting(True, "ALLOW_EMAIL_LOGIN", about="true lets password accounts sign in")
    allow_email_login_override: Flag = setting(
        False, "ALLOW_EMAIL_LOGIN_OVERRIDE", about="true overrides ALLOW_EMAIL_LOGIN=false"
    )
    allow_password_reset: Flag = setting(True, "ALLOW_PASSWORD_RESET", about="true lets owners reset a password by mail")
    allow_unverified: Flag | None = setting(None, "ALLOW_UNVERIFIED_EMAIL_LOGIN", about="true lets unverified addresses sign in")
    allow_social_login: Flag = setting(False, "ALLOW_SOCIAL_LOGIN", about="true shows and serves other providers")
    allow_social_registration: Flag = setting(False, "ALLOW_SOCIAL_REGISTRATION", about="true makes accounts for provider users")
    allow_account_deletion: Flag = setting(True, "ALLOW_ACCOUNT_DELETION", about="false keeps owners from deleting accounts")
    register_auto_login: Flag = setting(False, "REGISTER_AUTO_LOGIN", about="true signs in at registration")
    verification_required: Flag | None = setting(
        None,
        "EMAIL_VERIFICATION_REQUIRED",
        about="true: sign in after verification only; default: whether SMTP is set",
    )
    csrf_token_required: Flag = setting(
        False,
        "OSTIARY_CSRF_TOKEN_REQUIRED",
        about="true asks cookie-reading requests for X-CSRF-Token as well",
    )
    reveal_accounts: Flag = setting(False, "OSTIARY_REVEAL_ACCOUNTS", about="true tells strangers whether an account exists")
    bootstrap: Literal["first-user", "cli"] = setting(
        "first-user",
        "OSTIARY_BOOTSTRAP",
        about="first-user: the first account is ADMIN; cli: only the command line makes one",
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
    lockout_max: Whole = setting(
        10, "OSTIARY_LOCKOUT_MAX", about="failed proofs from unknown devices before the door closes", ge=1
    )
    lockout_window: Minutes = setting(timedelta(minutes=15), "OSTIARY_LOCKOUT_WINDOW", about="minutes it stays closed")
    login_max: Whole = setting(7, "LOGIN_MAX", about="sign-ins per address and window", ge=1)
    login_window: Minutes = setting(timedelta(minutes=5), "LOGIN_WINDOW", about="its window, minutes")
    register_max: Whole = setting(5, "REGISTER_MAX", about="registrations per address and window", ge=1)
    register_window: Minutes = setting(timedelta(minutes=60), "REGISTER_WINDOW", about="its window, minutes")
    reset_max: Whole = setting(2, "RESET_PASSWORD_MAX", about="reset requests per address and window", ge=1)
    reset_window: Minutes = setting(timedelta(minutes=2), "RESET_PASSWORD_WINDOW", about="its window, minutes")
    reset_submission_max: Whole | None = setting(
        None, "RESET_PASSWORD_SUBMISSION_MAX", about="resets submitted; default RESET_PASSWORD_MAX"
    )
    reset_submission_window: Minutes | None = setting(None, "RESET_PASSWORD_SUBMISSION_WINDOW", about="its window, minutes")
    verify_max: Whole = setting(2, "VERIFY_EMAIL_MAX", about="verification mails asked for", ge=1)
    verify_window: Minutes = setting(timedelta(minutes=2), "VERIFY_EMAIL_WINDOW", about="its window, minutes")
    verify_submission_max: Whole | None = setting(
        None, "VERIFY_EMAIL_SUBMISSION_MAX", about="verifications submitted; default VERIFY_EMAIL_MAX"
    )
    verify_submission_window: Minutes | None = setting(None, "VERIFY_EMAIL_SUBMISSION_WINDOW", about="its window, minutes")
    login_network_max: Whole = setting(
        100,
        "OSTIARY_LOGIN_NETWORK_MAX",
        about="failed sign-ins of strangers from one network (IPv4 /24, IPv6 /48) in OSTIARY_LOCKOUT_WINDOW",
        ge=1,
    )
    login_server_max: Whole | None = setting(
        None,
        "OSTIARY_LOGIN_SERVER_MAX",
        about="likewise of all strangers, without known devices and places; default 3 for each 100 accounts, at least 300",
        ge=1,
    )
    register_network_max: Whole = setting(
        100, "OSTIARY_REGISTER_NETWORK_MAX", about="registrations from one network in REGISTER_WINDOW", ge=1
    )
    register_server_max: Whole = setting(
        300, "OSTIARY_REGISTER_SERVER_MAX", about="registrations in REGISTER_WINDOW; the invited are not counted", ge=1
    )
    mail_network_max: Whole = setting(
        100, "OSTIARY_MAIL_NETWORK_MAX", about="mails that one network may ask for in 15 minutes", ge=1
    )
    spray_network: Whole = setting(
        20, "OSTIARY_SPRAY_NETWORK", about="names failing from one network at which spraying is suspected", ge=2
    )
    spray_server: Whole = setting(100, "OSTIARY_SPRAY_SERVER", about="likewise from everywhere", ge=2)
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
    verify_submission_score: Whole = setting(
        1, "VERIFY_EMAIL_SUBMISSION_VIOLATION_SCORE", about="likewise for verifications", ge=0
    )
    factor_score: Whole = setting(1, "TWO_FACTOR_TEMP_VIOLATION_SCORE", about="likewise for second-factor answers", ge=0)


class LibrePass(Group):
    """What only LibrePass's wire knows."""

    title = "LibrePass"
    api_domain: str = setting("", "API_DOMAIN", about="host in LibrePass's mail links; default DOMAIN_SERVER")
    web_url: Origin = setting("", "WEB_URL", about="where mail links end; default DOMAIN_CLIENT")
    max_ciphers: Whole = setting(500, "LIMIT_USER_CIPHERS", about="vault rows of one account", ge=1)
