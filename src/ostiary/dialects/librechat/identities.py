"""`/api/user/identities`: the owner's other ways in. Ours; the original never links accounts (librechat-wire W-43)."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.responses import Response

from ostiary.dialects.librechat import deps, schemas
from ostiary.dialects.librechat.oauth import SESSION, begin_flow
from ostiary.http.calls import Call, Header, json_response
from ostiary.identity import federated, step_up
from ostiary.identity.credentials import Credential
from ostiary.identity.federated import Config
from ostiary.identity.sessions import Principal

NOT_FOUND = "Identity not found"


async def listed(call: Call) -> Response:
    """What is linked, the oldest first, and what can be."""
    async with call.begin() as ctx:
        who = await deps.principal(call, ctx)
        found = await federated.linked(ctx, who.account.id)
    providers = [{"provider": name, "label": each.label} for name, each in call.services.redirect_providers.items()]
    return json_response({"identities": [_identity(row) for row in found], "providers": providers})


async def begin(call: Call) -> Response:
    """Where to send the browser to link an identity there. With a second factor on, a code is needed, since this opens a door."""
    name = call.path_params["name"]
    if name not in call.services.redirect_providers:
        return json_response({"message": NOT_FOUND}, 404)
    body = deps.read_body(call)
    async with call.begin() as ctx:
        who = await deps.principal(call, ctx)
        await step_up.require_code(ctx, who, schemas.factor_proof(body))
    url, cookie = await departure(call, name, who)
    return json_response({"url": url}, 200, [cookie])


async def departure(call: Call, name: str, who: Principal) -> tuple[str, Header]:
    """Where to send an owner's browser to link an identity there, and the cookie that makes the way back theirs."""
    return await begin_flow(call, name, account_id=who.account.id, memory={SESSION: who.session.id})


async def unlink(call: Call) -> Response:
    """Take one away, by its id; never the last way in."""
    body = deps.read_body(call)
    async with call.begin() as ctx:
        who = await deps.principal(call, ctx)
        found = {row.id: row for row in await federated.linked(ctx, who.account.id)}.get(call.path_params["name"])
        if found is None:
            return json_response({"message": NOT_FOUND}, 404)
        await step_up.require_code(ctx, who, schemas.factor_proof(body))
        await federated.unlink(ctx, who, found.id)
    return json_response({"message": "Identity removed"})


def _identity(row: Credential) -> dict[str, Any]:
    config = _config(row)
    return {
        "id": row.id,
        "provider": config.provider,
        "issuer": config.issuer,
        "email": config.email,
        "createdAt": schemas.iso(row.created_at),
        "lastUsedAt": schemas.iso(row.last_used_at) if row.last_used_at else None,
    }


def _config(row: Credential) -> Config:
    return msgspec.json.decode(row.config, type=Config)
