"""Whose account an identity opens: the one that it is linked to, by its owner or by an address that the provider verified."""

from __future__ import annotations

import pytest

from ostiary.identity import accounts
from tests.conftest import MakeHouse
from tests.dialects.librechat.browser import PASSWORD, Browser, enrolled
from tests.federation.hostile import Provider, is_in, me, reasons, walk
from tests.federation.test_oauth_stories import open_for
from tests.house import ORIGIN, House
from tests.web.visitor import Shown, Visitor, sign_in


@pytest.fixture
async def house(make_house: MakeHouse, op: Provider) -> House:
    return await open_for(make_house, op)


async def moved_in(house: House, provider_name: str) -> str:
    """An account of the provider that came without an identity, as an import may leave it; its id."""
    async with house.begin() as ctx:
        account = accounts.fresh(ctx, "ada@example.org", "Ada", provider=provider_name, verified_at=ctx.now)
        assert await accounts.insert_account(ctx, account)
    return account.id


async def test_an_account_of_the_provider_without_an_identity_takes_the_one_with_its_verified_address(
    house: House, op: Provider
) -> None:
    account_id = await moved_in(house, "openid")

    assert is_in(await walk(house, op))

    assert (await me(house.client))["id"] == account_id
    op.person = op.person | {"sub": "somebody else"}
    assert not is_in(await walk(house, op, client=house.client_at("127.0.0.1")))


@pytest.mark.parametrize(
    ("provider_name", "claims"), [("openid", {"email_verified": False}), ("google", {}), ("openid", {"email_verified": "yes"})]
)
async def test_no_other_account_is_opened_by_an_address(
    house: House, op: Provider, provider_name: str, claims: dict[str, object]
) -> None:
    await moved_in(house, provider_name)
    op.person = op.person | claims

    assert not is_in(await walk(house, op))
    assert await reasons(house) == ["address_of_another_account"]


async def test_with_a_second_factor_on_linking_and_unlinking_want_its_code(house: House, op: Provider) -> None:
    owner = Browser(house.client)
    await owner.register("owner@example.org")
    await owner.login("owner@example.org")
    app = await enrolled(house, owner)

    refused = await owner.post("/api/user/identities/openid")
    begun = await owner.post("/api/user/identities/openid", {"token": app.code()})
    await house.client.get(op.authorize(begun.json()["url"]))
    (identity,) = (await owner.get("/api/user/identities")).json()["identities"]
    kept = await owner.delete(f"/api/user/identities/{identity['id']}")
    house.clock.advance(60)
    removed = await owner.delete(f"/api/user/identities/{identity['id']}", {"token": app.code()})

    assert refused.status_code in (400, 401)
    assert "url" not in refused.json()
    assert (kept.status_code in (400, 401), removed.status_code) == (True, 200)


async def test_on_the_pages_too_linking_and_unlinking_want_the_code_of_a_second_factor(house: House, op: Provider) -> None:
    owner = Browser(house.client)
    await owner.register("owner@example.org")
    await owner.login("owner@example.org")
    app = await enrolled(house, owner)
    visitor = Visitor(house)
    await sign_in(visitor, "owner@example.org", PASSWORD)
    await visitor.send(code=app.code())
    house.clock.advance(60)

    async def wanted(action: str) -> tuple[Shown, Shown]:
        """What is shown without a code, and with one."""
        await visitor.open("/account")
        asked = await visitor.send(visitor.shown.actions.index(action))
        return asked, await visitor.send(code=app.code())

    asked, begun = await wanted("/account/identities/link")
    [url] = [link for link in begun.links if link.startswith(op.issuer)]
    await visitor.client.get(op.authorize(url))
    house.clock.advance(60)
    still_asked, _ = await wanted("/account/identities/unlink")

    assert not any(link.startswith(op.issuer) for link in asked.links)
    assert asked.actions[0] == "/account/identities/link"
    assert still_asked.actions[0] == "/account/identities/unlink"
    assert (await owner.get("/api/user/identities")).json()["identities"] == []


async def test_a_linked_identity_opens_the_account_and_does_not_change_it_until_it_is_unlinked(
    house: House, op: Provider
) -> None:
    owner = Browser(house.client)
    await owner.register("owner@example.org")
    await owner.login("owner@example.org")
    before = await me(house.client)
    begun = await owner.post("/api/user/identities/openid")
    assert (await house.client.get(op.authorize(begun.json()["url"]))).headers["location"] == ORIGIN
    elsewhere = house.client_at("127.0.0.1")

    assert is_in(await walk(house, op, client=elsewhere))

    after = await me(elsewhere)
    fields = ("id", "email", "name", "username", "avatar", "provider", "role")
    assert [after[field] for field in fields] == [before[field] for field in fields]
    (identity,) = (await owner.get("/api/user/identities")).json()["identities"]
    await owner.delete(f"/api/user/identities/{identity['id']}")
    assert is_in(await walk(house, op, client=elsewhere))
    assert (await me(elsewhere))["id"] != before["id"]
