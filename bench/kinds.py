"""Accounts of every kind, put straight into a running server's database, as owners, operators and providers would make them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.world import PASSWORD, KeyHolder, fresh_email
from ostiary.app import open_services
from ostiary.identity import accounts, bans, credentials, passwords, public_keys, sessions
from ostiary.identity.accounts import Account
from ostiary.identity.context import Client, Context, begin
from ostiary.identity.sessions import BROWSER, SessionRequest
from ostiary.observability.logging import set_up
from ostiary.settings import Settings

SESSIONS = 3
"""Of each account that may sign in: an owner's devices."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What an account is like."""

    name: str
    has_password: bool = False
    has_key: bool = False
    is_verified: bool = True
    is_banned: bool = False


KINDS = (
    Kind("verified", has_password=True),
    Kind("unverified", has_password=True, is_verified=False),
    Kind("banned", has_password=True, is_banned=True),
    Kind("federated"),
    Kind("locked", has_password=True),
    Kind("key", has_key=True),
    Kind("key unverified", has_key=True, is_verified=False),
    Kind("key banned", has_key=True, is_banned=True),
    Kind("key federated"),
    Kind("key locked", has_key=True),
)


def put(data: Path, variables: Mapping[str, str], count: int) -> dict[str, list[str]]:
    """So many accounts of each kind in the database under `data`; their addresses, by kind."""
    settings = Settings.load({**variables, "OSTIARY_DATA": str(data)})
    set_up("readable", "error")
    return asyncio.run(_put(settings, count))


async def _put(settings: Settings, count: int) -> dict[str, list[str]]:
    async with open_services(settings) as services:
        found: dict[str, list[str]] = {}
        async with begin(services, Client("198.51.100.1", "bench")) as ctx:
            password = await passwords.hashed(ctx, PASSWORD)
            for kind in KINDS:
                found[kind.name] = [await _account(ctx, kind, password) for _ in range(count)]
        return found


async def _account(ctx: Context, kind: Kind, password: str) -> str:
    provider = "local" if kind.has_password else "key" if kind.has_key else "google"
    holder = KeyHolder(fresh_email())
    account = accounts.fresh(ctx, holder.email, "Test User", provider=provider, verified_at=ctx.now if kind.is_verified else None)
    await accounts.insert_account(ctx, account)
    if kind.has_password:
        await credentials.add(ctx, account.id, credentials.PASSWORD, password)
    if kind.has_key:
        key = public_keys.Config(holder.private.public_key().public_bytes_raw().hex(), public_keys.DEFAULTS)
        await credentials.add(ctx, account.id, credentials.PUBLIC_KEY, public_keys.encoded(key))
    if kind.is_verified:
        await _sessions(ctx, account)
    if kind.is_banned:
        await bans.add(ctx, bans.ACCOUNT, account.id, "bench", None)
    return holder.email


async def _sessions(ctx: Context, account: Account) -> None:
    for _ in range(SESSIONS):
        await sessions.open_session(ctx, account, SessionRequest(kind=BROWSER), ("pwd",))
