"""SAML 2.0: LibreChat's `SAML_*` variables (librechat-wire 8.7), and ours for what it does not have."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ostiary.parts import Part
from ostiary.settings.reading import Flag, Group, Seconds, SecretStr, setting

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec, rsa
else:
    x509 = Part("cryptography.x509")
    ec = Part("cryptography.hazmat.primitives.asymmetric.ec")
    rsa = Part("cryptography.hazmat.primitives.asymmetric.rsa")

CALLBACK_PATH = "/oauth/saml/callback"
MAX_SKEW = timedelta(seconds=60)
MIN_RSA_BITS = 2048
LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})
_BARE_BASE64 = re.compile(r"[A-Za-z0-9+/\s]{100,}={0,2}")
_PEM_HEADER = "-----BEGIN CERTIFICATE-----"


class Saml(Group):
    """The identity provider that may vouch for people here, and which of its attributes mean what."""

    title = "SAML"
    entry_point: str = setting("", "SAML_ENTRY_POINT", about="the identity provider's sign-in address (HTTP-Redirect)")
    issuer: str = setting("", "SAML_ISSUER", about="our entity id, and the audience that assertions must name")
    certificate: str = setting(
        "", "SAML_CERT", about="the identity provider's signing certificates: PEM, bare Base64, or the path of a file"
    )
    session_secret: SecretStr = setting(
        SecretStr(""), "SAML_SESSION_SECRET", about="LibreChat's; not needed here, any value is taken"
    )
    callback_url: str = setting(
        CALLBACK_PATH, "SAML_CALLBACK_URL", about="where responses are posted: a path after DOMAIN_SERVER, or an address"
    )
    acs_url: str = setting("", "OSTIARY_SAML_ACS_URL", about="the whole address instead, when a proxy rewrites it")
    button_label: str = setting("", "SAML_BUTTON_LABEL", about="text of the button")
    called: str = setting("SAML", "OSTIARY_SAML_NAME", about='what people call it, as in "Connect …"')
    image_url: str = setting("", "SAML_IMAGE_URL", about="picture of the button")
    email_claim: str = setting("", "SAML_EMAIL_CLAIM", about="attribute with the address; else email")
    username_claim: str = setting("", "SAML_USERNAME_CLAIM", about="attribute with the user name; else username")
    given_name_claim: str = setting("", "SAML_GIVEN_NAME_CLAIM", about="attribute with the given name; else given_name")
    family_name_claim: str = setting("", "SAML_FAMILY_NAME_CLAIM", about="attribute with the family name; else family_name")
    picture_claim: str = setting("", "SAML_PICTURE_CLAIM", about="attribute with a picture's https address; else picture")
    name_claim: str = setting("", "SAML_NAME_CLAIM", about="attribute with the full name; else made of the others")
    response_signed: Flag = setting(
        False, "SAML_USE_AUTHN_RESPONSE_SIGNED", about="true: the response must be signed, instead of the assertion"
    )
    idp_issuer: str = setting(
        "", "OSTIARY_SAML_IDP_ISSUER", about="the identity provider's entity id; empty: whoever holds the certificate's key"
    )
    idp_initiated: Flag = setting(
        False, "OSTIARY_SAML_IDP_INITIATED", about="true accepts sign-ins that began at the identity provider"
    )
    clock_skew: Seconds = setting(
        timedelta(seconds=30), "OSTIARY_SAML_CLOCK_SKEW", about="seconds that clocks may differ, 0 to 60"
    )
    registration: Flag = setting(
        True, "OSTIARY_SAML_REGISTRATION", about="whether someone unknown gets an account, as in LibreChat"
    )

    @property
    def is_configured(self) -> bool:
        """Whether there is an identity provider."""
        return bool(self.entry_point and self.issuer and self.certificate)

    @cached_property
    def certificates(self) -> tuple[x509.Certificate, ...]:
        """The certificates whose keys may sign. Raises ValueError and OSError."""
        text = self.certificate.replace("\\n", "\n").strip()
        if not text:
            return ()
        if _PEM_HEADER not in text and _BARE_BASE64.fullmatch(text):
            lines = re.sub(r"\s", "", text)
            text = f"{_PEM_HEADER}\n{lines}\n-----END CERTIFICATE-----\n"
        elif _PEM_HEADER not in text:
            return x509_of(Path(text).read_bytes())
        return x509_of(text.encode())

    def assertion_consumer(self, server_url: str) -> str:
        """Where the identity provider posts its responses."""
        address = self.acs_url or self.callback_url
        return address if urlsplit(address).scheme else f"{server_url}/{address.lstrip('/')}"

    def complaints(self) -> Iterator[str]:
        """What cannot work or would be dangerous, each with its remedy."""
        given = {"SAML_ENTRY_POINT": self.entry_point, "SAML_ISSUER": self.issuer, "SAML_CERT": self.certificate}
        missing = [name for name, value in given.items() if not value]
        if missing and len(missing) < len(given):
            yield f"SAML is half configured: set {' and '.join(missing)} as well, or none of {', '.join(given)}"
        for name, url in (
            ("SAML_ENTRY_POINT", self.entry_point),
            ("OSTIARY_SAML_ACS_URL", self.acs_url),
            ("SAML_CALLBACK_URL", self.callback_url if ":" in self.callback_url else ""),
        ):
            if url and (urlsplit(url).scheme not in {"http", "https"} or not urlsplit(url).hostname):
                yield f"{name} must be an address such as https://idp.example.org/saml"
        if self.clock_skew > MAX_SKEW:
            yield "OSTIARY_SAML_CLOCK_SKEW above 60 seconds would keep old assertions alive. Let NTP set the clocks, and use 30"
        yield from self._certificate_complaints()

    def warnings(self, now: datetime) -> Iterator[str]:
        """What an operator should know although it works."""
        entry = urlsplit(self.entry_point)
        if entry.scheme == "http" and entry.hostname not in LOOPBACK_HOSTS:
            yield "SAML_ENTRY_POINT is plain http: whoever sits between can show people another sign-in page. Use https"
        if any(certificate.not_valid_after_utc < now for certificate in self.certificates):
            yield "SAML_CERT has expired. Its key is trusted on, but the identity provider may have changed it: compare"

    def _certificate_complaints(self) -> Iterator[str]:
        try:
            certificates = self.certificates
        except OSError as error:
            yield f"SAML_CERT is neither a certificate nor a readable file ({error.strerror}). Give PEM, bare Base64, or a path"
            return
        except ValueError:
            yield "SAML_CERT holds no X.509 certificate. Copy the signing certificate from the identity provider's metadata"
            return
        for certificate in certificates:
            key = certificate.public_key()
            if isinstance(key, rsa.RSAPublicKey) and key.key_size < MIN_RSA_BITS:
                yield f"SAML_CERT has an RSA key of {key.key_size} bits: have the identity provider make one of 2048 or more"
            elif not isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey):
                yield "SAML_CERT must hold an RSA or ECDSA key: have the identity provider make such a one"


def x509_of(text: bytes) -> tuple[x509.Certificate, ...]:
    """The certificates in a PEM or DER text, at least one. Raises ValueError."""
    if _PEM_HEADER.encode() in text:
        return tuple(x509.load_pem_x509_certificates(text))
    return (x509.load_der_x509_certificate(text),)
