"""What the sign-in screens read: `/api/config`, `/api/banner`, `/api/roles/:name` (librechat-wire 7)."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from ostiary.dialects.librechat import deps
from ostiary.http.calls import Call, json_response, raw_response
from ostiary.identity.accounts import ADMIN, USER, Account
from ostiary.settings import Settings

JSON = b"application/json; charset=utf-8"
SOCIAL_LOGINS = ("google", "facebook", "openid", "github", "discord", "saml")

_USE = {"USE": True}
_SHARED = {"USE": True, "CREATE": True, "SHARE": False, "SHARE_PUBLIC": False}
USER_PERMISSIONS: dict[str, dict[str, bool]] = {
    "PROMPTS": _SHARED,
    "BOOKMARKS": _USE,
    "MEMORIES": {"USE": True, "CREATE": True, "UPDATE": True, "READ": True, "OPT_OUT": True},
    "AGENTS": _SHARED,
    "MULTI_CONVO": _USE,
    "TEMPORARY_CHAT": _USE,
    "RUN_CODE": _USE,
    "WEB_SEARCH": _USE,
    "FILE_SEARCH": _USE,
    "FILE_CITATIONS": _USE,
    "PEOPLE_PICKER": {"VIEW_USERS": False, "VIEW_GROUPS": False, "VIEW_ROLES": False},
    "MARKETPLACE": {"USE": False},
    "MCP_SERVERS": {"USE": True, "CREATE": False, "SHARE": False, "SHARE_PUBLIC": False, "CONFIGURE_OBO": False},
    "REMOTE_AGENTS": {"USE": False, "CREATE": False, "SHARE": False, "SHARE_PUBLIC": False},
    "SKILLS": _SHARED,
    "SHARED_LINKS": {"CREATE": True, "SHARE": True, "SHARE_PUBLIC": True},
}
ADMIN_PERMISSIONS = {subject: dict.fromkeys(actions, True) for subject, actions in USER_PERMISSIONS.items()}


def title(settings: Settings) -> str:
    """APP_TITLE, or the name that this wire's clients expect (section 14)."""
    return settings.server.app_title or "LibreChat"


async def config(call: Call) -> Response:
    """Section 7.1: a stale bearer is nobody, never a 401."""
    async with call.begin() as ctx:
        who = await deps.optional_principal(call, ctx)
    return json_response(_anonymous(call.settings) | (_signed_in(call.settings, who.account) if who else {}))


def _anonymous(settings: Settings) -> dict[str, Any]:
    policy = settings.policy
    fields: dict[str, Any] = {
        "appTitle": title(settings),
        "discordLoginEnabled": settings.discord.is_configured,
        "facebookLoginEnabled": settings.facebook.is_configured,
        "githubLoginEnabled": settings.github.is_configured,
        "googleLoginEnabled": settings.google.is_configured,
        "appleLoginEnabled": settings.apple.is_configured,
        "openidLoginEnabled": settings.openid.is_configured,
        "openidLabel": settings.openid.label,
        "openidAutoRedirect": settings.openid.auto_redirect,
        # The original hides this button where OpenID has one; the routes work all the same.
        "samlLoginEnabled": settings.saml.is_configured and not settings.openid.is_configured,
        "serverDomain": settings.server.public_server_url,
        "emailLoginEnabled": policy.allow_email_login,
        "registrationEnabled": policy.allow_registration and not settings.directory.is_configured,
        "socialLoginEnabled": policy.allow_social_login,
        "emailEnabled": settings.mail.is_configured,
        "passwordResetEnabled": policy.allow_password_reset,
        # The client keeps shorter ones from being sent; a directory's rules are its own.
        "minPasswordLength": 1 if settings.directory.is_configured else settings.passwords.min_length,
        "ldap": _ldap(settings),
        "socialLogins": list(SOCIAL_LOGINS),
        "turnstile": {},
    }
    shown = {
        "openidImageUrl": settings.openid.image_url,
        "samlLabel": settings.saml.button_label,
        "samlImageUrl": settings.saml.image_url,
        "openidProviders": _further_providers(settings),
    }
    fields |= {name: value for name, value in shown.items() if value}
    interface = _interface(settings)
    return fields | ({"interface": interface} if interface else {})


def _further_providers(settings: Settings) -> list[dict[str, str]]:
    """Ours: OpenID providers beside the one that the client knows; `/oauth/<name>` begins a sign-in there."""
    return [
        {"name": name, "label": group.label, "imageUrl": group.image_url}
        for name, group in settings.openid_others.items()
        if group.is_configured
    ]


def _ldap(settings: Settings) -> dict[str, bool]:
    directory = settings.directory
    if not directory.is_configured:
        return {"enabled": False}
    return {"enabled": True} | ({"username": True} if directory.shows_username else {})


def _interface(settings: Settings) -> dict[str, Any]:
    policy = settings.policy
    interface: dict[str, Any] = {}
    if policy.privacy_url:
        interface["privacyPolicy"] = {"externalUrl": policy.privacy_url, "openNewTab": True}
    if policy.terms_url or policy.terms_version:
        interface["termsOfService"] = {
            "externalUrl": policy.terms_url,
            "openNewTab": True,
            "modalAcceptance": bool(policy.terms_version),
            "modalTitle": f"Terms of Service for {title(settings)}",
            "modalContent": policy.terms_url,
        }
    return interface


def _signed_in(settings: Settings, account: Account) -> dict[str, Any]:
    return {
        "showBirthdayIcon": False,
        "helpAndFaqURL": "https://librechat.ai",
        "sharedLinksEnabled": False,
        "publicSharedLinksEnabled": False,
        "openidReuseTokens": settings.openid.reuse_tokens,
        "allowAccountDeletion": settings.policy.allow_account_deletion or account.role == ADMIN,
    }


async def banner(call: Call) -> Response:
    """Section 7.2: the operator's banner, or an empty body."""
    text = call.settings.policy.banner
    if not text:
        return raw_response(b"", JSON)
    return json_response(
        {
            "bannerId": "ostiary",
            "message": text,
            "displayFrom": "1970-01-01T00:00:00.000Z",
            "type": "banner",
            "isPublic": True,
        }
    )


async def role(call: Call) -> Response:
    """Section 7.3: USER for everyone, others for those who have them."""
    name = call.path_params["name"]
    async with call.begin() as ctx:
        account = (await deps.principal(call, ctx)).account
    if name not in {USER, account.role} and account.role != ADMIN:
        return json_response({"message": "Unauthorized"}, 403)
    permissions = {USER: USER_PERMISSIONS, ADMIN: ADMIN_PERMISSIONS}.get(name)
    if permissions is None and name != account.role:
        return json_response({"message": "Role not found"}, 404)
    return json_response({"name": name, "permissions": permissions or USER_PERMISSIONS})
