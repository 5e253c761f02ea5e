"""`/oauth`: to a provider and back (librechat-wire 8, 16.7), and the page's `/api/auth/<provider>` (section 15, row 18).

Every failure is a redirect that the client understands, with no word of the reason: that is in the audit. A ban answers 403.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import parse_qsl

from starlette.responses import Response

from ostiary.crypto.tokens import random_hex
from ostiary.dialects.librechat import pictures, reuse, tokens
from ostiary.dialects.librechat.auth import ticket
from ostiary.federation import flows
from ostiary.federation.flows import UNSOLICITED, Flow, new_flow
from ostiary.federation.providers import RedirectProvider, callback_url
from ostiary.http import cookies
from ostiary.http.calls import Call, Header, MalformedBodyError, raw_response, redirect
from ostiary.identity import arrivals, asks, audit, bans, devices, federated, provider_sessions, sessions, throttle
from ostiary.identity.challenges import LIFE as CHALLENGE_LIFE
from ostiary.identity.context import Context
from ostiary.identity.federated import Assertion
from ostiary.identity.refusals import AddressUnverified, Banned, FederationRefused, Refusal
from ostiary.identity.sign_in import FactorRequired, SignedIn, Ticket
from ostiary.storage.database import UnavailableError

PROVIDERS = ("google", "facebook", "github", "discord", "apple", "openid", "saml")
POSTED = ("apple", "saml")
"""Those whose answer is a form that the browser posts across sites."""
FLOW_COOKIE = "ostiary_flow"
COOKIE_PATH = "/oauth"
ADMIN_PATH = "/api/admin/oauth"
SESSION = "session"
"""In a flow's memory: the session of the owner who is linking."""
TRIES = 4


def failure_url(call: Call) -> str:
    """Where the client shows that a sign-in elsewhere did not work (16.7)."""
    return f"{call.settings.server.public_client_url}/login?redirect=false&error=auth_failed"


async def start(call: Call) -> Response:
    """Send the browser to the provider, with a flow that only this browser can finish."""
    name = _name(call)
    try:
        url, cookie = await begin_flow(call, name)
    except Banned:
        raise
    except Refusal:
        return redirect(failure_url(call))
    return moved(url, [cookie], start_status(call, name))


async def callback(call: Call) -> Response:
    """The browser is back: let it in, or send it to the sign-in page."""
    name = _name(call)
    done = flow_cookie(call, "", COOKIE_PATH, is_posted=name in POSTED)
    try:
        flow, assertion = await returned(call, name, COOKIE_PATH)
        if flow.account_id is not None:
            await _link(call, flow, assertion)
            return moved(call.settings.server.public_client_url, [done])
        page_token = random_hex() if call.settings.page_origins else ""
        ctx, outcome, secret = await enter(call, provider_of(call, name), assertion, page_token=page_token)
    except Banned:
        raise
    except (Refusal, MalformedBodyError, UnavailableError):
        return moved(failure_url(call), [done])
    await pictures.follow(call, assertion, outcome.account.id)
    if isinstance(outcome, FactorRequired):
        temporary = tokens.temporary_token(call.services, outcome.account, secret, ctx.now)
        owed = [cookies.challenge(call, secret)] if page_token else []
        return moved(f"{call.settings.server.public_client_url}/login/2fa?tempToken={temporary}", [done, *owed])
    shown = [cookies.session(call, page_token, outcome.session.expires_at - ctx.now)] if page_token else []
    return moved(call.settings.server.public_client_url, [done, *_session_cookies(call, ctx, outcome, assertion), *shown])


async def error(call: Call) -> Response:
    """Section 8.2: always back to the sign-in page."""
    return redirect(failure_url(call))


async def documented_start(call: Call) -> Response:
    """Section 15, row 18: the page lists these under `/api/auth`."""
    return redirect(f"{call.settings.server.public_server_url}/oauth/{call.path.rpartition('/')[2]}")


