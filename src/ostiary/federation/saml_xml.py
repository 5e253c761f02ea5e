"""SAML's XML: read without trust, its signature verified, and nothing handed on but what the signature covers.

Every known attack on SAML's signatures lives in the room between two readings of one document (wrapping, comments, entities,
several assertions). So the room is taken away first: only plain elements, each in its one place, each with its own ID; only then
is the signature looked at, and the element handed back is parsed anew from the very bytes that were digested.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from lxml import etree
from signxml.algorithms import DigestAlgorithm, SignatureMethod
from signxml.exceptions import SignXMLException
from signxml.verifier import SignatureConfiguration, VerifyResult, XMLVerifier

SAML = "urn:oasis:names:tc:SAML:2.0:assertion"
PROTOCOL = "urn:oasis:names:tc:SAML:2.0:protocol"
METADATA = "urn:oasis:names:tc:SAML:2.0:metadata"
DS = "http://www.w3.org/2000/09/xmldsig#"

RESPONSE = f"{{{PROTOCOL}}}Response"
ASSERTION = f"{{{SAML}}}Assertion"
SIGNATURE = f"{{{DS}}}Signature"

MAX_BYTES = 256 * 1024
SIGNATURE_METHODS = frozenset(
    {
        SignatureMethod.RSA_SHA256,
        SignatureMethod.RSA_SHA384,
        SignatureMethod.RSA_SHA512,
        SignatureMethod.SHA256_RSA_MGF1,
        SignatureMethod.SHA384_RSA_MGF1,
        SignatureMethod.SHA512_RSA_MGF1,
        SignatureMethod.ECDSA_SHA256,
        SignatureMethod.ECDSA_SHA384,
        SignatureMethod.ECDSA_SHA512,
    },
)
DIGESTS = frozenset({DigestAlgorithm.SHA256, DigestAlgorithm.SHA384, DigestAlgorithm.SHA512})
_ENVELOPED = f"{DS}enveloped-signature"
_CANONICAL = frozenset(
    {
        "http://www.w3.org/2001/10/xml-exc-c14n#",
        "http://www.w3.org/2001/10/xml-exc-c14n#WithComments",
        "http://www.w3.org/TR/2001/REC-xml-c14n-20010315",
        "http://www.w3.org/2006/12/xml-c14n11",
    },
)
_DECLARATION = re.compile(r"\A\ufeff?<\?xml[ \t\r\n][^<>?]*\?>")
_ENCODING = re.compile(r"""encoding[ \t\r\n]*=[ \t\r\n]*["']([^"']*)["']""")
_ONE_PLACE = frozenset({"Response", "Assertion", "EncryptedAssertion", "Signature"})


class SamlError(Exception):
    """A message that is not believed; the text is a private reason."""


def read(document: bytes) -> etree._Element:
    """A response's root, in the one shape that is accepted. Raises SamlError."""
    root = _parsed(_plain(document))
    if root.tag != RESPONSE:
        raise SamlError("not_a_response")
    try:
        _check_ids(root)
        _check_places(root)
    except ValueError as error:
        # The parser lets through a name that is none, and tells only whoever asks for its parts.
        raise SamlError("malformed") from error
    return root


def verified_assertion(
    root: etree._Element, certificates: Sequence[x509.Certificate], *, response_signed: bool
) -> etree._Element:
    """The assertion as it was signed, and with `response_signed` as part of a signed response. Raises SamlError.

    A signature that is not asked for must hold all the same: a message with a broken one is not whole.
    """
    assertion = _only(root, ASSERTION, "assertion")
    signed = {
        element.tag: _verified(root, element, certificates)
        for element in (root, assertion)
        if element.find(SIGNATURE) is not None
    }
    if response_signed:
        if RESPONSE not in signed:
            raise SamlError("response_unsigned")
        return _only(signed[RESPONSE], ASSERTION, "assertion")
    if ASSERTION not in signed:
        raise SamlError("assertion_unsigned")
    return signed[ASSERTION]


def only_child(parent: etree._Element, name: str) -> etree._Element:
    """The one child of SAML's namespace with this name. Raises SamlError when there is none or more."""
    return _only(parent, f"{{{SAML}}}{name}", name.lower())


def text_of(element: etree._Element) -> str:
    """An element's text, without blanks around it. Raises SamlError when there are elements inside."""
    if len(element):
        raise SamlError("elements_in_text")
    return (element.text or "").strip()


def _plain(document: bytes) -> bytes:
    if len(document) > MAX_BYTES:
        raise SamlError("too_large")
    try:
        text = document.decode("utf-8")
    except UnicodeDecodeError as error:
        raise SamlError("not_utf8") from error
    declaration = _DECLARATION.match(text)
    encoding = _ENCODING.search(declaration.group()) if declaration else None
    if encoding and encoding.group(1).upper() != "UTF-8":
        raise SamlError("not_utf8")
    body = text[declaration.end() :] if declaration else text.removeprefix("\ufeff")
    # In well-formed XML these two characters begin a comment, a CDATA section, a DTD (and with it every entity) or a processing
    # instruction, and stand nowhere else: signers and readers have disagreed about each of them. No identity provider sends any.
    if "<!" in body or "<?" in body:
        raise SamlError("markup_refused")
    return body.encode()


