"""DXC: two wires under one roof (catalogue 4.18)."""

from __future__ import annotations

from tests.attack.harness import Caller, somewhere
from tests.attack.people import MAIL_SECONDS, WRONG_PASSWORD, KeyOwner, Person, key_owner, signed_in
from tests.served import Served
from tests.services.smtp import MailServer


def test_dxc_02_an_address_has_one_owner_over_both_wires(site: Served, mails: MailServer) -> None:
    person, owner = signed_in(site.url), key_owner(site.url)
    squatter, key_squatter = Person(site.url, somewhere(), email=owner.email), KeyOwner(site.url, somewhere(), email=person.email)

    replies = squatter.register(), key_squatter.register()

    assert replies[0].told == Person(site.url, somewhere()).register().told
    assert replies[1].told == KeyOwner(site.url, somewhere()).register().told
    assert (squatter.login().status, key_squatter.login().status) == (404, 400)
    assert (person.elsewhere().login().status, owner.elsewhere().login().status) == (200, 200)
    for email in (person.email, owner.email):
        assert mails.wait(email, "You already have an account", MAIL_SECONDS)


def test_dxc_03_a_token_of_one_wire_opens_nothing_on_the_other(site: Served) -> None:
    person, owner = signed_in(site.url), key_owner(site.url)

    for method, path in (("POST", "/api/user/setup/2fa"), ("PATCH", "/api/user/password"), ("GET", "/api/cipher")):
        assert Caller(site.url, bearer=person.bearer).ask(method, path).status == 401, path
    for method, path in (("GET", "/api/user"), ("POST", "/api/auth/2fa/enable"), ("POST", "/api/auth/logout")):
        assert Caller(site.url, bearer=owner.bearer).ask(method, path).status == 401, path


def test_dxc_05_deleting_takes_bearer_and_body_of_one_wire(site: Served) -> None:
    person, owner = signed_in(site.url), key_owner(site.url)
    proof = {"sharedKey": owner.shared_key()}

    tries = [
        Caller(site.url, bearer=person.bearer).ask("DELETE", "/api/user/delete", proof),
        Caller(site.url, bearer=owner.bearer).ask("DELETE", "/api/user/delete", {"token": "000000"}),
        Caller(site.url).ask("DELETE", "/api/user/delete", proof),
        Caller(site.url).ask("DELETE", "/api/user/delete", {}),
    ]

    assert {reply.status for reply in tries} <= {400, 401}
    assert person.me().status == 200
    assert owner.get("/api/cipher").status == 200


def test_dxc_06_wrong_proofs_on_one_wire_do_not_open_the_other(site: Served) -> None:
    """An address has one kind of account, and both wires count its failures in one budget."""
    owner = key_owner(site.url)
    address = somewhere()
    for number in range(10):
        stranger = Caller(site.url, f"{address.rpartition('.')[0]}.{1 + number * 20}")
        if number % 2:
            stranger.post("/api/auth/login", {"email": owner.email, "password": WRONG_PASSWORD})
        else:
            stranger.post("/api/auth/oauth?grantType=login", {"email": owner.email, "sharedKey": "ab" * 32})

    assert Person(site.url, somewhere(), email=owner.email).login(WRONG_PASSWORD).status == 429
    assert KeyOwner(site.url, somewhere(), email=owner.email).login(sharedKey="ab" * 32).status == 429
