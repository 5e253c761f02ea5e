"""What providers, directories and services answer, and what browsers bring beside a body: each as a function like those of `parsers`."""

from __future__ import annotations

import asyncio
import atexit
import base64
import contextlib
import email
import email.policy
import tempfile
from collections.abc import Coroutine, Mapping
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar, cast

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ostiary.crypto.sealing import SealBrokenError, Sealer, open_librechat
from ostiary.crypto.tokens import Digester
from ostiary.dialects.librepass import schemas as librepass
from ostiary.dialects.librepass.errors import BodyRefused
from ostiary.federation import presets, saml
from ostiary.federation.breaches import BreachedPasswords
from ostiary.federation.flows import Flow
from ostiary.federation.ldap import LdapDirectory
from ostiary.federation.ldap_connections import Entry
from ostiary.federation.oauth2 import object_of
from ostiary.federation.oidc import OpenIDProvider, Registration
from ostiary.federation.pictures import is_public, kind_of, origin_of
from ostiary.federation.profiles import Profile, picture_of
from ostiary.federation.saml_rules import Expected, check_assertion, check_response, instant
from ostiary.federation.saml_xml import SAML, SamlError, read
from ostiary.federation.transport import Transport
from ostiary.http.calls import Call, MalformedBodyError
from ostiary.identity import adviser, blocklist, devices
from ostiary.identity.context import Client, Context, Services
from ostiary.identity.refusals import FederationRefused, Refusal
from ostiary.mail.messages import Message, rendered
from ostiary.settings import Settings
from ostiary.settings.reading import SettingsError
from ostiary.web import agents, forms, messages

Found = TypeVar("Found")
NOW = 1_900_000_000
ISSUER = "https://provider.test"
CLIENT = "us"
VARIABLES = {
    "OSTIARY_DATA": "data",
    "OPENID_CLIENT_ID": CLIENT,
    "OPENID_ISSUER": ISSUER,
    "OPENID_REQUIRED_ROLE": "people",
    "OPENID_REQUIRED_ROLE_PARAMETER_PATH": "realm_access.roles",
    "OPENID_REQUIRED_ROLE_TOKEN_KIND": "id",
    "OPENID_ADMIN_ROLE": "masters",
    "OPENID_ADMIN_ROLE_PARAMETER_PATH": "groups",
    "OPENID_ADMIN_ROLE_TOKEN_KIND": "userinfo",
}
EXPECTED = Expected("us", "https://here.test/acs", ISSUER, "_request", NOW * 1_000_000, 60_000_000)
_KEY = Ed25519PrivateKey.from_private_bytes(b"\x05" * 32)
_BODIES = (
    librepass.Registration,
    librepass.Login,
    librepass.FactorAnswer,
    librepass.EmailChange,
    librepass.PasswordChange,
    librepass.FactorSetUp,
    librepass.Confirmation,
    librepass.Cipher,
    librepass.Sync,
    librepass.NewCollection,
)


class Line(Transport):
    """The real one, but for the network: every address answers with what the fuzzer made."""

    def __init__(self, answers: Mapping[str, bytes]) -> None:
        super().__init__(_settings().federation.timeout)
        self._answers = answers

    async def _ask(self, method: str, url: str, body: object, headers: Mapping[str, str]) -> bytes:
        path = url.removeprefix(ISSUER).partition("?")[0].partition("/range/")[0]
        if path not in self._answers:
            raise FederationRefused("provider_unreachable")
        return self._answers[path]


@lru_cache
def _settings() -> Settings:
    return Settings.load(VARIABLES)


@lru_cache
def _services() -> Services:
    """What cookies, forms and languages ask of the services."""
    return cast("Services", SimpleNamespace(settings=_settings(), digester=Digester(b"d" * 32)))


@lru_cache
def _loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    atexit.register(loop.close)
    return loop


def awaited(deed: Coroutine[Any, Any, Found]) -> Found:
    """Run in the one loop: to make another for each input would take most of the time."""
    return _loop().run_until_complete(deed)


