"""Sign-in by a directory through LibreChat's wire, against a real OpenLDAP (librechat-wire 9; C-79, LDP-08, W-49, W-50)."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from ostiary.identity import audit
from ostiary.identity.directory import skeleton
from tests.conftest import MakeHouse
from tests.dialects.librechat.browser import browser, enrolled
from tests.house import House
from tests.services.slapd import GROUPS, PEOPLE, SlapdServer
from tests.web.visitor import Visitor, sign_in

RIGHT = "right horse"
WRONG = "wrong horse"
NO = (404, {"message": "Invalid username/password"})
NOT_PERMITTED = (404, {"message": "Your account is not in a group that may sign in here."})


async def login(house: House, name: str, password: str = RIGHT, address: str = "127.0.0.1") -> httpx.Response:
    """A fresh browser's sign-in."""
    return await browser(house, address).login(name, password)


async def user_of(house: House, name: str) -> dict[str, Any]:
    """Who a sign-in shows."""
    answer = await login(house, name)
    assert answer.status_code == 200, answer.text
    user: dict[str, Any] = answer.json()["user"]
    return user


def said(answer: httpx.Response) -> tuple[int, Any]:
    """Status and body."""
    return answer.status_code, answer.json()


async def reasons(house: House) -> list[str]:
    """Why sign-ins were refused, in the alphabet's order."""
    async with house.begin() as ctx:
        return sorted(row.reason or "" for row in await audit.latest(ctx, event=audit.Event.SIGN_IN_REFUSED))


async def test_the_first_sign_in_makes_the_account_and_later_ones_update_it(make_house: MakeHouse, slapd: SlapdServer) -> None:
    house = await make_house(**slapd.settings())
    uid = slapd.add_person()

    first = await user_of(house, uid)
    slapd.change(uid, cn="Rear Admiral Hopper", mail=f"admiral-{uid}@example.org")
    second = await user_of(house, f"admiral-{uid}@example.org")

    assert (first["provider"], first["email"], first["emailVerified"]) == ("ldap", f"{uid}@example.org", True)
    assert (first["name"], first["username"], first["role"]) == ("Grace Hopper", "Grace", "ADMIN")
    assert (second["id"], second["name"], second["email"]) == (
        first["id"],
        "Rear Admiral Hopper",
        f"admiral-{uid}@example.org",
    )


async def test_only_the_first_is_administrator(make_house: MakeHouse, slapd: SlapdServer) -> None:
    house = await make_house(**slapd.settings())
    first, second = slapd.add_person(), slapd.add_person()

    roles = [(await user_of(house, uid))["role"] for uid in (first, second, first)]

    assert roles == ["ADMIN", "USER", "ADMIN"]


async def test_c_79_a_wrong_password_and_an_unknown_name_get_one_answer(make_house: MakeHouse, slapd: SlapdServer) -> None:
    house = await make_house(**slapd.settings())
    uid = slapd.add_person()

    wrong, unknown = await login(house, uid, WRONG), await login(house, "nobody", WRONG)

    assert said(wrong) == said(unknown) == NO
    assert await reasons(house) == ["mismatch", "unknown_account"]


@pytest.mark.parametrize(
    "name", ["*", "person*", "*)(uid=*", "x)(|(uid=*", "\\2a", "person1\\", "pérson", "(", "a" * 320, "\ud800", "a\0b", " "]
)
async def test_no_name_is_read_as_a_filter(make_house: MakeHouse, slapd: SlapdServer, name: str) -> None:
    house = await make_house(**slapd.settings())
    slapd.add_person()

    body = b'{"email":"\\ud800","password":"right horse"}' if name == "\ud800" else None
    headers = {"content-type": "application/json"}
    answer = await house.client.post("/api/auth/login", content=body, headers=headers) if body else await login(house, name)

    assert answer.status_code in {400, 404}, answer.text
    assert "token" not in answer.text


async def test_names_with_letters_that_filters_and_dns_use_are_found(make_house: MakeHouse, slapd: SlapdServer) -> None:
    house = await make_house(**slapd.settings(LDAP_SEARCH_FILTER="cn={{username}}", LDAP_ID="uid"))
    name = f"O'Brien (R&D) *, Zoë=#{slapd.made}"
    uid = slapd.add_person(cn=name)

    user = await user_of(house, name)

    assert user["email"] == f"{uid}@example.org"


