"""LibreChat's words: one table from refusals to answers. Each text stands here, once (librechat-wire 5, 15)."""

from __future__ import annotations

import msgspec
from starlette.responses import Response

from ostiary.http.calls import Call, Header, json_response, text_response
from ostiary.identity import refusals
from ostiary.identity.refusals import Refusal, Throttled


class BearerRefused(Refusal):
    """The access token does not open this door; `reason` is the text that the wire gives (librechat-wire 1.3)."""

    code = "bearer_refused"


class FieldsRefused(Refusal):
    """Fields break rules; `reason` is the joined texts (librechat-wire 5.3.1)."""

    code = "fields_refused"


class TokenMissing(Refusal):
    """No temporary token was sent."""

    code = "token_missing"


class CredentialsMissing(Refusal):
    """No e-mail or no password was sent."""

    code = "credentials_missing"


class CredentialsMixed(Refusal):
    """A registration with a password and a key: nobody guesses which account is meant (contract, "Both wires on one origin")."""

    code = "credentials_mixed"


class ForeignOrigin(Refusal):
    """A page of another site asked for something that cookies would answer."""

    code = "foreign_origin"


class RefreshMalformed(Refusal):
    """The refresh cookie holds nothing that was ever a refresh token of this server, or it has expired."""

    code = "refresh_malformed"


class OpenIDRefreshRefused(Refusal):
    """The provider's tokens cannot be renewed for this browser."""

    code = "openid_refresh_refused"


class AdminOnly(Refusal):
    """Only administrators may."""

    code = "admin_only"


class Words(msgspec.Struct, frozen=True):
    """Status and text. Without a text the refusal's own reason is the text. `is_plain` answers text instead of JSON."""

    status: int
    text: str | None = None
    is_plain: bool = False


TABLE: dict[type[Refusal], Words] = {
    BearerRefused: Words(401),
    FieldsRefused: Words(404),
    TokenMissing: Words(400, "Missing temporary token"),
    CredentialsMissing: Words(404, "Missing credentials"),
    CredentialsMixed: Words(400, "A registration has a password or a key, not both."),
    ForeignOrigin: Words(403, "Requests from other sites are not accepted."),
    RefreshMalformed: Words(403, "Invalid refresh token", is_plain=True),
    OpenIDRefreshRefused: Words(403, "Invalid OpenID refresh token", is_plain=True),
    AdminOnly: Words(403, "Forbidden"),
    refusals.ProofRefused: Words(404, "Invalid credentials"),
    refusals.DirectoryRefused: Words(404, "Invalid username/password"),
    refusals.GroupRefused: Words(404, "Your account is not in a group that may sign in here."),
    refusals.DirectoryUnavailable: Words(500, "An unknown error occurred.", is_plain=True),
    refusals.MethodClosed: Words(403, "Email login is not allowed."),
    refusals.AddressUnverified: Words(422, "Email not verified."),
    refusals.Banned: Words(403, "Your account has been temporarily banned due to violations of our service."),
    refusals.Busy: Words(503, "The server is busy, please try again in a moment."),
    refusals.CodeRefused: Words(401, "Invalid token or backup code"),
    refusals.FactorUnreadable: Words(400, "2FA secret is missing or corrupted"),
    refusals.FactorLocked: Words(429, "Too many verification attempts. Use a password reset or ask your administrator."),
    refusals.ChallengeGone: Words(401, "Invalid or expired temporary token"),
    refusals.SessionGone: Words(401, "Unauthorized"),
    refusals.AccountGone: Words(404, "User not found"),
    refusals.RegistrationClosed: Words(403, "Registration is not allowed."),
    refusals.InvitationRefused: Words(400, "Invalid invite token"),
    refusals.DomainRefused: Words(403, "The email address provided cannot be used. Please use a different email address."),
    refusals.ResetClosed: Words(403, "Password reset is not allowed.", is_plain=True),
    refusals.FederationRefused: Words(400, "auth_failed"),
    refusals.LastWayIn: Words(409, "Nothing else would let you in: set a password, or link another way first."),
    refusals.DeletionClosed: Words(403, "You do not have permission to delete this account"),
    Refusal: Words(400, "Request refused"),
}

_RESET = "/api/auth/resetPassword"
_VERIFY = "/api/user/verify"
_FACTOR = "/api/auth/2fa"

