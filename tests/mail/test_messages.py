"""What we write, with what strangers put into it."""

from __future__ import annotations

import re
from email import message_from_bytes, policy
from email.message import EmailMessage
from html.parser import HTMLParser
from pathlib import Path

import pytest

import ostiary.mail
from ostiary.mail.messages import SUBJECTS, Message, rendered

LINK = "https://id.example.org/verify?token=" + "a" * 64 + "&email=ada%2Btag%40example.org"
HOSTILE = "<a href=//evil.example>x</a><img src=//evil.example>\r\nBcc: eve@evil.example\n\n{{7*7}}{% raw %}\u2028\u202e"
VALUES = {
    "link": LINK,
    "hint": HOSTILE,
    "address": HOSTILE,
    "user_agent": HOSTILE,
    "old_email": HOSTILE,
    "new_email": HOSTILE,
    "provider": HOSTILE,
}
NOW = 1_790_000_000_000_000


def written(template: str, *, to: str = "ada@example.org", name: str = HOSTILE, title: str = "Ostiary") -> EmailMessage:
    """The mail as it arrives."""
    message = Message(template, to, name, dict(VALUES))
    mail = rendered(message, sender="ostiary@example.org", sender_name=f"{title}\r\nBcc: eve@evil.example", title=title, now=NOW)
    return arrived(mail)


def arrived(mail: bytes) -> EmailMessage:
    """The mail as whoever gets it reads it."""
    return message_from_bytes(mail, policy=policy.default)


def part(mail: EmailMessage, kind: str) -> str:
    body = mail.get_body((kind,))
    assert body is not None
    return str(body.get_content())


