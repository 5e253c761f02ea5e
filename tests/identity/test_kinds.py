"""The kind of an address, which is told to strangers and must tell them nothing."""

from __future__ import annotations

import pytest

from ostiary.identity import accounts, credentials, kinds, public_keys
from ostiary.identity.public_keys import DEFAULTS, Config, Parameters
from tests.conftest import MakeHouse
from tests.house import House

PUBLIC_KEY = "44ded509b630b2fcf6ffed5ff515da71bf972754df2a73e73220b69ad000025d"
OTHERS = Parameters(1, 20480, 2)
STRICT = {"EMAIL_VERIFICATION_REQUIRED": "true"}


async def kind_of(house: House, email: str, mark: str = "") -> str:
    async with house.begin() as ctx:
        return (await kinds.of_address(ctx, email, mark)).kind


async def add(house: House, email: str, kind: str, *, is_verified: bool = True) -> None:
    """An account with one credential."""
    async with house.begin() as ctx:
        account = accounts.fresh(ctx, email, "", verified_at=ctx.now if is_verified else None)
        await accounts.insert_account(ctx, account)
        config = public_keys.encoded(Config(PUBLIC_KEY, OTHERS)) if kind == credentials.PUBLIC_KEY else "{}"
        await credentials.add(ctx, account.id, kind, config)


async def nobodys(house: House, kind: str) -> str:
    """An address without an account, which answers with this kind."""
    for number in range(64):
        email = f"nobody{number}@example.com"
        if await kind_of(house, email) == kind:
            return email
    raise AssertionError(f"no address of the kind {kind}")


async def test_addresses_without_an_account_have_either_kind_about_as_often(house: House) -> None:
    found = [await kind_of(house, f"{number}@example.com") for number in range(400)]

    assert 140 < found.count(credentials.PASSWORD) < 260
    assert set(found) == {credentials.PASSWORD, credentials.PUBLIC_KEY}


async def test_an_address_without_an_account_keeps_its_kind_in_every_spelling_and_after_a_restart(make_house: MakeHouse) -> None:
    emails = [f"somebody{number}@example.com" for number in range(32)]
    before = [await kind_of(await make_house(), email) for email in emails]

    after = [await kind_of(await make_house(), f" {email.upper()} ") for email in emails]

    assert after == before


@pytest.mark.parametrize("kind", [credentials.PASSWORD, credentials.PUBLIC_KEY])
@pytest.mark.parametrize("made_up", [credentials.PASSWORD, credentials.PUBLIC_KEY])
async def test_an_account_has_the_kind_of_its_credential(house: House, kind: str, made_up: str) -> None:
    email = await nobodys(house, made_up)

    await add(house, email, kind)

    assert await kind_of(house, email.upper()) == kind


@pytest.mark.parametrize("kind", [credentials.PASSWORD, credentials.PUBLIC_KEY])
async def test_registering_an_address_does_not_change_its_kind_before_it_is_verified(make_house: MakeHouse, kind: str) -> None:
    house = await make_house(**STRICT)
    other = {credentials.PASSWORD: credentials.PUBLIC_KEY, credentials.PUBLIC_KEY: credentials.PASSWORD}[kind]
    email = await nobodys(house, other)

    await add(house, email, kind, is_verified=False)

    assert await kind_of(house, email) == other


async def test_an_unverified_account_has_its_own_kind_where_it_may_sign_in(house: House) -> None:
    email = await nobodys(house, credentials.PASSWORD)

    await add(house, email, credentials.PUBLIC_KEY, is_verified=False)

    assert await kind_of(house, email) == credentials.PUBLIC_KEY


async def test_the_browser_that_asked_for_a_key_account_is_never_asked_for_the_password(make_house: MakeHouse) -> None:
    house = await make_house(**STRICT)
    free, taken = [await nobodys(house, credentials.PASSWORD), "taken@example.com"]
    await add(house, taken, credentials.PASSWORD)
    async with house.begin() as ctx:
        marks = [kinds.mark_of(ctx, email) for email in (free, taken)]

    kept = [await kind_of(house, email, mark) for email, mark in zip((free, taken), marks, strict=True)]

    # Alike for a free address and a taken one, or the mark would tell.
    assert kept == [credentials.PUBLIC_KEY] * 2
    assert await kind_of(house, free, marks[1]) == credentials.PASSWORD
    assert await kind_of(house, free, "é" * 24) == credentials.PASSWORD


async def test_only_a_key_accounts_own_parameters_differ_from_the_defaults(house: House) -> None:
    await add(house, "grace@example.com", credentials.PUBLIC_KEY)
    await add(house, "ada@example.com", credentials.PASSWORD)

    async with house.begin() as ctx:
        found = [(await kinds.of_address(ctx, f"{name}@example.com")).parameters for name in ("grace", "ada", "nobody")]

    assert found == [OTHERS, DEFAULTS, DEFAULTS]


async def test_an_address_with_nul_is_nobodys(house: House) -> None:
    assert await kind_of(house, "a\0b@example.com") in {credentials.PASSWORD, credentials.PUBLIC_KEY}


async def test_who_signs_in_elsewhere_has_no_kind_of_their_own(house: House) -> None:
    email = await nobodys(house, credentials.PUBLIC_KEY)

    await add(house, email, credentials.FEDERATED)

    assert await kind_of(house, email) == credentials.PUBLIC_KEY
