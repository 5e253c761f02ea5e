"""SAML's service provider by itself: the request it sends, its metadata, what it takes from attributes, and its settings."""

from __future__ import annotations

import zlib
from base64 import b64decode
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from lxml import etree
from msgspec.structs import replace as replace_struct

from ostiary.federation.flows import new_flow
from ostiary.federation.saml import request_id
from ostiary.settings import Settings, SettingsError
from tests.federation.saml_desk import FLOW, believed, provider, refusal, variables
from tests.federation.saml_forge import AUDIENCE, CONSUMER, PROTOCOL, SAML, Story, moment, signer

ADMIN_CONSUMER = "http://127.0.0.1:3080/api/admin/oauth/saml/callback"
ADMIN_CONSUMER = "http://127.0.0.1:3080/api/admin/oauth/saml/callback"
MD = "urn:oasis:names:tc:SAML:2.0:metadata"


async def test_the_request_is_deflated_into_the_identity_providers_address() -> None:
    address = await provider().start(FLOW)

    parts = urlsplit(address)
    query = {name: values[0] for name, values in parse_qs(parts.query).items()}
    assert (parts.scheme, parts.netloc, parts.path) == ("https", "idp.example.org", "/sso")
    assert set(query) == {"tenant", "SAMLRequest", "RelayState"}
    assert query["RelayState"] == FLOW.state
    request = etree.fromstring(zlib.decompress(b64decode(query["SAMLRequest"]), -15))
    assert request.tag == f"{{{PROTOCOL}}}AuthnRequest"
    assert request.get("ID") == "_request"
    assert request.get("AssertionConsumerServiceURL") == CONSUMER
    assert request.get("IssueInstant") == moment()[:19] + "Z"
    assert request.findtext(f"{{{SAML}}}Issuer") == AUDIENCE


def test_every_flow_asks_under_an_id_of_its_own() -> None:
    identifiers = {request_id(new_flow("saml", "")) for _ in range(20)}

    assert len(identifiers) == 20
    assert all(identifier.startswith("_") and len(identifier) > 40 for identifier in identifiers)


@pytest.mark.parametrize(
    ("environment", "consumer"),
    [
        ({}, "https://id.example.org/oauth/saml/callback"),
        ({"SAML_CALLBACK_URL": "/elsewhere"}, "https://id.example.org/elsewhere"),
        ({"SAML_CALLBACK_URL": "https://proxy.example.org/acs"}, "https://proxy.example.org/acs"),
        ({"OSTIARY_SAML_ACS_URL": "https://proxy.example.org/acs"}, "https://proxy.example.org/acs"),
    ],
)
def test_responses_come_to_our_own_server_unless_told_otherwise(environment: dict[str, str], consumer: str) -> None:
    settings = Settings.load(variables(DOMAIN_SERVER="https://id.example.org/", **environment))

    assert settings.saml.assertion_consumer(settings.server.public_server_url) == consumer


def test_the_metadata_says_who_we_are_and_where_to_post() -> None:
    metadata = etree.fromstring(provider().metadata())

    service = metadata.find(f"{{{MD}}}SPSSODescriptor")
    assert metadata.get("entityID") == AUDIENCE
    assert service is not None
    assert service.get("WantAssertionsSigned") == "true"
    consumers = service.findall(f"{{{MD}}}AssertionConsumerService")
    assert {consumer.get("Binding") for consumer in consumers} == {"urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST"}
    assert [consumer.get("Location") for consumer in consumers] == [CONSUMER, ADMIN_CONSUMER]


async def test_an_administrators_answer_comes_to_the_panels_own_path() -> None:
    flow = replace_struct(FLOW, is_admin=True)
    story = replace(Story(), recipient=ADMIN_CONSUMER, destination=ADMIN_CONSUMER)

    assert (await refusal(story.signed(), flow=flow)).startswith("BELIEVED")
    assert await refusal(story.signed()) == "destination"
    assert await refusal(Story().signed(), flow=flow) == "destination"


