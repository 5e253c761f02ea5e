"""Rate limits with the original's numbers, texts and headers (librechat-wire 2.1)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from ostiary.identity import audit
from tests.conftest import MakeHouse
from tests.dialects.librechat.browser import EMAIL, PASSWORD, browser, enrolled, owing, signed_in
from tests.house import House

ON = {"RATE_LIMITS": "on"}
Ask = Callable[[House, httpx.AsyncClient], Awaitable[httpx.Response]]
MINUTE = 60


def posting(path: str, body: dict[str, Any]) -> Ask:
    """Ask this."""

    async def ask(_house: House, client: httpx.AsyncClient) -> httpx.Response:
        return await client.post(path, json=body)

    return ask


LIMITED: dict[str, tuple[Ask, int, int, str]] = {
    "login": (
        posting("/api/auth/login", {"email": EMAIL, "password": PASSWORD}),
        7,
        5,
        "Too many login attempts, please try again after 5 minutes.",
    ),
    "register": (
        posting("/api/auth/register", {}),
        5,
        60,
        "Too many accounts created, please try again after 60 minutes",
    ),
    "reset request": (
        posting("/api/auth/requestPasswordReset", {"email": EMAIL}),
        2,
        2,
        "Too many attempts, please try again after 2 minute(s)",
    ),
    "reset submit": (
        posting("/api/auth/resetPassword", {}),
        2,
        2,
        "Too many attempts, please try again after 2 minute(s)",
    ),
    "verify resend": (
        posting("/api/user/verify/resend", {"email": EMAIL}),
        2,
        2,
        "Too many attempts, please try again after 2 minute(s)",
    ),
    "verify submit": (
        posting("/api/user/verify", {}),
        2,
        2,
        "Too many attempts, please try again after 2 minute(s)",
    ),
    "2FA temp": (
        posting("/api/auth/2fa/verify-temp", {}),
        7,
        5,
        "Too many verification attempts, please try again after 5 minutes.",
    ),
    "admin login": (
        posting("/api/admin/login/local", {"email": EMAIL, "password": PASSWORD}),
        7,
        5,
        "Too many login attempts, please try again after 5 minutes.",
    ),
}


@pytest.mark.parametrize("engine", ["sqlite"])
@pytest.mark.parametrize(("ask", "most", "minutes", "text"), LIMITED.values(), ids=LIMITED)
async def test_the_request_after_the_last_one_allowed_is_refused(
    make_house: MakeHouse, ask: Ask, most: int, minutes: int, text: str
) -> None:
    house = await make_house(**ON)
    client = house.client_at("192.0.2.1")
    reset_at = house.clock.now // 1_000_000 + minutes * MINUTE

    for number in range(most):
        answer = await ask(house, client)
        assert answer.status_code != 429
        assert headers_of(answer) == {"limit": str(most), "remaining": str(most - 1 - number), "reset": str(reset_at)}
    house.clock.advance(10)
    refused = await ask(house, client)

    assert (refused.status_code, refused.json()) == (429, {"message": text})
    assert headers_of(refused) == {"limit": str(most), "remaining": "0", "reset": str(reset_at)}
    assert refused.headers["retry-after"] == str(minutes * MINUTE - 10)
    assert not [name for name in refused.headers if name.startswith("ratelimit")]


@pytest.mark.parametrize("engine", ["sqlite"])
@pytest.mark.parametrize(("ask", "most", "minutes", "text"), LIMITED.values(), ids=LIMITED)
async def test_a_window_ends_after_its_minutes_and_another_address_has_its_own(
    make_house: MakeHouse, ask: Ask, most: int, minutes: int, text: str
) -> None:
    house = await make_house(**ON)
    client = house.client_at("192.0.2.1")
    for _ in range(most + 1):
        await ask(house, client)
    house.clock.advance(minutes * MINUTE - 0.000001)
    assert (await ask(house, client)).status_code == 429
    assert (await ask(house, house.client_at("192.0.2.2"))).status_code != 429

    house.clock.advance(0.000001)

    assert (await ask(house, client)).status_code != 429


def headers_of(answer: httpx.Response) -> dict[str, str]:
    """The limit's headers, each of them once."""
    found = {name: answer.headers.get_list(f"x-ratelimit-{name}") for name in ("limit", "remaining", "reset")}
    assert all(len(values) == 1 for values in found.values()), found
    return {name: values[0] for name, values in found.items()}


