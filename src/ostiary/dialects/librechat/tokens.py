"""LibreChat's tokens and cookies (librechat-wire 1.5, 3.1, 3.2, 3.4), plus what makes them revocable: `sid`, `jti`, `iss`."""

from __future__ import annotations

import hmac
from email.utils import formatdate
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import quote

from ostiary.crypto.jwt import Flaw, TokenError
from ostiary.crypto.rotating import RotatingSigner
from ostiary.crypto.tokens import random_hex
from ostiary.dialects.librechat.errors import BearerRefused, RefreshMalformed
from ostiary.http.calls import Call, Header
from ostiary.http.cookies import DEVICE_COOKIE, DEVICE_LIFE
from ostiary.identity.accounts import Account
from ostiary.identity.challenges import LIFE as CHALLENGE_LIFE
from ostiary.identity.context import Services
from ostiary.identity.sessions import Session, refresh_tag

SECOND = 1_000_000
REFRESH = "refreshToken"
PROVIDER = "token_provider"
OPENID_USER = "openid_user_id"
OPENID = "openid"
"""What `token_provider` holds where a provider's tokens serve as ours (section 8.6)."""
CLEARED = (REFRESH, "openid_access_token", "openid_id_token", OPENID_USER, PROVIDER)
_EPOCH = "Thu, 01 Jan 1970 00:00:00 GMT"
FLAWS: dict[Flaw, str] = {
    "malformed": "jwt malformed",
    "unsigned": "jwt signature is required",
    "signature": "invalid signature",
    "algorithm": "invalid algorithm",
    "invalid": "invalid token",
    "invalid_exp": "invalid exp value",
    "expired": "jwt expired",
}
"""jsonwebtoken's texts (section 1.3)."""


def access_token(services: Services, account: Account, session: Session, now: int) -> str:
    """The bearer: the original's claims, and the session that it stands or falls with."""
    issued = now // SECOND
    claims = {
        "id": account.id,
        "username": account.username,
        "provider": account.provider,
        "email": account.email,
        "iat": issued,
        "exp": issued + int(services.settings.sessions.access_life.total_seconds()),
        "sid": session.id,
        "jti": random_hex(8),
        "iss": services.settings.server.public_server_url,
    }
    return services.access_tokens.sign(claims)


def read_access(services: Services, token: str | None, now: int) -> str:
    """The session id that a bearer names. Raises BearerRefused with the wire's text."""
    if token is None:
        raise BearerRefused("No auth token")
    claims = _claims(services.access_tokens, token, now)
    session_id = claims.get("sid")
    if claims.get("iss") != services.settings.server.public_server_url or not isinstance(session_id, str) or "jti" not in claims:
        raise BearerRefused("Unauthorized")
    return session_id


class Family(NamedTuple):
    """What a cookie of ours says of its session."""

    account_id: str
    session_id: str
    generation: int
    tag: str


def refresh_token(services: Services, session: Session, issued_at: int) -> str:
    """The cookie's token for the session's present generation: the same bytes whenever it is made."""
    return services.refresh_tokens.sign(_family_claims(services, session, issued_at))


def openid_user(services: Services, session: Session, issued_at: int, provider: str) -> str:
    """`openid_user_id`: the original's claim `id`, and the family that the browser's session stands or falls with."""
    return services.refresh_tokens.sign({**_family_claims(services, session, issued_at), "provider": provider})


def read_refresh(services: Services, token: str, now: int) -> Family:
    """What a refresh token names. Raises RefreshMalformed."""
    return _family(services, token, now, is_openid=False)


def read_openid_user(services: Services, token: str, now: int) -> Family:
    """What the cookie `openid_user_id` names. Raises RefreshMalformed."""
    return _family(services, token, now, is_openid=True)


def family_of(call: Call, now: int) -> Family | None:
    """What the browser's cookies say of its session; None when it sent none. Raises RefreshMalformed."""
    if call.cookie(PROVIDER) == OPENID and (user := call.cookie(OPENID_USER)):
        return read_openid_user(call.services, user, now)
    refresh = call.cookie(REFRESH)
    return read_refresh(call.services, refresh, now) if refresh else None


def _family_claims(services: Services, session: Session, issued_at: int) -> dict[str, Any]:
    return {
        "id": session.account_id,
        "sessionId": session.id,
        "iat": issued_at // SECOND,
        "exp": session.expires_at // SECOND,
        "jti": f"{session.generation}.{refresh_tag(services, session.id, session.generation)}",
    }


