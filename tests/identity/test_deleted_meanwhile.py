"""An account that is deleted between the look at it and the first write: a refusal, and never a broken reference."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from ostiary.identity import accounts, deletion, federated, operators, pictures, sessions, step_up
from ostiary.identity.accounts import Candidate
from ostiary.identity.context import Context
from ostiary.identity.factors import BackupCode, TOTPCode
from ostiary.identity.federated import Assertion
from ostiary.identity.methods import Verified
from ostiary.identity.passwords import Password
from ostiary.identity.pictures import Picture
from ostiary.identity.refusals import AccountGone, FederationRefused, Refusal, SessionGone
from ostiary.identity.sessions import Principal
from ostiary.limits.store import Rule, Taken
from tests.dialects.librechat.browser import EMAIL, claims_of, enrolled, owing, signed_in
from tests.house import House

ASSERTION = Assertion("google", "https://accounts.example.org", "1", EMAIL, is_email_verified=True, name="Ada")


async def delete_owner(house: House) -> None:
    """As an operator beside the server does."""
    async with house.begin() as ctx:
        account = await accounts.by_email(ctx, EMAIL)
        if account is not None:
            await deletion.delete(ctx, account, "test")


class LateMethod:
    """The password, whose owner goes while it is compared."""

    def __init__(self, house: House) -> None:
        self._house, self._real = house, house.services.methods[Password]
        self.kind = self._real.kind

    async def verify(self, ctx: Context, candidate: Candidate | None, proof: Any) -> Verified:
        verified = await self._real.verify(ctx, candidate, proof)
        await delete_owner(self._house)
        return verified


async def test_a_sign_in_that_owes_a_factor_is_refused(house: House) -> None:
    someone = await signed_in(house)
    await enrolled(house, someone)
    house.services.methods[Password] = LateMethod(house)

    answer = await someone.login()

    assert (answer.status_code, answer.json()) == (404, {"message": "Invalid credentials"})


async def test_an_answer_to_a_challenge_is_refused(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    app = await enrolled(house, await signed_in(house))
    someone, pending = await owing(house)
    take = house.services.limits.take

    async def late(rule: Rule, key: str, now: int) -> Taken:
        await delete_owner(house)
        return await take(rule, key, now)

    monkeypatch.setattr(house.services.limits, "take", late)

    assert (await someone.prove(pending, token=app.code())).status_code == 401


LATE: list[tuple[Callable[[Context, Principal], Awaitable[object]], type[Refusal] | None]] = [
    (lambda ctx, who: federated.link(ctx, who, ASSERTION, "Google"), FederationRefused),
    (lambda ctx, who: step_up.check_live_code(ctx, who, TOTPCode("000000")), SessionGone),
    (lambda ctx, who: step_up.check_backup_code(ctx, who, BackupCode("00000000")), SessionGone),
    (lambda ctx, who: operators.set_password(ctx, who.account, "another-Meadow-77-bridge"), AccountGone),
    (lambda ctx, who: operators.reset_factors(ctx, who.account), AccountGone),
    (lambda ctx, who: pictures.keep(ctx, who.account, "https://example.org/a", Picture("image/png", b"x")), None),
]


async def test_whatever_else_its_owner_or_an_operator_was_about_to_do_is_refused(house: House) -> None:
    someone = await signed_in(house)
    await enrolled(house, someone)
    async with house.begin() as ctx:
        who = await sessions.by_id(ctx, claims_of(someone.token)["sid"])
    assert who is not None
    await delete_owner(house)

    async def found(deed: Callable[[Context, Principal], Awaitable[object]]) -> type[BaseException] | None:
        try:
            async with house.begin() as ctx:
                await deed(ctx, who)
        except Refusal as refusal:
            return type(refusal)
        return None

    assert [await found(deed) for deed, _ in LATE] == [refusal for _, refusal in LATE]
