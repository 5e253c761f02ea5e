"""LOG-01 for what the long story leaves out: a directory, SAML, our own pages, and the link of a change of address."""

from __future__ import annotations

import re
import time
from base64 import b32encode
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from ostiary.identity import accounts
from tests.attack.canaries import Canaries, dump
from tests.conftest import MakeHouse
from tests.dialects.librechat.browser import browser
from tests.dialects.librepass import owner as librepass
from tests.federation.saml_desk import variables
from tests.federation.saml_forge import signer
from tests.federation.test_saml_sign_in import NAMES, answered, hand_in
from tests.house import House
from tests.services.postgres import _program
from tests.services.saml import SamlIdp
from tests.services.slapd import SlapdServer
from tests.web.test_account import code_of, set_up
from tests.web.test_by_mail import link_of, path_in
from tests.web.visitor import Visitor, sign_in

LOUD = {"OSTIARY_LOG_LEVEL": "debug", "OSTIARY_LOG_FORMAT": "json", "EMAIL_NEW_LOGIN": "true"}


@pytest.fixture(scope="module")
def directory() -> Iterator[SlapdServer]:
    with SlapdServer() as server:
        yield server


@pytest.fixture(scope="module")
def idp() -> Iterator[SamlIdp]:
    with SamlIdp(signer().key_pem, signer().pem) as server:
        yield server


class Watcher:
    """Notes the secrets of a life here, and what was answered to it."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.canaries = Canaries()
        self.errors = b""

    def hear(self, answer: httpx.Response) -> httpx.Response:
        if answer.status_code >= 400:
            self.errors += answer.content
        return answer

    def note_cookies(self, client: httpx.AsyncClient) -> None:
        for cookie in client.cookies.jar:
            if len(cookie.value or "") > 16 and cookie.name != "ostiary_device":
                self.canaries.add(f"cookie {cookie.name}", cookie.value or "")

    def note_link(self, path: str) -> str:
        found = parse_qs(urlsplit(path).query)
        self.canaries.add("link", next(found[name][0] for name in ("token", "code") if name in found))
        return path


async def through_the_directory(watcher: Watcher, directory: SlapdServer) -> None:
    """On the wire and at the page."""
    note, house = watcher.canaries, watcher.house
    right = note.fresh("directory password")
    uid = directory.add_person(userPassword=right, mail="canary.directory@example.org")
    note.add("address", "canary.directory@example.org")
    note.add("bind password", directory.settings()["LDAP_BIND_CREDENTIALS"])
    someone = browser(house)
    watcher.hear(await someone.login(uid, note.fresh("wrong password")))
    assert (await someone.login(uid, right)).status_code == 200
    note.add("access token", someone.token)
    watcher.note_cookies(someone.client)
    visitor = Visitor(house)
    await sign_in(visitor, uid, note.fresh("wrong password"))
    watcher.hear(visitor.answer)
    assert (await sign_in(visitor, uid, right)).title.startswith("Your account")
    watcher.note_cookies(visitor.client)


async def through_saml(watcher: Watcher) -> None:
    """A right answer, the same again, and a torn one."""
    note, someone = watcher.canaries, browser(watcher.house)
    form = await answered(someone)
    note.add("assertion", form["SAMLResponse"])
    note.add("relay state", form["RelayState"])
    watcher.note_cookies(someone.client)
    assert (await hand_in(someone, form)).status_code == 302
    assert someone.refresh_cookie
    watcher.note_cookies(someone.client)
    watcher.hear(await hand_in(someone, form))
    other = browser(watcher.house)
    torn = {
        **await answered(other),
        "SAMLResponse": note.add("assertion", form["SAMLResponse"][: len(form["SAMLResponse"]) // 2]),
    }
    watcher.hear(await hand_in(other, torn))


async def at_the_pages(watcher: Watcher) -> None:
    """Sign-up, a factor, a lost password, another password."""
    note, house = watcher.canaries, watcher.house
    email, password = note.add("address", "canary.pages@example.org"), note.fresh("password")
    visitor = Visitor(house)
    await visitor.open("/register")
    await visitor.send(name="Ada", email=email, password=password)
    await visitor.open(watcher.note_link(await link_of(house, "verification")))
    await visitor.send()
    await sign_in(visitor, email, note.fresh("wrong password"))
    watcher.hear(visitor.answer)
    assert (await sign_in(visitor, email, password)).title.startswith("Your account")
    watcher.note_cookies(visitor.client)
    secret, codes = await set_up(house, visitor)
    note.add("totp secret", b32encode(secret).decode().rstrip("="))
    for code in codes:
        note.add("backup code", code)
    await visitor.open("/account/password")
    await visitor.send(present=note.fresh("wrong password"), password=note.fresh("refused password"))
    watcher.hear(visitor.answer)
    await visitor.open("/account/password")
    changed = note.fresh("changed password")
    await visitor.send(present=password, password=changed)
    await visitor.sign_out()
    await sign_in(visitor, email, changed)
    watcher.note_cookies(visitor.client)
    await visitor.send(code=note.add("code", code_of(house, secret)))
    assert visitor.path.startswith("/account")
    watcher.note_cookies(visitor.client)
    await visitor.open("/forgot-password")
    await visitor.send(email=email)
    await visitor.open(watcher.note_link(await link_of(house, "reset")))
    await visitor.send(password=note.fresh("reset password"))


async def to_another_address(watcher: Watcher) -> None:
    """A key account's link, wrong and right, and the link that the old address gets against it."""
    note, house = watcher.canaries, watcher.house
    someone = await librepass.registered(house, note.add("address", "canary.before@example.org"))
    assert (await house.client.get(watcher.note_link(await librepass.link_of(house, "Activate")))).status_code == 302
    assert (await someone.login()).status_code == 200
    note.add("key", someone.token)
    assert (await someone.change_email(note.add("address", "canary.after@example.org"))).status_code == 200
    link = watcher.note_link(await librepass.link_of(house, "Email Address Change"))
    watcher.hear(await house.client.get(re.sub(r"code=\w+", f"code={note.fresh('wrong link')}", link)))
    assert (await house.client.get(link)).status_code in (200, 302)
    async with house.begin() as ctx:
        assert await accounts.by_email(ctx, "canary.after@example.org") is not None
    watcher.note_link(path_in(await house.last_mail("changed")))


