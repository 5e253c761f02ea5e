"""How mail leaves: by SMTP to a real server, or into the local mailbox."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from pathlib import Path

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from ostiary.mail.mailbox import LocalMailbox
from ostiary.mail.messages import Message, rendered
from ostiary.mail.outbox import DeliveryError
from ostiary.mail.smtp import SMTPTransport
from ostiary.settings import Mail
from tests.services import free_port
from tests.services.smtp import MailServer

TO = "ada@example.org"


def mail_to(to: str = TO) -> Message:
    return Message("test", to, "Ada", {})


def settings(port: int, encryption: str = "none", **more: str) -> Mail:
    environment = {
        "EMAIL_HOST": "localhost" if encryption != "none" else "127.0.0.1",
        "EMAIL_PORT": str(port),
        "EMAIL_ENCRYPTION": encryption,
        "EMAIL_FROM": "ostiary@example.org",
    }
    return Mail.read(environment | more)


async def send(mail: Mail, message: Message | None = None) -> None:
    await SMTPTransport(mail).send(
        rendered(message or mail_to(), sender=mail.sender, sender_name="Ostiary", title="Ostiary", now=1_790_000_000_000_000)
    )


class Sink:
    """Keeps what it is given, refuses what it is told to refuse."""

    def __init__(self) -> None:
        self.envelopes: list[Envelope] = []
        self.logins: list[str] = []
        self.refuse_recipients = False
        self.refuse_senders = False

    async def handle_MAIL(self, _server: SMTP, _session: Session, envelope: Envelope, address: str, options: list[str]) -> str:  # noqa: N802 - aiosmtpd's
        if self.refuse_senders:
            return "550 not you"
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 OK"

    async def handle_RCPT(self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]) -> str:  # noqa: N802
        if self.refuse_recipients:
            return "550 not here"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        self.envelopes.append(envelope)
        return "250 OK"

    def authenticate(
        self, _server: SMTP, _session: Session, _envelope: Envelope, _mechanism: str, login: LoginPassword
    ) -> AuthResult:
        self.logins.append(login.login.decode())
        return AuthResult(success=login.password == b"hunter2", handled=False)


@pytest.fixture
def sink() -> Sink:
    return Sink()


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate for `mail.example.org`, signed by itself, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "mail.example.org")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("mail.example.org")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, SHA256())
    )
    file = tmp_path / "certificate.pem"
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    file.write_bytes(made.public_bytes(Encoding.PEM) + private)
    return file


def _context(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


@pytest.fixture
def starttls(sink: Sink, certificate: Path) -> Iterator[int]:
    """A server that demands STARTTLS and a login."""
    controller = Controller(
        sink,
        hostname="localhost",
        port=free_port(),
        tls_context=_context(certificate),
        require_starttls=True,
        auth_required=True,
        authenticator=sink.authenticate,
    )
    controller.start()
    yield controller.port
    controller.stop()


@pytest.fixture
def tls(sink: Sink, certificate: Path) -> Iterator[int]:
    """A server that speaks TLS from the first byte."""
    controller = Controller(sink, hostname="localhost", port=free_port(), ssl_context=_context(certificate))
    controller.start()
    yield controller.port
    controller.stop()


@pytest.fixture
def plain(sink: Sink) -> Iterator[int]:
    """A server without TLS."""
    controller = Controller(sink, hostname="localhost", port=free_port())
    controller.start()
    yield controller.port
    controller.stop()


async def test_a_mail_arrives_with_one_recipient() -> None:
    with MailServer() as server:
        await send(settings(server.port))
        mail = await server.wait_for(TO)

    assert server.deliveries[0].recipients == (TO,)
    assert mail["From"] == "Ostiary <ostiary@example.org>"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert {part.get_content_type() for part in mail.walk()} == {"multipart/alternative", "text/plain", "text/html"}


async def test_starttls_and_a_login_are_used(sink: Sink, starttls: int) -> None:
    login = {"EMAIL_USERNAME": "ostiary", "EMAIL_PASSWORD": "hunter2", "EMAIL_ALLOW_SELFSIGNED": "true"}

    await send(settings(starttls, "starttls", **login))

    assert sink.logins == ["ostiary"]
    assert [envelope.rcpt_tos for envelope in sink.envelopes] == [[TO]]


async def test_tls_from_the_first_byte_is_used(sink: Sink, tls: int) -> None:
    await send(settings(tls, "tls", EMAIL_ALLOW_SELFSIGNED="true"))

    assert len(sink.envelopes) == 1


@pytest.mark.parametrize("encryption", ["starttls", "tls"])
async def test_a_certificate_that_nobody_vouches_for_is_refused(
    sink: Sink, encryption: str, request: pytest.FixtureRequest
) -> None:
    port = request.getfixturevalue(encryption)

    with pytest.raises(DeliveryError, match=r"certificate does not hold \(self.signed certificate\)"):
        await send(settings(port, encryption))

    assert sink.envelopes == []


@pytest.mark.parametrize("encryption", ["starttls", "tls"])
async def test_the_certificate_may_bear_another_name_that_is_set(
    sink: Sink, encryption: str, certificate: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = request.getfixturevalue(encryption)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    login = {"EMAIL_USERNAME": "ostiary", "EMAIL_PASSWORD": "hunter2"} if encryption == "starttls" else {}

    await send(settings(port, encryption, EMAIL_ENCRYPTION_HOSTNAME="mail.example.org", **login))
    with pytest.raises(DeliveryError, match=r"Hostname mismatch.*EMAIL_ENCRYPTION_HOSTNAME"):
        await send(settings(port, encryption, **login))

    assert len(sink.envelopes) == 1


async def test_starttls_that_is_not_offered_is_no_reason_to_go_without(sink: Sink, plain: int) -> None:
    with pytest.raises(DeliveryError, match="does not offer what is needed"):
        await send(settings(plain, "starttls"))

    assert sink.envelopes == []


async def test_a_refused_login_names_its_settings(starttls: int) -> None:
    login = {"EMAIL_USERNAME": "ostiary", "EMAIL_PASSWORD": "wrong", "EMAIL_ALLOW_SELFSIGNED": "true"}

    with pytest.raises(DeliveryError, match=r"refused the login \(535\): look at EMAIL_USERNAME and EMAIL_PASSWORD"):
        await send(settings(starttls, "starttls", **login))


async def test_a_refused_sender_or_recipient_is_said_without_addresses(sink: Sink, plain: int) -> None:
    sink.refuse_recipients = True
    with pytest.raises(DeliveryError, match=r"^the server refused the recipient \(550\)$"):
        await send(settings(plain))

    sink.refuse_senders = True
    with pytest.raises(DeliveryError, match=r"refused the sender \(550\): look at EMAIL_FROM"):
        await send(settings(plain))


async def test_a_plain_server_behind_a_tls_setting_is_named_as_such(plain: int) -> None:
    with pytest.raises(DeliveryError, match="does not speak TLS on port"):
        await send(settings(plain, "tls"))


async def test_a_server_that_is_not_there_is_named_as_such() -> None:
    with pytest.raises(DeliveryError, match="nobody listens on port"):
        await send(settings(free_port()))
    with pytest.raises(DeliveryError, match="the name in EMAIL_HOST is unknown"):
        await send(settings(25, EMAIL_HOST="mail.invalid"))


async def test_checking_sends_nothing(sink: Sink, plain: int) -> None:
    await SMTPTransport(settings(plain)).check()

    assert sink.envelopes == []


@pytest.mark.parametrize(("encryption", "port"), [("none", 25), ("starttls", 587), ("tls", 465)])
def test_each_encryption_has_its_usual_port(encryption: str, port: int) -> None:
    assert SMTPTransport(settings(0, encryption)).port == port


async def test_the_local_mailbox_is_its_owners_alone(tmp_path: Path) -> None:
    mailbox = LocalMailbox(tmp_path / "data" / "mailbox")
    mail = rendered(mail_to(), sender="ostiary@localhost", sender_name="", title="Ostiary", now=1_790_000_000_000_000)

    for _ in range(3):
        await mailbox.send(mail)

    files = list(mailbox.folder.iterdir())
    assert len(files) == 3
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
    assert mailbox.folder.stat().st_mode & 0o777 == 0o700
    assert message_from_bytes(files[0].read_bytes(), policy=policy.default)["To"] == "Ada <ada@example.org>"
