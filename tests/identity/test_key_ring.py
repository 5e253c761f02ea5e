"""The key ring: fresh keys on two nodes under load, nobody notices; what earlier keys made stays good for as long as it lives."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import select

from ostiary.crypto.rotating import RotatingSigner
from ostiary.crypto.sealing import number_of
from ostiary.identity import key_ring, public_keys
from ostiary.identity.key_ring import Purpose, RotationUnderWayError, Row
from ostiary.settings import SettingsError
from ostiary.storage import tables
from ostiary.storage.statements import Query
from tests.conftest import MakeHouse
from tests.dialects.librechat import browser as librechat
from tests.dialects.librepass import owner as librepass
from tests.house import House, open_house

DAY = 24 * 3600
SECRETS = ("0123456789abcdef" * 4, "fedcba9876543210" * 4)
WAIT = key_ring.WAIT // 1_000_000

_factor_configs: Query[Any] = Query(
    lambda value: value, select(tables.factors.c.config).where(tables.factors.c.config.is_not(None))
)
_hints: Query[Any] = Query(
    lambda value: value, select(tables.credentials.c.config).where(tables.credentials.c.kind == "public_key")
)
_waiting_mails: Query[Any] = Query(lambda value: value, select(tables.outbox.c.sealed).where(tables.outbox.c.status != "sent"))


async def rotate(house: House, *purposes: Purpose, at_once: bool = False) -> list[Row]:
    async with house.begin() as ctx:
        return await key_ring.rotate(ctx, purposes or tuple(Purpose), at_once=at_once)


async def rotated(house: House, *purposes: Purpose) -> None:
    """Rotate, and let the new keys take over."""
    await rotate(house, *purposes)
    house.clock.advance(WAIT)
    await house.jobs.look_for_keys()


async def ring(house: House) -> list[tuple[str, int]]:
    async with house.begin() as ctx:
        return [(row.purpose, row.number) for row in await key_ring.rows(ctx)]


class Pair:
    """Two nodes of one deployment, and people whose requests go now to one, now to the other."""

    def __init__(self, nodes: tuple[House, House]) -> None:
        self.nodes = nodes
        nodes[1].clock = nodes[0].clock
        nodes[1].services.clock = nodes[0].clock
        self.failed: list[str] = []

    async def browser_story(self, name: str) -> None:
        """Register, sign in, be known, and refresh, each at the other node."""
        first, second = (librechat.browser(node) for node in self.nodes)
        second.client._cookies = first.client._cookies
        await first.register(f"{name}@example.com")
        self._note(await first.login(f"{name}@example.com"))
        for each, other in ((first, second), (second, first), (first, second)):
            other.token = each.token
            self._note(await other.get("/api/user"))
            self._note(await other.refresh())

    async def key_story(self, name: str) -> None:
        """Ask one node for its key, sign in at the other, and synchronise with the first."""
        first, second = (librepass.owner(node, f"{name}@example.com") for node in self.nodes)
        assert (await first.register()).status_code == 201
        proof = await first.shared_key()
        self._note(await second.login(sharedKey=proof))
        first.id, first.token = second.id, second.token
        self._note(await first.sync())

    async def traffic(self, name: str) -> None:
        """Both stories, twice at the same time."""
        stories = [self.browser_story, self.key_story] * 2
        await asyncio.gather(*(story(f"{name}{number}") for number, story in enumerate(stories)))

    def _note(self, answer: Any) -> None:
        if answer.status_code != 200 or answer.text == "Refresh token not provided":
            self.failed.append(f"{answer.request.url.path} {answer.status_code} {answer.text[:80]}")


async def test_nobody_notices_a_rotation_on_two_nodes_under_load(make_house: MakeHouse) -> None:
    pair = Pair((await make_house(), await make_house()))
    one, other = pair.nodes

    await asyncio.gather(pair.traffic("a"), rotate(one))
    await asyncio.gather(pair.traffic("b"), one.jobs.look_for_keys())
    await asyncio.gather(pair.traffic("c"), other.jobs.look_for_keys())
    one.clock.advance(WAIT)
    # The first signs and seals with the new keys now, the second still with the earlier ones.
    await asyncio.gather(pair.traffic("d"), one.jobs.look_for_keys())
    await asyncio.gather(pair.traffic("e"), other.jobs.look_for_keys())

    assert pair.failed == []
    assert one.services.sealer.number == other.services.sealer.number == 1


async def test_tokens_and_second_factors_from_before_a_rotation_stay_good(house: House) -> None:
    someone = await librechat.signed_in(house)
    app = await librechat.enrolled(house, someone)
    await someone.login()
    pending_browser, pending = await librechat.owing(house)

    await rotated(house)

    assert (await pending_browser.prove(pending, token=app.code())).status_code == 200
    house.clock.advance(librechat.STEP)
    again, pending = await librechat.owing(house)
    assert (await again.prove(pending, token=app.code())).status_code == 200
    assert (await pending_browser.get("/api/user")).status_code == 200
    assert (await pending_browser.refresh()).status_code == 200


async def test_access_tokens_of_an_earlier_key_end_with_their_life_and_refresh_goes_on(house: House) -> None:
    someone = await librechat.signed_in(house)
    earlier = house.services.access_tokens._current
    await rotated(house)
    forged_by_leak = earlier.sign(librechat.claims_of(someone.token) | {"exp": house.clock.now // 1_000_000 + DAY})
    bearer = {"Authorization": f"Bearer {forged_by_leak}"}

    during = (await house.client.get("/api/user", headers=bearer)).status_code
    house.clock.advance(16 * 60)
    await house.jobs.look_for_keys()
    after = (await house.client.get("/api/user", headers=bearer)).status_code

    assert (during, after) == (200, 401)
    assert (await someone.refresh()).status_code == 200
    assert (await someone.get("/api/user")).status_code == 200


async def test_after_a_leak_old_access_tokens_are_refused_at_once_and_sessions_go_on(house: House) -> None:
    """JWT-16."""
    someone = await librechat.signed_in(house)

    await rotate(house, at_once=True)
    await house.jobs.look_for_keys()

    assert (await someone.get("/api/user")).status_code == 401
    assert (await someone.refresh()).status_code == 200
    assert (await someone.get("/api/user")).status_code == 200


async def test_a_session_goes_on_with_the_server_key_of_its_sign_in(house: House) -> None:
    someone = await librepass.registered(house)
    proof = await someone.shared_key()
    assert (await someone.login(sharedKey=proof)).status_code == 200

    await rotated(house, Purpose.HANDSHAKE)
    before = await someone.server_key()
    house.clock.advance(10 * DAY)

    assert await someone.server_key() != before
    assert (await someone.set_up(librepass.Authenticator(house.clock), sharedKey=proof)).status_code == 200


async def test_the_handshake_key_of_a_period_that_has_begun_does_not_change(house: House) -> None:
    someone = await librepass.registered(house)
    house.clock.now -= house.clock.now % (300 * 1_000_000)
    begun = await someone.server_key()

    await rotated(house, Purpose.HANDSHAKE)

    assert await someone.server_key() == begun
    house.clock.advance(300)
    assert await someone.server_key() == house.services.handshake.current(house.clock.now).public
    assert (await someone.login()).status_code == 200


async def test_what_was_sealed_is_sealed_anew_and_the_earlier_key_goes(house: House) -> None:
    someone = await librechat.signed_in(house)
    app = await librechat.enrolled(house, someone)
    await librepass.registered(house, passwordHint="the usual one")

    await rotated(house)
    await rotated(house)
    async with house.begin() as ctx:
        sealed = [*await ctx.db.all(_factor_configs), *await ctx.db.all(_waiting_mails)]
        configs = [msgspec.json.decode(row, type=public_keys.Config) for row in await ctx.db.all(_hints)]
    numbers = {number_of(value) for value in sealed} | {number_of(bytes.fromhex(config.hint or "")) for config in configs}
    house.clock.advance(DAY)
    await house.jobs.look_for_keys()

    assert numbers == {2}
    assert [number for purpose, number in await ring(house) if purpose == "sealing"] == [2]
    again, pending = await librechat.owing(house)
    assert (await again.prove(pending, token=app.code())).status_code == 200
    await librepass.owner(house).get(f"/api/auth/passwordHint?email={librepass.EMAIL}")
    assert "the usual one" in (await house.last_mail("hint")).as_string()


async def test_keys_go_when_their_tokens_have_all_ended(house: House) -> None:
    await rotated(house)
    await rotated(house)

    house.clock.advance(8 * DAY)
    await house.jobs.sweep()
    tokens = [entry for entry in await ring(house) if "tokens" in entry[0]]
    house.clock.advance(200 * DAY)
    await house.jobs.sweep()

    assert tokens == [("access-tokens", 2), ("refresh-tokens", 2)]
    assert ("handshake", 1) not in await ring(house)


async def test_a_rotation_waits_for_the_one_before(house: House) -> None:
    await rotate(house, Purpose.SEALING)

    with pytest.raises(RotationUnderWayError):
        await rotate(house)

    house.clock.advance(WAIT)
    assert len(await rotate(house)) == len(Purpose)


async def test_a_secret_changed_in_the_settings_wins(database_url: str, tmp_path: Path) -> None:
    async with open_house(database_url, tmp_path, {"JWT_SECRET": SECRETS[0]}) as house:
        await rotated(house)
        someone = await librechat.signed_in(house)
        token = someone.token

    async with open_house(database_url, tmp_path, {"JWT_SECRET": SECRETS[1]}) as house:
        answer = await house.client.get("/api/user", headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code == 401
        assert house.services.access_tokens.sign({"exp": 1}) == RotatingSigner(SECRETS[1].encode()).sign({"exp": 1})


async def test_another_root_key_stops_the_start(database_url: str, tmp_path: Path) -> None:
    async with open_house(database_url, tmp_path, {"OSTIARY_ROOT_KEY": SECRETS[0]}) as house:
        await rotate(house)

    with pytest.raises(SettingsError, match="OSTIARY_ROOT_KEY is not the one"):
        async with open_house(database_url, tmp_path, {"OSTIARY_ROOT_KEY": SECRETS[1]}):
            pass