class Elements(HTMLParser):
    """The elements and links of a page, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: set[str] = set()
        self.links: list[str | None] = []
        self.sources: list[str | None] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.add(tag)
        for name, value in attrs:
            if name == "href":
                self.links.append(value)
            elif name in {"src", "background", "style"}:
                self.sources.append(value)

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize("template", SUBJECTS)
def test_hostile_values_change_neither_headers_nor_markup(template: str) -> None:
    mail = written(template)
    page = Elements(part(mail, "html"))

    for header in ("From", "To", "Subject"):
        assert len(mail.get_all(header, [])) == 1
    assert mail["Bcc"] is None
    assert mail["To"].addresses[0].addr_spec == "ada@example.org"
    assert set(page.links) <= {LINK}
    assert page.sources == []
    assert not page.elements & {"img", "script", "link", "iframe"}
    assert "49" not in page.text.replace("{{7*7}}", "")


@pytest.mark.parametrize("template", SUBJECTS)
def test_text_and_page_say_the_same(template: str) -> None:
    mail = written(template, name="Ada Lovelace")
    text, page = part(mail, "plain"), part(mail, "html")

    assert text.startswith("Hello Ada Lovelace,\n")
    assert "\n\n\n" not in text.rstrip("\n")
    assert text.endswith("\n\nOstiary, 2026\n")
    assert "\n\nAddress: " in text or "Address: " not in text
    assert (LINK in text) == (LINK.replace("&", "&amp;") in page)
    said = " ".join(Elements(page).text.split())
    for paragraph in text.split("\n\n"):
        if LINK not in paragraph:
            assert " ".join(paragraph.split()) in said


@pytest.mark.parametrize("template", SUBJECTS)
def test_a_page_fetches_nothing(template: str) -> None:
    page = part(written(template), "html").replace(LINK.replace("&", "&amp;"), "")

    assert not re.search(r"https?://|url\(|@import", page)


@pytest.mark.parametrize(
    ("template", "facts"),
    [
        ("verification", ["15 minutes", LINK]),
        ("reset", ["15 minutes", "once", LINK]),
        ("invitation", ["7 days", LINK]),
        ("key_verification", ["24 hours", LINK]),
        ("email_change", ["24 hours", LINK]),
        ("new_sign_in", ["Address: ", "Device: ", LINK]),
    ],
)
def test_the_facts_are_there(template: str, facts: list[str]) -> None:
    text = part(written(template), "plain")

    for fact in facts:
        assert fact in text


def test_the_link_stands_whole_on_a_line_of_the_mail_as_it_is_sent() -> None:
    mail = rendered(
        Message("verification", "zoe@example.org", "Zoë", {"link": LINK}),
        sender="o@example.org",
        sender_name="",
        title="O",
        now=NOW,
    )

    assert LINK.encode() in mail.splitlines()


@pytest.mark.parametrize("name", ["prize.example/win", "Visit https://evil.example", "evil.example", "call me@evil.example"])
def test_nobody_is_greeted_with_a_link(name: str) -> None:
    mail = written("verification", name=name)

    assert part(mail, "plain").startswith("Hello,\n")
    assert "evil" not in mail["To"]
    assert "prize" not in part(mail, "html")


@pytest.mark.parametrize("name", ["Ada Lovelace", "J. R. R. Tolkien", "Zoë Ž", "O'Brien, Jr.", "李小龙"])
def test_people_are_greeted_by_their_names(name: str) -> None:
    mail = written("verification", name=name)

    assert part(mail, "plain").startswith(f"Hello {name},\n")
    assert mail["To"].addresses[0].display_name == name


def test_what_breaks_a_line_or_turns_its_direction_is_a_blank() -> None:
    mail = written("password_changed", name="Ada\r\nBcc eve\u202eecalevoL")

    assert mail["To"].addresses[0].display_name == "Ada Bcc eve ecalevoL"
    assert part(mail, "plain").startswith("Hello Ada Bcc eve ecalevoL,\n")


@pytest.mark.parametrize("name", ["=?utf-8?q?=0aBcc:_x?=", "Ada =?utf-8?q?=0d=0aBcc:_x?=", "=?utf-8?b?Cg==?="])
def test_a_name_that_stands_for_a_line_break_is_left_out_and_the_mail_comes_all_the_same(name: str) -> None:
    """RFC 2047: else whoever gave an account such a name would keep its warnings from its owner."""
    mail = written("password_changed", name=name)

    assert [str(address) for address in mail["To"].addresses] == ["ada@example.org"]
    assert mail["Bcc"] is None


def test_an_optional_link_is_left_out_when_there_is_none() -> None:
    mail = rendered(
        Message("new_sign_in", "ada@example.org", "", {"link": "", "address": "203.0.113.7", "user_agent": ""}),
        sender="o@example.org",
        sender_name="",
        title="O",
        now=NOW,
    )

    assert "href" not in part(arrived(mail), "html")
    assert "Device" not in part(arrived(mail), "plain")


@pytest.mark.parametrize("to", ["ada@example.org\r\nBcc: eve@evil.example", "ada@example.org>\r\nRCPT TO:<eve@evil.example"])
def test_an_address_that_would_break_a_header_is_refused(to: str) -> None:
    with pytest.raises(ValueError, match=r"(?i)invalid|CR|newline"):
        written("test", to=to)


def test_an_address_beyond_ascii_stays_as_it_is() -> None:
    mail = rendered(Message("test", "zoë@example.org", "", {}), sender="o@example.org", sender_name="", title="O", now=NOW)

    assert "To: zoë@example.org".encode() in mail


def test_the_title_is_the_operators() -> None:
    mail = written("invitation", title="Ada & Friends")

    assert mail["Subject"] == "Invite to join Ada & Friends!"
    assert "Ada &amp; Friends" in part(mail, "html")


def test_every_subject_has_its_two_templates_and_no_other_is_there() -> None:
    folder = Path(ostiary.mail.__path__[0]) / "templates"
    names = {file.name for file in folder.iterdir() if not file.name.startswith("_")}

    assert names == {f"{template}.{kind}" for template in SUBJECTS for kind in ("txt", "html")}