class TestAttributes:
    async def test_the_default_names(self) -> None:
        story = Story(
            attributes={
                "email": ["ada@example.org", "second@example.org"],
                "username": ["ada", "countess"],
                "given_name": ["Ada"],
                "family_name": ["Lovelace"],
                "picture": ["https://pictures.example.org/ada.png"],
            },
        )

        found = await believed(story.signed())

        assert found.email == "ada@example.org"
        assert found.username == "ada_countess"
        assert found.name == "Ada Lovelace"
        assert found.avatar == "https://pictures.example.org/ada.png"
        assert found.claims["email"] == ["ada@example.org", "second@example.org"]

    async def test_configured_names_come_first_and_fall_back(self) -> None:
        story = Story(attributes={"urn:mail": ["a@example.org"], "email": ["b@example.org"], "given_name": ["Ada"]})

        found = await believed(story.signed(), SAML_EMAIL_CLAIM="urn:mail", SAML_GIVEN_NAME_CLAIM="urn:missing")

        assert (found.email, found.name, found.username) == ("a@example.org", "Ada", "Ada")

    async def test_a_full_name_of_its_own(self) -> None:
        story = Story(attributes={"email": ["ada@example.org"], "cn": ["Countess Lovelace"], "given_name": ["Ada"]})

        assert (await believed(story.signed(), SAML_NAME_CLAIM="cn")).name == "Countess Lovelace"
        assert (await believed(story.signed(), SAML_NAME_CLAIM="missing")).name == "Ada"

    async def test_without_names_the_address_must_do(self) -> None:
        found = await believed(Story().signed())

        assert (found.name, found.username, found.avatar) == ("ada@example.org", "ada@example.org", None)

    @pytest.mark.parametrize("name", ["mail", "urn:oid:0.9.2342.19200300.100.1.3"])
    async def test_the_address_under_its_other_well_known_names(self, name: str) -> None:
        assert (await believed(Story(attributes={name: ["ada@example.org"]}).signed())).email == "ada@example.org"

    async def test_a_name_id_that_is_an_address_is_one(self) -> None:
        assert (await believed(Story(attributes={}).signed())).email == "ada@example.org"

    async def test_a_name_id_of_another_format_is_no_address(self) -> None:
        story = Story(attributes={}, name_id_format="urn:oasis:names:tc:SAML:2.0:nameid-format:persistent")

        assert (await believed(story.signed())).email is None

    @pytest.mark.parametrize("address", ["not an address", "ada@", "@example.org", "a@b@example.org", "a" * 255 + "@e.org"])
    async def test_what_is_no_address_is_not_taken_for_one(self, address: str) -> None:
        story = Story(name_id="ada", attributes={"email": [address]})

        assert (await believed(story.signed())).email is None

    @pytest.mark.parametrize("picture", ["http://plain.example.org/a.png", "javascript:alert(1)", "data:image/png;base64,AA=="])
    async def test_a_picture_is_an_https_address_or_none(self, picture: str) -> None:
        story = Story(attributes={"email": ["ada@example.org"], "picture": [picture]})

        assert (await believed(story.signed())).avatar is None

    async def test_what_may_be_presented_once_is_remembered_as_long_as_it_could_come_again(self) -> None:
        found = await believed(replace(Story(), confirmed_until=moment(100), not_on_or_after=moment(200)).signed())

        assert found.once is not None
        assert found.once.key == f"{Story().issuer}|_assertion"
        assert found.once.until == 1_900_000_000_000_000 + 230 * 1_000_000


class TestSettings:
    def test_the_certificate_as_pem_as_bare_base64_as_one_line_and_as_a_file(self, tmp_path: Path) -> None:
        pem, file, der = signer().pem, tmp_path / "idp.pem", tmp_path / "idp.der"
        file.write_text(pem)
        der.write_bytes(signer().certificate.public_bytes(Encoding.DER))

        for given in (pem, signer().bare, pem.replace("\n", "\\n"), str(file), str(der)):
            assert Settings.load(variables(SAML_CERT=given)).saml.certificates == (signer().certificate,)

    def test_a_certificate_from_a_mounted_secret(self, tmp_path: Path) -> None:
        file = tmp_path / "idp.pem"
        file.write_text(signer().pem)

        assert Settings.load(variables(SAML_CERT="", SAML_CERT_FILE=str(file))).saml.is_configured

    @pytest.mark.parametrize(
        ("environment", "complaint"),
        [
            ({"SAML_CERT": ""}, "set SAML_CERT as well"),
            ({"SAML_CERT": "", "SAML_ISSUER": ""}, "set SAML_ISSUER and SAML_CERT as well"),
            ({"SAML_CERT": "/nowhere/idp.pem"}, "neither a certificate nor a readable file"),
            ({"SAML_CERT": "A" * 400}, "holds no X.509 certificate"),
            ({"SAML_CERT": signer("weak", "weak").pem}, "RSA key of 1024 bits"),
            ({"SAML_ENTRY_POINT": "idp.example.org"}, "SAML_ENTRY_POINT must be an address"),
            ({"SAML_ENTRY_POINT": "javascript:alert(1)"}, "SAML_ENTRY_POINT must be an address"),
            ({"OSTIARY_SAML_ACS_URL": "acs"}, "OSTIARY_SAML_ACS_URL must be an address"),
            ({"OSTIARY_SAML_CLOCK_SKEW": "61"}, "OSTIARY_SAML_CLOCK_SKEW above 60"),
        ],
    )
    def test_what_cannot_work_is_said_at_the_start(self, environment: dict[str, str], complaint: str) -> None:
        with pytest.raises(SettingsError, match=complaint):
            Settings.load(variables(**environment))

    def test_an_expired_certificate_and_plain_http_are_warned_about(self) -> None:
        warnings = " ".join(Settings.load(variables(SAML_ENTRY_POINT="http://idp.example.org/sso")).warnings())

        assert "SAML_CERT has expired" in warnings
        assert "SAML_ENTRY_POINT is plain http" in warnings

    def test_nothing_is_configured_by_default(self) -> None:
        assert not Settings.load({}).saml.is_configured
