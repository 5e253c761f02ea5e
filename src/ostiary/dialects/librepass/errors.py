"""LibrePass's words: one table from refusals to answers (librepass-wire 3). Clients branch on `error` alone."""

from __future__ import annotations

import msgspec
from starlette.responses import Response

from ostiary.http.calls import Call, Header, json_response, limit_headers
from ostiary.identity import refusals
from ostiary.identity.refusals import Refusal, Throttled

INVALID_BODY = "LP-Invalid-Body"
DATABASE_ERROR = "LP-Database-Error"

UNREADABLE = "not readable"
SYNTAX = "json syntax error"
MISSING = "missing parameter"
INVALID = "validation error"
MISMATCH = "argument type mismatch"
GRANT = "invalid grant_type"
VERIFIED = "email is already verified"


class BodyRefused(Refusal):
    """The request breaks a rule of form; `reason` is the message that the wire gives (librepass-wire 2)."""

    code = "body_refused"


class MediaTypeRefused(Refusal):
    """The body does not claim to be JSON."""

    code = "media_type_refused"


class BearerRefused(Refusal):
    """No key, or one that opens nothing: unknown, ended, or still owing a factor."""

    code = "bearer_refused"


class NothingThere(Refusal):
    """Something that a path names does not exist."""

    code = "nothing_there"


class PrefetchRefused(Refusal):
    """A browser fetches ahead; nobody has opened the link."""

    code = "prefetch_refused"


class Words(msgspec.Struct, frozen=True):
    """The wire's code, the status, and a message where the wire has one."""

    error: str
    status: int = 400
    message: str = ""


_SECRET = Words("LP-Invalid-Shared-Secret")
_FACTOR = Words("LP-Invalid-Two-Factor")
_TOKEN = Words("LP-Invalid-Token", 401)
_USER_GONE = Words("LP-User-404", 404)
_FORM = Words(INVALID_BODY, 400, INVALID)

TABLE: dict[type[Refusal], Words] = {
    BodyRefused: Words(INVALID_BODY),
    MediaTypeRefused: Words(INVALID_BODY, 415, "unsupported media type"),
    BearerRefused: _TOKEN,
    NothingThere: Words("LP-404", 404),
    PrefetchRefused: Words("LP-Forbidden", 403, "links are for opening, not for fetching ahead"),
    refusals.ProofRefused: _SECRET,
    refusals.KeyRefused: _SECRET,
    refusals.ParametersRefused: _FORM,
    refusals.AddressInvalid: _FORM,
    refusals.SecretWeak: _FORM,
    refusals.CodeRefused: _FACTOR,
    refusals.CodeMissing: _FACTOR,
    refusals.FactorAbsent: _FACTOR,
    refusals.FactorUnreadable: _FACTOR,
    refusals.FactorLocked: Words("LP-Invalid-Two-Factor", 400, "locked after too many wrong codes"),
    refusals.ChallengeGone: _TOKEN,
    refusals.SessionGone: _TOKEN,
    refusals.AddressUnverified: Words("LP-Email-Not-Verified", 401),
    refusals.LinkRefused: Words("LP-Email-Invalid-Code"),
    refusals.AccountGone: _USER_GONE,
    refusals.AddressTaken: Words("LP-Duplicated", 400, "database: duplicate key"),
    refusals.RowsMismatched: Words("LP-Missing-Cipher"),
    refusals.RowRefused: Words("LP-Invalid-Cipher", 400, "validation failed"),
    refusals.RowLimitReached: Words("LP-Invalid-Cipher", 400, "current ciphers limit per user is {limit}"),
    refusals.RowGone: Words("LP-Cipher-404", 404),
    refusals.CollectionGone: Words("LP-Collection-404", 404),
    refusals.CollectionRefused: Words("LP-Invalid-Collection"),
    refusals.Banned: Words("LP-Forbidden", 403, "shut out"),
    refusals.RegistrationClosed: Words("LP-Forbidden", 403, "registration is closed"),
    refusals.DomainRefused: Words("LP-Forbidden", 403, "addresses of that domain are not accepted"),
    refusals.DeletionClosed: Words("LP-Forbidden", 403, "deleting accounts is switched off"),
    refusals.MethodClosed: Words("LP-Forbidden", 403, "this way in is switched off"),
    refusals.Busy: Words("LP-Unavailable", 503, "busy"),
    Refusal: Words(INVALID_BODY, 400, "refused"),
}
"""`LP-Forbidden` and `LP-Unavailable` are ours: the original has no such situations."""

_SPOKEN = (BodyRefused, refusals.CollectionRefused)
"""Refusals whose reason is the message."""
_REVEALING = {"unknown_account", "no_key"}


def answer(call: Call, refusal: Refusal) -> Response:
    """The answer for a refusal."""
    if isinstance(refusal, Throttled):
        return error("LP-RateLimit", 429, headers=limit_headers(refusal.taken))
    words = _words(call, refusal)
    message = refusal.reason if isinstance(refusal, _SPOKEN) else words.message
    if isinstance(refusal, refusals.RowLimitReached):
        message = message.format(limit=call.settings.librepass.max_ciphers)
    headers: list[Header] = [(b"retry-after", b"%d" % refusal.retry_after)] if isinstance(refusal, refusals.Busy) else []
    return error(words.error, words.status, message, headers)


def error(code: str, status: int, message: str = "", headers: list[Header] | None = None) -> Response:
    """`{"error":…,"status":…[,"message":…]}`: real clients crash on anything else (librepass-wire 2)."""
    body: dict[str, str | int] = {"error": code, "status": status}
    if message:
        body["message"] = message
    return json_response(body, status, headers or ())


def _words(call: Call, refusal: Refusal) -> Words:
    is_stranger = isinstance(refusal, refusals.ProofRefused) and refusal.reason in _REVEALING
    if is_stranger and call.settings.policy.reveal_accounts:
        return _USER_GONE
    return next(TABLE[kind] for kind in type(refusal).__mro__ if kind in TABLE)
