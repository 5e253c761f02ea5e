"""Whatever is done to a signed answer, it is refused in an orderly way or says exactly what was signed."""

from __future__ import annotations

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from ostiary.identity.federated import Assertion
from ostiary.identity.refusals import FederationRefused
from tests.federation.saml_desk import FLOW, provider
from tests.federation.saml_forge import Story, posted, sign

STORY = Story(attributes={"email": ["ada@example.org"], "given_name": ["Ada"], "username": ["ada", "countess"]})
SIGNED = (etree.tostring(STORY.signed()), etree.tostring(sign(STORY.signed())))
PIECES = (
    b"<!---->",
    b"<![CDATA[x]]>",
    b"<?x?>",
    b"&amp;",
    b"&#64;",
    b'ID="_assertion"',
    b"<saml:Assertion/>",
    b"<saml:NameID>victim@example.org</saml:NameID>",
    b"<saml:Audience>other</saml:Audience>",
    b'xmlns:saml="urn:other"',
    b'xmlns="1"',
    b"\x00",
    b" ",
    b"\n",
    b"<",
    b">",
    b'"',
)
DESK = provider()


def outcome(document: bytes) -> Assertion | None:
    """Anything raised but a refusal fails the test."""
    try:
        return asyncio.run(DESK.finish(FLOW, {"SAMLResponse": posted(document)}))
    except FederationRefused:
        return None


TRUTH = outcome(SIGNED[0])


@settings(max_examples=300, deadline=None)
@given(
    document=st.sampled_from(SIGNED),
    edits=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 60), st.sampled_from(PIECES)), min_size=1, max_size=3),
)
def test_edits(document: bytes, edits: list[tuple[float, int, bytes]]) -> None:
    for place, removed, piece in edits:
        at = int(place * len(document))
        document = document[:at] + piece + document[at + removed :]

    assert outcome(document) in (None, TRUTH)


@settings(max_examples=150, deadline=None)
@given(document=st.sampled_from(SIGNED), places=st.lists(st.floats(0, 1), min_size=4, max_size=4))
def test_parts_moved_about(document: bytes, places: list[float]) -> None:
    """Elements taken out, copied or put elsewhere: wrapping that nobody has thought of yet."""
    root = etree.fromstring(document)
    elements = list(root.iter(etree.Element))
    taken = elements[int(places[0] * (len(elements) - 1))]
    target = elements[int(places[1] * (len(elements) - 1))]
    copy = etree.fromstring(etree.tostring(taken))
    if places[2] < 0.5 and (parent := taken.getparent()) is not None:
        parent.remove(taken)
    target.insert(int(places[3] * len(target)), copy)

    assert outcome(etree.tostring(root)) in (None, TRUTH)


@settings(max_examples=150, deadline=None)
@given(document=st.one_of(st.binary(max_size=200), st.text(max_size=200).map(str.encode)))
def test_anything_at_all(document: bytes) -> None:
    assert outcome(document) is None
