"""Known devices: a mark that a browser carries from its first sign-in on. It proves nothing but "this one has been here".

The mark is `id` and, for each account that signed in there, a keyed digest; so it names no account and cannot be made up.
"""

from __future__ import annotations

import hmac

from ostiary.crypto.tokens import random_hex
from ostiary.identity.context import Context

MOST_ACCOUNTS = 8
_ID_LENGTH = 32
_MARK_LENGTH = 24


def presented(ctx: Context) -> str:
    """The id that the client shows, whether or not any account knows it; empty when it shows none."""
    return _parts(ctx.client.device)[0]


def known(ctx: Context, account_id: str) -> str | None:
    """The presenting device's id, if this account has signed in there. For no account (`""`) the same is done in vain."""
    if not ctx.client.device:
        return None
    device, marks = _parts(ctx.client.device)
    if not device:
        return None
    expected = _mark(ctx, device, account_id)
    return device if any(hmac.compare_digest(mark, expected) for mark in marks) else None


def remember(ctx: Context, account_id: str) -> str:
    """The mark to hand out after a sign-in: the presented one, with this account added."""
    device, marks = _parts(ctx.client.device)
    device = device or random_hex(_ID_LENGTH // 2)
    mark = _mark(ctx, device, account_id)
    return ".".join([device, mark, *(other for other in marks if other != mark)][: MOST_ACCOUNTS + 1])


def _parts(presented: str) -> tuple[str, list[str]]:
    device, *marks = presented.split(".", MOST_ACCOUNTS + 1)
    if len(device) != _ID_LENGTH or not presented.isascii():
        return "", []
    return device, [mark for mark in marks if len(mark) == _MARK_LENGTH][:MOST_ACCOUNTS]


def _mark(ctx: Context, device: str, account_id: str) -> str:
    return ctx.services.digester.digest("device", f"{device}.{account_id}").hex()[:_MARK_LENGTH]
