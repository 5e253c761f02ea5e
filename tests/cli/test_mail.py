"""`ostiary mail …`."""

from __future__ import annotations

from email import message_from_bytes, policy

from tests.cli.conftest import HOUR, Operator
from tests.house import House
from tests.services import free_port
from tests.services.smtp import MailServer


def smtp(port: int) -> dict[str, str]:
    return {
        "EMAIL_HOST": "127.0.0.1",
        "EMAIL_PORT": str(port),
        "EMAIL_ENCRYPTION": "none",
        "EMAIL_FROM": "ostiary@example.org",
    }


def test_a_test_mail_leaves_at_once(operator: Operator) -> None:
    with MailServer() as server:
        sent = operator.json("mail", "test", "ada@example.org", **smtp(server.port))
        mail = server.wait("ada@example.org", "can send mail")

    assert sent == {"sent": True, "to": "ada@example.org", "via": "127.0.0.1"}
    assert mail["From"] == "Ostiary <ostiary@example.org>"
    assert operator.json("mail", "list") == []


def test_without_a_server_it_is_a_file(operator: Operator) -> None:
    operator.json("mail", "test", "ada@example.org")

    [file] = (operator.folder / "data" / "mailbox").glob("*.eml")
    assert message_from_bytes(file.read_bytes(), policy=policy.default)["To"] == "ada@example.org"


def test_why_a_mail_does_not_leave_is_said_in_plain_words(operator: Operator) -> None:
    operator.environment.update(smtp(free_port()))
    complaint = operator.complaint("mail", "test", "ada@example.org")

    assert "nobody listens on port" in complaint
    assert "EMAIL_HOST" in complaint
    assert "Invalid email" in operator.complaint("mail", "test", "nobody")


async def test_what_waits_is_listed_without_recipients(operator: Operator, running: House) -> None:
    await operator.meanwhile("invite", "create", "bob@example.org")

    waiting = await operator.meanwhile("mail", "list")
    running.clock.advance(2 * HOUR)
    await running.mails()
    sent = await operator.meanwhile("mail", "list")

    assert [(mail["kind"], mail["status"]) for mail in waiting] == [("invitation", "queued")]
    assert [(mail["kind"], mail["status"]) for mail in sent] == [("invitation", "sent")]
    assert "bob" not in str(waiting)


def test_retrying_makes_everything_due(operator: Operator) -> None:
    assert operator.json("mail", "retry") == {"due": 0}
    operator.json("invite", "create", "bob@example.org")

    assert operator.json("mail", "retry") == {"due": 1}
    assert "1 mail(s) are due" in operator.text("mail", "retry")
