"""What an identity provider's operator imports: `/oauth/saml/metadata` (ours; the original has none)."""

from __future__ import annotations

from starlette.responses import Response

from ostiary.federation.saml import NAME, SamlProvider
from ostiary.http.calls import Call, json_response, raw_response

MEDIA_TYPE = b"application/samlmetadata+xml"


async def metadata(call: Call) -> Response:
    """Our entity id, and where responses are posted; the same for everyone, and no secret."""
    provider = call.services.redirect_providers.get(NAME)
    if not isinstance(provider, SamlProvider):
        return json_response({"message": "Endpoint not found"}, 404)
    return raw_response(provider.metadata(), MEDIA_TYPE)
