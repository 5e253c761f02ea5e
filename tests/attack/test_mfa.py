"""MFA: the second factor (catalogue 4.5)."""

from __future__ import annotations

import re
from base64 import b32decode
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import pytest
from sqlalchemy import select

from ostiary.app import documented
from ostiary.identity import accounts, bans, totp
from ostiary.storage import tables
from ostiary.storage.statements import Query, Statement
from tests.attack.harness import Caller, stored
from tests.attack.people import Authenticator, enrolled, key_owner, owing, signed_in
from tests.conftest import MakeHouse
from tests.dialects.librechat import browser as librechat
from tests.dialects.librepass import owner as librepass
from tests.house import House
from tests.served import Served

OWNERS_PATHS = ("/api/user", "/api/cipher", "/api/collection", "/api/auth/2fa", "/api/auth/sessions", "/api/admin", "/api/roles")
OPEN_PATHS = frozenset(
    {
        "/api/auth/2fa/verify-temp",
        "/api/user/verify",
        "/api/user/verify/resend",
        "/api/user/verifyNewEmail",
        "/api/admin/login/local",
        "/api/cipher/icon",
        # For a picture's address, as browsers ask for one: without a bearer. Nobody can guess it.
        "/api/user/pictures/{name}",
    }
)
"""Under the paths above, and for everybody."""


def owners_routes() -> list[tuple[str, str]]:
    """Every documented route that is an owner's alone."""
    return [
        (method.upper(), path.replace("{id}", str(uuid4())).replace("{name}", "USER"))
        for path, operations in documented()["paths"].items()
        for method in operations
        if path.startswith(OWNERS_PATHS) and path not in OPEN_PATHS and not path.startswith("/api/admin/oauth")
    ]


def test_mfa_01_the_first_factor_alone_opens_nothing(site: Served) -> None:
    person, owner = signed_in(site.url), key_owner(site.url)
    enrolled(person)
    app = Authenticator(librepass.SECRET)
    setup = {"sharedKey": owner.shared_key(), "secret": app.secret, "code": app.code()}
    assert owner.post("/api/user/setup/2fa", setup).status == 200
    there, pending = owing(person)
    key_there = owner.elsewhere()
    assert key_there.login().json()["verified"] is False

    assert "refreshToken" not in there.cookies
    assert Caller(site.url, cookies={"refreshToken": pending}).post("/api/auth/refresh").status in (401, 403)
    routes = owners_routes()
    assert len(routes) > 30
    for method, path in routes:
        for secret in (pending, key_there.bearer):
            reply = Caller(site.url, bearer=secret).ask(method, path, {} if method != "GET" else None)
            # Where no provider is configured, linking one does not even exist.
            assert reply.status == 401 or (reply.status == 404 and "/identities/" in path), (method, path, reply)


async def test_mfa_03_a_code_has_one_spelling(house: House) -> None:
    app = await librechat.enrolled(house, await librechat.signed_in(house))
    code = app.code()
    wide = code.translate({ord("0") + digit: chr(0xFF10 + digit) for digit in range(10)})
    for spelling in (wide, int(code), f"{code[:3]} {code[3:]}", f" {code}", f"{code}\n", [code], f"{code}\0", f"+{code}"):
        someone, pending = await librechat.owing(house)
        assert (await someone.prove(pending, token=spelling)).status_code in (400, 401), spelling
        async with house.begin() as ctx:
            await ctx.services.limits.forget(ctx.services.rules.factor_account, (await accounts.named(ctx, librechat.EMAIL)).id)

    someone, pending = await librechat.owing(house)
    assert (await someone.prove(pending, token=code)).status_code == 200


@pytest.mark.parametrize(
    ("steps", "is_good"), [(-3, False), (-2, False), (-1, True), (0, True), (1, True), (2, False), (3, False)]
)
async def test_mfa_04_a_code_is_good_one_step_either_way_and_never_again(house: House, steps: int, is_good: bool) -> None:
    app = await librechat.enrolled(house, await librechat.signed_in(house))
    house.clock.advance(5 * 30)
    code = app.code(steps)

    answers = []
    for _ in range(2):
        someone, pending = await librechat.owing(house)
        answers.append((await someone.prove(pending, token=code)).status_code)

    assert answers == [200 if is_good else 401, 401]


