"""Passwords that whoever guesses tries first: refused where one is chosen, on the wire and at the command line."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from types import FrameType, SimpleNamespace

import pytest
from zxcvbn.matching import RANKED_DICTIONARIES  # type: ignore[import-untyped] # it has no types

from ostiary.identity import advice, adviser, blocklist
from ostiary.identity.blocklist import Blocklist
from ostiary.settings import Settings, SettingsError
from tests.attack.test_cfg import complaint
from tests.conftest import MakeHouse
from tests.dialects.librechat.browser import EMAIL, PASSWORD, Browser, browser, link_of, parameters_of
from tests.house import House

MOST_CALLS = 30_000
"""Of Python's functions, for one advice: 26,000 are what a password of one character over and over asks for."""
COMMON = "password: This password is too common."
OWN = "password: Password cannot be made of your own name or address, or of this service's name"
ADA = SimpleNamespace(email="ada.lovelace@mail.example.org", name="Ada Lovelace", username="countess")


async def choose(someone: Browser, password: str, **fields: str) -> tuple[int, str]:
    answer = await someone.register(**{"password": password, "confirm_password": password, **fields})
    return answer.status_code, answer.json()["message"]


def own_file(folder: Path, data: bytes) -> str:
    path = folder / "refused.txt"
    path.write_bytes(data)
    return str(path)


def shipped() -> dict[str, list[str]]:
    return {name: words.split(",") for name, words in blocklist.shipped().items()}


def test_the_shipped_lists_are_whole_and_written_as_passwords_are_compared() -> None:
    words = {word for ranks in RANKED_DICTIONARIES.values() for word in ranks}

    assert len(shipped()["passwords"]) >= 20_000
    assert len(words) >= 90_000
    assert {word for of_list in shipped().values() for word in of_list} == words
    assert all(blocklist.folded(word) == word for word in words)


def test_all_of_them_are_known_at_eight_bytes_each() -> None:
    known = Blocklist(None)

    assert all(word in known for words in shipped().values() for word in words)
    assert len(known) * blocklist.common().itemsize < 1_000_000
    assert not any(f"{word} and a lamp at noon" in known for word in shipped()["passwords"])


@pytest.mark.parametrize("password", ["password1", "PassWord1", "qwertyuiop", "12345678", "trustno1", "elephants", "1q2w3e4r5t"])
async def test_a_common_password_is_refused_with_advice_and_no_account_is_made(house: House, password: str) -> None:
    status, message = await choose(browser(house), password)

    assert status == 404
    assert message.startswith(f"{COMMON} ")
    assert "Add another word or two." in message
    assert (await browser(house).login(password=PASSWORD)).status_code == 404
    assert await choose(browser(house), PASSWORD) == (200, "Please check your email to verify your email address.")


async def test_a_taken_address_is_not_told_by_a_refused_password(house: House) -> None:
    await browser(house).register()

    assert await choose(browser(house), "password1") == await choose(browser(house), "password1", email="new@example.com")


async def test_a_refused_password_leaves_the_reset_link_good(house: House) -> None:
    someone = browser(house)
    await someone.register()
    await someone.post("/api/auth/requestPasswordReset", {"email": EMAIL})
    link = parameters_of(await link_of(house, "Reset"))

    answers = [
        await someone.post("/api/auth/resetPassword", {"userId": link["userId"], "token": link["token"], "password": password})
        for password in ("password1", "test-user-2026", "a lamp at midnight")
    ]

    assert [answer.status_code for answer in answers] == [400, 400, 200]
    assert answers[0].json()["message"].startswith(COMMON)
    assert answers[1].json() == {"message": OWN}
    assert (await someone.login(password="a lamp at midnight")).status_code == 200


@pytest.mark.parametrize(
    ("password", "is_refused"),
    [
        ("Ostiary2026!", True),
        ("librechat1", True),
        ("ada.lovelace@mail", True),
        ("AdaLovelace1815", True),
        ("ada.lovelace@mail.example.org", True),
        ("l.o.v.e.l.a.c.e.1", True),
        ("countess-1", True),
        ("acmecorp-12345", True),
        ("lovelace wrote notes", False),
        ("a lamp at noon", False),
        ("1815-1852-1843", False),
        ("!!!???...;;;", False),
    ],
)
def test_what_is_made_of_the_words_of_person_and_place_is_refused(password: str, is_refused: bool) -> None:
    settings = Settings.load({"DOMAIN_SERVER": "https://id.acmecorp.example", "DOMAIN_CLIENT": "https://chat.acmecorp.example"})

    assert blocklist.is_of_own_words(password, ADA, settings) is is_refused


