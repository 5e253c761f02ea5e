"""What an identity provider's operator imports: `/oauth/saml/metadata` (ours; the original has none)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import Response

from ostiary.http.calls import Call, json_response, raw_response
from ostiary.parts import Part

if TYPE_CHECKING:
    from ostiary.federation import saml
else:
    saml = Part("ostiary.federation.saml")

MEDIA_TYPE = b"application/samlmetadata+xml"


async def metadata(call: Call) -> Response:
    """Our entity id, and where responses are posted; the same for everyone, and no secret."""
    provider = call.services.redirect_providers.get("saml")
    if provider is None or not isinstance(provider, saml.SamlProvider):
        return json_response({"message": "Endpoint not found"}, 404)
    return raw_response(provider.metadata(), MEDIA_TYPE)
