"""`ostiary check-config`: the settings as Ostiary reads them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import click

from ostiary.cli.output import Answer, TroubleError, answering, facts
from ostiary.settings import SecretStr, Settings, SettingsError


@click.command("check-config")
@click.option("--all", "is_all", is_flag=True, help="Show every setting, also those left at their defaults.")
@click.option("--strict", "is_strict", is_flag=True, help="Fail on a warning too, such as one about a misspelt name.")
@answering
def check_config(*, is_all: bool, is_strict: bool) -> Answer:
    """Read and check the settings (environment, .env, X_FILE), and change nothing. Secrets are not shown."""
    try:
        settings = Settings.load()
    except SettingsError as error:
        raise TroubleError(str(error)) from error
    shown = {
        names[0]: _shown(getattr(getattr(settings, group), field))
        for group, kind in Settings.groups().items()
        for field, names in kind.variables().items()
        if is_all or field in getattr(settings, group).given
    }
    derived = {
        "listens": f"{settings.server.host}:{settings.server.port}",
        "client_url": settings.server.public_client_url,
        "server_url": settings.server.public_server_url,
        "database": without_password(settings.database_url),
        "mail": f"{settings.mail.host}, {settings.mail.transport}" if settings.mail.is_configured else "local mailbox",
        "verification_required": settings.requires_verification,
        "secure_cookies": settings.secure_cookies,
    }
    warnings = settings.warnings()
    lines = [facts(list(derived.items()))]
    if shown:
        lines += ["", facts([(name, _text(value)) for name, value in shown.items()])]
    is_failure = is_strict and bool(warnings)
    verdict = "The settings can be used, and --strict allows no warning." if is_failure else "The settings can be used."
    lines += ["", *(f"Warning: {warning}." for warning in warnings), verdict]
    value = {"ok": not is_failure, "warnings": warnings, "derived": derived, "settings": shown}
    return Answer(value, "\n".join(lines), is_failure)


def without_password(url: str) -> str:
    """An address that may be shown: its user and password are not in it."""
    parts = urlsplit(url)
    return url if not parts.username and not parts.password else url.replace(parts.netloc, f"…@{parts.netloc.rpartition('@')[2]}")


def _shown(value: object) -> Any:  # noqa: ANN401 - what JSON can hold
    match value:
        case SecretStr():
            return "(given)" if value.get_secret_value() else ""
        case timedelta():
            return f"{value.total_seconds():g} s"
        case bool() | int() | None:
            return value
        case tuple():
            return list(value)
        case _:
            return without_password(str(value)) if "://" in str(value) else str(value)


def _text(value: object) -> str:
    match value:
        case None | "":
            return "(not set)"
        case bool():
            return str(value).lower()
        case list():
            return ", ".join(value) or "(none)"
        case _:
            return str(value)
