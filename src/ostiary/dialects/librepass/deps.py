"""What several endpoints need: the body, the query, the principal, and the limits of section 10."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, TypeVar

import msgspec

from ostiary.crypto.tokens import KEY_PREFIX
from ostiary.dialects.librepass import errors, schemas
from ostiary.dialects.librepass.errors import BearerRefused, BodyRefused, MediaTypeRefused, PrefetchRefused
from ostiary.http.calls import Call
from ostiary.identity import sessions, throttle
from ostiary.identity.context import Context
from ostiary.identity.sessions import Principal
from ostiary.limits.store import Rule

Shape = TypeVar("Shape", bound=msgspec.Struct)

_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", re.ASCII)


@lru_cache(maxsize=64)
def _decoder(shape: type[Any]) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(shape)


def decoded(body: bytes, shape: type[Shape], trouble: str) -> Shape:
    """The body in this shape, by strict JSON. Raises BodyRefused: with `trouble`, or because a value breaks a rule."""
    try:
        found: Shape = _decoder(shape).decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BodyRefused(trouble) from error
    return found


def read(call: Call, shape: type[Shape]) -> Shape:
    """The JSON body in this shape. Raises MediaTypeRefused, BodyRefused."""
    media_type = (call.header(b"content-type") or "application/json").partition(";")[0].strip().lower()
    if media_type != "application/json" and not media_type.endswith("+json"):
        raise MediaTypeRefused
    return decoded(call.body, shape, errors.UNREADABLE)


def required(call: Call, name: str) -> str:
    """A query parameter, percent-decoded and nothing more: `+` in an address stays `+` (section 2). Raises BodyRefused."""
    value = call.query(name, plus_is_blank=False)
    if value is None:
        raise BodyRefused(errors.MISSING)
    return value


def required_email(call: Call) -> str:
    """The query's `email`. Raises BodyRefused."""
    email = required(call, "email")
    if not schemas.is_email(email):
        raise BodyRefused(errors.INVALID)
    return email


def account_and_code(call: Call) -> tuple[str, str]:
    """The query of a mail link: `user` and `code`. Raises BodyRefused, PrefetchRefused."""
    refuse_prefetch(call)
    account_id, code = required(call, "user"), required(call, "code")
    if not code.strip():
        raise BodyRefused(errors.INVALID)
    return uuid(account_id, errors.MISMATCH), code


def uuid(text: str, trouble: str) -> str:
    """The canonical spelling of a UUID. Raises BodyRefused."""
    if not _UUID.fullmatch(text):
        raise BodyRefused(trouble)
    return text.lower()


def path_id(call: Call) -> str:
    """The id in the path. Raises BodyRefused."""
    return uuid(call.path_params["id"], errors.MISMATCH)


def refuse_prefetch(call: Call) -> None:
    """Raises PrefetchRefused when a browser fetches a link that acts before anybody opens it (section 20, W10)."""
    purposes = (call.header(name) or "" for name in (b"sec-purpose", b"purpose", b"x-moz"))
    if any("prefetch" in purpose.lower() for purpose in purposes):
        raise PrefetchRefused


async def principal(call: Call, ctx: Context) -> Principal:
    """Who acts: `Bearer lp_…`, or the bare key (section 2). Raises BearerRefused, alike for every reason (section 11)."""
    key = (call.header(b"authorization") or "").removeprefix("Bearer ")
    if not key.startswith(KEY_PREFIX):
        raise BearerRefused("malformed")
    found = await sessions.by_token(ctx, sessions.key_hash(ctx.services, key))
    if found is None:
        raise BearerRefused("unknown")
    return found


def by_address(ctx: Context) -> str:
    """The bucket of the client's address."""
    return f"ip {throttle.network(ctx.client.address)}"


def by_email(ctx: Context, email: str) -> str:
    """The bucket of an e-mail from this address: a stranger elsewhere cannot empty the owner's (section 20, W12)."""
    return f"email {throttle.folded(email)} {throttle.network(ctx.client.address)}"


def by_account(ctx: Context, account_id: str) -> str:
    """The bucket of an account that a link names, from this address."""
    return f"user {account_id} {throttle.network(ctx.client.address)}"


async def give_back(ctx: Context, rule: Rule, key: str) -> None:
    """The proof was right: it costs nothing."""
    if ctx.is_limited:
        await ctx.services.limits.give_back(rule, key, ctx.now)
