"""A hostile identity provider, or somebody between it and us: the catalogue's group SAM (SAM-01 to SAM-10)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from lxml import etree
from signxml.algorithms import DigestAlgorithm, SignatureMethod

from ostiary.identity.refusals import FederationRefused
from tests.federation.saml_desk import FLOW, believed, provider, refusal, unsolicited
from tests.federation.saml_forge import (
    ASSERTION,
    SAML,
    SIGNATURE,
    Story,
    moment,
    parsed,
    sign,
    signer,
)
from tests.house import START, Clock

STORY = Story()
VICTIM = "victim@example.org"


async def test_an_honest_answer_is_believed() -> None:
    """Without this none of the refusals below would say anything."""
    found = await believed(STORY.signed())

    assert (found.issuer, found.subject, found.email) == (STORY.issuer, "ada@example.org", "ada@example.org")
    assert found.is_email_verified


class TestSam01Unsigned:
    async def test_nothing_signed(self) -> None:
        assert await refusal(STORY.response(STORY.assertion())) == "assertion_unsigned"

    async def test_the_signature_taken_out(self) -> None:
        document = STORY.signed()
        assertion = document.find(ASSERTION)
        assert assertion is not None
        assertion.remove(assertion.findall(SIGNATURE)[0])

        assert await refusal(document) == "assertion_unsigned"

    async def test_an_empty_signature(self) -> None:
        assertion = STORY.assertion()
        etree.SubElement(assertion, SIGNATURE)

        assert await refusal(STORY.response(assertion)) == "signature_shape"

    async def test_a_signed_envelope_does_not_stand_in_for_a_signed_assertion(self) -> None:
        assert await refusal(sign(STORY.response(STORY.assertion()))) == "assertion_unsigned"

    async def test_a_signed_assertion_does_not_stand_in_for_a_signed_response(self) -> None:
        assert await refusal(STORY.signed(), SAML_USE_AUTHN_RESPONSE_SIGNED="true") == "response_unsigned"

    async def test_a_broken_signature_of_the_envelope_spoils_a_signed_assertion(self) -> None:
        document = sign(STORY.signed())
        document.set("IssueInstant", moment(1))

        assert await refusal(document) == "signature_invalid"

    async def test_one_changed_letter(self) -> None:
        document = etree.tostring(STORY.signed()).replace(b">ada@example.org<", b">eda@example.org<")

        assert await refusal(document) == "signature_invalid"


class TestSam03MarkupInValues:
    @pytest.mark.parametrize(
        "markup",
        [
            "victim@example.org<!--x-->.evil.example",
            "victim@example.org<?x y?>.evil.example",
            "victim@example.org<x/>.evil.example",
        ],
    )
    @pytest.mark.parametrize("place", ["name_id", "email"])
    async def test_markup_in_a_value_never_shortens_it(self, place: str, markup: str) -> None:
        story = replace(STORY, name_id=markup) if place == "name_id" else replace(STORY, attributes={"email": [markup]})
        document = story.signed()

        reason = await refusal(document)

        if place == "email" and "<x/>" in markup:
            # A value made of elements says nothing; the address is then the name id's own.
            assert reason == "BELIEVED as ada@example.org ada@example.org"
        else:
            assert reason in {"markup_refused", "elements_in_text"}

    @pytest.mark.parametrize("marked", [b"victim@example.org<!---->.evil", b"<![CDATA[victim@example.org]]>.evil"])
    async def test_markup_put_in_after_signing(self, marked: bytes) -> None:
        """Canonicalisation drops it, so the signature still holds (CVE-2017-11427 and its family)."""
        document = etree.tostring(replace(STORY, name_id=f"{VICTIM}.evil.example").signed())

        assert await refusal(document.replace(b"victim@example.org.evil", marked)) == "markup_refused"


class TestSam04SeveralOfWhatMustBeOne:
    async def test_two_assertions_of_which_one_is_signed(self) -> None:
        forged = replace(STORY, assertion_id="_forged", name_id=VICTIM).assertion()
        genuine = sign(STORY.assertion())

        assert await refusal(STORY.response(forged, genuine)) == "several_assertions"
        assert await refusal(STORY.response(genuine, forged)) == "several_assertions"

    async def test_two_signed_assertions(self) -> None:
        second = replace(STORY, assertion_id="_second")

        assert await refusal(STORY.response(sign(STORY.assertion()), sign(second.assertion()))) == "several_assertions"

    async def test_no_assertion(self) -> None:
        assert await refusal(STORY.response()) == "no_assertion"

    async def test_an_encrypted_assertion(self) -> None:
        assert await refusal(STORY.response(parsed(f'<a:EncryptedAssertion xmlns:a="{SAML}"/>'))) == "encrypted"

    async def test_two_roots(self) -> None:
        document = etree.tostring(STORY.signed())

        assert await refusal(document + document) == "malformed"

    async def test_an_assertion_for_a_root(self) -> None:
        assert await refusal(sign(STORY.assertion())) == "not_a_response"

    @pytest.mark.parametrize("name", ["ID", "Id", "id", "{http://www.w3.org/XML/1998/namespace}id"])
    async def test_the_same_id_twice(self, name: str) -> None:
        document = STORY.signed()
        document[0].set(name, STORY.assertion_id)

        assert await refusal(document) == "duplicate_id"

    async def test_two_signatures_of_one_element(self) -> None:
        assertion = sign(STORY.assertion())
        assertion.append(parsed(etree.tostring(assertion.findall(SIGNATURE)[0])))

        assert await refusal(STORY.response(assertion)) == "several_signatures"

    async def test_two_name_ids(self) -> None:
        assertion = STORY.assertion()
        subject = assertion.find(f"{{{SAML}}}Subject")
        assert subject is not None
        etree.SubElement(subject, f"{{{SAML}}}NameID").text = VICTIM

        assert await refusal(STORY.response(sign(assertion))) == "several_nameids"


class TestSam06InResponseTo:
    @pytest.mark.parametrize("answered", [None, "", "_other", "request", "_request "])
    async def test_an_answer_to_no_request_or_to_another(self, answered: str | None) -> None:
        story = replace(STORY, request_id=answered, response_request_id=answered or None)

        assert await refusal(story.signed()) == "in_response_to"

    async def test_the_signed_word_counts_not_the_envelopes(self) -> None:
        story = replace(STORY, request_id="_other", response_request_id="_request")

        assert await refusal(story.signed()) == "in_response_to"

    async def test_the_envelope_may_not_say_otherwise(self) -> None:
        assert await refusal(replace(STORY, response_request_id="_other").signed()) == "in_response_to"

    async def test_a_sign_in_begun_there_is_refused_by_default(self) -> None:
        assert await refusal(replace(STORY, request_id=None).signed(), flow=unsolicited()) == "unsolicited"

    async def test_a_sign_in_begun_there_is_taken_by_the_switch(self) -> None:
        found = await believed(replace(STORY, request_id=None).signed(), flow=unsolicited(), OSTIARY_SAML_IDP_INITIATED="true")

        assert found.subject == "ada@example.org"

    async def test_the_switch_does_not_let_an_answer_to_somebodys_request_in_without_its_flow(self) -> None:
        """Else whoever stole an answer could use it in a browser that never asked."""
        assert await refusal(STORY.signed(), flow=unsolicited(), OSTIARY_SAML_IDP_INITIATED="true") == "in_response_to"

    async def test_the_switch_does_not_loosen_a_flow(self) -> None:
        reason = await refusal(replace(STORY, request_id=None).signed(), OSTIARY_SAML_IDP_INITIATED="true")

        assert reason == "in_response_to"


class TestSam07Conditions:
    @pytest.mark.parametrize(
        ("story", "reason"),
        [
            (replace(STORY, audience="https://other.example.org"), "audience"),
            (replace(STORY, audience="https://id.example.org/saml/"), "audience"),
            (replace(STORY, conditions=""), "audience"),
            (replace(STORY, conditions="<saml:AudienceRestriction/>"), "audience"),
            (replace(STORY, conditions="<saml:Condition/>"), "unknown_condition"),
            (replace(STORY, recipient="https://other.example.org/oauth/saml/callback"), "recipient"),
            (replace(STORY, recipient=""), "recipient"),
            (replace(STORY, destination="https://other.example.org/oauth/saml/callback"), "destination"),
            (replace(STORY, destination=None), "destination"),
            (replace(STORY, not_before=moment(120)), "not_yet_valid"),
            (replace(STORY, not_on_or_after=moment(-120)), "expired"),
            (replace(STORY, confirmed_until=moment(-120)), "expired"),
            (replace(STORY, not_on_or_after=None), "time_unreadable"),
            (replace(STORY, confirmed_until=None), "time_unreadable"),
            (replace(STORY, not_on_or_after="2031-01-01T00:00:00"), "time_unreadable"),
            (replace(STORY, not_on_or_after="0000-01-01T00:00:00Z"), "time_unreadable"),
            (replace(STORY, not_on_or_after="tomorrow"), "time_unreadable"),
            (replace(STORY, method="urn:oasis:names:tc:SAML:2.0:cm:sender-vouches"), "no_bearer"),
            (replace(STORY, status="urn:oasis:names:tc:SAML:2.0:status:Responder"), "status"),
            (replace(STORY, statement=""), "no_authentication"),
            (
                replace(STORY, statement=f'<saml:AuthnStatement SessionNotOnOrAfter="{moment(-120)}"/>'),
                "expired",
            ),
            (replace(STORY, name_id_format="urn:oasis:names:tc:SAML:2.0:nameid-format:transient"), "name_id_transient"),
            (replace(STORY, name_id=" "), "name_id"),
            (replace(STORY, name_id="a" * 1025), "name_id"),
            (replace(STORY, name_id="ada&#10;@example.org"), "name_id"),
            (replace(STORY, issuer=""), "issuer"),
        ],
    )
    async def test_an_assertion_for_elsewhere_or_for_another_time(self, story: Story, reason: str) -> None:
        assert await refusal(story.signed()) == reason

    async def test_every_audience_restriction_must_name_us(self) -> None:
        theirs = "<saml:AudienceRestriction><saml:Audience>https://other.example.org</saml:Audience></saml:AudienceRestriction>"
        ours = theirs.replace("https://other.example.org", STORY.audience)

        assert await refusal(replace(STORY, conditions=ours + theirs).signed()) == "audience"

    async def test_another_issuer_than_the_configured_one(self) -> None:
        assert await refusal(STORY.signed(), OSTIARY_SAML_IDP_ISSUER="https://another.example.org") == "issuer"

    async def test_an_envelope_by_another_issuer(self) -> None:
        document = replace(STORY, issuer="https://another.example.org").response(sign(STORY.assertion()))

        assert await refusal(document) == "issuer"

    async def test_clocks_may_differ_by_the_skew_and_no_more(self) -> None:
        clock = Clock(START)
        clock.advance(329)
        assert (await refusal(STORY.signed(), clock=clock)).startswith("BELIEVED")

        clock.advance(1)
        assert await refusal(STORY.signed(), clock=clock) == "expired"


class TestSam09Keys:
    async def test_another_key_with_its_certificate_inside(self) -> None:
        assert await refusal(STORY.signed(signer("attacker"))) == "signature_invalid"

    @pytest.mark.parametrize("secret", [signer().pem.encode(), signer().bare.encode()])
    async def test_an_hmac_keyed_by_the_certificate(self, secret: bytes) -> None:
        assertion = sign(STORY.assertion(), method=SignatureMethod.HMAC_SHA256, secret=secret)

        assert await refusal(STORY.response(assertion)) == "algorithm_refused"

    async def test_sha1_for_the_signature(self) -> None:
        assertion = sign(STORY.assertion(), method=SignatureMethod.RSA_SHA1)

        assert await refusal(STORY.response(assertion)) == "algorithm_refused"

    async def test_sha1_for_the_digest(self) -> None:
        assertion = sign(STORY.assertion(), digest=DigestAlgorithm.SHA1)

        assert await refusal(STORY.response(assertion)) == "algorithm_refused"

    async def test_md5(self) -> None:
        document = etree.tostring(STORY.signed()).replace(b"#rsa-sha256", b"#rsa-md5")

        assert await refusal(document) == "algorithm_refused"

    @pytest.mark.parametrize("reference", ["", "#_response", "#_request"])
    async def test_a_reference_to_something_else(self, reference: str) -> None:
        document = etree.tostring(STORY.signed()).replace(b'URI="#_assertion"', f'URI="{reference}"'.encode())

        assert await refusal(document) == "other_element_signed"

    @pytest.mark.parametrize(
        "transform",
        ["http://www.w3.org/TR/1999/REC-xslt-19991116", "http://www.w3.org/TR/1999/REC-xpath-19991116", "urn:x"],
    )
    async def test_transforms_that_could_make_anything_of_it(self, transform: str) -> None:
        document = etree.tostring(STORY.signed())
        document = document.replace(
            b'Transform Algorithm="http://www.w3.org/2001/10/xml-exc-c14n#"', f'Transform Algorithm="{transform}"'.encode()
        )

        assert await refusal(document) == "transforms_refused"

    async def test_a_key_by_value_is_not_even_looked_at(self) -> None:
        """KeyInfo names an attacker's key, the signature is the configured key's: it holds, since KeyInfo says nothing."""
        document = STORY.signed()
        certificate = next(document.iter("{http://www.w3.org/2000/09/xmldsig#}X509Certificate"))
        certificate.text = signer("attacker").bare

        assert (await refusal(document)).startswith("BELIEVED")

    @pytest.mark.parametrize("method", [SignatureMethod.RSA_SHA512, SignatureMethod.SHA256_RSA_MGF1])
    async def test_stronger_ones_are_taken(self, method: SignatureMethod) -> None:
        assertion = sign(STORY.assertion(), method=method, digest=DigestAlgorithm.SHA512)

        assert (await refusal(STORY.response(assertion))).startswith("BELIEVED")

    async def test_an_elliptic_key_and_one_of_several_certificates(self) -> None:
        curved = signer("curved", "ec")
        assertion = sign(STORY.assertion(), curved, method=SignatureMethod.ECDSA_SHA256)

        reason = await refusal(STORY.response(assertion), SAML_CERT=signer().pem + curved.pem)

        assert reason.startswith("BELIEVED")


class TestHostileXml:
    @pytest.mark.parametrize(
        "prologue",
        [
            '<!DOCTYPE r [<!ENTITY x "ada">]>',
            '<!DOCTYPE r [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;">]>',
            '<!DOCTYPE r SYSTEM "file:///etc/passwd">',
            "<?xml-stylesheet href='https://evil.example/'?>",
        ],
    )
    async def test_declarations_and_instructions(self, prologue: str) -> None:
        assert await refusal(prologue.encode() + etree.tostring(STORY.signed())) == "markup_refused"

    @pytest.mark.parametrize("encoding", ["UTF-16", "UTF-7", "ISO-8859-1", "EBCDIC-CP-US"])
    async def test_other_encodings_that_could_hide_markup(self, encoding: str) -> None:
        body = etree.tostring(STORY.signed()).decode()
        document = f'<?xml version="1.0" encoding="{encoding}"?>{body}'

        assert await refusal(document) == "not_utf8"
        assert await refusal(document.encode("utf-16")) == "not_utf8"

    async def test_an_ordinary_declaration_is_fine(self) -> None:
        document = b"\xef\xbb\xbf<?xml version='1.0' encoding='utf-8'?>\n" + etree.tostring(STORY.signed())

        assert (await refusal(document)).startswith("BELIEVED")

    async def test_more_than_256_kilobytes(self) -> None:
        story = replace(STORY, attributes={"email": ["ada@example.org"], "more": ["x" * 256 * 1024]})

        assert await refusal(story.signed()) == "too_large"
        assert await refusal("x" * 1024 * 1024) == "too_large"

    async def test_a_large_answer_below_that(self) -> None:
        story = replace(STORY, attributes={"email": ["ada@example.org"], "groups": [f"group-{n}" for n in range(3000)]})

        assert (await refusal(story.signed())).startswith("BELIEVED")

    @pytest.mark.parametrize("document", ["", "<", "<a>", "nothing", "<a/>", "\x00", "<a xmlns:b='c:d' b:ID='x' ID='x'/>"])
    async def test_what_is_no_response(self, document: str) -> None:
        assert await refusal(document) in {"no_response", "malformed", "not_a_response"}

    async def test_depth(self) -> None:
        deep = "<a>" * 20_000 + "</a>" * 20_000

        assert await refusal(deep) == "malformed"

    async def test_relative_namespaces_that_stop_canonicalisation(self) -> None:
        """Some verifiers took the digest of the nothing that came out (ruby-saml CVE-2025-66568)."""
        assertion = etree.tostring(STORY.signed()).replace(b"<saml:Subject>", b'<saml:Subject xmlns:ns1="1">')

        assert await refusal(assertion) == "signature_invalid"

    async def test_base64_that_is_none(self) -> None:
        assert await refusal_of_field("%%%") == "not_base64"
        assert await refusal_of_field("é") == "not_base64"
        assert await refusal_of_field("") == "no_response"


async def refusal_of_field(text: str) -> str:
    with pytest.raises(FederationRefused) as refused:
        await provider().finish(FLOW, {"SAMLResponse": text})
    return str(refused.value.reason).removeprefix("saml:")
