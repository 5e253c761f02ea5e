"""Pictures of people that a provider vouches for: fetched at the sign-in, served from here (librechat-wire 8.5)."""

from __future__ import annotations

from starlette.responses import Response

from ostiary.http.calls import Call, json_response, raw_response
from ostiary.identity import accounts, pictures
from ostiary.identity.federated import Assertion
from ostiary.identity.refusals import FederationRefused
from ostiary.observability.logging import log
from ostiary.storage.database import UnavailableError

HEADERS = [
    (b"cache-control", b"private, max-age=31536000, immutable"),
    (b"cross-origin-resource-policy", b"cross-origin"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'; base-uri 'none'; sandbox"),
]
"""A name stands for these bytes for ever, and the client's pages may be another origin's."""


async def follow(call: Call, assertion: Assertion, account_id: str) -> None:
    """Fetch the picture that the provider names, once a day, after the sign-in is settled; whatever fails is no refusal."""
    if assertion.picture is None or not assertion.avatar:
        return
    try:
        async with call.begin() as ctx:
            account = await accounts.by_id(ctx, account_id)
            is_wanted = account is not None and await pictures.is_wanted(ctx, account, assertion.avatar)
        if account is None or not is_wanted or account.provider != assertion.provider:
            return
        try:
            picture = await assertion.picture()
        except FederationRefused as refusal:
            log.warning("picture:not_fetched", provider=assertion.provider, reason=refusal.reason)
            picture = None
        async with call.begin() as ctx:
            await pictures.keep(ctx, account, assertion.avatar, picture)
    except UnavailableError:
        return


async def show(call: Call) -> Response:
    """One by its name."""
    async with call.begin() as ctx:
        found = await pictures.by_name(ctx, call.path_params["name"])
    if found is None:
        return json_response({"message": "Picture not found"}, 404)
    return raw_response(found.content, found.media_type.encode(), 200, HEADERS)
