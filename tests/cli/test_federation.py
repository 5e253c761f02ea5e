"""`ostiary federation test`: an operator asks why nobody gets in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.cli.conftest import Operator
from tests.federation.hostile import Provider, provider
from tests.house import Clock


@pytest.fixture
def engine() -> str:
    """Nothing here depends on the engine."""
    return "sqlite"


@pytest.fixture
async def op() -> AsyncIterator[Provider]:
    async with provider(Clock()) as served:
        yield served


async def test_a_provider_that_answers_is_shown_with_what_to_register_there(operator: Operator, op: Provider) -> None:
    answer = await asyncio.to_thread(operator.json, "federation", "test", "openid", **op.settings)

    assert (answer["ok"], answer["issuer"]) == (True, op.issuer)
    assert answer["redirect address"] == "http://127.0.0.1:3080/oauth/openid/callback"
    assert answer["signs with"] == "RS256"
    assert answer["refusals"] == []


def test_a_provider_that_is_down_is_named_in_plain_words(operator: Operator) -> None:
    settings = {
        "ALLOW_SOCIAL_LOGIN": "true",
        "OPENID_ISSUER": "http://127.0.0.1:9",
        "OPENID_CLIENT_ID": "a",
        "OPENID_CLIENT_SECRET": "b",
    }

    done = operator.run("federation", "test", "openid", **settings)

    assert done.exit_code == 1
    assert "it cannot be reached" in done.stdout


def test_a_name_that_is_not_configured_is_refused(operator: Operator) -> None:
    assert "google is not configured" in operator.complaint("federation", "test", "google")