@pytest.mark.parametrize("engine", ["sqlite"])
@pytest.mark.parametrize(
    ("variables", "name", "most", "text"),
    [
        ({"LOGIN_MAX": "2", "LOGIN_WINDOW": "1"}, "login", 2, "Too many login attempts, please try again after 1 minutes."),
        ({"LOGIN_MAX": "3", "LOGIN_WINDOW": "2 * 5"}, "login", 3, "Too many login attempts, please try again after 10 minutes."),
        (
            {"REGISTER_MAX": "1", "REGISTER_WINDOW": "30"},
            "register",
            1,
            "Too many accounts created, please try again after 30 minutes",
        ),
        ({"RESET_PASSWORD_MAX": "4"}, "reset submit", 4, "Too many attempts, please try again after 2 minute(s)"),
        (
            {"RESET_PASSWORD_MAX": "4", "RESET_PASSWORD_SUBMISSION_MAX": "1", "RESET_PASSWORD_SUBMISSION_WINDOW": "9"},
            "reset submit",
            1,
            "Too many attempts, please try again after 9 minute(s)",
        ),
        ({"VERIFY_EMAIL_MAX": "3"}, "verify submit", 3, "Too many attempts, please try again after 2 minute(s)"),
        ({"VERIFY_EMAIL_SUBMISSION_MAX": "1"}, "verify submit", 1, "Too many attempts, please try again after 2 minute(s)"),
        ({"LOGIN_MAX": "2"}, "2FA temp", 2, "Too many verification attempts, please try again after 5 minutes."),
        ({"TWO_FACTOR_TEMP_MAX": "1"}, "2FA temp", 1, "Too many verification attempts, please try again after 5 minutes."),
    ],
)
async def test_the_operator_chooses_numbers(
    make_house: MakeHouse, variables: dict[str, str], name: str, most: int, text: str
) -> None:
    house = await make_house(**ON, **variables)
    ask = LIMITED[name][0]
    for _ in range(most):
        assert (await ask(house, house.client)).status_code != 429

    refused = await ask(house, house.client)

    assert (refused.status_code, refused.json()) == (429, {"message": text})


@pytest.mark.parametrize("engine", ["sqlite"])
async def test_right_sign_ins_count_too(make_house: MakeHouse) -> None:
    """Whoever owns one account must not be able to clear the counter for guessing at another."""
    house = await make_house(**ON)
    await browser(house).register()
    await browser(house).register("own@example.com")
    found = [(await browser(house).login(email)).status_code for email in (EMAIL, "own@example.com") * 4]

    assert found == [200] * 7 + [429]


@pytest.mark.parametrize("engine", ["sqlite"])
async def test_what_strangers_spend_behind_the_owners_address_does_not_keep_the_owners_device_out(make_house: MakeHouse) -> None:
    house = await make_house(**ON)
    owner = await signed_in(house)
    await enrolled(house, owner)
    for path in ("/api/auth/login", "/api/auth/2fa/verify-temp"):
        answers = [(await house.client.post(path, json={"email": EMAIL, "password": "not it"})).status_code for _ in range(8)]
        assert answers[-1] == 429
    another = await house.client.post("/api/auth/login", json={"email": EMAIL, "password": PASSWORD})

    first = await owner.login()
    second = await owner.post("/api/auth/2fa/verify-temp", {"tempToken": first.json()["tempToken"], "token": "000000"})

    assert (another.status_code, first.status_code, second.status_code) == (429, 200, 401)
    assert headers_of(first)["remaining"] == "5"


@pytest.mark.parametrize("engine", ["sqlite"])
async def test_a_device_opens_no_second_budget_to_whom_it_does_not_belong(make_house: MakeHouse) -> None:
    """Not for another's account, not with a mark made up, and alone no more than an address has."""
    house = await make_house(**ON)
    await browser(house, "192.0.2.9").register("other@example.com")
    owner = await signed_in(house, address="192.0.2.1")
    device, _, mark = owner.client.cookies["ostiary_device"].partition(".")
    alone = [(await owner.login()).status_code for _ in range(7)]
    for _ in range(7):
        await browser(house, "192.0.2.2").post("/api/auth/login", {})

    others = await browser(house, "192.0.2.2", cookie=f"ostiary_device={device}x.{mark}").login()
    made_up = browser(house, "192.0.2.2", cookie=f"ostiary_device={'0' * len(device)}.{mark}")
    found = [(await made_up.login(email)).status_code for email in (EMAIL, "other@example.com", "nobody@example.com")]

    assert alone == [200] * 6 + [429]
    assert (others.status_code, found) == (429, [429] * 3)


@pytest.mark.parametrize("engine", ["sqlite"])
async def test_sign_in_and_the_administrators_share_one_counter(make_house: MakeHouse) -> None:
    house = await make_house(**ON)
    for path in ("/api/auth/login", "/api/admin/login/local") * 3:
        assert (await house.client.post(path, json={})).status_code == 404
    assert (await house.client.post("/api/auth/login", json={})).status_code == 404

    assert (await house.client.post("/api/admin/login/local", json={})).status_code == 429


@pytest.mark.parametrize("engine", ["sqlite"])
@pytest.mark.parametrize("path", ["/api/auth/login", "/api/auth/%6cogin", "/api/auth/login?x=1", "/api/auth/login#a"])
async def test_another_spelling_of_the_path_counts_alike(make_house: MakeHouse, path: str) -> None:
    house = await make_house(**ON)
    for _ in range(7):
        await house.client.post("/api/auth/login", json={})

    assert (await house.client.post(path, json={})).status_code == 429


