"""Codes in forms, and fresh ones to show."""

from __future__ import annotations

from ostiary.identity import backup_codes
from ostiary.identity.accounts import Account
from ostiary.identity.factors import AnyCode
from ostiary.web.forms import Form

MOST = 64


def typed_in(form: Form) -> str:
    """The code, without blanks: people copy them in groups."""
    return "".join(form.text("code").split())[:MOST]


def proof_in(form: Form) -> AnyCode | None:
    """A code of the authenticator or a backup code; None without one."""
    code = typed_in(form)
    return AnyCode(code) if code else None


def fresh(account: Account) -> list[str]:
    """Backup codes in the form that the account's own clients have a field for."""
    return backup_codes.new_recovery_code() if account.provider == "key" else backup_codes.new_short_codes()
