"""A directory that says yes too easily, answers for others, or answers nonsense (LDP-01, LDP-02, LDP-04, librechat-wire 9)."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ldap3.utils.conv import ldap_escape_to_bytes

from ostiary.federation.ldap import escaped, same_name
from tests.conftest import MakeHouse
from tests.federation.test_ldap_sign_in import NO, login, said
from tests.services.hostile_directory import ADA, EVE, HostileDirectory

EMPTY = ["", " ", "\0", "\t\n ", "\u00a0\u2003", "\u00ad", "\u200b", "\0secret"]
AD_TEXTS = {
    "530": "Not Permitted to login at this time",
    "531": "Not permited to logon at this workstation",
    "532": "Password expired",
    "533": "Account disabled",
    "534": "Account disabled",
    "701": "Account expired",
    "773": "User must reset password",
    "775": "User account locked",
    "52e": "Invalid username/password",
    "525": "Invalid username/password",
}


@pytest.fixture
def engine() -> str:
    """What the directory says is read before any row is touched: one engine does."""
    return "sqlite"


@pytest.fixture
async def directory() -> AsyncIterator[HostileDirectory]:
    """Finds Ada, and says yes to every bind."""
    async with HostileDirectory() as directory:
        yield directory


async def test_it_lets_in_whom_the_directory_proves(make_house: MakeHouse, directory: HostileDirectory) -> None:
    house = await make_house(**directory.settings())

    assert (await login(house, "ada@example.org", "secret")).status_code == 200
    assert directory.binds == [(ADA[0], b"secret")]


@pytest.mark.parametrize("password", EMPTY)
@pytest.mark.parametrize("way", ["search", "template"])
async def test_ldp_01_and_02_an_empty_password_reaches_no_directory(
    make_house: MakeHouse, directory: HostileDirectory, password: str, way: str
) -> None:
    template = {"OSTIARY_LDAP_BIND_TEMPLATE": "uid={{username}},dc=example,dc=org"} if way == "template" else {}
    house = await make_house(**directory.settings(**template))

    answer = await login(house, "ada", password)

    assert said(answer) == ((404, {"message": "Missing credentials"}) if not password else NO)
    assert directory.requests == []


async def test_ldp_04_two_entries_are_nobody(make_house: MakeHouse, directory: HostileDirectory) -> None:
    directory.found = (ADA, EVE)
    house = await make_house(**directory.settings())

    answer = await login(house, "ada", "secret")

    assert said(answer) == NO
    assert all(name not in {ADA[0], EVE[0]} and password != b"secret" for name, password in directory.binds)


async def test_a_name_that_is_nobodys_costs_as_many_binds_as_a_wrong_password(
    make_house: MakeHouse, directory: HostileDirectory
) -> None:
    directory.bind_code = 49
    house = await make_house(**directory.settings())

    binds = []
    for found in ((ADA,), ()):
        directory.found, before = found, len(directory.binds)
        assert said(await login(house, "ada", "secret")) == NO
        binds.append(len(directory.binds) - before)

    assert binds == [1, 1]


async def test_an_entry_without_a_name_is_nobody(make_house: MakeHouse, directory: HostileDirectory) -> None:
    directory.found = (("", ADA[1]),)
    house = await make_house(**directory.settings())

    assert said(await login(house, "ada", "secret")) == NO


async def test_an_entry_without_a_stable_id_is_nobody(make_house: MakeHouse, directory: HostileDirectory) -> None:
    house = await make_house(**directory.settings(LDAP_ID="entryUUID"))

    assert said(await login(house, "ada", "secret")) == NO


@pytest.mark.parametrize("code", [0, 10])
async def test_references_are_not_followed(make_house: MakeHouse, directory: HostileDirectory, code: int) -> None:
    async with HostileDirectory() as elsewhere:
        directory.found, directory.search_code = (), code
        directory.references = (f"ldap://127.0.0.1:{elsewhere.port}/dc=example,dc=org".encode(),)
        house = await make_house(**directory.settings())

        assert said(await login(house, "ada", "secret")) == NO
        assert elsewhere.requests == []


async def test_a_bind_that_is_referred_elsewhere_is_not_made_there(make_house: MakeHouse, directory: HostileDirectory) -> None:
    directory.bind_code = 10
    house = await make_house(**directory.settings())

    assert (await login(house, "ada", "secret")).status_code == 500


@pytest.mark.parametrize(("code", "text"), AD_TEXTS.items())
async def test_what_active_directory_says(make_house: MakeHouse, directory: HostileDirectory, code: str, text: str) -> None:
    directory.bind_code = 49
    directory.bind_text = f"80090308: LdapErr: DSID-0C0903A9, comment: AcceptSecurityContext error, data {code}, v1db1".encode()
    house = await make_house(**directory.settings())

    assert said(await login(house, "ada", "secret")) == (404, {"message": text})


@pytest.mark.parametrize(
    ("code", "status", "text"),
    [
        (19, 404, "Exceeded password retry limit, account locked"),
        (32, 404, "Invalid username/password"),
        (48, 404, "Invalid username/password"),
        (53, 404, "Invalid username/password"),
        (8, 500, "An unknown error occurred."),
        (51, 500, "An unknown error occurred."),
        (80, 500, "An unknown error occurred."),
    ],
)
async def test_other_results_of_a_bind(
    make_house: MakeHouse, directory: HostileDirectory, code: int, status: int, text: str
) -> None:
    directory.bind_code = code
    house = await make_house(**directory.settings())

    answer = await login(house, "ada", "secret")

    assert answer.status_code == status
    assert text in answer.text


@pytest.mark.parametrize(
    "raw", [b"\x30\x03\x02\x01\x01", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x30\x00", b"\x30\x84\xff\xff\xff\xff", b""]
)
async def test_nonsense_is_an_outage(make_house: MakeHouse, directory: HostileDirectory, raw: bytes) -> None:
    directory.raw = raw
    house = await make_house(**directory.settings(OSTIARY_LDAP_TIMEOUT="0.3"))

    assert (await login(house, "ada", "secret")).status_code == 500
    assert directory.binds == []


async def test_a_service_that_is_refused_is_no_wrong_password_and_not_tried_again_at_once(
    make_house: MakeHouse, directory: HostileDirectory
) -> None:
    directory.bind_code = 49
    house = await make_house(**directory.settings(LDAP_BIND_DN="cn=service", LDAP_BIND_CREDENTIALS="old"))

    answers = [(await login(house, "ada", "secret")).status_code for _ in range(3)]

    assert answers == [500, 500, 500]
    assert directory.binds == [("cn=service", b"old")]


async def test_the_entry_that_speaks_is_the_entry_that_was_bound(make_house: MakeHouse, directory: HostileDirectory) -> None:
    house = await make_house(**directory.settings(OSTIARY_LDAP_BIND_TEMPLATE="{{username}}@corp.example"))

    assert (await login(house, "ada", "secret")).status_code == 200
    assert directory.binds == [("ada@corp.example", b"secret"), (ADA[0], b"secret")]


async def test_values_that_are_no_text_are_kept_as_digits(make_house: MakeHouse, directory: HostileDirectory) -> None:
    dn, values = ADA
    directory.found = ((dn, {**values, "objectGUID": [bytes(range(16))], "cn": [b"A\0da\xff"]}),)
    house = await make_house(**directory.settings(LDAP_ID="objectGUID"))

    user = (await login(house, "ada", "secret")).json()["user"]

    assert user["name"] == "41006461ff"


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_escaping_keeps_every_text_and_leaves_no_sign(text: str) -> None:
    assert ldap_escape_to_bytes(escaped(text)) == text.encode()  # type: ignore[no-untyped-call]
    assert not set(escaped(text)) & set("*()\0,=+<>#;\"' ")


def test_spellings_of_a_group_are_one_name() -> None:
    assert same_name(" CN=Admins , OU = Groups,DC=example ") == same_name("cn=admins,ou=groups,dc=example")
