"""Signature wrapping, the eight classic shapes (Somorovsky et al., "On Breaking SAML", 2012, numbered as SAML Raider does).

Each moves the signed element to where the verifier finds it, and puts a forged one to where the reader looks.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace

import pytest
from lxml import etree

from tests.federation.saml_desk import refusal
from tests.federation.saml_forge import ASSERTION, DS, PROTOCOL, SIGNATURE, Story, parsed, sign

STORY = Story()
Forged = etree._Element


def _signed_response() -> Forged:
    return sign(STORY.response(STORY.assertion()))


def _evil(document: Forged, identifier: str) -> Forged:
    """A copy that speaks of somebody else, without a signature of its own."""
    evil = parsed(etree.tostring(document).replace(b"ada@example.org", b"victim@example.org"))
    evil.set("ID", identifier)
    for signature in evil.findall(SIGNATURE):
        evil.remove(signature)
    return evil


def _taken(element: Forged) -> Forged:
    """Its signature, taken out."""
    signature = element.findall(SIGNATURE)[0]
    element.remove(signature)
    return signature


def xsw1(identifier: str) -> Forged:
    """The signed response, inside its own signature, inside a forged response."""
    genuine = _signed_response()
    evil = _evil(genuine, identifier)
    signature = _taken(genuine)
    signature.append(genuine)
    evil.append(signature)
    return evil


def xsw2(identifier: str) -> Forged:
    """The signed response beside its signature, inside a forged response."""
    genuine = _signed_response()
    evil = _evil(genuine, identifier)
    signature = _taken(genuine)
    evil.extend([genuine, signature])
    return evil


def xsw3(identifier: str) -> Forged:
    """A forged assertion before the signed one."""
    document = STORY.signed()
    document.insert(0, _evil(document.findall(ASSERTION)[0], identifier))
    return document


def xsw4(identifier: str) -> Forged:
    """The signed assertion inside a forged one."""
    document = STORY.signed()
    genuine = document.findall(ASSERTION)[0]
    evil = _evil(genuine, identifier)
    document.replace(genuine, evil)
    evil.append(genuine)
    return document


def xsw5(identifier: str) -> Forged:
    """The signature inside a forged assertion, what it signed at the end."""
    document = STORY.signed()
    genuine = document.findall(ASSERTION)[0]
    evil = _evil(genuine, identifier)
    evil.append(_taken(genuine))
    document.insert(0, evil)
    return document


def xsw6(identifier: str) -> Forged:
    """What it signed inside the signature, inside a forged assertion."""
    document = STORY.signed()
    genuine = document.findall(ASSERTION)[0]
    evil = _evil(genuine, identifier)
    document.replace(genuine, evil)
    signature = _taken(genuine)
    signature.append(genuine)
    evil.append(signature)
    return document


def xsw7(identifier: str) -> Forged:
    """A forged assertion among the extensions."""
    document = STORY.signed()
    extensions = etree.Element(f"{{{PROTOCOL}}}Extensions")
    extensions.append(_evil(document.findall(ASSERTION)[0], identifier))
    document.insert(0, extensions)
    return document


def xsw8(identifier: str) -> Forged:
    """What it signed inside an Object of the signature, inside a forged assertion."""
    document = STORY.signed()
    genuine = document.findall(ASSERTION)[0]
    evil = _evil(genuine, identifier)
    document.replace(genuine, evil)
    signature = _taken(genuine)
    etree.SubElement(signature, f"{{{DS}}}Object").append(genuine)
    evil.append(signature)
    return document


VARIANTS = [xsw1, xsw2, xsw3, xsw4, xsw5, xsw6, xsw7, xsw8]


@pytest.mark.parametrize("response_signed", ["false", "true"])
@pytest.mark.parametrize("build", VARIANTS)
async def test_a_wrapped_signature(build: Callable[[str], Forged], response_signed: str) -> None:
    reason = await refusal(build("_forged"), SAML_USE_AUTHN_RESPONSE_SIGNED=response_signed)

    assert reason in {"misplaced", "several_assertions", "duplicate_id"}


@pytest.mark.parametrize("build", VARIANTS)
async def test_a_wrapped_signature_with_the_genuine_id_again(build: Callable[[str], Forged]) -> None:
    identifier = STORY.response_id if build in (xsw1, xsw2) else STORY.assertion_id

    assert await refusal(build(identifier)) == "duplicate_id"


@pytest.mark.parametrize("namespace", ["urn:oasis:names:tc:SAML:1.0:assertion", "urn:other", None])
async def test_an_assertion_hidden_under_another_namespace(namespace: str | None) -> None:
    document = STORY.signed()
    etree.SubElement(document, f"{{{namespace}}}Assertion" if namespace else "Assertion")

    assert await refusal(document) == "misplaced"


@pytest.mark.parametrize("name", ["Extensions", "Status"])
async def test_a_response_inside_a_response(name: str) -> None:
    document = STORY.signed()
    etree.SubElement(document, f"{{{PROTOCOL}}}{name}").append(replace(STORY, response_id="_inner").response())

    assert await refusal(document) == "misplaced"


async def test_a_signature_in_the_wrong_place() -> None:
    """Where `.//Signature` finds it, and no schema would."""
    document = STORY.signed()
    genuine = document.findall(ASSERTION)[0]
    genuine[1].append(_taken(genuine))

    assert await refusal(document) == "misplaced"


async def test_the_signature_of_another_answer() -> None:
    other = replace(STORY, name_id="eve@example.org").signed()
    document = STORY.response(STORY.assertion())
    document.findall(ASSERTION)[0].append(deepcopy(other.findall(ASSERTION)[0].findall(SIGNATURE)[0]))

    assert await refusal(document) == "signature_invalid"


@pytest.mark.parametrize(
    ("document", "response_signed"),
    [
        (STORY.signed(), "false"),
        (_signed_response(), "true"),
        (sign(STORY.signed()), "false"),
        (sign(STORY.signed()), "true"),
    ],
)
async def test_the_honest_answers_from_which_the_variants_are_made(document: Forged, response_signed: str) -> None:
    assert (await refusal(document, SAML_USE_AUTHN_RESPONSE_SIGNED=response_signed)).startswith("BELIEVED")