@pytest.mark.parametrize(
    "body", [{}, {"email": "ada"}, {"password": "x"}, {"email": "ada", "password": ""}, {"email": 1, "password": 2}]
)
async def test_a_missing_field(make_house: MakeHouse, slapd: SlapdServer, body: dict[str, Any]) -> None:
    house = await make_house(**slapd.settings())

    answer = await house.client.post("/api/auth/login", json=body)

    assert said(answer) == (404, {"message": "Missing credentials"})


async def test_groups_decide_the_role_at_every_sign_in(make_house: MakeHouse, slapd: SlapdServer) -> None:
    uid = slapd.add_person()
    group = slapd.add_group(uid)
    house = await make_house(**slapd.settings(OSTIARY_LDAP_ROLES=f"ADMIN:{group.upper().replace(',', ' , ')}"))

    member = await user_of(house, uid)
    slapd.remove(group)
    former = await user_of(house, uid)

    assert (member["role"], former["role"]) == ("ADMIN", "USER")


async def test_a_role_given_here_stays_where_no_group_decides(make_house: MakeHouse, slapd: SlapdServer) -> None:
    house = await make_house(**slapd.settings(OSTIARY_BOOTSTRAP="cli"))
    uid = slapd.add_person()
    slapd.add_group(uid)

    assert (await user_of(house, uid))["role"] == "USER"


@pytest.mark.parametrize("way", ["memberOf", "search"])
async def test_only_permitted_groups_come_in(make_house: MakeHouse, slapd: SlapdServer, way: str) -> None:
    inside, outside = slapd.add_person(), slapd.add_person()
    group = slapd.add_group(inside)
    by_search = {"OSTIARY_LDAP_GROUP_ATTRIBUTE": "departmentNumber", "OSTIARY_LDAP_GROUP_SEARCH_BASE": GROUPS}
    house = await make_house(
        **slapd.settings(OSTIARY_LDAP_PERMITTED_GROUPS=f"cn=nobody,{GROUPS}; {group}", **(by_search if way == "search" else {}))
    )

    refused, wrong = await login(house, outside), await login(house, outside, WRONG)
    pages = [await sign_in(Visitor(house), outside, password) for password in (RIGHT, WRONG)]

    assert said(refused) == NOT_PERMITTED
    assert said(wrong) == NO
    assert ["you are in no group that may sign in" in page.words for page in pages] == [True, False]
    assert (await login(house, inside)).status_code == 200
    assert await reasons(house) == ["mismatch", "mismatch", "no_permitted_group", "no_permitted_group"]


async def test_of_several_values_the_first_counts(make_house: MakeHouse, slapd: SlapdServer) -> None:
    house = await make_house(**slapd.settings(LDAP_ID="employeeNumber", LDAP_FULL_NAME="givenName,sn"))
    uid = slapd.add_person(
        mail=["first@example.org", "second@example.org"],
        givenName=["Grace", "Amazing"],
        sn=["Hopper", "Murray"],
        employeeNumber="7",
    )

    by_second = await user_of(house, "second@example.org")

    assert (by_second["email"], by_second["name"]) == ("first@example.org", "Grace Hopper")
    assert (await user_of(house, uid))["id"] == by_second["id"]
    slapd.remove(f"uid={uid},{PEOPLE}")


async def test_an_entry_without_an_address_gets_one_of_its_own(make_house: MakeHouse, slapd: SlapdServer) -> None:
    house = await make_house(**slapd.settings(LDAP_EMAIL="title", LDAP_USERNAME="uid"))
    uid = slapd.add_person(mail=["allowed@example.org@evil.example"], title="not an address")

    assert (await user_of(house, uid))["email"] == f"{uid}@ldap.local"


async def test_addresses_of_other_domains_are_refused(make_house: MakeHouse, slapd: SlapdServer) -> None:
    house = await make_house(**slapd.settings(OSTIARY_ALLOWED_DOMAINS="example.com"))
    uid = slapd.add_person()

    assert said(await login(house, uid)) == (404, {"message": "Email domain not allowed"})


