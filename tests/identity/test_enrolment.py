"""Enrolments of a second factor that meet one another."""

from __future__ import annotations

import pytest

from ostiary.crypto import otp
from ostiary.identity import accounts, totp
from ostiary.identity.refusals import FactorAbsent
from tests.house import House


async def test_an_enrolment_that_was_begun_anew_meanwhile_is_not_confirmed(house: House) -> None:
    secret = otp.new_secret()
    async with house.begin() as ctx:
        account = accounts.fresh(ctx, "ada@example.org", "Ada")
        await accounts.insert_account(ctx, account)
        await totp.begin_enrolment(ctx, account, secret, [])
        seen = await totp.pending(ctx, account.id)
    async with house.begin() as ctx:
        await totp.begin_enrolment(ctx, account, otp.new_secret(), [])
    code = otp.code_at(otp.decode_secret(secret) or b"", house.clock() // 1_000_000 // otp.STEP_SECONDS)

    assert seen is not None
    with pytest.raises(FactorAbsent):
        async with house.begin() as ctx:
            await totp.confirm(ctx, account, seen, code)

    async with house.begin() as ctx:
        assert await totp.live(ctx, account.id) is None
        assert await totp.pending(ctx, account.id) is not None
