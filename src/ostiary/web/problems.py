"""What goes wrong, as a page: for every refusal a status and a text, and the time left where there is one."""

from __future__ import annotations

from collections.abc import Iterable

from starlette.responses import Response

from ostiary.http.calls import Call, Header
from ostiary.identity import refusals
from ostiary.identity.context import MICROSECONDS
from ostiary.identity.refusals import Refusal, Throttled
from ostiary.web import messages, visitors
from ostiary.web.forms import FormRefused
from ostiary.web.rendering import page, see

STATUS: dict[type[Refusal], int] = {
    FormRefused: 403,
    refusals.Banned: 403,
    refusals.MethodClosed: 403,
    refusals.RegistrationClosed: 403,
    refusals.ResetClosed: 403,
    refusals.DeletionClosed: 403,
    refusals.DomainRefused: 403,
    refusals.LinkRefused: 410,
    refusals.InvitationRefused: 410,
    refusals.AccountGone: 404,
    refusals.FactorLocked: 429,
    refusals.Busy: 503,
    refusals.DirectoryUnavailable: 503,
}
"""Anything else is 422: a form that does not hold together."""
ANOTHER_LINK = {"/reset-password": "/forgot-password", "/verify": "/check-mail", "/api/auth/verifyEmail": "/check-mail"}
"""Where one gets another link in place of one that is no longer good."""
_MINUTE = 60
_HOUR = 3600


def refused(call: Call, refusal: Refusal) -> Response:
    """The page for a refusal that no page of its own answers."""
    if isinstance(refusal, visitors.SignInNeeded):
        return see(visitors.sign_in_path(call))
    if isinstance(refusal, visitors.TermsOwed):
        return see(visitors.TERMS)
    if isinstance(refusal, Throttled):
        return limited(call, refusal)
    if isinstance(refusal, refusals.Banned):
        return _banned(call, refusal)
    status = next((STATUS[kind] for kind in type(refusal).__mro__ if kind in STATUS), 422)
    headers: list[Header] = [(b"retry-after", b"%d" % refusal.retry_after)] if isinstance(refusal, refusals.Busy) else []
    another = ANOTHER_LINK.get(call.path, "") if isinstance(refusal, refusals.LinkRefused) else ""
    return problem(call, status, f"refused.{refusal.code}", headers, another=another)


def problem(
    call: Call, status: int, key: str, headers: Iterable[Header] = (), *, time_left: str = "", another: str = ""
) -> Response:
    """A page with a title and a text of the catalogue (`key.title`, `key.text`), else the general ones."""
    texts = messages.of(call)
    title = texts.get(f"{key}.title", "refused.otherwise.title")
    text = texts.get(f"{key}.text", "refused.otherwise.text")
    return page(call, "problem.html", status, headers, heading=title, text=text, time_left=time_left, another=another)


def words(call: Call, refusal: Refusal) -> tuple[int, str]:
    """The status and the text of a refusal, for a page's own script."""
    texts = messages.of(call)
    if isinstance(refusal, visitors.SignInNeeded):
        return 401, texts("refused.form_refused.text")
    if isinstance(refusal, Throttled):
        left = texts("refused.time_left", time=duration(texts, refusal.taken.retry_after))
        return 429, f"{texts('refused.throttled.text')} {left}"
    status = next((STATUS[kind] for kind in type(refusal).__mro__ if kind in STATUS), 422)
    return status, texts.get(f"refused.{refusal.code}.text", "refused.otherwise.text")


def limited(call: Call, refusal: Throttled) -> Response:
    """Too often, or locked: when it opens again."""
    call.show_limit(refusal.taken)
    left = duration(messages.of(call), refusal.taken.retry_after)
    kind = "locked_out" if isinstance(refusal, refusals.LockedOut) else "throttled"
    return problem(call, 429, f"refused.{kind}", time_left=left)


def _banned(call: Call, refusal: refusals.Banned) -> Response:
    left = duration(messages.of(call), (refusal.until - call.services.clock()) // MICROSECONDS) if refusal.until else ""
    kind = "banned_account" if refusal.reason == "account" else "banned"
    return problem(call, 403, f"refused.{kind}", time_left=left)


def duration(texts: messages.Catalogue, seconds: int) -> str:
    """So long, in the words of the language; rounded up."""
    if seconds < _MINUTE:
        return texts("time.seconds", count=max(1, seconds))
    if seconds <= 2 * _HOUR:
        return texts("time.minutes", count=-(-seconds // _MINUTE))
    return texts("time.hours", count=-(-seconds // _HOUR))
