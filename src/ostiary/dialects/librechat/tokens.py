"""LibreChat's tokens and cookies (librechat-wire 1.5, 3.1, 3.2, 3.4), plus what makes them revocable: `sid`, `jti`, `iss`."""

from __future__ import annotations

import hmac
from collections import OrderedDict
from email.utils import formatdate
from functools import lru_cache
from typing import Any

import msgspec
from joserfc import jws
from joserfc.errors import BadSignatureError, JoseError, UnsupportedAlgorithmError
from joserfc.jwk import OctKey

from ostiary.crypto.tokens import random_hex
from ostiary.dialects.front_desk import DEVICE_COOKIE
from ostiary.dialects.http import Call, Header
from ostiary.dialects.librechat.errors import BearerRefused, RefreshMalformed
from ostiary.identity.accounts import Account
from ostiary.identity.challenges import LIFE as CHALLENGE_LIFE
from ostiary.identity.context import Services
from ostiary.identity.sessions import Session, refresh_tag

SECOND = 1_000_000
REFRESH = "refreshToken"
PROVIDER = "token_provider"
CLEARED = (REFRESH, "openid_access_token", "openid_id_token", "openid_user_id", PROVIDER)
DEVICE_LIFE = 365 * 24 * 3600 * SECOND
MOST_TOKEN_CHARACTERS = 4096
_EPOCH = "Thu, 01 Jan 1970 00:00:00 GMT"
ALGORITHMS = ["HS256"]
MOST_VERIFIED = 8192


class _Verified:
    """Access tokens whose signature was checked before, by their text. Times and session are looked at on every use."""

    def __init__(self) -> None:
        self._claims: OrderedDict[tuple[str, bytes], dict[str, Any]] = OrderedDict()

    def claims(self, token: str, key: bytes) -> dict[str, Any]:
        """The signed claims. Raises BearerRefused."""
        found = self._claims.get((token, key))
        if found is None:
            found = self._claims[token, key] = _signed_claims(token, key)
            if len(self._claims) > MOST_VERIFIED:
                self._claims.popitem(last=False)
        return found


_verified = _Verified()


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
    return _signed(claims, services.keys.jwt_secret)


def read_access(services: Services, token: str | None, now: int) -> str:
    """The session id that a bearer names. Raises BearerRefused with the wire's text."""
    if token is None:
        raise BearerRefused("No auth token")
    claims = _in_force(_verified.claims(token, services.keys.jwt_secret), now)
    session_id = claims.get("sid")
    if claims.get("iss") != services.settings.server.public_server_url or not isinstance(session_id, str) or "jti" not in claims:
        raise BearerRefused("Unauthorized")
    return session_id


def refresh_token(services: Services, session: Session, issued_at: int) -> str:
    """The cookie's token for the session's present generation: the same bytes whenever it is made."""
    claims = {
        "id": session.account_id,
        "sessionId": session.id,
        "iat": issued_at // SECOND,
        "exp": session.expires_at // SECOND,
        "jti": f"{session.generation}.{refresh_tag(services, session.id, session.generation)}",
    }
    return _signed(claims, services.keys.jwt_refresh_secret)


def read_refresh(services: Services, token: str, now: int) -> tuple[str, str, int, str]:
    """Account id, session id, generation and tag of a refresh token. Raises RefreshMalformed."""
    try:
        claims = _in_force(_signed_claims(token, services.keys.jwt_refresh_secret), now)
    except BearerRefused as error:
        raise RefreshMalformed(error.reason) from error
    account_id, session_id = claims.get("id"), claims.get("sessionId")
    number, _, tag = str(claims.get("jti", "")).partition(".")
    if not isinstance(account_id, str) or not isinstance(session_id, str):
        raise RefreshMalformed("claims")
    is_number = number.isascii() and number.isdigit() and len(number) < 12  # noqa: PLR2004 - no family is rotated that often
    # A token signed right but never issued by this server names a session that cannot exist.
    return account_id, session_id, int(number) if is_number else -1, tag if is_number else ""


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
    return _signed(claims, services.keys.jwt_secret)


def read_temporary(services: Services, token: str, now: int) -> str | None:
    """The secret inside, or None for anything that is not a temporary token in force."""
    try:
        claims = _in_force(_signed_claims(token, services.keys.jwt_secret), now)
    except BearerRefused:
        return None
    secret = claims.get("jti")
    return secret if claims.get("twoFAPending") is True and isinstance(secret, str) and "sid" not in claims else None


def challenge_key(call: Call, secret: str) -> str:
    """What a temporary token's challenge is found by: it answers for the browser that began it, and no other."""
    return f"{secret}\0{call.client.user_agent}"


def signed_in_cookies(call: Call, session: Session, token: str, *, device: str | None = None) -> list[Header]:
    """`refreshToken` and `token_provider`, both until the session's end; and the mark of a known device."""
    cookies = [
        _cookie(call, REFRESH, token, session.expires_at),
        _cookie(call, PROVIDER, "librechat", session.expires_at),
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
    bound_to = ""
    if cookie := call.cookie(REFRESH):
        try:
            bound_to = read_refresh(call.services, cookie, call.services.clock())[1]
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


@lru_cache(maxsize=8)
def _key(secret: bytes) -> OctKey:
    return OctKey.import_key(secret)


@lru_cache(maxsize=4096)
def _http_date(seconds: int) -> str:
    return formatdate(seconds, usegmt=True)


def _signed(claims: dict[str, Any], secret: bytes) -> str:
    return jws.serialize_compact({"alg": "HS256", "typ": "JWT"}, msgspec.json.encode(claims), _key(secret), algorithms=ALGORITHMS)


def _signed_claims(token: str, secret: bytes) -> dict[str, Any]:
    """Claims under a right signature, or BearerRefused with jsonwebtoken's text for what is wrong."""
    parts = token.split(".")
    if len(parts) != 3 or len(token) > MOST_TOKEN_CHARACTERS or not token.isascii():  # noqa: PLR2004 - header, payload, signature
        raise BearerRefused("jwt malformed")
    if not parts[2]:
        raise BearerRefused("jwt signature is required")
    if "=" in token:
        raise BearerRefused("invalid token")
    try:
        payload = jws.deserialize_compact(token, _key(secret), algorithms=ALGORITHMS).payload
        claims = msgspec.json.decode(payload)
    except BadSignatureError as error:
        raise BearerRefused("invalid signature") from error
    except UnsupportedAlgorithmError as error:
        raise BearerRefused("invalid algorithm") from error
    except (JoseError, ValueError, RecursionError, TypeError, KeyError, AttributeError) as error:
        raise BearerRefused("invalid token") from error
    if not isinstance(claims, dict):
        raise BearerRefused("invalid token")
    return claims


def _in_force(claims: dict[str, Any], now: int) -> dict[str, Any]:
    """The claims unless they expired by the application's clock. Raises BearerRefused."""
    expires = claims.get("exp")
    if isinstance(expires, bool) or not isinstance(expires, int | float):
        raise BearerRefused("invalid exp value")
    if expires <= now / SECOND:
        raise BearerRefused("jwt expired")
    return claims