TABLE_AT: dict[str, dict[type[Refusal], Words]] = {
    "/api/auth/login": {
        # Only a directory brings these here. Nobody is told that an address is somebody else's (W-49).
        refusals.FederationRefused: TABLE[refusals.DirectoryRefused],
        refusals.DomainRefused: Words(404, "Email domain not allowed"),
    },
    "/api/auth/refresh": {
        refusals.SessionGone: Words(401, "Refresh token expired or not found for this user", is_plain=True),
    },
    "/api/auth/refresh?retry": {refusals.SessionGone: Words(403, "No session found", is_plain=True)},
    _RESET: {
        refusals.LinkRefused: Words(400, "Invalid or expired password reset token"),
        FieldsRefused: Words(400),
    },
    "/api/auth/endSession": {refusals.LinkRefused: Words(400, "Invalid or expired link")},
    _VERIFY: {refusals.LinkRefused: Words(400, "Invalid or expired email verification token")},
    f"{_FACTOR}/enable": {
        refusals.CodeMissing: Words(400, "TOTP token or backup code is required to re-enroll 2FA"),
    },
    f"{_FACTOR}/verify": {
        refusals.FactorAbsent: Words(400, "2FA not initiated"),
        refusals.CodeRefused: Words(400, "Invalid token or backup code."),
    },
    f"{_FACTOR}/confirm": {
        refusals.FactorAbsent: Words(400, "2FA not initiated"),
        refusals.CodeRefused: Words(400, "Invalid token."),
    },
    f"{_FACTOR}/disable": {
        refusals.FactorAbsent: Words(400, "2FA is not setup for this user"),
        refusals.CodeMissing: Words(400, "Either token or backup code is required to disable 2FA"),
    },
    f"{_FACTOR}/backup/regenerate": {
        refusals.CodeMissing: Words(400, "TOTP token or backup code is required to regenerate backup codes"),
    },
    f"{_FACTOR}/verify-temp": {
        refusals.FactorAbsent: Words(400, "2FA is not enabled for this user"),
        refusals.CodeRefused: Words(401, "Invalid 2FA code or backup code"),
    },
    "/api/user/delete": {
        refusals.CodeMissing: Words(400, "TOTP token or backup code is required to delete account with 2FA enabled"),
    },
}

NO_SUCH_SESSION = "Session not found"
SESSION_ENDED = "Session ended"

REVEALING: dict[str, str] = {
    "unknown_account": "Email does not exist.",
    "no_password": "Email does not exist.",
    "mismatch": "Incorrect password.",
}
"""With OSTIARY_REVEAL_ACCOUNTS the original's two texts (librechat-wire 5.1)."""

DIRECTORY: dict[str, str] = {
    "not_at_this_time": "Not Permitted to login at this time",
    "not_at_this_workstation": "Not permited to logon at this workstation",
    "password_expired": "Password expired",
    "account_disabled": "Account disabled",
    "account_expired": "Account expired",
    "password_must_change": "User must reset password",
    "account_locked": "User account locked",
    "bad_search_base": "Bad search base",
    "retry_limit": "Exceeded password retry limit, account locked",
}
"""What a directory says beyond no (librechat-wire 9, its spelling kept)."""

LIMITED: dict[str, str] = {
    "login.address": "Too many login attempts, please try again after {minutes} minutes.",
    "login.device": "Too many login attempts, please try again after {minutes} minutes.",
    "login.network": "Too many login attempts, please try again after {minutes} minutes.",
    "login.server": "Too many login attempts, please try again after {minutes} minutes.",
    "login.newcomers": "Too many login attempts, please try again after {minutes} minutes.",
    "lockout.account": "Too many login attempts, please try again after {minutes} minutes.",
    "lockout.address": "Too many login attempts, please try again after {minutes} minutes.",
    "lockout.device": "Too many login attempts, please try again after {minutes} minutes.",
    "register.address": "Too many accounts created, please try again after {minutes} minutes",
    "register.network": "Too many accounts created, please try again after {minutes} minutes",
    "register.server": "Too many accounts created, please try again after {minutes} minutes",
    "register.newcomers": "Too many accounts created, please try again after {minutes} minutes",
    "factor.address": "Too many verification attempts, please try again after {minutes} minutes.",
    "factor.device": "Too many verification attempts, please try again after {minutes} minutes.",
    "factor.challenge": "Too many verification attempts, please try again after {minutes} minutes.",
    "factor.account": "Too many verification attempts, please try again after {minutes} minutes.",
}
LIMITED_OTHERWISE = "Too many attempts, please try again after {minutes} minute(s)"


def answer(call: Call, refusal: Refusal) -> Response:
    """The answer for a refusal at this path."""
    if isinstance(refusal, Throttled):
        return _limited(call, refusal)
    words = _words(call, refusal)
    text = words.text if words.text is not None else refusal.reason
    if isinstance(refusal, refusals.DirectoryRefused):
        text = DIRECTORY.get(refusal.reason, text)
    elif isinstance(refusal, refusals.ProofRefused) and call.settings.policy.reveal_accounts:
        text = REVEALING.get(refusal.reason, text)
    headers: list[Header] = [(b"retry-after", b"%d" % refusal.retry_after)] if isinstance(refusal, refusals.Busy) else []
    return text_response(text, words.status) if words.is_plain else json_response({"message": text}, words.status, headers)


def _words(call: Call, refusal: Refusal) -> Words:
    retry = "?retry" if call.path == "/api/auth/refresh" and call.query("retry") else ""
    here = TABLE_AT.get(call.path + retry, {})
    for kind in type(refusal).__mro__:
        if found := here.get(kind) or TABLE.get(kind):
            return found
    return TABLE[Refusal]


def _limited(call: Call, refusal: Throttled) -> Response:
    taken = refusal.taken
    # A bucket has the next one long before its period is over.
    minutes = taken.rule.period / 60_000_000 if taken.rule.kind == "window" else -(-taken.retry_after // 60)
    shown = int(minutes) if minutes == int(minutes) else round(minutes, 2)
    text = LIMITED.get(taken.rule.name, LIMITED_OTHERWISE).format(minutes=shown)
    call.show_limit(taken)
    return json_response({"message": text}, 429)
