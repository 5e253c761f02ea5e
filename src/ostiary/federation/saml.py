"""SAML 2.0 web browser single sign-on, the service provider's side: HTTP-Redirect out, HTTP-POST back (librechat-wire 8.7)."""

from __future__ import annotations

import asyncio
import binascii
import re
import zlib
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from urllib.parse import urlencode, urlsplit

from lxml import etree

from ostiary.federation import saml_xml
from ostiary.federation.flows import UNSOLICITED, Flow
from ostiary.federation.pictures import Pictures
from ostiary.federation.saml_rules import Expected, Subject, check_assertion, check_response
from ostiary.federation.saml_xml import METADATA, PROTOCOL, SAML, SamlError
from ostiary.identity.context import micros
from ostiary.identity.federated import Assertion, Once
from ostiary.identity.refusals import FederationRefused
from ostiary.settings import Settings

NAME = "saml"
POST_BINDING = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST"
EMAIL_FORMAT = "urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress"
ADMIN_CALLBACK_PATH = "/api/admin/oauth/saml/callback"
MAIL_NAMES = ("email", "mail", "urn:oid:0.9.2342.19200300.100.1.3")
LONGEST_ADDRESS = 2048
MAX_BASE64 = saml_xml.MAX_BYTES * 3 // 2

_ADDRESS = re.compile(r"(?=.{3,254}\Z)[^@\s]+@[^@\s]+")

Attributes = Mapping[str, tuple[str, ...]]


class SamlProvider:
    """The one identity provider that the settings name. A `RedirectProvider`."""

    name = NAME

    def __init__(self, settings: Settings, clock: Callable[[], int]) -> None:
        self._settings = settings.saml
        self._pictures = Pictures(settings.federation)
        self._certificates = settings.saml.certificates
        self._clock = clock
        self.label = settings.saml.called
        self.button = settings.saml.button_label
        self.may_create = settings.saml.registration
        self.allows_unsolicited = settings.saml.idp_initiated
        """Whether a response may come without a flow, from a browser that the identity provider sent here by itself."""
        self.consumer = settings.saml.assertion_consumer(settings.server.public_server_url)
        self._admin_consumer = f"{settings.server.public_server_url}{ADMIN_CALLBACK_PATH}"

    async def start(self, flow: Flow) -> str:
        """The identity provider's address with our request; RelayState is the flow's state and nothing else."""
        request = _deflated(self._request(flow))
        query = urlencode({"SAMLRequest": b64encode(request).decode(), "RelayState": flow.state})
        address = self._settings.entry_point.partition("#")[0]
        return f"{address}{'&' if urlsplit(address).query else '?'}{query}"

    async def finish(self, flow: Flow, parameters: Mapping[str, str]) -> Assertion:
        """Who the signed assertion says this is. Raises FederationRefused, with `saml:` and the reason."""
        is_unsolicited = UNSOLICITED in flow.memory
        if is_unsolicited and not self.allows_unsolicited:
            raise FederationRefused("saml:unsolicited")
        expected = Expected(
            audience=self._settings.issuer,
            consumer=self._consumer_of(flow),
            issuer=self._settings.idp_issuer,
            request_id=None if is_unsolicited else request_id(flow),
            now=self._clock(),
            skew=micros(self._settings.clock_skew),
        )
        try:
            # Up to 256 KB of XML are read, canonicalised and verified: not on the event loop.
            return await asyncio.to_thread(self._believed, parameters.get("SAMLResponse", ""), expected)
        except SamlError as error:
            raise FederationRefused(f"saml:{error}") from error

    async def close(self) -> None:
        """Nothing is held open."""

    def metadata(self) -> bytes:
        """What an identity provider's operator imports (SAML metadata 2.4.4)."""
        descriptor = etree.Element(f"{{{METADATA}}}EntityDescriptor", {"entityID": self._settings.issuer}, nsmap={"md": METADATA})
        service = etree.SubElement(
            descriptor,
            f"{{{METADATA}}}SPSSODescriptor",
            {
                "AuthnRequestsSigned": "false",
                "WantAssertionsSigned": "false" if self._settings.response_signed else "true",
                "protocolSupportEnumeration": PROTOCOL,
            },
        )
        etree.SubElement(service, f"{{{METADATA}}}NameIDFormat").text = EMAIL_FORMAT
        for index, address in enumerate((self.consumer, self._admin_consumer)):
            etree.SubElement(
                service,
                f"{{{METADATA}}}AssertionConsumerService",
                {
                    "Binding": POST_BINDING,
                    "Location": address,
                    "index": str(index),
                    "isDefault": "true" if index == 0 else "false",
                },
            )
        return etree.tostring(descriptor, xml_declaration=True, encoding="UTF-8", pretty_print=True)

    def _consumer_of(self, flow: Flow) -> str:
        """The administration panel's cookie is sent to its own paths alone, so its answers must come there."""
        return self._admin_consumer if flow.is_admin else self.consumer

    def _request(self, flow: Flow) -> bytes:
        """An AuthnRequest. No RequestedAuthnContext: with one, Entra and AD FS refuse people who came by a passkey."""
        issued = datetime.fromtimestamp(self._clock() // 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        request = etree.Element(
            f"{{{PROTOCOL}}}AuthnRequest",
            {
                "ID": request_id(flow),
                "Version": "2.0",
                "IssueInstant": issued,
                "Destination": self._settings.entry_point,
                "ProtocolBinding": POST_BINDING,
                "AssertionConsumerServiceURL": self._consumer_of(flow),
            },
            nsmap={"samlp": PROTOCOL, "saml": SAML},
        )
        etree.SubElement(request, f"{{{SAML}}}Issuer").text = self._settings.issuer
        etree.SubElement(request, f"{{{PROTOCOL}}}NameIDPolicy", {"Format": EMAIL_FORMAT, "AllowCreate": "true"})
        return etree.tostring(request)

    def _believed(self, encoded: str, expected: Expected) -> Assertion:
        root = saml_xml.read(_decoded(encoded))
        check_response(root, expected)
        assertion = saml_xml.verified_assertion(root, self._certificates, response_signed=self._settings.response_signed)
        subject = check_assertion(root, assertion, expected)
        return self._person(subject, _attributes(assertion))

    def _person(self, subject: Subject, attributes: Attributes) -> Assertion:
        names = self._settings
        email = _first(attributes, names.email_claim, *MAIL_NAMES)
        if email is None and subject.name_id_format == EMAIL_FORMAT:
            email = subject.name_id
        if email is not None and not _ADDRESS.fullmatch(email):
            email = None
        given = _first(attributes, names.given_name_claim, "given_name")
        family = _first(attributes, names.family_name_claim, "family_name")
        username = _joined(attributes, names.username_claim, "username")
        picture = _first(attributes, names.picture_claim, "picture") or ""
        # A configured full name is taken even when it is missing, as in the original: then the others below speak.
        name = _first(attributes, names.name_claim) if names.name_claim else None
        name = name or " ".join(part for part in (given, family) if part) or username or email or subject.name_id
        avatar = picture if picture.startswith("https://") and len(picture) <= LONGEST_ADDRESS else None
        return Assertion(
            provider=NAME,
            issuer=subject.issuer,
            subject=subject.name_id,
            email=email,
            is_email_verified=True,
            name=name,
            username=username or _joined(attributes, names.given_name_claim, "given_name") or email,
            avatar=avatar,
            picture=self._pictures.reader(avatar) if avatar else None,
            claims={key: list(values) for key, values in attributes.items()},
            once=Once(f"{subject.issuer}|{subject.assertion_id}", subject.until),
        )


