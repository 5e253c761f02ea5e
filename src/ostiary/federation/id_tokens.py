"""ID tokens: whose signature, from whom, for whom, for which sign-in, and when (OpenID Connect Core section 3.1.3.7)."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from joserfc import jwk, jws
from joserfc.errors import JoseError

from ostiary.identity.refusals import FederationRefused

EDDSA = "EdDSA"
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", EDDSA, "Ed25519")
"""Asymmetric, every one: with `none` or HS256 whoever knows public things could sign (RFC 8725 sections 2.1, 3.1)."""
KEY_TYPES = {"RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP"}
CURVES = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521", EDDSA: "Ed25519", "Ed25519": "Ed25519"}
MOST_TOKEN = 32 * 1024
MOST_KEYS = 100
LEAST_RSA_BITS = 2048
SECOND = 1_000_000
REFETCH_EVERY = 60 * SECOND
_DIGESTS = {"256": hashlib.sha256, "384": hashlib.sha384}
"""By the end of the algorithm's name; all others, and Ed25519 within itself (RFC 8032 section 5.1), take SHA-512."""

Keys = Sequence[Mapping[str, Any]]


class KeySet:
    """A provider's keys. Fetched when needed; a key that is not there is looked for at most once a minute (OAU-20)."""

    def __init__(self, fetch: Callable[[], Awaitable[Any]], clock: Callable[[], int], life: int) -> None:
        self._fetch = fetch
        self._clock = clock
        self._life = max(life, REFETCH_EVERY)
        self._keys: list[Mapping[str, Any]] = []
        self._fetched_at: int | None = None

    async def matching(self, algorithm: str, kid: str | None) -> Mapping[str, Any]:
        """The one key that can have signed this. Raises FederationRefused."""
        now = self._clock()
        if self._fetched_at is None or now - self._fetched_at >= self._life:
            await self._refresh(now)
        found = self._find(algorithm, kid)
        if found is None and kid is not None and now - (self._fetched_at or 0) >= REFETCH_EVERY:
            await self._refresh(now)
            found = self._find(algorithm, kid)
        if found is None:
            raise FederationRefused("key_unknown")
        return found

    async def _refresh(self, now: int) -> None:
        try:
            document = await self._fetch()
        except FederationRefused:
            if not self._keys:
                raise
            # The keys that it had a moment ago are its keys while it cannot be asked.
            self._fetched_at = now
            return
        keys = document.get("keys") if isinstance(document, dict) else None
        if not isinstance(keys, list):
            raise FederationRefused("keys_malformed")
        self._keys = [key for key in keys[:MOST_KEYS] if isinstance(key, dict)]
        self._fetched_at = now

    def _find(self, algorithm: str, kid: str | None) -> Mapping[str, Any] | None:
        fitting = [key for key in self._keys if _fits(key, algorithm) and (kid is None or key.get("kid") == kid)]
        # Without a kid there must be no choice: trying one key after the other is how a wrong one gets in.
        return fitting[0] if len(fitting) == 1 else None


def _fits(key: Mapping[str, Any], algorithm: str) -> bool:
    return (
        key.get("kty") == KEY_TYPES[algorithm[:2]]
        and key.get("use", "sig") == "sig"
        and key.get("alg", algorithm) == algorithm
        and (algorithm not in CURVES or key.get("crv") == CURVES[algorithm])
    )


async def verified_claims(token: str, keys: KeySet, allowed: Sequence[str]) -> tuple[str, dict[str, Any]]:
    """Algorithm and claims of a JWT under one of the provider's keys. Raises FederationRefused."""
    if not token.isascii() or len(token) > MOST_TOKEN or token.count(".") != 2:  # noqa: PLR2004 - header, payload, signature
        raise FederationRefused("token_malformed")
    header = _part(token.partition(".")[0])
    algorithm, kid = header.get("alg"), header.get("kid")
    if not isinstance(algorithm, str) or algorithm not in allowed or algorithm not in ALGORITHMS:
        raise FederationRefused("token_algorithm")
    if "crit" in header or not (kid is None or isinstance(kid, str)):
        raise FederationRefused("token_header")
    # Only the provider's own key set counts: `jwk`, `jku` and `x5u` in a header are the sender's word for itself.
    key = await keys.matching(algorithm, kid)
    try:
        public = jwk.import_key({name: value for name, value in key.items() if name in {"kty", "crv", "n", "e", "x", "y"}})
        if isinstance(raw := public.raw_value, RSAPublicKey) and raw.key_size < LEAST_RSA_BITS:
            raise FederationRefused("key_weak")
        claims = msgspec.json.decode(_payload(token, algorithm, public))
    except (JoseError, InvalidSignature, ValueError, TypeError, KeyError, RecursionError) as error:
        raise FederationRefused("token_signature") from error
    if not isinstance(claims, dict):
        raise FederationRefused("token_malformed")
    return algorithm, claims