@pytest.mark.parametrize("engine", ["sqlite"])
async def test_64_sign_ins_at_once_get_seven_checks(make_house: MakeHouse) -> None:
    house = await make_house(**ON)
    await browser(house).register()
    answers = await asyncio.gather(*(browser(house).login(password="wrong password") for _ in range(64)))

    assert sorted(answer.status_code for answer in answers) == [404] * 7 + [429] * 57


@pytest.mark.parametrize("engine", ["sqlite"])
@pytest.mark.parametrize(
    ("one", "other", "is_shared"),
    [
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
    ],
)
async def test_an_ipv6_network_of_one_household_is_one_address(
    make_house: MakeHouse, one: str, other: str, is_shared: bool
) -> None:
    house = await make_house(**ON)
    for _ in range(7):
        await house.client_at(one).post("/api/auth/login", json={})

    answer = await house.client_at(other).post("/api/auth/login", json={})

    assert answer.status_code == (429 if is_shared else 404)


@pytest.mark.parametrize("engine", ["sqlite"])
async def test_a_made_up_forwarding_header_changes_nothing(make_house: MakeHouse) -> None:
    house = await make_house(**ON)
    for number in range(7):
        await house.client.post("/api/auth/login", json={}, headers={"X-Forwarded-For": f"198.51.100.{number}"})

    answer = await house.client.post("/api/auth/login", json={}, headers={"X-Forwarded-For": "203.0.113.9"})

    assert answer.status_code == 429


@pytest.mark.parametrize("engine", ["sqlite"])
@pytest.mark.parametrize(
    "forwarded",
    ["{}", "198.51.100.7, {}", "198.51.100.7,{}:4711", "[::1]:1, {}", "junk, {}"],
)
async def test_behind_a_believed_proxy_the_last_hop_it_saw_counts(make_house: MakeHouse, forwarded: str) -> None:
    house = await make_house(**ON, TRUSTED_PROXIES="127.0.0.1/32")
    statuses = []
    for number in range(8):
        headers = {"X-Forwarded-For": forwarded.format("203.0.113.9").replace("7", str(number))}
        statuses.append((await house.client.post("/api/auth/login", json={}, headers=headers)).status_code)
    other = await house.client.post("/api/auth/login", json={}, headers={"X-Forwarded-For": "203.0.113.10"})

    assert (statuses[-1], other.status_code) == (429, 404)


async def test_limits_can_be_switched_off_and_lockout_stays(make_house: MakeHouse) -> None:
    house = await make_house(RATE_LIMITS="off")
    await browser(house).register()
    found = [(await browser(house).login(password="wrong password")).status_code for _ in range(11)]

    assert found == [404] * 10 + [429]


async def test_each_answer_to_a_factor_has_the_limits_headers_once(make_house: MakeHouse) -> None:
    house = await make_house(**ON)
    app = await enrolled(house, await signed_in(house))
    someone, pending = await owing(house)

    wrong = await someone.prove(pending, token=app.wrong_code())
    right = await someone.prove(pending, token=app.code())

    assert (wrong.status_code, right.status_code) == (401, 200)
    assert headers_of(wrong)["limit"] == headers_of(right)["limit"] == "7"


async def test_one_temporary_token_has_a_limit_of_its_own(make_house: MakeHouse) -> None:
    house = await make_house(**ON, TWO_FACTOR_TEMP_MAX="3")
    app = await enrolled(house, await signed_in(house))
    someone, pending = await owing(house)
    answers = []
    for number in range(4):
        elsewhere = browser(house, f"192.0.2.{number}")
        answers.append(await elsewhere.prove(pending, token=app.wrong_code()))

    assert [answer.status_code for answer in answers] == [401, 401, 401, 429]
    assert headers_of(answers[-1])["remaining"] == "0"
    assert someone.token == ""


async def test_a_lockout_has_its_headers_once(make_house: MakeHouse) -> None:
    house = await make_house(**ON, LOGIN_MAX="100")
    for _ in range(10):
        await browser(house).login(password="wrong password")

    answer = await browser(house).login(password="wrong password")

    assert answer.json() == {"message": "Too many login attempts, please try again after 15 minutes."}
    assert headers_of(answer) == {"limit": "10", "remaining": "0", "reset": str(house.clock.now // 1_000_000 + 900)}


async def test_a_violation_is_audited(make_house: MakeHouse) -> None:
    house = await make_house(**ON)
    for _ in range(9):
        await house.client.post("/api/auth/login", json={})

    async with house.begin() as ctx:
        found = await audit.latest(ctx, event=audit.Event.VIOLATION)
    assert [event.reason for event in found] == ["logins"] * 2


@pytest.mark.parametrize("engine", ["sqlite"])
async def test_what_the_client_asks_all_the_time_is_not_limited(make_house: MakeHouse) -> None:
    house = await make_house(**ON)
    someone = await signed_in(house)

    for _ in range(50):
        for answer in (await someone.get("/api/config"), await someone.get("/api/user"), await someone.post("/api/auth/refresh")):
            assert answer.status_code == 200
