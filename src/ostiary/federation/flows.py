"""A sign-in under way elsewhere: bound to the browser that began it by a cookie, used once, over after ten minutes."""

from __future__ import annotations

import hmac
import secrets
from datetime import timedelta

import msgspec

from ostiary.crypto.sealing import SealBrokenError
from ostiary.identity import links
from ostiary.identity.context import Context
from ostiary.identity.links import LinkStyle
from ostiary.identity.refusals import FederationRefused

PURPOSE = "flow"
UNSOLICITED = "unsolicited"
"""In a flow's memory: it began at the identity provider, so there is no request to answer."""
LIFE = timedelta(minutes=10)
_STYLE = LinkStyle(PURPOSE, LIFE, lambda: secrets.token_urlsafe(32), lambda *_: "")


class Flow(msgspec.Struct, frozen=True):
    """What must still be known when the browser comes back. `verifier` is PKCE's (RFC 7636)."""

    provider: str
    state: str
    nonce: str
    verifier: str
    redirect_uri: str
    account_id: str | None = None
    """The owner who is linking, or None for a sign-in."""
    is_admin: bool = False
    """Begun by the administration panel."""
    memory: dict[str, str] = msgspec.field(default_factory=dict)
    """What the provider wants to see again, such as the id of a SAML request."""


def new_flow(provider: str, redirect_uri: str, *, account_id: str | None = None, is_admin: bool = False) -> Flow:
    """Fresh random values."""
    return Flow(
        provider,
        secrets.token_urlsafe(32),
        secrets.token_urlsafe(32),
        secrets.token_urlsafe(48),
        redirect_uri,
        account_id,
        is_admin,
    )


async def keep(ctx: Context, flow: Flow) -> str:
    """Remember the flow; the text for the browser's cookie."""
    sealed = ctx.services.sealer.seal(msgspec.json.encode(flow), PURPOSE)
    return await links.issue_token(ctx, _STYLE, "", None, sealed.hex(), replace=False)


async def spend(ctx: Context, cookie: str | None, provider: str, state: str) -> Flow:
    """The flow that this browser began at this provider; it is over with this call. Raises FederationRefused."""
    row = await links.spend(ctx, PURPOSE, cookie) if cookie else None
    if row is None:
        raise FederationRefused("no_flow")
    try:
        flow = msgspec.json.decode(ctx.services.sealer.open(bytes.fromhex(row.config), PURPOSE), type=Flow)
    except SealBrokenError as error:
        raise FederationRefused("flow_unreadable") from error
    if flow.provider != provider or not hmac.compare_digest(flow.state.encode(), state.encode("utf-8", "replace")):
        raise FederationRefused("state_mismatch")
    return flow
