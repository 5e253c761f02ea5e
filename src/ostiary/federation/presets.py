"""Providers as data. A new one is an entry here and its two or three settings; nothing else knows it by name."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from ostiary.federation.profiles import Profile, email_of, flag_of, full_name, picture_of, subject_of, text_of
from ostiary.settings.providers import OpenID

Claims = Mapping[str, Any]
_DISCORD_HASH = re.compile(r"(?:a_)?[0-9a-f]{32}")


class OAuth2Preset(msgspec.Struct, frozen=True):
    """An OAuth 2.0 provider without ID tokens: where it lives, what to ask for, how its profile reads."""

    name: str
    label: str
    issuer: str
    """What its users are stored under: never changes, whatever the endpoints do."""
    authorize_url: str
    token_url: str
    profile_url: str
    scope: str
    read: Callable[[Claims, list[Claims]], Profile]
    emails_url: str = ""
    """Where the addresses are, when the profile does not have them."""
    extra: Mapping[str, str] = msgspec.field(default_factory=dict)


class OpenIDPreset(msgspec.Struct, frozen=True):
    """An OpenID provider: everything else stands in its discovery document."""

    name: str
    label: str
    issuer: str
    scope: str
    read: Callable[[Claims], Profile]
    extra: Mapping[str, str] = msgspec.field(default_factory=dict)
    wants_userinfo: bool = False
    button: str = ""


def _google(claims: Claims) -> Profile:
    return Profile(
        subject_of(claims.get("sub")),
        email_of(claims.get("email")),
        flag_of(claims.get("email_verified")),
        full_name(claims) or text_of(claims.get("name")),
        text_of(claims.get("given_name")) or None,
        picture_of(claims.get("picture")),
    )


def _apple(claims: Claims) -> Profile:
    subject, email = subject_of(claims.get("sub")), email_of(claims.get("email"))
    username = text_of((email or "").partition("@")[0].lower()) or f"user_{subject}"[:80]
    return Profile(subject, email, flag_of(claims.get("email_verified")), full_name(claims), username)


def _github(user: Claims, emails: list[Claims]) -> Profile:
    primary = next((entry for entry in emails if entry.get("primary") is True), {})
    login = text_of(user.get("login"))
    return Profile(
        subject_of(user.get("id")),
        email_of(primary.get("email")),
        primary.get("verified") is True,
        text_of(user.get("name")) or login,
        login or None,
        picture_of(user.get("avatar_url")),
    )


def _discord(user: Claims, _emails: list[Claims]) -> Profile:
    username = text_of(user.get("username"))
    return Profile(
        subject_of(user.get("id")),
        email_of(user.get("email")),
        user.get("verified") is True,
        text_of(user.get("global_name")) or username,
        username or None,
        _discord_picture(user),
    )


def _discord_picture(user: Claims) -> str | None:
    number, picture = subject_of(user.get("id")), user.get("avatar")
    if isinstance(picture, str) and _DISCORD_HASH.fullmatch(picture):
        ending = "gif" if picture.startswith("a_") else "png"
        return picture_of(f"https://cdn.discordapp.com/avatars/{number}/{picture}.{ending}")
    discriminator = str(user.get("discriminator") or "0")
    index = int(discriminator) % 5 if discriminator.isdecimal() and len(discriminator) < 6 else 0  # noqa: PLR2004 - four digits
    return f"https://cdn.discordapp.com/embed/avatars/{index}.png"


def _facebook(user: Claims, _emails: list[Claims]) -> Profile:
    names = [text_of(user.get(key)) for key in ("first_name", "last_name")]
    shown = text_of(user.get("name"))
    picture = user.get("picture")
    data = picture.get("data") if isinstance(picture, dict) else None
    # Facebook says nothing of whether it verified the address (librechat-wire W-44), so it counts as not verified.
    return Profile(
        subject_of(user.get("id")),
        email_of(user.get("email")),
        is_email_verified=False,
        name=" ".join(name for name in names if name)[:80] or shown,
        username=shown or None,
        avatar=picture_of(data.get("url")) if isinstance(data, dict) else None,
    )


def openid(settings: OpenID, name: str) -> OpenIDPreset:
    """A provider that the operator describes (section 8.5)."""

    def read(claims: Claims) -> Profile:
        named = claims.get(settings.email_claim) if settings.email_claim else None
        candidates = (named, claims.get("email"), claims.get("preferred_username"), claims.get("upn"))
        email = next((found for value in candidates if (found := email_of(value))), None)
        # `email_verified` speaks of the claim `email`, and of no other.
        is_verified = email is not None and email == claims.get("email") and flag_of(claims.get("email_verified"))
        usernames = (settings.username_claim, "preferred_username", "username", "email")
        username = next((found for claim in usernames if (found := text_of(claims.get(claim)))), None)
        shown = text_of(claims.get(settings.name_claim)) if settings.name_claim else full_name(claims)
        return Profile(
            subject_of(claims.get("sub")),
            email,
            is_verified,
            shown or text_of(claims.get("name")) or username or "",
            username,
            picture_of(claims.get("picture")),
        )

    usual = "OpenID" if name == "openid" else name.title()
    # What LibreChat's client shows by default is no text of the operator's: our pages say it in the reader's language.
    button = "" if settings.label == f"Continue with {usual}" else settings.label
    return OpenIDPreset(name, settings.called, settings.issuer, settings.scope, read, wants_userinfo=True, button=button)


GOOGLE = OpenIDPreset("google", "Google", "https://accounts.google.com", "openid profile email", _google)
APPLE = OpenIDPreset(
    "apple", "Apple", "https://appleid.apple.com", "openid name email", _apple, extra={"response_mode": "form_post"}
)
GITHUB = OAuth2Preset(
    "github",
    "GitHub",
    "https://github.com",
    "https://github.com/login/oauth/authorize",
    "https://github.com/login/oauth/access_token",
    "https://api.github.com/user",
    "user:email read:user",
    _github,
    emails_url="https://api.github.com/user/emails",
)
DISCORD = OAuth2Preset(
    "discord",
    "Discord",
    "https://discord.com",
    "https://discord.com/api/oauth2/authorize",
    "https://discord.com/api/oauth2/token",
    "https://discord.com/api/users/@me",
    "identify email",
    _discord,
    extra={"prompt": "none"},
)
FACEBOOK = OAuth2Preset(
    "facebook",
    "Facebook",
    "https://www.facebook.com",
    "https://www.facebook.com/v21.0/dialog/oauth",
    "https://graph.facebook.com/v21.0/oauth/access_token",
    "https://graph.facebook.com/v21.0/me?fields=id,email,name,first_name,last_name,picture.type(large)",
    "public_profile email",
    _facebook,
)


def github_enterprise(base: str) -> OAuth2Preset:
    """GitHub as a company runs it for itself (librechat-wire 8.1)."""
    api = f"{base}/api/v3/user"
    authorize, token = f"{base}/login/oauth/authorize", f"{base}/login/oauth/access_token"
    return OAuth2Preset("github", "GitHub", base, authorize, token, api, GITHUB.scope, _github, emails_url=f"{api}/emails")