def _json(data: bytes) -> Any:
    with contextlib.suppress(msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return msgspec.json.decode(data)
    return None


def _lines(data: bytes, number: int) -> list[bytes]:
    lines = data.split(b"\n", number - 1)
    return lines + [b""] * (number - len(lines))


def _encoded(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def _signed(claims: bytes) -> str:
    signed = _encoded(b'{"alg":"EdDSA","kid":"k"}') + b"." + _encoded(claims)
    return (signed + b"." + _encoded(_KEY.sign(signed))).decode()


def _well_known() -> dict[str, bytes]:
    """A provider that behaves: its document, and its key."""
    document = {
        "issuer": ISSUER,
        "authorization_endpoint": f"{ISSUER}/authorize",
        "token_endpoint": f"{ISSUER}/token",
        "userinfo_endpoint": f"{ISSUER}/userinfo",
        "jwks_uri": f"{ISSUER}/keys",
        "id_token_signing_alg_values_supported": ["EdDSA"],
    }
    public = _encoded(_KEY.public_key().public_bytes_raw()).decode()
    keys = {"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "k", "x": public}]}
    return {"/.well-known/openid-configuration": msgspec.json.encode(document), "/keys": msgspec.json.encode(keys)}


def _provider(answers: Mapping[str, bytes]) -> OpenIDProvider:
    settings = _settings().openid
    registration = Registration(CLIENT, lambda: "secret")
    preset = presets.openid(settings, "openid")
    return OpenIDProvider(preset, registration, settings, Line(answers), lambda: NOW * 1_000_000, may_create=True)


def _check(profile: Profile) -> None:
    assert len(profile.name) <= 80
    assert profile.email is None or (profile.email.count("@") == 1 and profile.email.isprintable())
    assert profile.avatar is None or profile.avatar.lower().startswith("https://")


def claims(data: bytes) -> None:
    """A sign-in at a provider that signs what it likes: the ID token's claims, userinfo, what Apple posts, each a line."""
    token, userinfo, user = _lines(data, 3)
    answer = {"access_token": "a", "id_token": _signed(token), "expires_in": _json(userinfo)}
    answers = {**_well_known(), "/token": msgspec.json.encode(answer), "/userinfo": userinfo}
    flow = Flow("openid", "state", "nonce", "verifier", "https://here.test/back")
    with contextlib.suppress(FederationRefused):
        awaited(_provider(answers).finish(flow, {"code": "c", "state": "state", "user": user.decode("latin-1")}))


def discovery(data: bytes) -> None:
    """A provider's document and its keys, each a line, and a token that names such a key."""
    document, keys = _lines(data, 2)
    answers = {**_well_known(), **({"/.well-known/openid-configuration": document} if document else {}), "/keys": keys}
    provider = _provider(answers)
    for algorithm in ("EdDSA", "RS256", "ES256"):
        header = _encoded(msgspec.json.encode({"alg": algorithm, "kid": "k"}))
        with contextlib.suppress(FederationRefused):
            awaited(provider.bearer((header + b"." + _encoded(b"{}") + b"." + _encoded(b"s" * 64)).decode()))


def notice(data: bytes) -> None:
    """A logout token of the provider's, rightly signed (and a bearer of its)."""
    provider, token = _provider(_well_known()), _signed(data)
    with contextlib.suppress(FederationRefused):
        awaited(provider.logout_notice(token))
    with contextlib.suppress(FederationRefused):
        awaited(provider.bearer(token))


def profile(data: bytes) -> None:
    """What providers without ID tokens say of a person, and those with presets of their own."""
    try:
        said = object_of(_json(data))
    except FederationRefused:
        return
    emails = said.get("emails")
    entries: list[presets.Claims] = [entry for entry in emails if isinstance(entry, dict)] if isinstance(emails, list) else []
    for preset in (presets.GITHUB, presets.DISCORD, presets.FACEBOOK):
        _check(preset.read(said, entries))
    for openid in (presets.GOOGLE, presets.APPLE, presets.openid(_settings().openid, "openid")):
        _check(openid.read(said))


def saml_person(data: bytes) -> None:
    """A SAML response once its signature was found good: the rules, and what is read of the person."""
    with contextlib.suppress(SamlError):
        root = read(data)
        with contextlib.suppress(SamlError):
            check_response(root, EXPECTED)
        assertion = root.find(f"{{{SAML}}}Assertion")
        if assertion is not None:
            saml._attributes(assertion)
            check_assertion(root, assertion, EXPECTED)
    with contextlib.suppress(SamlError):
        instant(data.decode("latin-1"))


def directory_entry(data: bytes) -> None:
    """A person's entry in a directory: attributes, each a line of `name: value`."""
    dn, *lines = data.split(b"\n")
    values: dict[str, list[bytes]] = {}
    for line in lines:
        name, _, value = line.partition(b":")
        values.setdefault(name.decode("latin-1").lower(), []).append(value.strip())
    with contextlib.suppress(Refusal):
        found = _directory()._assertion(Entry(dn.decode("utf-8", "replace"), values), set())
        assert found.subject
        assert found.email is not None
        assert found.email.count("@") == 1


@lru_cache
def _directory() -> LdapDirectory:
    variables = {"LDAP_URL": "ldaps://directory.test", "LDAP_USER_SEARCH_BASE": "dc=test", "OSTIARY_DATA": "data"}
    return LdapDirectory(Settings.load(variables).directory)


def breaches(data: bytes) -> None:
    """What the service of known breaches answers."""
    line = Line({"": data})
    with contextlib.suppress(FederationRefused):
        awaited(BreachedPasswords(ISSUER, line).holds("password"))


def picture(data: bytes) -> None:
    """A picture, and the address of one."""
    with contextlib.suppress(FederationRefused):
        kind_of(data)
    text = data.decode("utf-8", "replace")
    origin_of(text)
    assert picture_of(text) is None or text.lower().startswith("https://")
    with contextlib.suppress(ValueError):
        is_public(text)


def password(data: bytes) -> None:
    """A password that somebody chose: the list, the words of the person, the advice."""
    text, *names = data.decode("utf-8", "replace").split("\n", 2)
    names += ["", ""]
    person = SimpleNamespace(email=names[0], name=names[1], username=None)
    assert isinstance(text in _blocklist(), bool)
    blocklist.is_of_own_words(text, person, _settings())
    if text:
        adviser.advice(text)


@lru_cache
def _blocklist() -> blocklist.Blocklist:
    return blocklist.Blocklist(None)


def word_list(data: bytes) -> None:
    """The operator's own list of passwords."""
    file = folder() / "words.txt"
    file.write_bytes(data)
    with contextlib.suppress(SettingsError):
        len(blocklist.Blocklist(file))


def sealed(data: bytes) -> None:
    """What lies sealed in the database, and in LibreChat's: nothing that we did not seal opens."""
    opened = None
    with contextlib.suppress(SealBrokenError):
        opened = Sealer(b"s" * 32).open(data, "place")
    assert opened is None
    with contextlib.suppress(SealBrokenError):
        open_librechat(data.decode("latin-1"), b"c" * 32)


def rows(data: bytes) -> None:
    """LibrePass's bodies, the vault's rows among them."""
    for kind in _BODIES:
        with contextlib.suppress(msgspec.DecodeError, RecursionError, UnicodeDecodeError, Refusal, BodyRefused):
            found = msgspec.json.decode(data, type=kind)
            if isinstance(found, librepass.Cipher):
                librepass.cipher_json(found.row(found.owner.lower(), NOW * 1_000_000))


def browser(data: bytes) -> None:
    """What a browser brings: the languages it wants, its name, the mark of a device, a form of ours. None can be made up."""
    header, mark, agent, body = _lines(data, 4)
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/login",
        "query_string": b"",
        "headers": [(b"accept-language", header), (b"cookie", b"ostiary_form=" + b"f" * 32)],
    }
    client = Client("127.0.0.1", device=mark.decode("latin-1"))
    call = Call(scope, body, _services(), client)
    assert messages.of(call).language in messages.LANGUAGES
    ctx = cast("Context", SimpleNamespace(services=_services(), client=client))
    devices.presented(ctx)
    assert devices.known(ctx, "account") is None
    devices.remember(ctx, "account")
    agents.described(agent.decode("latin-1"))
    is_taken = False
    with contextlib.suppress(forms.FormRefused, MalformedBodyError):
        forms.posted(call)
        is_taken = True
    assert not is_taken


def mail(data: bytes) -> None:
    """What strangers write into a mail: the address, the name, the client they come with. It stays one mail to one address."""
    address, name, agent = (line.decode("utf-8", "replace") for line in _lines(data, 3))
    if not librepass.is_email(address):
        address = "ada@example.org"
    values = {"time": "now", "ip": "127.0.0.1", "device": agent, "link": "https://here.test/", "hint": agent}
    for template in ("hint", "new_sign_in"):
        message = Message(template, address, name, values)
        raw = rendered(message, sender="us@here.test", sender_name="Us", title="Here", now=NOW * 1_000_000)
        found = email.message_from_bytes(raw, policy=email.policy.default)
        assert sorted(key.lower() for key in found) == _HEADERS, raw[:600]
        assert len(found["To"].addresses) == 1


_HEADERS = sorted(("from", "to", "subject", "date", "message-id", "auto-submitted", "mime-version", "content-type"))


@lru_cache
def folder() -> Path:
    """A place for files that a parser reads."""
    return Path(tempfile.mkdtemp(prefix="ostiary-fuzz-"))


OUTSIDE = (
    claims, discovery, notice, profile, saml_person, directory_entry, breaches, picture, password, word_list, sealed, rows, browser, mail,
)  # fmt: skip
