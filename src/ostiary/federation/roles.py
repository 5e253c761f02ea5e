"""Roles that a provider's claims give or demand (librechat-wire 8.5), read from verified tokens and userinfo alone (W-46)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ostiary.identity.accounts import ADMIN, USER
from ostiary.identity.refusals import FederationRefused
from ostiary.settings.providers import OpenID

Sources = Mapping[str, Mapping[str, Any]]
"""`id`, `access`, `userinfo` → its claims."""
UNKNOWN = object()
"""In place of a claim that is known to be there, and could not be had: it neither gives nor takes a role."""


def readings(settings: OpenID) -> set[tuple[str, str]]:
    """Which sources the settings read, and where in them."""
    found: set[tuple[str, str]] = set()
    if settings.required_role:
        found.add((settings.required_role_kind, settings.required_role_path))
    if settings.admin_role:
        found.add((settings.admin_role_kind, settings.admin_role_path))
    if settings.role_sync:
        found.add((settings.role_sync_source, settings.role_sync_claim))
    return found


def check_required(settings: OpenID, sources: Sources) -> None:
    """One of the required roles is there. Raises FederationRefused."""
    if not settings.required_role:
        return
    found = value_at(sources.get(settings.required_role_kind, {}), settings.required_role_path)
    if found is UNKNOWN:
        raise FederationRefused("groups_unknown")
    if not _roles(found) & set(settings.required_role):
        raise FederationRefused("role_missing")


def role_of(settings: OpenID, sources: Sources) -> str | None:
    """The role that the account shall have, or None when the provider has no say.

    The administrators' role decides alone where it is configured: who lost it there loses it here.
    """
    if settings.admin_role:
        found = value_at(sources.get(settings.admin_role_kind, {}), settings.admin_role_path)
        if found is UNKNOWN:
            return None
        if found is True or settings.admin_role in _roles(found):
            return ADMIN
        return synchronized(settings, sources) or USER
    return synchronized(settings, sources)


def synchronized(settings: OpenID, sources: Sources) -> str | None:
    """The role of OPENID_ROLE_SYNC_…, or None when it has no say."""
    if not settings.role_sync:
        return None
    found = value_at(sources.get(settings.role_sync_source, {}), settings.role_sync_claim)
    if found is UNKNOWN:
        return None
    present = _roles(found)
    return next((role for role in settings.role_sync_priority if role in present), settings.role_sync_fallback or None)


def value_at(claims: Mapping[str, Any], path: str) -> object:
    """The value at a dotted path; a claim may have the whole path as its name."""
    if path in claims:
        return claims[path]
    value: object = claims
    for key in path.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _roles(value: object) -> set[str]:
    """A list, or a text split at blanks and commas; exact elements."""
    if isinstance(value, str):
        return set(filter(None, re.split(r"[\s,]+", value)))
    return {role for role in value if isinstance(role, str)} if isinstance(value, list) else set()
