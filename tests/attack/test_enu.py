"""ENU: who exists? Eight places that could tell a stranger, and none does (catalogue 4.1)."""

from __future__ import annotations

import time
from urllib.parse import quote
from uuid import uuid4

import pytest

from ostiary.identity import evenness
from tests.attack.harness import ROUNDS, fresh_email, interleaved, somewhere
from tests.attack.people import MAIL_SECONDS, WRONG_PASSWORD, KeyOwner, Person, enrolled, key_owner, signed_in
from tests.conftest import MakeHouse
from tests.dialects.librechat.browser import browser
from tests.dialects.librepass.owner import DEFAULTS, SMTP, Owner
from tests.served import Served
from tests.services.smtp import MailServer

TURNS = 4 * ROUNDS


def stranger(site: Served) -> Person:
    return Person(site.url, somewhere())


def test_enu_01_a_wrong_password_and_an_unknown_address_look_alike(site: Served) -> None:
    known, ghost = signed_in(site.url).email, fresh_email("ghost")

    ghosts, wrong = interleaved(
        lambda: stranger(site).login(WRONG_PASSWORD, ghost),
        lambda: stranger(site).login(WRONG_PASSWORD, known),
        TURNS,
    )

    assert {reply.told for reply in ghosts} == {reply.told for reply in wrong}
    assert [reply.status for reply in ghosts] == [reply.status for reply in wrong]
    assert wrong[0].status == 404


def test_enu_02_a_wrong_key_and_an_unknown_address_look_alike(site: Served) -> None:
    known, ghost = key_owner(site.url).email, fresh_email("ghost")

    def ask(email: str) -> KeyOwner:
        return KeyOwner(site.url, somewhere(), email=email)

    ghosts, wrong = interleaved(
        lambda: ask(ghost).login(sharedKey="ab" * 32), lambda: ask(known).login(sharedKey="ab" * 32), TURNS
    )

    assert {reply.told for reply in ghosts} == {reply.told for reply in wrong}
    assert [reply.status for reply in ghosts] == [reply.status for reply in wrong]
    assert wrong[0].json()["error"] == "LP-Invalid-Shared-Secret"


def test_enu_04_registering_a_taken_address_looks_like_a_free_one(site: Served, mails: MailServer) -> None:
    owner, free = signed_in(site.url), Person(site.url, somewhere())
    key_holder, free_key = key_owner(site.url), KeyOwner(site.url, somewhere())

    taken, fresh = stranger(site).register(email=owner.email), free.register()
    taken_key = KeyOwner(site.url, somewhere(), email=key_holder.email, password="somebody else's").register()
    fresh_key = free_key.register()

    assert taken.told == fresh.told
    assert taken_key.told == fresh_key.told
    for email in (owner.email, key_holder.email):
        assert mails.wait(email, "You already have an account", MAIL_SECONDS)
    assert mails.wait(free.email, "Verify your email", MAIL_SECONDS)
    assert mails.wait(free_key.email, "Activate your", MAIL_SECONDS)


