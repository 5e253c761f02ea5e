"""Every parser of bytes that strangers, providers or operators hand in, as a function that may only return or raise what it promises."""

from __future__ import annotations

import base64
import contextlib
import hmac
from collections.abc import Callable
from functools import lru_cache
from typing import Any, cast

from ostiary.cli.from_librechat import read as read_export
from ostiary.cli.output import TroubleError
from ostiary.crypto import foreign, otp, x25519
from ostiary.crypto.jwt import Signer, TokenError
from ostiary.crypto.passwords import imported
from ostiary.dialects.guard import Guard
from ostiary.dialects.librechat import schemas
from ostiary.dialects.librepass.schemas import is_email
from ostiary.federation import ldap
from ostiary.federation.id_tokens import KeySet, verified_claims
from ostiary.federation.saml_xml import SamlError, read
from ostiary.http.calls import AddressReader, Call, MalformedBodyError
from ostiary.identity.context import Client, Services
from ostiary.identity.refusals import FederationRefused, Refusal
from ostiary.identity.throttle import folded, network
from ostiary.settings import Settings
from ostiary.settings.reading import arithmetic
from tests.fuzz.outside import OUTSIDE, awaited, folder

Parser = Callable[[bytes], object]
SECRET = b"a secret that only the fuzzer knows"
TIME = 1_900_000_000
BASE = {"OSTIARY_DATA": "data", "TRUSTED_PROXIES": "127.0.0.0/8,10.0.0.0/8"}


@lru_cache
def _settings() -> Settings:
    return Settings.load(BASE)


def _scope(data: bytes) -> dict[str, Any]:
    """A request's head: lines of `name: value`, the first of them the query."""
    query, *lines = data.split(b"\n")
    headers = [(name.strip().lower(), value.strip()) for name, _, value in (line.partition(b":") for line in lines)]
    return {
        "type": "http",
        "method": "POST",
        "path": "/api/auth/login",
        "raw_path": b"/api/auth/login",
        "query_string": query,
        "http_version": "1.1",
        "headers": headers,
        "client": ("127.0.0.1", 40000),
    }


def _call(data: bytes, body: bytes = b"") -> Call:
    # Nothing that is parsed here asks the services.
    return Call(_scope(data), body, cast("Services", None), Client("127.0.0.1"))


def body(data: bytes) -> None:
    """JSON and form bodies, and the rules for the fields in them."""
    call = _call(b"", data)
    with contextlib.suppress(MalformedBodyError):
        call.form()
    with contextlib.suppress(MalformedBodyError):
        value = call.json()
        if isinstance(value, dict):
            for fields in (schemas.login_fields, schemas.registration_fields, schemas.reset_fields):
                with contextlib.suppress(Refusal):
                    fields(value, _settings())
            with contextlib.suppress(Refusal):
                schemas.factor_proof(value)


def head(data: bytes) -> None:
    """Headers, cookies, the bearer, the query, the guard."""
    call = _call(data)
    call.bearer()
    for name in ("refreshToken", "token_provider", "ostiary_device"):
        call.cookie(name)
    call.query("email")
    call.query("email", plus_is_blank=False)
    Guard(_settings())(call.scope)


def address(data: bytes) -> None:
    """X-Forwarded-For, and what limits are keyed by."""
    scope = {"client": ("127.0.0.1", 1), "headers": [(b"x-forwarded-for", line) for line in data.split(b"\n")]}
    network(AddressReader(_settings())(scope))
    network(data.decode("latin-1"))


def email(data: bytes) -> None:
    """Addresses, and what they are folded to."""
    text = data.decode("utf-8", "surrogatepass" if b"\xed" in data else "replace") if _is_text(data) else data.decode("latin-1")
    is_email(text)
    folded(text)


def _is_text(data: bytes) -> bool:
    try:
        data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return False
    return True


def access_token(data: bytes) -> None:
    """Our own tokens."""
    signer = Signer(SECRET)
    with contextlib.suppress(TokenError):
        signer.claims(data.decode("latin-1"), TIME * 1_000_000)
    # Rightly signed by a neighbour that shares the secret.
    parts = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in data.split(b"\n", 1))
    mac = hmac.digest(SECRET, parts, "sha256")
    with contextlib.suppress(TokenError):
        signer.claims((parts + b"." + base64.urlsafe_b64encode(mac).rstrip(b"=")).decode(), TIME * 1_000_000)


def id_token(data: bytes) -> None:
    """A provider's tokens, without a key that fits."""

    async def no_keys() -> Any:
        return {"keys": []}

    keys = KeySet(no_keys, lambda: TIME, 600)
    for token in (data.decode("latin-1"), ".".join(base64.urlsafe_b64encode(part).decode() for part in data.split(b"\n", 2))):
        with contextlib.suppress(FederationRefused):
            awaited(verified_claims(token, keys, ("RS256", "EdDSA")))


def code(data: bytes) -> None:
    """Codes and secrets of authenticators."""
    text = data.decode("utf-8", "replace")
    secret = otp.decode_secret(text)
    otp.matching_step(secret or b"x" * 20, text, TIME)


def key(data: bytes) -> None:
    """X25519 keys in hexadecimal."""
    raw = x25519.decode_key(data.decode("latin-1"))
    if raw is not None:
        x25519.agree(x25519.private_key(b"\x07" * 32), raw)


def stored_hash(data: bytes) -> None:
    """Password hashes of other servers."""
    text = data.decode("latin-1")
    imported(text)
    recipe = foreign.read(text)
    if recipe is not None:
        foreign.is_affordable(recipe)


def saml(data: bytes) -> None:
    """A SAML response before its signature is looked at."""
    with contextlib.suppress(SamlError):
        read(data)


def directory(data: bytes) -> None:
    """Names on their way into an LDAP filter: nothing but harmless characters comes out."""
    text = data.decode("utf-8", "replace")
    assert not set(ldap.escaped(text)) & set('()*\0 =,+"<>;#')
    ldap.same_name(text)
    ldap.bracketed(text)


def duration(data: bytes) -> None:
    """The arithmetic of settings."""
    with contextlib.suppress(ValueError):
        arithmetic(data.decode("utf-8", "replace"))


def export(data: bytes) -> None:
    """A file of LibreChat's accounts."""
    file = folder() / "users.json"
    file.write_bytes(data)

    async def every() -> None:
        async for _ in read_export(file, b"\x01" * 32, {}):
            pass

    with contextlib.suppress(TroubleError):
        awaited(every())


PARSERS: dict[str, Parser] = {
    parser.__name__: parser
    for parser in (
        *(body, head, address, email, access_token, id_token, code, key, stored_hash, saml, directory, duration, export),
        *OUTSIDE,
    )
}