class Expected(msgspec.Struct, frozen=True):
    """What an ID token must say. `now` and `tolerance` in seconds."""

    issuer: str
    client_id: str
    audiences: Sequence[str]
    """Further ones that may stand beside ours."""
    now: float
    tolerance: float
    nonce: str | None = None


def check_claims(claims: Mapping[str, Any], expected: Expected) -> None:
    """Issuer, audience, authorized party, times, nonce, subject. Raises FederationRefused naming the first that fails."""
    if claims.get("iss") != issuer_for(expected.issuer, claims):
        raise FederationRefused("token_issuer")
    check_audience(claims, expected.client_id, expected.audiences)
    check_times(claims, expected.now, expected.tolerance)
    nonce = claims.get("nonce")
    if expected.nonce is not None and not (
        isinstance(nonce, str) and hmac.compare_digest(nonce.encode("utf-8", "replace"), expected.nonce.encode())
    ):
        raise FederationRefused("token_nonce")


def issuer_for(issuer: str, claims: Mapping[str, Any]) -> str:
    """The issuer; Entra's for many tenants has a place in it for the tenant that the token names (section 1.3)."""
    tenant = claims.get("tid")
    return issuer.replace("{tenantid}", tenant) if isinstance(tenant, str) and tenant.replace("-", "").isalnum() else issuer


def check_audience(claims: Mapping[str, Any], client_id: str, others: Sequence[str]) -> None:
    """For us, and for nobody whom we do not know. Raises FederationRefused."""
    given = claims.get("aud")
    audiences = [given] if isinstance(given, str) else given
    if not isinstance(audiences, list) or client_id not in audiences or not set(map(str, audiences)) <= {client_id, *others}:
        raise FederationRefused("token_audience")
    party = claims.get("azp")
    if (len(audiences) > 1 and party is None) or (party is not None and party != client_id):
        raise FederationRefused("token_party")


def check_times(claims: Mapping[str, Any], now: float, tolerance: float) -> None:
    """In force now, by our clock give or take the tolerance. Raises FederationRefused."""
    expires, issued, begins = (_time_of(claims, name) for name in ("exp", "iat", "nbf"))
    if expires is None or now - tolerance >= expires:
        raise FederationRefused("token_expired")
    if issued is None or issued > now + tolerance:
        raise FederationRefused("token_issued_later")
    if "nbf" in claims and (begins is None or begins > now + tolerance):
        raise FederationRefused("token_not_yet")


def check_access_token_hash(claims: Mapping[str, Any], algorithm: str, access_token: str) -> None:
    """`at_hash`, where there is one (OpenID Connect Core section 3.1.3.6). Raises FederationRefused."""
    given = claims.get("at_hash")
    if given is None:
        return
    digest = _DIGESTS.get(algorithm[-3:], hashlib.sha512)(access_token.encode()).digest()
    wanted = base64.urlsafe_b64encode(digest[: len(digest) // 2]).rstrip(b"=")
    if not isinstance(given, str) or not hmac.compare_digest(given.encode("utf-8", "replace"), wanted):
        raise FederationRefused("token_access_hash")


def _time_of(claims: Mapping[str, Any], name: str) -> float | None:
    value = claims.get(name)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _payload(token: str, algorithm: str, key: jwk.Key) -> bytes:
    """What the key signed. RFC 9864 gave EdDSA a narrower name, so the library warns of the one that providers write."""
    if algorithm != EDDSA:
        return bytes(jws.deserialize_compact(token, key, algorithms=[algorithm]).payload)
    signed, _, signature = token.rpartition(".")
    if not isinstance(key.raw_value, Ed25519PublicKey):
        raise FederationRefused("token_signature")
    key.raw_value.verify(_bytes(signature), signed.encode())
    return _bytes(signed.partition(".")[2])


def _bytes(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


def _part(text: str) -> dict[str, Any]:
    try:
        value = msgspec.json.decode(_bytes(text))
    except (ValueError, RecursionError) as error:
        raise FederationRefused("token_malformed") from error
    if not isinstance(value, dict):
        raise FederationRefused("token_malformed")
    return value