async def test_mfa_06_a_temporary_token_is_for_its_account_and_five_minutes(house: House) -> None:
    app = await librechat.enrolled(house, await librechat.signed_in(house))
    other = "other@example.org"
    other_app = await librechat.enrolled(house, await librechat.signed_in(house, other))
    someone, pending = await librechat.owing(house)

    swapped = await someone.prove(pending, token=other_app.code())
    house.clock.advance(5 * 60)
    late = await someone.prove(pending, token=app.code())

    assert (swapped.status_code, late.status_code) == (401, 401)


@pytest.mark.parametrize("event", ["reset", "ban", "disable"])
async def test_mfa_07_a_temporary_token_dies_with_events(house: House, event: str) -> None:
    owner = await librechat.signed_in(house)
    app = await librechat.enrolled(house, owner)
    someone, pending = await librechat.owing(house)
    if event == "reset":
        await owner.post("/api/auth/requestPasswordReset", {"email": librechat.EMAIL})
        link = librechat.parameters_of(await librechat.link_of(house, "Password Reset Request"))
        assert (await owner.post("/api/auth/resetPassword", {**link, "password": "some-Other-44-words"})).status_code == 200
    elif event == "ban":
        async with house.begin() as ctx:
            await bans.add(ctx, bans.ACCOUNT, (await accounts.named(ctx, librechat.EMAIL)).id, "test", None)
    else:
        assert (await owner.post("/api/auth/2fa/disable", {"backupCode": app.codes[0]})).status_code == 200

    assert (await someone.prove(pending, token=app.code(1))).status_code in (401, 403)


def test_mfa_09_backup_codes_at_rest_cannot_be_guessed_offline(site: Served) -> None:
    """Eight hex digits fall to 2^32 hashes; so what is stored is keyed by what is not in the database."""
    person = signed_in(site.url)
    app = enrolled(person)

    kept = stored(site)

    for code in app.codes:
        digest = sha256(code.encode()).digest()
        for told in (code.encode(), digest, digest.hex().encode()):
            assert told not in kept


def test_mfa_10_new_backup_codes_come_with_digests_that_tell_nothing(site: Served) -> None:
    person = signed_in(site.url)
    app = enrolled(person)

    made = person.post("/api/auth/2fa/backup/regenerate", {"backupCode": app.codes[0]}).json()

    shown = {entry["codeHash"] for entry in made["backupCodesHash"]}
    assert len(shown) == len(made["backupCodes"]) == 10
    assert not shown & {sha256(code.encode()).hexdigest() for code in made["backupCodes"]}
    there, pending = owing(person)
    assert there.prove(pending, backupCode=app.codes[1]).status == 401
    assert there.prove(pending, backupCode=made["backupCodes"][1]).status == 200


def test_mfa_12_new_backup_codes_need_a_factor(site: Served) -> None:
    person = signed_in(site.url)
    enrolled(person)

    bodies: list[dict[str, Any]] = [
        {},
        {"token": ""},
        {"token": "000000"},
        {"backupCode": "00000000"},
        {"token": None},
        {"backupCode": []},
    ]
    for body in bodies:
        assert person.post("/api/auth/2fa/backup/regenerate", body).status in (400, 401), body


async def test_mfa_13_an_enrolment_not_confirmed_guards_nothing_and_ends_soon(house: House) -> None:
    someone = await librechat.signed_in(house)
    first = (await someone.post("/api/auth/2fa/enable")).json()
    second = (await someone.post("/api/auth/2fa/enable")).json()
    apps = [librechat.Authenticator(house.clock, found["secret"]) for found in (first, second)]

    plain = await librechat.browser(house).login()
    replaced = await someone.post("/api/auth/2fa/confirm", {"token": apps[0].code()})
    house.clock.advance(10 * 60)
    late = await someone.post("/api/auth/2fa/confirm", {"token": apps[1].code()})

    assert "token" in plain.json()
    assert (replaced.status_code, late.status_code) == (400, 400)