async def test_log_01_nothing_of_a_directory_saml_the_pages_or_a_change_of_address_is_kept_in_the_clear(
    make_house: MakeHouse,
    database_url: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    directory: SlapdServer,
    idp: SamlIdp,
) -> None:
    away = await make_house(**LOUD, **directory.settings(), **variables(SAML_ENTRY_POINT=f"{idp.url}/sso", **NAMES))
    home = await make_house(**LOUD, EMAIL_VERIFICATION_REQUIRED="true")
    away.clock.now = home.clock.now = time.time_ns() // 1000
    elsewhere, here = Watcher(away), Watcher(home)

    await through_the_directory(elsewhere, directory)
    await through_saml(elsewhere)
    await at_the_pages(here)
    await to_another_address(here)
    metrics = b"".join([(await house.client.get("/metrics")).content for house in (away, home)])

    log = capsys.readouterr().err.encode()
    files = b"\n".join(file.read_bytes() for file in sorted(tmp_path.glob("ostiary.db*")))  # noqa: ASYNC240 - the loop has nothing else to do
    lines = list(dump(database_url, _program("pg_dump")))
    assert log.count(b"account:sign_in:succeeded") > 5
    assert len(elsewhere.errors + here.errors) > 100
    for canaries in (elsewhere.canaries, here.canaries):
        assert len(canaries.values) > 10
        assert canaries.found_in(log) == canaries.found_in(metrics) == []
        # A page that asks again shows the address that was typed into it.
        assert canaries.found_in(elsewhere.errors + here.errors, without="address") == []
        assert canaries.found_in(files, without="address") == []
        told = {table for table, line in lines if canaries.found_in(line.encode())}
        assert told <= {"accounts", "links", "credentials"}
