"""Who is here, and how they came in: a page's session is an ordinary one, shown by an opaque token in a cookie."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple
from urllib.parse import quote

from starlette.responses import Response

from ostiary.crypto.tokens import random_hex
from ostiary.http import cookies
from ostiary.http.calls import Call, Header
from ostiary.identity import challenges, devices, sessions
from ostiary.identity.context import Context
from ostiary.identity.refusals import Refusal
from ostiary.identity.sessions import BROWSER, Principal, SessionRequest
from ostiary.identity.sign_in import FactorRequired, SignedIn, Ticket
from ostiary.web.rendering import see

HOME = "/account"
LOGIN = "/login"
FACTOR = "/login/2fa"
TERMS = "/terms"
BACK = "redirect_to"
_BACK_TO = frozenset({HOME, TERMS})


class SignInNeeded(Refusal):
    """Nobody is signed in at this browser."""

    code = "sign_in_needed"


class TermsOwed(Refusal):
    """The owner has not accepted the present terms."""

    code = "terms_owed"


class Visit(NamedTuple):
    """The secrets of one sign-in: what the browser will show if it comes to a session, and what if a factor is owed."""

    token: str
    secret: str

    @classmethod
    def new(cls) -> Visit:
        """Fresh ones: no browser brings its own, so nobody can plant one (session fixation)."""
        return cls(random_hex(), random_hex())

    def ticket(self, call: Call) -> Ticket:
        """A browser's session with this token, or a challenge under this secret."""
        return Ticket(
            SessionRequest(kind=BROWSER, token_hash=sessions.page_hash(call.services, self.token)),
            challenges.browser_hash(call.services, call.client, self.secret),
        )


async def visitor(call: Call, ctx: Context) -> Principal | None:
    """Who acts, if anybody is signed in here."""
    token = cookies.read(call, cookies.SESSION)
    return await sessions.by_page_token(ctx, sessions.page_hash(ctx.services, token)) if token else None


async def owner(call: Call, ctx: Context, *, may_owe_terms: bool = False) -> Principal:
    """Who acts. Raises SignInNeeded and TermsOwed, which send the browser there and back."""
    found = await visitor(call, ctx)
    if found is None:
        raise SignInNeeded
    version = ctx.settings.policy.terms_version
    if version and not may_owe_terms and not found.account.has_accepted(version):
        raise TermsOwed
    return found


async def leave(call: Call, ctx: Context) -> None:
    """End the session that this browser had before it signed in again: nobody would ever end it."""
    before = await visitor(call, ctx)
    if before is not None:
        await sessions.end(ctx, before.session)


def entered(
    call: Call,
    ctx: Context,
    outcome: SignedIn | FactorRequired,
    visit: Visit,
    back: str = HOME,
    headers: Iterable[Header] = (),
) -> Response:
    """On to where they wanted to be, or to the page that asks for the factor."""
    if isinstance(outcome, FactorRequired):
        return see(f"{FACTOR}{_query(back)}", [cookies.challenge(call, visit.secret), *headers])
    return see(back, [*signed_in_cookies(call, ctx, outcome, visit.token), *headers])


def signed_in_cookies(call: Call, ctx: Context, outcome: SignedIn, token: str) -> list[Header]:
    """The session's cookie for as long as it lives, and the mark of a known device."""
    return [
        cookies.session(call, token, outcome.session.expires_at - ctx.now),
        cookies.dropped(call, cookies.CHALLENGE),
        cookies.device(call, devices.remember(ctx, outcome.account.id)),
    ]


def sign_in_path(call: Call) -> str:
    """The sign-in page that leads back to this one."""
    return f"{LOGIN}{_query(call.path)}"


def way_back(call: Call) -> str:
    """Where a sign-in leads: a page of ours that asked for it, else home. An address of the request is never followed."""
    wanted = call.query(BACK)
    return wanted if wanted in _BACK_TO else HOME


def back_query(call: Call) -> str:
    """The query that keeps `way_back` from one step of a sign-in to the next."""
    return _query(way_back(call))


def _query(back: str) -> str:
    return f"?{BACK}={quote(back, safe='')}" if back in _BACK_TO and back != HOME else ""