def _family(services: Services, token: str, now: int, *, is_openid: bool) -> Family:
    try:
        claims = _claims(services.refresh_tokens, token, now)
    except BearerRefused as error:
        raise RefreshMalformed(error.reason) from error
    account_id, session_id = claims.get("id"), claims.get("sessionId")
    number, _, tag = str(claims.get("jti", "")).partition(".")
    # One kind never passes for the other: a session that the provider must renew would go on without it.
    if not isinstance(account_id, str) or not isinstance(session_id, str) or ("provider" in claims) is not is_openid:
        raise RefreshMalformed("claims")
    is_number = number.isascii() and number.isdigit() and len(number) < 12  # noqa: PLR2004 - no family is rotated that often
    # A token signed right but never issued by this server names a session that cannot exist.
    return Family(account_id, session_id, int(number) if is_number else -1, tag if is_number else "")


def temporary_token(services: Services, account: Account, secret: str, now: int) -> str:
    """What a pending sign-in is answered with; `jti` is its secret."""
    issued = now // SECOND
    claims = {
        "userId": account.id,
        "twoFAPending": True,
        "iat": issued,
        "exp": issued + CHALLENGE_LIFE // SECOND,
        "jti": secret,
    }
    return services.access_tokens.sign(claims)


def read_temporary(services: Services, token: str, now: int) -> str | None:
    """The secret inside, or None for anything that is not a temporary token in force."""
    try:
        claims = _claims(services.access_tokens, token, now)
    except BearerRefused:
        return None
    secret = claims.get("jti")
    return secret if claims.get("twoFAPending") is True and isinstance(secret, str) and "sid" not in claims else None


def signed_in_cookies(call: Call, session: Session, token: str, *, device: str | None = None) -> list[Header]:
    """`refreshToken` and `token_provider`, both until the session's end; and the mark of a known device."""
    cookies = [
        _cookie(call, REFRESH, token, session.expires_at),
        _cookie(call, PROVIDER, "librechat", session.expires_at),
    ]
    if device is not None:
        cookies.append(_cookie(call, DEVICE_COOKIE, device, call.services.clock() + DEVICE_LIFE))
    return cookies


def reused_cookies(
    call: Call, session: Session, issued_at: int, provider: str, refresh_token: str, *, device: str | None = None
) -> list[Header]:
    """Section 8.6's cookies: the provider's refresh token, and whose it is. Nothing here is led in by the first one alone."""
    user = openid_user(call.services, session, issued_at, provider)
    # As Express writes a value: nothing that a provider puts into its token can end the cookie.
    cookies = [
        _cookie(call, REFRESH, quote(refresh_token, safe="!~*'()"), session.expires_at),
        _cookie(call, PROVIDER, OPENID, session.expires_at),
        _cookie(call, OPENID_USER, user, session.expires_at),
    ]
    if device is not None:
        cookies.append(_cookie(call, DEVICE_COOKIE, device, call.services.clock() + DEVICE_LIFE))
    return cookies


def cleared_cookies(call: Call) -> list[Header]:
    """The five names, emptied, with the attributes that they were set with."""
    return [
        (b"set-cookie", f"{name}=; Path=/; Expires={_EPOCH}; HttpOnly{_secure(call)}; SameSite=Strict".encode())
        for name in CLEARED
    ]


def csrf_token(call: Call) -> str:
    """A token that only a page of ours can read, bound to the refresh cookie it will be sent with."""
    nonce = random_hex(8)
    return f"{nonce}.{_csrf_mac(call, nonce)}"


def is_csrf_token(call: Call, token: str) -> bool:
    """Whether `csrf_token` made it for this request's refresh cookie."""
    nonce, _, mac = token.partition(".")
    return hmac.compare_digest(mac.encode("utf-8", "replace"), _csrf_mac(call, nonce).encode())


def _csrf_mac(call: Call, nonce: str) -> str:
    try:
        family = family_of(call, call.services.clock())
        bound_to = family.session_id if family is not None else ""
    except RefreshMalformed:
        bound_to = "?"
    return call.services.digester.digest("csrf", f"{nonce}.{bound_to}").hex()[:32]


def _cookie(call: Call, name: str, value: str, expires_at: int) -> Header:
    expires = _http_date(expires_at // SECOND)
    return (
        b"set-cookie",
        f"{name}={value}; Path=/; Expires={expires}; HttpOnly{_secure(call)}; SameSite=Strict".encode(),
    )


def _secure(call: Call) -> str:
    return "; Secure" if call.settings.secure_cookies else ""


@lru_cache(maxsize=512)
def _http_date(seconds: int) -> str:
    return formatdate(seconds, usegmt=True)


def _claims(signer: RotatingSigner, token: str, now: int) -> dict[str, Any]:
    """Claims of a token in force, or BearerRefused with the wire's text for what is wrong."""
    try:
        return signer.claims(token, now)
    except TokenError as error:
        raise BearerRefused(FLAWS[error.flaw]) from error
