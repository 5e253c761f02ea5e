"""An identity provider of our own that says and signs whatever a test wants; its keys are made here and thrown away."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from xml.sax.saxutils import escape

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID
from lxml import etree
from signxml.algorithms import CanonicalizationMethod, DigestAlgorithm, SignatureConstructionMethod, SignatureMethod
from signxml.signer import XMLSigner

from tests.house import START

SAML = "urn:oasis:names:tc:SAML:2.0:assertion"
PROTOCOL = "urn:oasis:names:tc:SAML:2.0:protocol"
DS = "http://www.w3.org/2000/09/xmldsig#"
ASSERTION = f"{{{SAML}}}Assertion"
SIGNATURE = f"{{{DS}}}Signature"

AUDIENCE = "https://id.example.org/saml"
CONSUMER = "http://127.0.0.1:3080/oauth/saml/callback"
ENTRY_POINT = "https://idp.example.org/sso?tenant=1"
IDP = "https://idp.example.org/metadata"
EMAIL_FORMAT = "urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress"
BEARER = "urn:oasis:names:tc:SAML:2.0:cm:bearer"
SUCCESS = "urn:oasis:names:tc:SAML:2.0:status:Success"

Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


@dataclass(frozen=True)
class Signer:
    """A key with its certificate."""

    key: Key
    certificate: x509.Certificate

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    @property
    def bare(self) -> str:
        return b64encode(self.certificate.public_bytes(serialization.Encoding.DER)).decode()

    @property
    def key_pem(self) -> str:
        kind = serialization.PrivateFormat.PKCS8
        return self.key.private_bytes(serialization.Encoding.PEM, kind, serialization.NoEncryption()).decode()


@cache
def signer(name: str = "idp", kind: str = "rsa") -> Signer:
    """The same key for the same name, as long as the tests run."""
    key: Key
    if kind == "ec":
        key = ec.generate_private_key(ec.SECP256R1())
    else:
        key = rsa.generate_private_key(65537, 1024 if kind == "weak" else 2048)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
    # Over for years: what counts is the key that the operator wrote down, not the age of its certificate.
    builder = builder.not_valid_before(datetime(2019, 1, 1, tzinfo=UTC)).not_valid_after(datetime(2020, 1, 1, tzinfo=UTC))
    return Signer(key, builder.sign(key, hashes.SHA256()))


def moment(seconds: float = 0, now: int = START) -> str:
    """An xs:dateTime this far from now."""
    return (datetime.fromtimestamp(now / 1_000_000, UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


@dataclass(frozen=True)
class Story:
    """What the identity provider says. Texts are put into the XML as they are, so that a test may write markup."""

    request_id: str | None = "_request"
    name_id: str = "ada@example.org"
    name_id_format: str = EMAIL_FORMAT
    attributes: dict[str, list[str]] = field(default_factory=lambda: {"email": ["ada@example.org"]})
    issuer: str = IDP
    assertion_id: str = "_assertion"
    response_id: str = "_response"
    audience: str = AUDIENCE
    recipient: str = CONSUMER
    destination: str | None = CONSUMER
    response_request_id: str | None = ""
    """Empty: the same as `request_id`."""
    not_before: str | None = moment(-60)
    not_on_or_after: str | None = moment(300)
    confirmed_until: str | None = moment(300)
    status: str = SUCCESS
    method: str = BEARER
    conditions: str | None = None
    """In place of the audience restriction."""
    statement: str = f'<saml:AuthnStatement AuthnInstant="{moment()}"/>'

    def assertion(self) -> etree._Element:
        times = _attributes(NotBefore=self.not_before, NotOnOrAfter=self.not_on_or_after)
        data = _attributes(Recipient=self.recipient, InResponseTo=self.request_id, NotOnOrAfter=self.confirmed_until)
        restriction = f"<saml:AudienceRestriction><saml:Audience>{self.audience}</saml:Audience></saml:AudienceRestriction>"
        values = "".join(
            f'<saml:Attribute Name="{name}">'
            + "".join(f"<saml:AttributeValue>{value}</saml:AttributeValue>" for value in found)
            + "</saml:Attribute>"
            for name, found in self.attributes.items()
        )
        return parsed(
            f'<saml:Assertion xmlns:saml="{SAML}" ID="{self.assertion_id}" Version="2.0" IssueInstant="{moment()}">'
            f"<saml:Issuer>{self.issuer}</saml:Issuer>"
            f'<saml:Subject><saml:NameID Format="{self.name_id_format}">{self.name_id}</saml:NameID>'
            f'<saml:SubjectConfirmation Method="{self.method}"><saml:SubjectConfirmationData{data}/></saml:SubjectConfirmation>'
            f"</saml:Subject>"
            f"<saml:Conditions{times}>{restriction if self.conditions is None else self.conditions}</saml:Conditions>"
            f"{self.statement}"
            f"<saml:AttributeStatement>{values}</saml:AttributeStatement>"
            f"</saml:Assertion>"
        )

    def response(self, *assertions: etree._Element) -> etree._Element:
        """The envelope around these, unsigned."""
        answered = self.request_id if self.response_request_id == "" else self.response_request_id
        heading = _attributes(Destination=self.destination, InResponseTo=answered)
        root = parsed(
            f'<samlp:Response xmlns:samlp="{PROTOCOL}" xmlns:saml="{SAML}" ID="{self.response_id}" Version="2.0"'
            f' IssueInstant="{moment()}"{heading}><saml:Issuer>{self.issuer}</saml:Issuer>'
            f'<samlp:Status><samlp:StatusCode Value="{self.status}"/></samlp:Status></samlp:Response>'
        )
        root.extend(assertions)
        return root

    def signed(self, by: Signer | None = None) -> etree._Element:
        """The ordinary answer: a signed assertion in an unsigned envelope."""
        return self.response(sign(self.assertion(), by))


class _Signer(XMLSigner):
    """One that signs with what nobody should."""

    def check_deprecated_methods(self) -> None:
        """Nothing is too old here."""


def sign(
    element: etree._Element,
    by: Signer | None = None,
    *,
    method: SignatureMethod = SignatureMethod.RSA_SHA256,
    digest: DigestAlgorithm = DigestAlgorithm.SHA256,
    secret: bytes | None = None,
) -> etree._Element:
    """A signed copy. `secret` signs by HMAC."""
    by = by or signer()
    signing = _Signer(
        method=SignatureConstructionMethod.enveloped,
        signature_algorithm=method,
        digest_algorithm=digest,
        c14n_algorithm=CanonicalizationMethod.EXCLUSIVE_XML_CANONICALIZATION_1_0,
    )
    uri = f"#{element.get('ID')}"
    copy = parsed(etree.tostring(element))
    if secret is not None:
        return signing.sign(copy, key=secret, reference_uri=uri)
    return signing.sign(copy, key=by.key, cert=[by.certificate], reference_uri=uri)


def parsed(text: str | bytes) -> etree._Element:
    """XML as it is written, comments and all."""
    return etree.fromstring(text, etree.XMLParser(strip_cdata=False, resolve_entities=False))


def posted(document: etree._Element | bytes | str) -> str:
    """The form's field."""
    raw = (
        document if isinstance(document, bytes) else document.encode() if isinstance(document, str) else etree.tostring(document)
    )
    return b64encode(raw).decode()


def _attributes(**values: str | None) -> str:
    return "".join(f' {name}="{escape(value)}"' for name, value in values.items() if value is not None)