async def test_ldp_08_a_directory_address_of_a_local_account_does_not_merge(make_house: MakeHouse, slapd: SlapdServer) -> None:
    before = await make_house()
    uid = slapd.add_person()
    local = browser(before)
    await local.register(f"{uid}@example.org")
    owner = (await local.login(f"{uid}@example.org")).json()["user"]
    house = await make_house(**slapd.settings())

    answer = await login(house, uid)

    assert said(answer) == NO
    assert await reasons(house) == ["address_of_another_account"]
    still = (await browser(before).login(f"{uid}@example.org")).json()["user"]
    assert (still["id"], still["provider"], still["role"]) == (owner["id"], "local", "ADMIN")


async def test_an_address_that_moves_onto_another_account_moves_nothing(make_house: MakeHouse, slapd: SlapdServer) -> None:
    house = await make_house(**slapd.settings(LDAP_SEARCH_FILTER="uid={{username}}"))
    one, other = slapd.add_person(), slapd.add_person()
    ids = [(await user_of(house, uid))["id"] for uid in (one, other)]

    slapd.change(other, mail=f"{one}@example.org")
    later = await user_of(house, other)

    assert (later["id"], later["email"]) == (ids[1], f"{other}@example.org")


async def test_local_passwords_do_not_count_and_nobody_registers(make_house: MakeHouse, slapd: SlapdServer) -> None:
    await browser(await make_house()).register("local@example.org")
    house = await make_house(**slapd.settings(LDAP_LOGIN_USES_USERNAME="true"))

    config = (await house.client.get("/api/config")).json()

    assert said(await login(house, "local@example.org", "lamp-at-noon")) == NO
    assert said(await browser(house).register()) == (403, {"message": "Registration is not allowed."})
    assert (config["ldap"], config["registrationEnabled"]) == ({"enabled": True, "username": True}, False)


async def test_the_second_factor_is_owed_here_too(make_house: MakeHouse, slapd: SlapdServer) -> None:
    house = await make_house(**slapd.settings())
    uid = slapd.add_person()
    someone = browser(house)
    await someone.login(uid, RIGHT)
    app = await enrolled(house, someone)

    pending = (await login(house, uid)).json()

    assert (pending["twoFAPending"], "token" in pending) == (True, False)
    assert (await browser(house).prove(pending["tempToken"], token=app.code())).status_code == 200


async def test_guesses_are_counted_by_name_however_it_is_spelled(make_house: MakeHouse, slapd: SlapdServer) -> None:
    house = await make_house(**slapd.settings(OSTIARY_LOCKOUT_MAX="3"))
    uid = slapd.add_person()

    spelled = [uid, uid.upper(), f"  {uid[0]}\u00ad{uid[1:]} "]
    guesses = [(await login(house, name, WRONG)).status_code for name in spelled]
    locked = await login(house, uid, RIGHT)

    assert guesses == [404, 404, 404]
    assert (locked.status_code, locked.json()["message"]) == (
        429,
        "Too many login attempts, please try again after 15 minutes.",
    )
    house.clock.advance(15 * 60 + 1)
    assert (await login(house, uid)).status_code == 200


def test_spellings_of_one_name_have_one_skeleton() -> None:
    spellings = ["Zoë  Miller", "zoe miller", " ZOË\tMILLER", "z\u200boe\u0301 miller", "Zoe\u0308 Miller"]

    assert {skeleton(spelling) for spelling in spellings} == {"zoe miller"}


async def test_a_direct_bind_needs_no_service(make_house: MakeHouse, slapd: SlapdServer) -> None:
    template = f"uid={{{{username}}}},{PEOPLE}"
    settings = slapd.settings(OSTIARY_LDAP_BIND_TEMPLATE=template, LDAP_BIND_DN="", LDAP_BIND_CREDENTIALS="")
    house = await make_house(**settings)
    uid = slapd.add_person()

    answers = [await login(house, name, RIGHT) for name in (uid, f"{uid},{PEOPLE}", f"{uid}+cn=x", "nobody")]

    assert [answer.status_code for answer in answers] == [200, 404, 404, 404]
    assert said(await login(house, uid, WRONG)) == NO


async def test_a_search_base_that_is_not_there(make_house: MakeHouse, slapd: SlapdServer) -> None:
    house = await make_house(**slapd.settings(LDAP_USER_SEARCH_BASE="ou=nowhere,dc=example,dc=org"))

    assert said(await login(house, "anyone")) == (404, {"message": "Bad search base"})
