"""When a verified SAML assertion is one for us, for now, and for this flow (SAML profiles 4.1.4.3, core 2.4 and 2.5)."""

from __future__ import annotations

import re
from datetime import datetime

import msgspec
from lxml import etree

from ostiary.federation.saml_xml import PROTOCOL, SAML, SamlError, only_child, text_of

SUCCESS = "urn:oasis:names:tc:SAML:2.0:status:Success"
BEARER = "urn:oasis:names:tc:SAML:2.0:cm:bearer"
TRANSIENT = "urn:oasis:names:tc:SAML:2.0:nameid-format:transient"
MICROSECONDS = 1_000_000
LONGEST_NAME_ID = 1024
_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")
_KNOWN_CONDITIONS = frozenset({f"{{{SAML}}}{name}" for name in ("AudienceRestriction", "OneTimeUse", "ProxyRestriction")})


class Expected(msgspec.Struct, frozen=True):
    """What must be so. `request_id` is None for a sign-in that began at the identity provider."""

    audience: str
    consumer: str
    issuer: str
    request_id: str | None
    now: int
    skew: int


class Subject(msgspec.Struct, frozen=True):
    """Whom the assertion is about, by whom, and how long it must be remembered so as to be used once."""

    issuer: str
    name_id: str
    name_id_format: str
    assertion_id: str
    until: int


def check_response(root: etree._Element, expected: Expected) -> None:
    """The envelope. It may be unsigned, so nothing rests on it alone. Raises SamlError."""
    if root.get("Version") != "2.0":
        raise SamlError("version")
    if root.get("Destination") != expected.consumer:
        raise SamlError("destination")
    if root.get("InResponseTo") != expected.request_id:
        raise SamlError("in_response_to")
    codes = root.findall(f"{{{PROTOCOL}}}Status/{{{PROTOCOL}}}StatusCode")
    if [code.get("Value") for code in codes] != [SUCCESS]:
        raise SamlError("status")


def check_assertion(root: etree._Element, assertion: etree._Element, expected: Expected) -> Subject:
    """The verified assertion. Raises SamlError."""
    identifier = assertion.get("ID")
    if assertion.get("Version") != "2.0" or not identifier:
        raise SamlError("version")
    issuer = text_of(only_child(assertion, "Issuer"))
    if not issuer or (expected.issuer and issuer != expected.issuer):
        raise SamlError("issuer")
    if any(text_of(other) != issuer for other in root.findall(f"{{{SAML}}}Issuer")):
        raise SamlError("issuer")
    conditions_end = _check_conditions(only_child(assertion, "Conditions"), expected)
    subject = only_child(assertion, "Subject")
    confirmation_end = _check_confirmation(subject, expected)
    _check_statements(assertion, expected)
    name_id = only_child(subject, "NameID")
    name, name_format = text_of(name_id), name_id.get("Format") or ""
    if not name or len(name) > LONGEST_NAME_ID or not name.isprintable():
        raise SamlError("name_id")
    if name_format == TRANSIENT:
        # It is another one at every sign-in, so nobody would ever be known again.
        raise SamlError("name_id_transient")
    return Subject(issuer, name, name_format, identifier, max(conditions_end, confirmation_end) + expected.skew)


def instant(text: str | None) -> int:
    """An xs:dateTime with its zone, in microseconds. Raises SamlError."""
    if not text or not _INSTANT.fullmatch(text):
        raise SamlError("time_unreadable")
    try:
        moment = datetime.fromisoformat(text)
        return int(moment.timestamp()) * MICROSECONDS + moment.microsecond
    except (ValueError, OverflowError, OSError) as error:
        raise SamlError("time_unreadable") from error


def _check_conditions(conditions: etree._Element, expected: Expected) -> int:
    for condition in conditions:
        if condition.tag not in _KNOWN_CONDITIONS:
            raise SamlError("unknown_condition")
    end = _check_times(conditions, expected)
    restrictions = conditions.findall(f"{{{SAML}}}AudienceRestriction")
    if not restrictions:
        raise SamlError("audience")
    for restriction in restrictions:
        if expected.audience not in [text_of(audience) for audience in restriction.findall(f"{{{SAML}}}Audience")]:
            raise SamlError("audience")
    return end


def _check_confirmation(subject: etree._Element, expected: Expected) -> int:
    """The end of the bearer confirmation. It is the signed word on where, when and in answer to what; one that fits is enough."""
    reason = "no_bearer"
    for confirmation in subject.findall(f"{{{SAML}}}SubjectConfirmation"):
        if confirmation.get("Method") != BEARER:
            continue
        try:
            data = only_child(confirmation, "SubjectConfirmationData")
            if data.get("Recipient") != expected.consumer:
                raise SamlError("recipient")  # noqa: TRY301 - the next confirmation may fit
            if data.get("InResponseTo") != expected.request_id:
                raise SamlError("in_response_to")  # noqa: TRY301
            return _check_times(data, expected)
        except SamlError as error:
            reason = str(error)
    raise SamlError(reason)


def _check_times(element: etree._Element, expected: Expected) -> int:
    begin = element.get("NotBefore")
    if begin is not None and instant(begin) > expected.now + expected.skew:
        raise SamlError("not_yet_valid")
    end = instant(element.get("NotOnOrAfter"))
    if end <= expected.now - expected.skew:
        raise SamlError("expired")
    return end


def _check_statements(assertion: etree._Element, expected: Expected) -> None:
    statements = assertion.findall(f"{{{SAML}}}AuthnStatement")
    if not statements:
        raise SamlError("no_authentication")
    for statement in statements:
        end = statement.get("SessionNotOnOrAfter")
        if end is not None and instant(end) <= expected.now - expected.skew:
            raise SamlError("expired")