async def test_the_operators_own_list_is_compared_composed_and_without_case(make_house: MakeHouse, tmp_path: Path) -> None:
    words = "\ufeffM\u00fcnchen-Giesing\r\nhouse of the blue heron\n\nStra\u00dfenbahn\n".encode()
    house = await make_house(OSTIARY_PASSWORD_BLOCKLIST=own_file(tmp_path, words))

    for password in ("mu\u0308nchen-giesing", "House of the Blue Heron", "STRASSENBAHN"):
        status, message = await choose(browser(house), password)
        assert (status, message[: len(COMMON)]) == (404, COMMON)
    assert (await choose(browser(house), "house of the grey heron"))[0] == 200


async def test_an_operator_may_take_common_passwords(make_house: MakeHouse) -> None:
    house = await make_house(OSTIARY_REFUSE_COMMON_PASSWORDS="false", MIN_PASSWORD_LENGTH="4")

    assert (await choose(browser(house), "test"))[0] == 200
    assert "OSTIARY_REFUSE_COMMON_PASSWORDS=false" in " ".join(house.settings.warnings())


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (None, "cannot be read (No such file or directory)"),
        (b"", "is empty"),
        (b"\n\r\n\n", "is empty"),
        (b"secret\npass\xffword\n", "is not UTF-8"),
        ("secret\n".encode("utf-16"), "is not UTF-8"),
        (b"secret\na\0b\n", "has NUL in line 2"),
        (b"5BAA61E4C9B93F3F0682250B6CF8331B7EE68FD8:3861493\n", "holds digests"),
    ],
)
def test_dep_14_a_list_that_cannot_serve_stops_the_start(tmp_path: Path, data: bytes | None, said: str) -> None:
    path = own_file(tmp_path, data) if data is not None else str(tmp_path / "absent.txt")

    words = complaint(tmp_path, OSTIARY_PASSWORD_BLOCKLIST=path)

    assert words.startswith(f"OSTIARY_PASSWORD_BLOCKLIST {said}")


def test_dep_14_a_list_that_goes_between_the_check_and_the_start_stops_it(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="OSTIARY_PASSWORD_BLOCKLIST cannot be read"):
        Blocklist(tmp_path)


def test_dep_14_without_the_shipped_lists_nothing_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocklist, "PACKAGE", "a_package_that_is_missing")

    with pytest.raises(SettingsError, match="common passwords, is missing"):
        Blocklist(None)


@pytest.mark.parametrize(
    "password", ["48@({[<369!1|0$5+7%2" * 6, "aB3$" * 32, "1q2w3e4r5t6y7u8i9o0p" * 6, "x" * 128, "l0v3p4ss" * 16, "\ud800" * 128]
)
def test_advice_costs_little_whatever_is_asked(password: str) -> None:
    """Unbounded, the first of these takes 6 s. Calls are counted: they are the same on any machine."""
    made = 0

    def note(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal made
        made += event == "call"

    sys.setprofile(note)
    try:
        adviser.advice(password)
    finally:
        sys.setprofile(None)

    assert made < MOST_CALLS


@pytest.mark.parametrize("password", ["password1", "zxcvbn\u00fc2", '"\\ \ud800', "x" * 128])
def test_advice_is_asked_of_another_process_and_not_of_what_lies_in_the_working_directory(
    password: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "zxcvbn.py").write_text("raise SystemExit('what lies in the working directory was run')")
    monkeypatch.chdir(tmp_path)

    assert advice.advice(password) == adviser.advice(password)


def test_whoever_advises_is_told_the_password_alone_and_no_setting(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "spy.py").write_text("import os, sys; print(sys.argv[1:], sys.stdin.read(), *os.environ)")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(advice, "PROGRAM", "spy")
    monkeypatch.setenv("OSTIARY_ROOT_KEY", "of no concern to advice")

    told = advice.advice("password1").split()

    assert told[:2] == ["[]", '"password1"']
    assert set(told[2:]) <= {"PYTHONPATH", "LD_LIBRARY_PATH", "PYTHONHOME", "LC_CTYPE"}


def test_without_a_process_to_ask_a_refusal_goes_without_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/nowhere/python")

    assert advice.advice("password1") == ""


def test_more_who_ask_at_once_than_there_are_turns_get_no_advice() -> None:
    with contextlib.ExitStack() as turns:
        for _ in range(advice.MOST_AT_ONCE):
            turns.enter_context(advice._turns)

        assert advice.advice("password1") == ""

    assert advice.advice("password1")