def request_id(flow: Flow) -> str:
    """The AuthnRequest's id, which the response must name: made from the flow's nonce, so it needs no keeping. An xs:ID."""
    return f"_{flow.nonce}"


def _deflated(document: bytes) -> bytes:
    """Raw DEFLATE (SAML bindings 3.4.4.1)."""
    compressor = zlib.compressobj(level=9, wbits=-zlib.MAX_WBITS)
    return compressor.compress(document) + compressor.flush()


def _decoded(encoded: str) -> bytes:
    if not encoded:
        raise SamlError("no_response")
    if len(encoded) > MAX_BASE64:
        raise SamlError("too_large")
    try:
        return b64decode("".join(encoded.split()).encode("ascii"), validate=True)
    except (binascii.Error, ValueError) as error:
        raise SamlError("not_base64") from error


def _attributes(assertion: etree._Element) -> dict[str, tuple[str, ...]]:
    """Name → values that are plain text; values made of elements say nothing that we ask for."""
    found: dict[str, tuple[str, ...]] = {}
    for attribute in assertion.findall(f"{{{SAML}}}AttributeStatement/{{{SAML}}}Attribute"):
        name = attribute.get("Name") or ""
        values = [saml_xml.text_of(value) for value in attribute.findall(f"{{{SAML}}}AttributeValue") if not len(value)]
        found[name] = found.get(name, ()) + tuple(value for value in values if value and value.isprintable())
    return found


def _values(attributes: Attributes, names: tuple[str, ...]) -> tuple[str, ...]:
    return next((values for name in names if name and (values := attributes.get(name, ()))), ())


def _first(attributes: Attributes, *names: str) -> str | None:
    return next(iter(_values(attributes, names)), None)


def _joined(attributes: Attributes, *names: str) -> str | None:
    return "_".join(_values(attributes, names)) or None
