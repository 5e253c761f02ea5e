"""The same stories told through every wire. What only one wire does is tested in that wire's folder."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from ostiary.identity import accounts, audit, bans, operators
from tests.conftest import MakeHouse
from tests.dialects.drivers import DRIVERS, Driver, Outcome
from tests.house import House

EMAIL = "ada@example.org"
MakeDriver = Callable[[House, str], Driver]


@pytest.fixture(params=list(DRIVERS))
def drive(request: pytest.FixtureRequest) -> MakeDriver:
    """Every story runs through every wire."""
    return DRIVERS[request.param]


@pytest.fixture
async def ada(house: House, drive: MakeDriver) -> Driver:
    """Somebody who has registered and signed in."""
    driver = drive(house, EMAIL)
    await driver.register()
    await driver.sign_in()
    return driver


async def account_id(house: House, email: str = EMAIL) -> str:
    async with house.begin() as ctx:
        return (await accounts.named(ctx, email)).id


async def test_one_registers_signs_in_and_is_known(house: House, drive: MakeDriver) -> None:
    driver = drive(house, EMAIL)

    registered = await driver.register()
    before = await driver.is_in()
    signed_in = await driver.sign_in()

    assert (registered.outcome, before, signed_in.outcome) == (Outcome.IN, False, Outcome.IN)
    assert await driver.is_in()


async def test_a_wrong_proof_and_an_unknown_address_are_answered_alike(house: House, drive: MakeDriver) -> None:
    known, unknown = drive(house, EMAIL), drive(house, "nobody@example.org")
    await known.register()

    wrong, ghost = await known.sign_in(is_right=False), await unknown.sign_in(is_right=False)

    assert wrong.outcome is Outcome.REFUSED
    assert (wrong.status, wrong.body, wrong.headers) == (ghost.status, ghost.body, ghost.headers)
    assert not await known.is_in()


async def test_an_account_of_the_other_kind_is_unknown_to_a_wire(house: House, drive: MakeDriver) -> None:
    """DXC-02: one address, two worlds; what the other wire stores is no way in here."""
    for other in DRIVERS.values():
        if other is drive:
            continue
        stranger = other(house, EMAIL)
        await stranger.register()

        found, ghost = await drive(house, EMAIL).sign_in(), await drive(house, "nobody@example.org").sign_in()

        assert (found.status, found.body) == (ghost.status, ghost.body)


async def test_a_taken_address_keeps_its_owner(house: House, drive: MakeDriver, ada: Driver) -> None:
    for other in DRIVERS.values():
        await other(house, EMAIL).register()

    assert await ada.is_in()
    assert (await ada.elsewhere().sign_in()).outcome is Outcome.IN
    async with house.begin() as ctx:
        assert len(await accounts.page(ctx)) == 1


async def test_the_address_is_known_in_any_case(house: House, drive: MakeDriver) -> None:
    driver = drive(house, EMAIL)
    await driver.register()

    async with house.begin() as ctx:
        assert (await accounts.named(ctx, EMAIL.upper())).email == EMAIL


async def test_a_factor_is_owed_and_answered_once(house: House, ada: Driver) -> None:
    app, _ = await ada.enroll()
    fresh, other = ada.elsewhere(), ada.elsewhere()

    owed = await fresh.sign_in()
    before = await fresh.is_in()
    wrong = await fresh.answer(app.wrong_code())
    code = app.code()
    answered = await fresh.answer(code)
    await other.sign_in()
    replayed = await other.answer(code)

    assert (owed.outcome, before) == (Outcome.FACTOR_OWED, False)
    assert (wrong.outcome, answered.outcome, replayed.outcome) == (Outcome.REFUSED, Outcome.IN, Outcome.REFUSED)
    assert await fresh.is_in()
    assert not await other.is_in()


async def test_a_wrong_proof_does_not_tell_that_a_factor_is_on(house: House, drive: MakeDriver, ada: Driver) -> None:
    await ada.enroll()
    plain = drive(house, "plain@example.org")
    await plain.register()

    guarded, open_ = await ada.elsewhere().sign_in(is_right=False), await plain.sign_in(is_right=False)

    assert (guarded.status, guarded.body) == (open_.status, open_.body)


async def test_a_code_for_the_loss_of_the_authenticator_works_once(house: House, ada: Driver) -> None:
    _, spare = await ada.enroll()
    first, second = ada.elsewhere(), ada.elsewhere()
    await first.sign_in()
    await second.sign_in()

    assert (await first.answer(spare)).outcome is Outcome.IN
    assert (await second.answer(spare)).outcome is Outcome.REFUSED


async def test_a_factor_guards_its_own_removal(house: House, ada: Driver) -> None:
    app, _ = await ada.enroll()

    without, wrong = await ada.switch_off(None), await ada.switch_off(app.wrong_code())
    owed = (await ada.elsewhere().sign_in()).outcome
    right = await ada.switch_off(app.code())

    assert (without, wrong, owed, right) == (False, False, Outcome.FACTOR_OWED, True)
    assert (await ada.elsewhere().sign_in()).outcome is Outcome.IN


async def test_switching_a_factor_on_or_off_ends_the_other_sessions(house: House, ada: Driver) -> None:
    other = ada.elsewhere()
    await other.sign_in()
    app, _ = await ada.enroll()
    after_on = (await ada.is_in(), await other.is_in())
    await other.sign_in()
    await other.answer(app.code())
    back_in = await other.is_in()
    await ada.switch_off(app.code(1))

    assert (after_on, back_in) == ((True, False), True)
    assert (await ada.is_in(), await other.is_in()) == (True, False)


async def test_another_secret_ends_every_session_and_the_old_one_opens_nothing(house: House, ada: Driver) -> None:
    other, with_old = ada.elsewhere(), ada.elsewhere()
    await other.sign_in()

    await ada.change_secret()

    assert not await ada.is_in()
    assert not await other.is_in()
    assert (await with_old.sign_in()).outcome is Outcome.REFUSED
    assert (await ada.sign_in()).outcome is Outcome.IN


async def test_the_owner_is_told_of_another_secret(house: House, ada: Driver) -> None:
    await ada.change_secret()

    subjects = [str(mail["Subject"]) for mail in await house.mails()]
    assert any("Password Reset Successfully" in subject or "password was changed" in subject for subject in subjects)


async def test_a_deleted_account_is_gone(house: House, ada: Driver) -> None:
    other = ada.elsewhere()
    await other.sign_in()

    assert await ada.delete()

    assert not await ada.is_in()
    assert not await other.is_in()
    assert (await ada.elsewhere().sign_in()).outcome is Outcome.REFUSED
    assert (await ada.elsewhere().register()).outcome is Outcome.IN


async def test_a_factor_guards_the_account_against_deletion(house: House, ada: Driver) -> None:
    app, _ = await ada.enroll()

    assert not await ada.delete()
    assert not await ada.delete(app.wrong_code())
    assert await ada.is_in()
    assert await ada.delete(app.code())


async def test_owners_may_not_delete_where_the_operator_says_so(make_house: MakeHouse, drive: MakeDriver) -> None:
    house = await make_house(ALLOW_ACCOUNT_DELETION="false", OSTIARY_BOOTSTRAP="cli")
    driver = drive(house, EMAIL)
    await driver.register()
    await driver.sign_in()

    assert not await driver.delete()
    assert await driver.is_in()


async def test_an_operator_ends_sessions(house: House, ada: Driver) -> None:
    async with house.begin() as ctx:
        ended = await operators.log_out(ctx, await accounts.named(ctx, EMAIL))

    assert ended == 1
    assert not await ada.is_in()
    assert (await ada.sign_in()).outcome is Outcome.IN


async def test_a_ban_reaches_live_sessions_and_shuts_the_door(house: House, ada: Driver) -> None:
    subject = await account_id(house)
    async with house.begin() as ctx:
        await bans.add(ctx, bans.ACCOUNT, subject, "test", None)

    banned, wrong = await ada.sign_in(), await ada.elsewhere().sign_in(is_right=False)
    async with house.begin() as ctx:
        await bans.lift(ctx, bans.ACCOUNT, subject)

    assert banned.outcome is Outcome.REFUSED
    assert banned.status == 403
    assert wrong.status != 403
    assert not await ada.is_in()
    assert (await ada.sign_in()).outcome is Outcome.IN


async def test_a_ban_reaches_a_pending_sign_in(house: House, ada: Driver) -> None:
    app, _ = await ada.enroll()
    fresh = ada.elsewhere()
    await fresh.sign_in()
    subject = await account_id(house)
    async with house.begin() as ctx:
        await bans.add(ctx, bans.ACCOUNT, subject, "test", None)

    assert (await fresh.answer(app.code())).outcome is Outcome.REFUSED
    assert not await fresh.is_in()


async def test_ten_failures_lock_strangers_out_and_not_the_known_address(house: House, drive: MakeDriver) -> None:
    ada = drive(house, EMAIL).elsewhere("192.0.2.1")
    await ada.register()
    await ada.sign_in()
    for number in range(10):
        stranger = ada.elsewhere(f"198.51.100.{number}")
        assert (await stranger.sign_in(is_right=False)).status not in (200, 429)

    assert (await ada.elsewhere("203.0.113.1").sign_in()).status == 429
    assert (await ada.elsewhere("192.0.2.1").sign_in()).outcome is Outcome.IN
    house.clock.advance(15 * 60)
    assert (await ada.elsewhere("203.0.113.1").sign_in()).outcome is Outcome.IN


async def test_an_unknown_address_locks_alike(house: House, drive: MakeDriver) -> None:
    nobody = drive(house, "nobody@example.org")
    statuses = [(await nobody.elsewhere(f"198.51.100.{number}").sign_in(is_right=False)).status for number in range(11)]

    assert statuses[10] == 429
    assert 429 not in statuses[:10]


async def test_an_unverified_address_comes_in_after_its_verification(make_house: MakeHouse, drive: MakeDriver) -> None:
    house = await make_house(EMAIL_VERIFICATION_REQUIRED="true")
    driver = drive(house, EMAIL)
    await driver.register()
    before, wrong = await driver.sign_in(), await driver.sign_in(is_right=False)
    ghost = await drive(house, "nobody@example.org").sign_in(is_right=False)

    await driver.verify()

    assert before.outcome is Outcome.REFUSED
    assert (wrong.status, wrong.body) == (ghost.status, ghost.body)
    assert (await driver.sign_in()).outcome is Outcome.IN


async def test_a_closed_registration_takes_nobody(make_house: MakeHouse, drive: MakeDriver) -> None:
    house = await make_house(ALLOW_REGISTRATION="false")

    refused = await drive(house, EMAIL).register()

    assert (refused.outcome, refused.status) == (Outcome.REFUSED, 403)


async def test_only_listed_domains_register(make_house: MakeHouse, drive: MakeDriver) -> None:
    house = await make_house(OSTIARY_ALLOWED_DOMAINS="example.org")

    inside, outside = await drive(house, EMAIL).register(), await drive(house, "ada@example.org.evil.example").register()

    assert (inside.outcome, outside.outcome, outside.status) == (Outcome.IN, Outcome.REFUSED, 403)


async def test_signing_in_while_the_account_goes_leaves_nothing_behind(house: House, ada: Driver) -> None:
    """RAC-14: no session of an account that is gone, and no account that comes back."""
    others = [ada.elsewhere() for _ in range(6)]

    await asyncio.gather(*(other.sign_in() for other in others), ada.delete())

    assert [await other.is_in() for other in others] == [False] * 6
    async with house.begin() as ctx:
        assert await accounts.page(ctx) == []


async def test_a_sign_in_that_races_a_change_of_secret_leaves_no_old_session(house: House, ada: Driver) -> None:
    """RAC-05."""
    others = [ada.elsewhere() for _ in range(6)]

    await asyncio.gather(*(other.sign_in() for other in others), ada.change_secret())

    assert [await other.is_in() for other in others] == [False] * 6


async def test_one_code_answers_one_of_many_sign_ins(make_house: MakeHouse, drive: MakeDriver) -> None:
    house = await make_house(LOCKOUT="off")
    ada = drive(house, EMAIL)
    await ada.register()
    await ada.sign_in()
    app, _ = await ada.enroll()
    waiting = [ada.elsewhere() for _ in range(16)]
    for one in waiting:
        await one.sign_in()

    answers = await asyncio.gather(*(one.answer(app.code()) for one in waiting))

    assert [answer.outcome for answer in answers].count(Outcome.IN) == 1
    assert [await one.is_in() for one in waiting].count(True) == 1


async def test_what_happens_is_audited_in_the_same_words(house: House, ada: Driver) -> None:
    await ada.elsewhere().sign_in(is_right=False)
    app, _ = await ada.enroll()
    fresh = ada.elsewhere()
    await fresh.sign_in()
    await fresh.answer(app.wrong_code())
    await fresh.answer(app.code())
    await ada.switch_off(app.code(1))
    await ada.delete()

    async with house.begin() as ctx:
        found = {event.event for event in await audit.latest(ctx)}
    assert found >= {
        "account:registered",
        "account:sign_in:succeeded",
        "account:sign_in:refused",
        "account:sign_in:factor_asked",
        "account:sign_in:factor_refused",
        "account:two_factor:enabled",
        "account:two_factor:disabled",
        "account:deleted",
    }