def test_mfa_15_a_secret_has_bits_enough(site: Served) -> None:
    answer = signed_in(site.url).post("/api/auth/2fa/enable").json()
    owner = key_owner(site.url)

    assert len(b32decode(answer["secret"])) * 8 >= 160
    assert answer["secret"] in parse_qs(urlsplit(answer["otpauthUrl"]).query)["secret"]
    for weak in ("JBSWY3DPEHPK3PXP", "JA", "", "========"):
        code = Authenticator(weak).code() if len(weak) == 16 else "000000"
        body = {"sharedKey": owner.shared_key(), "secret": weak, "code": code}
        assert owner.post("/api/user/setup/2fa", body).status == 400, weak


async def test_mfa_16_an_imported_short_secret_still_signs_in(house: House) -> None:
    someone = await librechat.signed_in(house)
    await librechat.enrolled(house, someone)
    short = librechat.Authenticator(house.clock, "JBSWY3DPEHPK3PXP")
    async with house.begin() as ctx:
        account = await accounts.named(ctx, librechat.EMAIL)
        sealed = totp.seal_secret(ctx, account.id, short.secret)
        await ctx.db.run(Statement(tables.factors.update().where(tables.factors.c.kind == "totp").values(config=sealed)))
    there, pending = await librechat.owing(house)

    assert (await there.prove(pending, token=short.code())).status_code == 200


@pytest.mark.parametrize("title", ["Ostiary", "A:B&c=d?e#f", "x&secret=AAAA"])
async def test_mfa_18_names_cannot_add_a_second_secret(make_house: MakeHouse, title: str) -> None:
    house = await make_house(APP_TITLE=title)
    someone = await librechat.signed_in(house, "x+secret_AAAA@example.org")

    url = (await someone.post("/api/auth/2fa/enable")).json()["otpauthUrl"]

    query = parse_qs(urlsplit(url).query, strict_parsing=True)
    assert sorted(query) == ["issuer", "secret"]
    assert [len(values) for values in query.values()] == [1, 1]
    assert query["issuer"] == ["".join(title.split())]
    assert re.fullmatch(r"otpauth://totp/[^:&?]+:[^:&?]+\?[^?]+", url)


ODD: list[Any] = [
    None,
    [],
    {},
    True,
    0,
    123456,
    "000000\0",
    "0" * 10_000,
    "12345",
    "1234567",
    "０００００0",
    "000000é",
    "-1",
    "1e5",
    " ",
]


@pytest.mark.parametrize("field", ["token", "backupCode"])
def test_mfa_19_odd_codes_are_wrong_codes(site: Served, field: str) -> None:
    person = signed_in(site.url)
    enrolled(person)
    statuses = set()

    for value in ODD:
        _, pending = owing(person)
        statuses.add(person.elsewhere().prove(pending, **{field: value}).status)
        statuses.add(person.post("/api/auth/2fa/disable", {field: value}).status)

    assert statuses <= {400, 401, 429}
    assert person.me().json()["twoFactorEnabled"] is True


def test_mfa_21_trying_a_backup_code_out_does_not_burn_it(site: Served) -> None:
    person = signed_in(site.url)
    app = enrolled(person)

    assert person.post("/api/auth/2fa/verify", {"backupCode": app.codes[0]}).status == 200

    there, pending = owing(person)
    assert there.prove(pending, backupCode=app.codes[0]).status == 200


async def test_mfa_22_secrets_at_rest_are_sealed_and_a_broken_seal_is_no_open_door(house: House) -> None:
    someone = await librechat.signed_in(house)
    app = await librechat.enrolled(house, someone)
    factors = tables.factors
    async with house.begin() as ctx:
        (sealed,) = await ctx.db.all(Query(bytes, select(factors.c.config).where(factors.c.kind == "totp")))
        flipped = sealed[:-1] + bytes([sealed[-1] ^ 1])
        await ctx.db.run(Statement(factors.update().where(factors.c.kind == "totp").values(config=flipped)))

    there, pending = await librechat.owing(house)
    answer = await there.prove(pending, token=app.code())

    assert app.secret.encode() not in sealed
    assert b32decode(app.secret) not in sealed
    assert answer.status_code == 400
    assert "refreshToken" not in there.client.cookies
