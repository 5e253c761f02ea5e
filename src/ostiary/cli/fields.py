"""What is given on the command line is checked by the rules of registration: the same code as on the wire."""

from __future__ import annotations

from typing import Any

from ostiary.cli.output import TroubleError
from ostiary.dialects.librechat.errors import FieldsRefused
from ostiary.dialects.librechat.schemas import NAME_RANGE, registration_fields
from ostiary.settings import Settings


def registration(settings: Settings, *, email: str, name: str, username: str | None, password: str) -> dict[str, Any]:
    """Name, username, e-mail and password as a registration would store them. Raises TroubleError with what breaks a rule."""
    email = email.strip()
    local = email.partition("@")[0]
    least, most = NAME_RANGE
    shown = name or (local if len(local) >= least else email)[:most]
    body = {"email": email, "name": shown, "username": username, "password": password, "confirm_password": password}
    try:
        return registration_fields(body, settings)
    except FieldsRefused as refusal:
        complaint = refusal.reason.partition(" confirm_password:")[0].removesuffix(".")
        text = f"That cannot be an account here: {complaint}."
        raise TroubleError(text) from refusal


def address(settings: Settings, email: str) -> str:
    """An e-mail address that could register. Raises TroubleError."""
    password = "x" * settings.passwords.min_length
    found: str = registration(settings, email=email, name="", username=None, password=password)["email"]
    return found
