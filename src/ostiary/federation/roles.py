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


def kinds(settings: OpenID) -> set[str]:
    """Which sources the settings read."""
    found: set[str] = set()
    if settings.required_role:
        found.add(settings.required_role_kind)
    if settings.admin_role:
        found.add(settings.admin_role_kind)
    if settings.role_sync:
        found.add(settings.role_sync_source)
    return found


def check_required(settings: OpenID, sources: Sources) -> None:
    """One of the required roles is there. Raises FederationRefused."""
    if not settings.required_role:
        return
    present = roles_at(sources, settings.required_role_kind, settings.required_role_path)
    if not present & set(settings.required_role):
        raise FederationRefused("role_missing")


def role_of(settings: OpenID, sources: Sources) -> str | None:
    """The role that the account shall have, or None when the provider has no say.

    The administrators' role decides alone where it is configured: who lost it there loses it here.
    """
    if settings.admin_role:
        found = value_at(sources.get(settings.admin_role_kind, {}), settings.admin_role_path)
        if found is True or settings.admin_role in _roles(found):
            return ADMIN
        return _synchronized(settings, sources) or USER
    return _synchronized(settings, sources)


def _synchronized(settings: OpenID, sources: Sources) -> str | None:
    if not settings.role_sync:
        return None
    present = roles_at(sources, settings.role_sync_source, settings.role_sync_claim)
    return next((role for role in settings.role_sync_priority if role in present), settings.role_sync_fallback or None)


def roles_at(sources: Sources, kind: str, path: str) -> set[str]:
    """The roles at a dotted path: a list, or a text split at blanks and commas; exact elements."""
    return _roles(value_at(sources.get(kind, {}), path))


def value_at(claims: Mapping[str, Any], path: str) -> object:
    """The value at a dotted path; a claim may have the whole path as its name."""
    if path in claims:
        return claims[path]
    value: object = claims
    for key in path.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _roles(value: object) -> set[str]:
    if isinstance(value, str):
        return set(filter(None, re.split(r"[\s,]+", value)))
    return {role for role in value if isinstance(role, str)} if isinstance(value, list) else set()
