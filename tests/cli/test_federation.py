"""`ostiary federation test`: an operator asks why nobody gets in."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator

import pytest

from tests.cli.conftest import HOUR, Operator
from tests.conftest import MakeHouse
from tests.federation.hostile import Provider, is_in, provider, walk
from tests.house import Clock, House


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


ROLE = {
    "OPENID_REQUIRED_ROLE": "staff",
    "OPENID_REQUIRED_ROLE_PARAMETER_PATH": "groups",
    "OPENID_REQUIRED_ROLE_TOKEN_KIND": "id",
}


@pytest.fixture
async def house(make_house: MakeHouse, op: Provider) -> House:
    """A server of an hour ago that wants a role of whoever comes."""
    opened = await make_house(**op.settings, **ROLE)
    opened.clock.now = time.time_ns() // 1000 - HOUR * 1_000_000
    op.clock = opened.clock
    return opened


async def test_the_claims_of_the_latest_sign_in_are_named_and_not_told(operator: Operator, house: House, op: Provider) -> None:
    op.person = op.person | {"groups": ["staff"], "badge": "the number of a badge"}
    assert is_in(await walk(house, op))

    answer = await asyncio.to_thread(operator.json, "federation", "test", "openid", **op.settings, **ROLE)
    said = await asyncio.to_thread(operator.text, "federation", "test", "openid", **op.settings, **ROLE)

    assert {"badge", "email", "email_verified", "groups", "sub"} <= set(answer["claims"]["names"])
    assert answer["claims"]["made"] == {
        "address": "email, verified",
        "name": "no single claim",
        "username": "preferred_username",
        "picture": "picture",
    }
    assert "address from email, verified" in said
    assert not any(secret in said + json.dumps(answer) for secret in ("ada@example.org", "the number of a badge", "Lovelace"))


async def test_a_refused_sign_in_says_why_and_which_claims_there_were(operator: Operator, house: House, op: Provider) -> None:
    op.person = op.person | {"departments": ["staff"]}
    assert not is_in(await walk(house, op))

    answer = await asyncio.to_thread(operator.json, "federation", "test", "openid", **op.settings, **ROLE)
    said = await asyncio.to_thread(operator.text, "federation", "test", "openid", **op.settings, **ROLE)

    assert [each["reason"] for each in answer["refusals"]] == ["role_missing"]
    assert "departments" in answer["claims"]["names"]
    assert "groups" not in answer["claims"]["names"]
    assert "the role that OPENID_REQUIRED_ROLE asks for was not in the claim" in said


async def test_a_ban_and_an_unverified_address_are_among_the_reasons(operator: Operator, house: House, op: Provider) -> None:
    op.person = op.person | {"groups": ["staff"]}
    await walk(house, op)
    await operator.meanwhile("ban", "add", "ada@example.org", "--reason", "a test")

    assert (await walk(house, op)).status_code == 403

    answer = await asyncio.to_thread(operator.json, "federation", "test", "openid", **op.settings, **ROLE)
    assert [each["reason"] for each in answer["refusals"]] == ["banned"]


async def findings(operator: Operator, op: Provider) -> dict[str, dict[str, str]]:
    done = await asyncio.to_thread(operator.run, "doctor", "--json", **op.settings, **ROLE)
    return {each["about"]: each for each in json.loads(done.stdout)["findings"]}


async def test_the_doctor_asks_every_provider_and_knows_who_came_last(operator: Operator, house: House, op: Provider) -> None:
    op.person = op.person | {"groups": ["staff"]}
    await walk(house, op)
    well = (await findings(operator, op))["openid"]
    op.person = op.person | {"groups": []}
    house.clock.advance(1)
    await walk(house, op)
    warned = (await findings(operator, op))["openid"]
    op.discovery = {"issuer": "https://another.example.org"}
    ill = (await findings(operator, op))["openid"]

    assert well["state"] == "ok"
    assert "groups" in well["text"]
    assert warned["state"] == "warning"
    assert "OPENID_REQUIRED_ROLE" in warned["text"]
    assert ill["state"] == "problem"
    assert "OPENID_ISSUER" in ill["text"]


async def test_a_directory_is_asked_by_its_name_too(operator: Operator) -> None:
    settings = {"LDAP_URL": "ldap://127.0.0.1:9", "LDAP_USER_SEARCH_BASE": "dc=example,dc=org"}

    done = await asyncio.to_thread(operator.run, "federation", "test", "ldap", **settings)

    assert done.exit_code == 1
    assert "it cannot be used" in done.stdout


@pytest.mark.parametrize(
    "settings",
    [
        {"GITHUB_CLIENT_ID": "a", "GITHUB_CLIENT_SECRET": "b"},
        {"FACEBOOK_CLIENT_ID": "a", "FACEBOOK_CLIENT_SECRET": "b"},
    ],
)
async def test_of_a_provider_that_was_not_asked_nobody_says_that_it_answers(operator: Operator, settings: dict[str, str]) -> None:
    name = next(iter(settings)).partition("_")[0].lower()
    settings = {**settings, "ALLOW_SOCIAL_LOGIN": "true"}

    said = await asyncio.to_thread(operator.text, "federation", "test", name, **settings)
    done = await asyncio.to_thread(operator.run, "doctor", **settings)

    assert "It is configured, and cannot be asked before a sign-in" in said
    assert f"{name}: it is configured" in done.stdout
    assert "answers" not in said
