"""OAuth 2.0 sign-in without ID tokens: code, PKCE, then the profile over TLS from the provider itself (RFC 9700)."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from ostiary.federation.flows import Flow
from ostiary.federation.presets import OAuth2Preset
from ostiary.federation.transport import Transport
from ostiary.identity.federated import Assertion
from ostiary.identity.refusals import FederationRefused

MOST_CODE = 4096


class OAuth2Provider:
    """GitHub, Discord, Facebook and their like."""

    allows_unsolicited = False
    button = ""

    def __init__(
        self, preset: OAuth2Preset, client_id: str, client_secret: str, transport: Transport, *, may_create: bool
    ) -> None:
        self.name = preset.name
        self.label = preset.label
        self.may_create = may_create
        self._preset = preset
        self._client_id = client_id
        self._client_secret = client_secret
        self._transport = transport

    async def start(self, flow: Flow) -> str:
        """The provider's page, with state and an S256 challenge."""
        parameters = {
            "response_type": "code",
            "client_id": self._client_id,
            "redirect_uri": flow.redirect_uri,
            "scope": self._preset.scope,
            "state": flow.state,
            "code_challenge": challenge_of(flow.verifier),
            "code_challenge_method": "S256",
            **self._preset.extra,
        }
        return f"{self._preset.authorize_url}?{urlencode(parameters)}"

    async def finish(self, flow: Flow, parameters: Mapping[str, str]) -> Assertion:
        """Code for token, token for profile. Raises FederationRefused."""
        code = code_of(parameters)
        async with self._transport.deadline():
            token = await self._token(flow, code)
            user = object_of(await self._transport.get(self._preset.profile_url, bearer=token))
            emails = await self._transport.get(self._preset.emails_url, bearer=token) if self._preset.emails_url else []
        entries: list[Mapping[str, Any]] = (
            [entry for entry in emails if isinstance(entry, dict)] if isinstance(emails, list) else []
        )
        profile = self._preset.read(user, entries)
        if not profile.subject:
            raise FederationRefused("no_subject")
        return Assertion(
            provider=self.name,
            issuer=self._preset.issuer,
            subject=profile.subject,
            email=profile.email,
            is_email_verified=profile.is_email_verified,
            name=profile.name,
            username=profile.username,
            avatar=profile.avatar,
            claims=user,
        )

    async def close(self) -> None:
        """Let go of connections."""
        await self._transport.close()

    async def _token(self, flow: Flow, code: str) -> str:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": flow.redirect_uri,
            "client_id": self._client_id,
            "client_secret": self._client_secret,
            "code_verifier": flow.verifier,
        }
        answer = object_of(await self._transport.post(self._preset.token_url, form))
        token = answer.get("access_token")
        if not isinstance(token, str) or not token:
            # GitHub says 200 when it refuses a code.
            raise FederationRefused("no_access_token")
        return token


def challenge_of(verifier: str) -> str:
    """PKCE's S256 (RFC 7636 section 4.2)."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def code_of(parameters: Mapping[str, str]) -> str:
    """The code that the browser brought. Raises FederationRefused when it brought an error, or nothing."""
    if "error" in parameters:
        is_decline = parameters["error"] in {"access_denied", "user_cancelled_authorize"}
        raise FederationRefused("declined" if is_decline else "provider_error")
    code = parameters.get("code", "")
    if not code or len(code) > MOST_CODE:
        raise FederationRefused("no_code")
    return code


def object_of(value: object) -> Mapping[str, Any]:
    """A JSON object. Raises FederationRefused for anything else."""
    if not isinstance(value, dict):
        raise FederationRefused("provider_answer_malformed")
    return value
