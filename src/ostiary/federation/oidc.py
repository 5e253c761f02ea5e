"""OpenID Connect: discovery when it is needed, code flow with PKCE and nonce, and ID tokens that are checked whole."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

import msgspec

from ostiary.federation import overage, roles
from ostiary.federation.flows import Flow
from ostiary.federation.oauth2 import challenge_of, code_of, object_of
from ostiary.federation.pictures import Pictures
from ostiary.federation.presets import OpenIDPreset
from ostiary.federation.profiles import subject_of, text_of
from ostiary.federation.token_cache import TokenCache
from ostiary.federation.transport import Shared, Transport
from ostiary.identity.context import micros
from ostiary.identity.federated import Assertion
from ostiary.identity.provider_sessions import Grant, ProviderSession
from ostiary.identity.refusals import FederationRefused
from ostiary.parts import Part
from ostiary.settings.providers import OpenID, is_safe_url

if TYPE_CHECKING:
    from ostiary.federation import id_tokens
else:
    # With the library that checks signatures: loaded when the first provider is built.
    id_tokens = Part("ostiary.federation.id_tokens")

WELL_KNOWN = "/.well-known/openid-configuration"
DISCOVERY_LIFE = timedelta(hours=1)
ON_BEHALF = "urn:ietf:params:oauth:grant-type:jwt-bearer"
LOGOUT_EVENT = "http://schemas.openid.net/event/backchannel-logout"
SECOND = 1_000_000
CLOSING_SECONDS = 10
_OF_THE_TOKEN = frozenset({"iss", "aud", "azp", "exp", "iat", "nbf", "nonce", "at_hash", "c_hash", "sid", "amr", "acr", "jti"})


class Metadata(msgspec.Struct, frozen=True):
    """What a discovery document must say (OpenID Connect Discovery section 3), and what we look for besides."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str | None = None
    end_session_endpoint: str | None = None
    id_token_signing_alg_values_supported: list[str] = msgspec.field(default_factory=lambda: ["RS256"])
    token_endpoint_auth_methods_supported: list[str] = msgspec.field(default_factory=lambda: ["client_secret_basic"])
    authorization_response_iss_parameter_supported: bool = False

    @property
    def algorithms(self) -> list[str]:
        """What it may sign with: its own list, without whatever is not asymmetric."""
        return [name for name in self.id_token_signing_alg_values_supported if name in id_tokens.ALGORITHMS]


class Registration(msgspec.Struct, frozen=True):
    """How the provider knows us. `secret` is asked each time, since Apple's expires; an empty one is a public client."""

    client_id: str
    secret: Callable[[], str]
    is_secret_posted: bool = False


