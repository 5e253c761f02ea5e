"""The service provider by itself, with the clock of the tests: what it makes of a document, and why it refuses one."""

from __future__ import annotations

from lxml import etree

from ostiary.federation.flows import UNSOLICITED, Flow
from ostiary.federation.saml import SamlProvider
from ostiary.identity.federated import Assertion
from ostiary.identity.refusals import FederationRefused
from ostiary.settings import Settings
from tests.federation.saml_forge import AUDIENCE, ENTRY_POINT, posted, signer
from tests.house import START, Clock

FLOW = Flow("saml", "state", "request", "verifier", "")


def variables(**environment: str) -> dict[str, str]:
    """LibreChat's variables for the provider of these tests."""
    return {
        "ALLOW_SOCIAL_LOGIN": "true",
        "SAML_ENTRY_POINT": ENTRY_POINT,
        "SAML_ISSUER": AUDIENCE,
        "SAML_CERT": signer().pem,
        "SAML_SESSION_SECRET": "anything",
        **environment,
    }


def provider(clock: Clock | None = None, **environment: str) -> SamlProvider:
    return SamlProvider(Settings.load(variables(**environment)), clock or Clock(START))


async def believed(
    document: etree._Element | bytes | str, *, flow: Flow = FLOW, clock: Clock | None = None, **environment: str
) -> Assertion:
    return await provider(clock, **environment).finish(flow, {"SAMLResponse": posted(document)})


async def refusal(
    document: etree._Element | bytes | str, *, flow: Flow = FLOW, clock: Clock | None = None, **environment: str
) -> str:
    """The private reason; a document that is believed says so, and makes the test fail readably."""
    try:
        found = await believed(document, flow=flow, clock=clock, **environment)
    except FederationRefused as refused:
        return (refused.reason or "").removeprefix("saml:")
    return f"BELIEVED as {found.subject} {found.email}"


def unsolicited() -> Flow:
    """The flow of a browser that comes without having asked."""
    return Flow("saml", "", "", "", "", memory={UNSOLICITED: "true"})