async def begin_flow(
    call: Call,
    name: str,
    *,
    path: str = COOKIE_PATH,
    account_id: str | None = None,
    memory: Mapping[str, str] | None = None,
) -> tuple[str, Header]:
    """Where to send the browser, and the cookie that makes the flow its own. Raises Throttled, Banned, FederationRefused."""
    async with call.begin() as ctx:
        await _admitted(call, ctx)
    provider = provider_of(call, name)
    flow = new_flow(name, _redirect_uri(call, name, path), account_id=account_id, is_admin=path == ADMIN_PATH)
    flow.memory.update(memory or {})
    try:
        url = await provider.start(flow)
    except FederationRefused as refusal:
        await _note(call, name, refusal)
        raise
    async with call.begin() as ctx:
        cookie = await flows.keep(ctx, flow)
    return url, flow_cookie(call, cookie, path, is_posted=name in POSTED)


async def returned(call: Call, name: str, path: str) -> tuple[Flow, Assertion]:
    """The flow that this browser began, spent, and what the provider says. Raises Throttled, Banned, FederationRefused."""
    parameters = _parameters(call)
    try:
        async with call.begin() as ctx:
            await _admitted(call, ctx)
            provider = provider_of(call, name)
            flow = await _flow(call, ctx, provider, parameters, is_admin=path == ADMIN_PATH)
        return flow, await provider.finish(flow, parameters)
    except FederationRefused as refusal:
        await _note(call, name, refusal)
        raise


async def enter(
    call: Call, provider: RedirectProvider, assertion: Assertion, *, may_create: bool = True, page_token: str = ""
) -> tuple[Context, SignedIn | FactorRequired, str]:
    """Through the one door. Who comes second while somebody new is being made tries again, and finds them.

    `page_token` is what the browser will show our own pages, where we serve some.
    """
    secret = random_hex()
    for tries_left in reversed(range(TRIES)):
        try:
            async with call.begin() as ctx:
                wanted = ticket(call, secret, page_token)
                outcome = await _enter(ctx, assertion, wanted, may_create=may_create and provider.may_create)
        except (UnavailableError, FederationRefused) as error:
            is_race = isinstance(error, UnavailableError) or error.reason == "changed_meanwhile"
            if not tries_left or not is_race or assertion.once is not None:
                raise
        else:
            return ctx, outcome, secret
    raise FederationRefused("contended")


def provider_of(call: Call, name: str) -> RedirectProvider:
    """Raises FederationRefused when it is not configured, or not any more."""
    provider: RedirectProvider | None = call.services.redirect_providers.get(name)
    if provider is None:
        raise FederationRefused("not_configured")
    return provider


def start_status(call: Call, name: str) -> int:
    """OpenID's library in the original sends the browser off with 303, the others with 302 (8.1)."""
    return 303 if name == "openid" or name in call.settings.openid_others else 302


def moved(location: str, headers: list[Header], status: int = 302) -> Response:
    """A redirect with cookies; the location comes from settings and the provider's metadata, never from the request."""
    return raw_response(b"", None, status, [(b"location", location.encode("latin-1", "replace")), *headers])


def flow_cookie(call: Call, value: str, path: str, *, is_posted: bool) -> Header:
    """The flow's cookie. A form posted by another site brings only SameSite=None, which browsers want Secure.

    Without TLS a posted flow's cookie has no SameSite: browsers then send it with such a form for two minutes.
    """
    is_secure = call.settings.secure_cookies or call.settings.server.public_server_url.startswith("https://")
    same_site = "; SameSite=Lax" if not is_posted else "; SameSite=None" if is_secure else ""
    life = flows.LIFE.seconds if value else 0
    secure = "; Secure" if is_secure else ""
    text = f"{FLOW_COOKIE}={value}; Path={path}; Max-Age={life}; HttpOnly{secure}{same_site}"
    return (b"set-cookie", text.encode())


