"""`/actuator` (librepass-wire 8): how clients recognise a LibrePass server."""

from __future__ import annotations

from starlette.responses import Response

from ostiary.dialects.operations import can_serve, dependencies
from ostiary.http.calls import Call, raw_response

# Byte for byte: clients look for `"group":"dev.medzik.librepass"` in the text and do not parse it, so one blank would make them
# refuse the server. The version is that of the protocol, which clients were written for.
INFO = b'{"build":{"version":"1.6.2","name":"LibrePass Server","group":"dev.medzik.librepass"}}'
_TYPE = b"application/vnd.spring-boot.actuator.v3+json"


async def info(call: Call) -> Response:  # noqa: ARG001 - the same for everyone
    """Who we are, in the words that clients look for."""
    return raw_response(INFO, _TYPE)


async def health(call: Call) -> Response:
    """Whether this process can serve."""
    if can_serve(await dependencies(call)):
        return raw_response(b'{"status":"UP"}', _TYPE)
    return raw_response(b'{"status":"DOWN"}', _TYPE, 503)