def _parsed(document: bytes) -> etree._Element:
    parser = etree.XMLParser(resolve_entities=False, load_dtd=False, no_network=True, huge_tree=False, encoding="utf-8")
    try:
        return etree.fromstring(document.strip(), parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise SamlError("malformed") from error


def _check_ids(root: etree._Element) -> None:
    seen: set[str] = set()
    for element in root.iter(etree.Element):
        for name, value in element.attrib.items():
            if etree.QName(str(name)).localname.lower() != "id":
                continue
            if str(value) in seen:
                raise SamlError("duplicate_id")
            seen.add(str(value))
    if not root.get("ID"):
        raise SamlError("no_id")


def _check_places(root: etree._Element) -> None:
    """One assertion below the root, at most one signature below each of the two; none elsewhere, in whatever namespace."""
    assertion: etree._Element | None = None
    signed: list[etree._Element] = []
    for element in root.iter(etree.Element):
        name = etree.QName(element).localname
        if element is root or name not in _ONE_PLACE:
            continue
        parent = element.getparent()
        if name == "EncryptedAssertion":
            raise SamlError("encrypted")
        if element.tag == ASSERTION and parent is root:
            if assertion is not None:
                raise SamlError("several_assertions")
            assertion = element
        elif element.tag == SIGNATURE and parent is not None and (parent is root or parent is assertion):
            if any(parent is other for other in signed):
                raise SamlError("several_signatures")
            signed.append(parent)
        else:
            raise SamlError("misplaced")
    if assertion is None:
        raise SamlError("no_assertion")
    if not assertion.get("ID"):
        raise SamlError("no_id")


def _verified(root: etree._Element, element: etree._Element, certificates: Sequence[x509.Certificate]) -> etree._Element:
    _check_signature(element)
    place = "./" if element is root else f"./{ASSERTION}/"
    for certificate in certificates:
        found = _signed_by(root, place, certificate)
        if found is None:
            continue
        if found.tag != element.tag or found.get("ID") != element.get("ID"):
            raise SamlError("other_element_signed")
        return found
    raise SamlError("signature_invalid")


def _signed_by(root: etree._Element, place: str, certificate: x509.Certificate) -> etree._Element | None:
    # The signature's own KeyInfo is not even shown to the verifier: which key may sign is for the settings to say.
    copy = etree.fromstring(etree.tostring(root))
    signature = copy.find(f"{place}{SIGNATURE}")
    for key_info in list(signature) if signature is not None else []:
        if key_info.tag == f"{{{DS}}}KeyInfo" and signature is not None:
            signature.remove(key_info)
    config = SignatureConfiguration(
        location=place,
        signature_methods=SIGNATURE_METHODS,
        digest_algorithms=DIGESTS,
        ignore_ambiguous_key_info=True,
        # A certificate that was given to us by hand is trusted for its key, however old it is (SAML metadata interoperability
        # profile 1.0, section 2.6.1); `Settings.warnings` tells the operator.
        verification_time=certificate.not_valid_before_utc,
    )
    try:
        result = XMLVerifier().verify(copy, x509_cert=certificate, expect_config=config)
    except (SignXMLException, InvalidSignature, UnsupportedAlgorithm, etree.LxmlError, ValueError, TypeError):
        return None
    return result.signed_xml if isinstance(result, VerifyResult) else None


def _check_signature(element: etree._Element) -> None:
    """The signature has SAML's one shape (SAML core 5.4): enveloped, one reference, to its parent, no other transforms."""
    signature = _only(element, SIGNATURE, "signature")
    names = [etree.QName(child).localname for child in signature]
    if names not in (["SignedInfo", "SignatureValue"], ["SignedInfo", "SignatureValue", "KeyInfo"]):
        raise SamlError("signature_shape")
    signed_info = signature[0]
    if [etree.QName(child).localname for child in signed_info] != ["CanonicalizationMethod", "SignatureMethod", "Reference"]:
        raise SamlError("signature_shape")
    reference = signed_info[2]
    if reference.get("URI") != f"#{element.get('ID')}":
        raise SamlError("other_element_signed")
    if [etree.QName(child).localname for child in reference] != ["Transforms", "DigestMethod", "DigestValue"]:
        raise SamlError("signature_shape")
    transforms = list(_algorithms(reference[0]))
    if transforms[:1] != [_ENVELOPED] or len(transforms) > 2 or not _CANONICAL.issuperset(transforms[1:]):  # noqa: PLR2004
        raise SamlError("transforms_refused")
    if signed_info[0].get("Algorithm") not in _CANONICAL:
        raise SamlError("transforms_refused")
    if signed_info[1].get("Algorithm") not in {method.value for method in SIGNATURE_METHODS}:
        raise SamlError("algorithm_refused")
    if reference[1].get("Algorithm") not in {digest.value for digest in DIGESTS}:
        raise SamlError("algorithm_refused")


def _algorithms(transforms: etree._Element) -> Iterator[str]:
    for transform in transforms:
        yield transform.get("Algorithm") or ""


def _only(parent: etree._Element, tag: str, what: str) -> etree._Element:
    found = parent.findall(tag)
    if len(found) != 1:
        raise SamlError(f"no_{what}" if not found else f"several_{what}s")
    return found[0]