class OpenIDProvider:
    """One provider. `settings` are an OPENID_… group's, or the defaults for a preset."""

    allows_unsolicited = False

    def __init__(
        self,
        preset: OpenIDPreset,
        registration: Registration,
        settings: OpenID,
        transport: Transport,
        clock: Callable[[], int],
        *,
        may_create: bool,
        pictures: Pictures | None = None,
    ) -> None:
        self.name = preset.name
        self.label = preset.label
        self.button = preset.button
        self.may_create = may_create
        self.settings = settings
        self.client_id = registration.client_id
        self.tokens = TokenCache(clock)
        """Tokens for other services that came from this one."""
        self.renewals: dict[str, asyncio.Task[Grant]] = {}
        """Tokens that are being renewed at this moment, by holder: who wants them too waits for the same (`renewal`)."""
        self.unwritten: dict[str, tuple[ProviderSession, Grant]] = {}
        """Fresh tokens that the database has not taken yet: the provider may not give them twice."""
        self._pictures = pictures
        self._preset = preset
        self._registration = registration
        self._transport = transport
        self._clock = clock
        self._metadata: Metadata | None = None
        self._discovered_at = 0
        self._discovery = Shared(self._discover)
        self._keys = id_tokens.KeySet(Shared(self._fetch_keys), clock, micros(settings.keys_cached))

    async def start(self, flow: Flow) -> str:
        """The provider's page, with state, nonce and an S256 challenge. Raises FederationRefused while it cannot be asked."""
        metadata = await self.metadata()
        parameters = {
            "response_type": "code",
            "client_id": self.client_id,
            "redirect_uri": flow.redirect_uri,
            "scope": self._preset.scope,
            "state": flow.state,
            "nonce": flow.nonce,
            "code_challenge": challenge_of(flow.verifier),
            "code_challenge_method": "S256",
            **({"audience": self.settings.audience[0]} if self.settings.audience else {}),
            **self._preset.extra,
        }
        separator = "&" if urlsplit(metadata.authorization_endpoint).query else "?"
        return f"{metadata.authorization_endpoint}{separator}{urlencode(parameters)}"

    async def finish(self, flow: Flow, parameters: Mapping[str, str]) -> Assertion:
        """Code for tokens, each checked. Raises FederationRefused."""
        async with self._transport.deadline():
            metadata = await self.metadata()
            self._check_sender(metadata, parameters)
            answer = await self._redeem(flow, code_of(parameters))
            access_token = str(answer["access_token"])
            algorithm, claims = await id_tokens.verified_claims(str(answer["id_token"]), self._keys, metadata.algorithms)
            id_tokens.check_claims(claims, self._expected(metadata, flow.nonce))
            id_tokens.check_access_token_hash(claims, algorithm, access_token)
            userinfo = await self._userinfo(metadata, claims, access_token)
            access = await self._access_claims(metadata, access_token)
            sources: roles.Sources = {"id": claims, "userinfo": userinfo, "access": access}
            sources = await overage.completed(self.settings, sources, self.on_behalf, self._transport, access_token)
        try:
            assertion = self._assertion(sources, self._grant(answer, claims), _posted_name(parameters))
        except FederationRefused as refusal:
            refusal.claims = tuple(_merged(claims, userinfo))
            raise
        if self._pictures is None or not assertion.avatar:
            return assertion
        own = (self._preset.issuer, metadata.userinfo_endpoint or "")
        return msgspec.structs.replace(assertion, picture=self._pictures.reader(assertion.avatar, access_token, own))

    async def close(self) -> None:
        """Let go of connections; a renewal under way is finished first."""
        if self.renewals:
            await asyncio.wait(self.renewals.values(), timeout=CLOSING_SECONDS)
        await self._transport.close()

    async def metadata(self) -> Metadata:
        """Its discovery document, at most an hour old; an older one while it cannot be asked."""
        if self._metadata is None or self._clock() - self._discovered_at >= micros(DISCOVERY_LIFE):
            try:
                self._metadata = await self._discovery()
            except FederationRefused:
                if self._metadata is None:
                    raise
                # The one of an hour ago serves on; whether there is a new one is asked again in a minute.
                self._discovered_at = self._clock() - micros(DISCOVERY_LIFE) + id_tokens.REFETCH_EVERY
            else:
                self._discovered_at = self._clock()
        return self._metadata

    async def refreshed(self, grant: Grant, issuer: str, subject: str) -> Grant:
        """Fresh tokens for the refresh token, still that person's. Raises FederationRefused; GRANT_DEAD when there are none."""
        if not grant.refresh_token:
            raise FederationRefused("no_refresh_token")
        form = {"grant_type": "refresh_token", "refresh_token": grant.refresh_token, "scope": self._preset.scope}
        if self.settings.refresh_audience:
            form["audience"] = self.settings.refresh_audience
        answer = object_of(await self.ask_for_tokens(form))
        if not isinstance(answer.get("access_token"), str) or not answer["access_token"]:
            raise FederationRefused("no_access_token")
        fresh = self._grant(answer, {"sid": grant.sid})
        if not await self._is_theirs(str(answer.get("id_token") or ""), fresh.access_token, issuer, subject):
            fresh = msgspec.structs.replace(fresh, id_token="")
        return msgspec.structs.replace(
            fresh, refresh_token=fresh.refresh_token or grant.refresh_token, id_token=fresh.id_token or grant.id_token
        )

    async def bearer(self, token: str) -> Mapping[str, Any]:
        """The claims of a token of the provider's that a client sends as its bearer (section 1.3). Raises FederationRefused.

        It may be for us or for one of OPENID_AUDIENCE, and was given to this client; a logout token opens nothing.
        """
        async with self._transport.deadline():
            metadata = await self.metadata()
            _, claims = await id_tokens.verified_claims(token, self._keys, id_tokens.ALGORITHMS)
        expected = self._expected(metadata, None)
        if claims.get("iss") != id_tokens.issuer_for(metadata.issuer, claims):
            raise FederationRefused("token_issuer")
        given = claims.get("aud")
        audiences = {given} if isinstance(given, str) else set(map(str, given)) if isinstance(given, list) else set()
        if not audiences & {self.client_id, *self.settings.audience}:
            raise FederationRefused("token_audience")
        if claims.get("azp", self.client_id) != self.client_id or "events" in claims:
            raise FederationRefused("token_party")
        id_tokens.check_times(claims, expected.now, expected.tolerance)
        if claims["exp"] <= expected.now:
            raise FederationRefused("token_expired")
        return claims

    async def on_behalf(self, access_token: str, scope: str) -> Mapping[str, Any]:
        """Another token for the same person (Entra's on-behalf-of flow). Raises FederationRefused."""
        form = {
            "grant_type": ON_BEHALF,
            "assertion": access_token,
            "scope": scope,
            "requested_token_use": "on_behalf_of",
        }
        return object_of(await self.ask_for_tokens(form))

    async def ask_for_tokens(self, form: Mapping[str, str]) -> Any:  # noqa: ANN401 - JSON
        """The token endpoint's answer to us as a client."""
        metadata = await self.metadata()
        client_id, secret = self.client_id, self._registration.secret()
        if not secret:
            return await self._transport.post(metadata.token_endpoint, {**form, "client_id": client_id})
        methods = metadata.token_endpoint_auth_methods_supported
        if self._registration.is_secret_posted or "client_secret_basic" not in methods:
            return await self._transport.post(metadata.token_endpoint, {**form, "client_id": client_id, "client_secret": secret})
        return await self._transport.post(metadata.token_endpoint, form, basic=(client_id, secret))

    async def logout_notice(self, token: str) -> tuple[str, str, str, str]:
        """Issuer, subject, session and `jti` of a logout token (OpenID Connect Back-Channel Logout section 2.6)."""
        async with self._transport.deadline():
            metadata = await self.metadata()
            _, claims = await id_tokens.verified_claims(token, self._keys, metadata.algorithms)
        expected = self._expected(metadata, None)
        id_tokens.check_claims({"exp": expected.now + 1, **claims}, expected)
        events = claims.get("events")
        subject, sid, identifier = (subject_of(claims.get(name)) for name in ("sub", "sid", "jti"))
        if not isinstance(events, dict) or LOGOUT_EVENT not in events or "nonce" in claims:
            raise FederationRefused("not_a_logout_token")
        if not identifier or not (subject or sid):
            raise FederationRefused("logout_token_malformed")
        return str(claims["iss"]), subject, sid, identifier

    async def _is_theirs(self, id_token: str, access_token: str, issuer: str, subject: str) -> bool:
        """Whether a renewed ID token is good (OpenID Connect Core section 12.2). Raises FederationRefused for another person's.

        One that cannot be checked now is left out, and the rest is kept: the refresh token beside it does not come twice.
        """
        try:
            metadata = await self.metadata()
            algorithm, claims = await id_tokens.verified_claims(id_token, self._keys, metadata.algorithms)
            id_tokens.check_claims(claims, self._expected(metadata, None))
            id_tokens.check_access_token_hash(claims, algorithm, access_token)
        except FederationRefused:
            return False
        if (claims.get("iss"), claims.get("sub")) != (issuer, subject):
            raise FederationRefused("refreshed_for_another")
        return True

    async def _discover(self) -> Metadata:
        configured = self._preset.issuer.removesuffix(WELL_KNOWN)
        document = await self._transport.get(configured.rstrip("/") + WELL_KNOWN)
        try:
            metadata = msgspec.convert(document, Metadata)
        except msgspec.ValidationError as error:
            raise FederationRefused("discovery_malformed") from error
        # A document that names another issuer is another provider's (Discovery section 4.3); only a last slash may differ.
        same = metadata.issuer.rstrip("/") == configured.rstrip("/")
        tenants = "{tenantid}" in metadata.issuer and is_safe_url(metadata.issuer, allow_http=self.settings.allow_http)
        tenants = tenants and urlsplit(metadata.issuer).netloc == urlsplit(configured).netloc
        if not (same or tenants):
            raise FederationRefused("discovery_issuer")
        endpoints = (metadata.authorization_endpoint, metadata.token_endpoint, metadata.jwks_uri)
        if not all(is_safe_url(url, allow_http=self.settings.allow_http) for url in endpoints):
            raise FederationRefused("provider_without_tls")
        if not metadata.algorithms:
            raise FederationRefused("discovery_algorithms")
        return metadata

    async def _fetch_keys(self) -> Any:  # noqa: ANN401 - JSON
        return await self._transport.get((await self.metadata()).jwks_uri)

    def _check_sender(self, metadata: Metadata, parameters: Mapping[str, str]) -> None:
        """RFC 9207: the answer names its issuer, so that no other provider's answer passes for this one's."""
        given = parameters.get("iss")
        if given is None and metadata.authorization_response_iss_parameter_supported:
            raise FederationRefused("response_issuer_missing")
        if given is not None and "{tenantid}" not in metadata.issuer and given != metadata.issuer:
            raise FederationRefused("response_issuer")

    async def _redeem(self, flow: Flow, code: str) -> Mapping[str, Any]:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": flow.redirect_uri,
            "code_verifier": flow.verifier,
        }
        answer = object_of(await self.ask_for_tokens(form))
        if not isinstance(answer.get("id_token"), str) or not isinstance(answer.get("access_token"), str):
            raise FederationRefused("no_tokens")
        return answer

    def _expected(self, metadata: Metadata, nonce: str | None) -> id_tokens.Expected:
        tolerance = min(self.settings.clock_tolerance.total_seconds(), 60)
        now = self._clock() / SECOND
        return id_tokens.Expected(metadata.issuer, self.client_id, self.settings.audience, now, tolerance, nonce)

    async def _userinfo(self, metadata: Metadata, claims: Mapping[str, Any], access_token: str) -> Mapping[str, Any]:
        """What userinfo adds; nothing when it does not answer (section 8.5). Raises FederationRefused for another's subject."""
        if metadata.userinfo_endpoint is None or not self._preset.wants_userinfo:
            return {}
        try:
            if self.settings.on_behalf_for_userinfo:
                exchanged = await self.on_behalf(access_token, self.settings.on_behalf_scope)
                access_token = str(exchanged.get("access_token", ""))
            userinfo = object_of(await self._transport.get(metadata.userinfo_endpoint, bearer=access_token))
        except FederationRefused as refusal:
            if refusal.reason == "provider_slow":
                raise
            return {}
        if userinfo.get("sub") != claims.get("sub") and not self.settings.on_behalf_for_userinfo:
            raise FederationRefused("userinfo_subject")
        return userinfo

    async def _access_claims(self, metadata: Metadata, access_token: str) -> Mapping[str, Any]:
        """The access token's claims, where a role is read from them: signed by the same issuer, in force (W-46)."""
        if "access" not in {kind for kind, _ in roles.readings(self.settings)}:
            return {}
        _, claims = await id_tokens.verified_claims(access_token, self._keys, id_tokens.ALGORITHMS)
        expected = self._expected(metadata, None)
        if claims.get("iss") != id_tokens.issuer_for(metadata.issuer, claims):
            raise FederationRefused("access_token_issuer")
        id_tokens.check_times(claims, expected.now, expected.tolerance)
        return claims

    def _assertion(self, sources: roles.Sources, grant: Grant, posted_name: str) -> Assertion:
        roles.check_required(self.settings, sources)
        claims, merged = sources["id"], _merged(sources["id"], sources["userinfo"])
        profile = self._preset.read(merged)
        subject = claims.get("sub")
        # The subject is the ID token's, letter by letter: no reading of ours may make two of them one.
        if not isinstance(subject, str) or not subject or profile.subject != subject:
            raise FederationRefused("no_subject")
        return Assertion(
            provider=self.name,
            issuer=str(claims["iss"]),
            subject=subject,
            email=profile.email,
            is_email_verified=profile.email is not None and (profile.is_email_verified or self.settings.email_is_verified),
            name=profile.name or posted_name,
            username=profile.username,
            avatar=profile.avatar,
            role=roles.role_of(self.settings, sources),
            keeps_admin=not self.settings.admin_role,
            claims=merged,
            grant=grant,
        )

    def _grant(self, answer: Mapping[str, Any], claims: Mapping[str, Any]) -> Grant:
        """What to keep: the ID token for the sign-out there, the others only where OPENID_REUSE_TOKENS asks for it."""
        lives = answer.get("expires_in")
        seconds = int(lives) if isinstance(lives, int | float) and 0 < lives < 10 * 365 * 86400 else 3600
        sid = subject_of(claims.get("sid")) or None
        is_wanted = self.settings.use_end_session or self.settings.reuse_tokens
        id_token = str(answer.get("id_token") or "") if is_wanted else ""
        if not self.settings.reuse_tokens:
            return Grant(id_token=id_token, sid=sid)
        access_token, refresh_token = str(answer["access_token"]), str(answer.get("refresh_token") or "")
        return Grant(access_token, refresh_token, id_token, self._clock() + seconds * SECOND, sid)


def _merged(claims: Mapping[str, Any], userinfo: Mapping[str, Any]) -> dict[str, Any]:
    """ID token overlaid by userinfo. A statement about an address counts for that address alone, from whoever named it."""
    merged = {**claims, **{name: value for name, value in userinfo.items() if name not in _OF_THE_TOKEN and name != "sub"}}
    if "email" in userinfo and "email_verified" not in userinfo and userinfo["email"] != claims.get("email"):
        merged.pop("email_verified", None)
    return merged


def _posted_name(parameters: Mapping[str, str]) -> str:
    """The name that Apple posts beside the code, at the first sign-in only. Unsigned: good for a name, and for nothing else."""
    try:
        user = msgspec.json.decode(parameters.get("user", ""), type=dict[str, dict[str, str] | str])
    except (msgspec.DecodeError, RecursionError):
        return ""
    name = user.get("name")
    return text_of(f"{name.get('firstName', '')} {name.get('lastName', '')}") if isinstance(name, dict) else ""