async def _admitted(call: Call, ctx: Context) -> None:
    await throttle.take(ctx, ctx.services.rules.navigation, throttle.network(call.client.address))
    await bans.check_address(ctx)


async def _flow(call: Call, ctx: Context, provider: RedirectProvider, parameters: Mapping[str, str], *, is_admin: bool) -> Flow:
    state = parameters.get("state") or parameters.get("RelayState") or ""
    try:
        flow = await flows.spend(ctx, call.cookie(FLOW_COOKIE), provider.name, state)
    except FederationRefused:
        if is_admin or not provider.allows_unsolicited:
            raise
        # Begun there; a cookie may be left of a flow that was given up here. An answer to a request is still refused so.
        flow = new_flow(provider.name, "")
        flow.memory[UNSOLICITED] = "yes"
    if flow.is_admin != is_admin:
        raise FederationRefused("another_purpose")
    return flow


async def _enter(ctx: Context, assertion: Assertion, wanted: Ticket, *, may_create: bool) -> SignedIn | FactorRequired:
    try:
        outcome = await federated.enter(ctx, assertion, wanted, may_create=may_create)
    except AddressUnverified:
        if assertion.email:
            await asks.put(ctx, "verification", assertion.email)
        raise
    if assertion.grant is not None:
        holder, expires_at = wanted.challenge_hash.hex(), ctx.now + CHALLENGE_LIFE
        if isinstance(outcome, SignedIn):
            holder, expires_at = outcome.session.id, outcome.session.expires_at
        await provider_sessions.keep(
            ctx,
            holder,
            outcome.account.id,
            assertion.grant,
            provider=assertion.provider,
            issuer=assertion.issuer,
            subject=assertion.subject,
            expires_at=expires_at,
            is_pending=not isinstance(outcome, SignedIn),
        )
    return outcome


async def _link(call: Call, flow: Flow, assertion: Assertion) -> None:
    """The owner who began this, still signed in, may come in this way from now on; the mail tells them."""
    async with call.begin() as ctx:
        who = await sessions.by_id(ctx, flow.memory.get(SESSION, ""))
        if who is None or who.account.id != flow.account_id:
            raise FederationRefused("session_ended")
        await federated.link(ctx, who, assertion, provider_of(call, flow.provider).label)


async def _note(call: Call, name: str, refusal: FederationRefused) -> None:
    async with call.begin() as ctx:
        arrived = {arrivals.CLAIMS: arrivals.names_of(refusal.claims)} if refusal.claims else {}
        await audit.record(ctx, audit.Event.SIGN_IN_REFUSED, None, refusal.reason, method=name[:32], **arrived)


def _session_cookies(call: Call, ctx: Context, outcome: SignedIn, assertion: Assertion) -> list[Header]:
    session, device = outcome.session, devices.remember(ctx, outcome.account.id)
    return reuse.cookies(call, session, session.created_at, assertion.provider, assertion.grant, device)


def _parameters(call: Call) -> dict[str, str]:
    """Query or form. A name given twice would let two readers see two things: the whole answer is refused."""
    text = call.body if call.method == "POST" else call.scope["query_string"]
    try:
        pairs = parse_qsl(text.decode("utf-8"), keep_blank_values=True, max_num_fields=50)
    except (ValueError, UnicodeDecodeError) as error:
        raise MalformedBodyError from error
    found = dict(pairs)
    if len(found) != len(pairs):
        raise MalformedBodyError
    return found


def _redirect_uri(call: Call, name: str, path: str) -> str:
    if path == ADMIN_PATH:
        return f"{call.settings.server.public_server_url}{ADMIN_PATH}/{name}/callback"
    return callback_url(call.settings, name)


def _name(call: Call) -> str:
    """The provider in `/oauth/<name>` and `/oauth/<name>/callback`."""
    return call.path.split("/")[2]