@pytest.mark.parametrize("engine", ["sqlite"])
async def test_enu_05_a_registration_and_a_refusal_of_the_locked_out_take_a_fixed_time_at_least(
    make_house: MakeHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is written for a free address and for a taken one differs, and so does the look for an unlocking."""
    house = await make_house(OSTIARY_LOCKOUT_MAX="1")
    await browser(house).register()
    await browser(house, "198.51.100.1").login(password=WRONG_PASSWORD)
    monkeypatch.setattr(evenness, "EVEN_SECONDS", 0.4)
    stranger_there = browser(house, "198.51.100.1")

    seconds = []
    for asked in (
        browser(house).register(),
        browser(house).register("free@example.com"),
        stranger_there.login(password=WRONG_PASSWORD),
    ):
        began = time.monotonic()
        await asked
        seconds.append(time.monotonic() - began)

    assert min(seconds) >= 0.4


async def test_enu_05_registering_hashes_and_writes_mail_on_both_paths(make_house: MakeHouse) -> None:
    """What takes the time is the same; `python -m bench.enumeration` measures the time itself."""
    house = await make_house(EMAIL_HOST="127.0.0.1", EMAIL_FROM="ostiary@example.org")
    await browser(house).register("taken@example.org")
    hashes = []

    for email in ("taken@example.org", "free@example.org"):
        before = house.services.hasher.done
        await browser(house).register(email)
        hashes.append(house.services.hasher.done - before)

    assert hashes == [1, 1]


def test_enu_07_asking_for_another_mail_tells_nothing(site: Served) -> None:
    known, holder, ghost = signed_in(site.url).email, key_owner(site.url).email, fresh_email("ghost")
    resend = [stranger(site).post("/api/user/verify/resend", {"email": email}) for email in (known, holder, ghost)]
    reset = [stranger(site).post("/api/auth/requestPasswordReset", {"email": email}) for email in (known, holder, ghost)]

    keys = [
        [stranger(site).get(f"/api/auth/{what}?email={quote(email)}") for email in (known, holder, ghost)]
        for what in ("resendVerificationEmail", "passwordHint")
    ]

    for replies in (resend, reset, *keys):
        assert len({reply.told for reply in replies}) == 1
        assert replies[0].status == 200


def test_enu_08_pre_login_says_nothing_of_an_account_with_the_clients_defaults(site: Served) -> None:
    """The contract: an unknown address gets the defaults, because real clients depend on them."""
    known, ghosts = key_owner(site.url).email, [fresh_email("ghost") for _ in range(10)]

    replies = [stranger(site).get(f"/api/auth/preLogin?email={quote(email)}") for email in (known, *ghosts, known, *ghosts)]

    assert (
        len({tuple((name, value) for name, value in reply.json().items() if name != "serverPublicKey") for reply in replies}) == 1
    )
    assert {reply.status for reply in replies} == {200}


async def test_enu_08_registering_with_other_parameters_does_not_show_whether_the_address_was_free(make_house: MakeHouse) -> None:
    house = await make_house(**SMTP)
    await Owner(house.client, "taken@example.org").register()
    others = {"parallelism": 1, "memory": 20480, "iterations": 2}

    for email in ("taken@example.org", "free@example.org"):
        await Owner(house.client, email, "not the owner's").register(**others)

    told = [
        (await house.client.get(f"/api/auth/preLogin?email={name}@example.org")).json() for name in ("taken", "free", "nobody")
    ]
    assert [each["memory"] for each in told] == [DEFAULTS["memory"]] * 3


def test_enu_10_a_made_up_verification_link_tells_nothing(site: Served) -> None:
    owner, person = key_owner(site.url), signed_in(site.url)

    links = [stranger(site).get(f"/api/auth/verifyEmail?user={account}&code={uuid4()}") for account in (owner.id, uuid4())]
    changes = [stranger(site).get(f"/api/user/verifyNewEmail?user={account}&code={uuid4()}") for account in (owner.id, uuid4())]
    posted = [
        stranger(site).post("/api/user/verify", {"email": email, "token": "0" * 64}) for email in (person.email, fresh_email())
    ]

    for one, other in (links, changes, posted):
        assert one.told == other.told
        assert one.status == 400


def test_enu_11_a_wrong_password_does_not_tell_that_a_factor_is_on(site: Served) -> None:
    plain, strong = signed_in(site.url), signed_in(site.url)
    enrolled(strong)

    one, other = (stranger(site).login(WRONG_PASSWORD, person.email) for person in (plain, strong))

    assert one.told == other.told
    assert b"twoFAPending" not in other.body


@pytest.mark.parametrize("is_known", [True, False])
def test_enu_13_no_answer_echoes_a_name(site: Served, is_known: bool) -> None:
    person = Person(site.url, somewhere())
    if is_known:
        person.register()

    for spelling in (f" {person.email} ", person.email.upper(), person.email.capitalize()):
        reply = stranger(site).login(WRONG_PASSWORD, spelling)

        assert reply.status == 404
        assert person.email.encode() not in reply.body.lower()
