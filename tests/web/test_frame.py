"""What holds for every page: where pages are served, what their answers carry, who is let in, and what a foreign site can do."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest
from jinja2 import Environment
from sqlalchemy import LargeBinary, bindparam, select

from ostiary.identity import refusals, sessions
from ostiary.identity.audit import Event
from ostiary.identity.refusals import Refusal
from ostiary.settings import Pages, Settings, SettingsError
from ostiary.storage import tables
from ostiary.storage.statements import Query
from ostiary.web import forms, key_sign_in, theme
from ostiary.web.account import NOTICES as ACCOUNT_NOTICES
from ostiary.web.mail_checks import About
from ostiary.web.messages import LANGUAGES, catalogue
from ostiary.web.sign_in import NOTICES
from ostiary.web.sign_up import NameRefused, TermsRefused
from tests.conftest import MakeHouse
from tests.house import ORIGIN, House
from tests.web.visitor import PASSWORD, Visitor, register, sign_in

WEB = Path(__file__).parent.parent.parent / "src" / "ostiary" / "web"
TEMPLATES = sorted((WEB / "templates").glob("*.html"))
_by_stored_token = Query(
    str, select(tables.sessions.c.id).where(tables.sessions.c.token_hash == bindparam("token", type_=LargeBinary))
)
SAME_SITE = {"Origin": ORIGIN, "Sec-Fetch-Site": "same-origin"}


async def test_a_person_signs_in_is_known_and_signs_out(house: House) -> None:
    await register(house)
    visitor = Visitor(house)

    inside = await sign_in(visitor)
    again = await visitor.open("/")
    outside = await visitor.sign_out()

    assert "ada@example.org" in inside.words
    assert again.title == inside.title == "Your account · Ostiary"
    assert "You are signed out." in outside.words
    assert (await visitor.open("/account")).title == "Sign in · Ostiary"


@pytest.mark.parametrize("email", ["ada@example.org", "nobody@example.org"])
async def test_a_wrong_password_and_an_unknown_address_are_answered_alike(house: House, email: str) -> None:
    await register(house)
    visitor = Visitor(house)

    page = await sign_in(visitor, email, "not the password")

    assert visitor.answer.status_code == 422
    assert "That does not match." in page.words
    assert page.forms[0]["email"] == email
    assert page.forms[0]["password"] == ""


async def test_the_session_of_a_page_ends_with_everything_that_ends_sessions(house: House) -> None:
    await register(house)
    visitor = Visitor(house)
    await sign_in(visitor)
    answer = await house.client.post("/api/auth/login", json={"email": "ada@example.org", "password": PASSWORD})
    bearer = {"Authorization": f"Bearer {answer.json()['token']}"}
    sessions = (await house.client.get("/api/auth/sessions", headers=bearer)).json()

    other = next(session["id"] for session in sessions if not session["current"])
    await house.client.delete(f"/api/auth/sessions/{other}", headers=bearer)

    assert {session["kind"] for session in sessions} == {"browser"}
    assert (await visitor.open("/account")).title == "Sign in · Ostiary"


async def test_the_token_of_a_page_is_a_digest_in_the_database_and_opens_no_wire(house: House) -> None:
    await register(house)
    visitor = Visitor(house)
    await sign_in(visitor)
    token = visitor.client.cookies["ostiary_session"]

    as_key = await house.client.get("/api/auth/sessions", headers={"Authorization": f"Bearer lp_{token}", "X-API": "1"})
    as_bearer = await house.client.get("/api/user", headers={"Authorization": f"Bearer {token}"})

    assert (as_key.status_code, as_bearer.status_code) == (401, 401)
    async with house.begin() as ctx:
        assert await ctx.db.one(_by_stored_token, token=token.encode()) is None
        assert await ctx.db.one(_by_stored_token, token=sessions.page_hash(house.services, token)) is not None


async def test_a_form_made_before_the_sign_in_does_not_fit_the_session(house: House) -> None:
    await register(house)
    visitor = Visitor(house)
    early = (await visitor.open("/login")).forms[0]["form_token"]
    await visitor.send(email="ada@example.org", password=PASSWORD)

    answer = await visitor.client.post("/logout", data={"form_token": early}, headers=SAME_SITE)

    assert answer.status_code == 403
    assert (await visitor.open("/account")).title == "Your account · Ostiary"


async def test_signing_in_takes_no_token_from_the_browser_and_ends_the_session_that_it_had(house: House) -> None:
    await register(house)
    visitor = Visitor(house)
    await sign_in(visitor)
    before = visitor.client.cookies["ostiary_session"]
    stale = (await visitor.open("/account")).forms[0]

    # The page of the sign-in was opened in another tab, before; its form is made anew for the session.
    typed = {**stale, "email": "ada@example.org", "password": PASSWORD}
    answer = await visitor.client.post("/login", data=typed, headers=SAME_SITE)

    assert answer.headers["location"] == "/account"
    after = visitor.client.cookies["ostiary_session"]
    assert after != before
    async with house.begin() as ctx:
        assert await sessions.by_page_token(ctx, sessions.page_hash(house.services, before)) is None
        assert await sessions.by_page_token(ctx, sessions.page_hash(house.services, after)) is not None


async def test_every_page_is_kept_by_nobody_framed_by_nobody_and_loads_only_ours(house: House) -> None:
    visitor = Visitor(house)

    for path in ("/login", "/nowhere"):
        await visitor.open(path)
        headers = visitor.answer.headers
        policy = headers["content-security-policy"]

        assert headers.get_list("cache-control") == ["no-store"]
        assert headers.get_list("referrer-policy") == ["same-origin"]
        assert headers["x-frame-options"] == "DENY"
        assert "frame-ancestors 'none'" in policy
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "http" not in policy


async def test_files_are_kept_for_ever_under_a_name_that_changes_with_them(make_house: MakeHouse) -> None:
    plain, blue = await make_house(), await make_house(OSTIARY_ACCENT_COLOR="#005577")

    sheets = [re.findall(r'href="(/assets/[^"]+\.css)"', (await house.client.get("/login")).text) for house in (plain, blue)]
    answers = [await plain.client.get(path) for path in sheets[0]]

    assert {answer.headers["content-type"] for answer in answers} == {"text/css; charset=utf-8"}
    assert all("immutable" in answer.headers["cache-control"] for answer in answers)
    assert set(sheets[0]).isdisjoint(sheets[1])


@pytest.mark.parametrize(
    ("change", "headers"),
    [
        ({"form_token": ""}, SAME_SITE),
        ({"form_token": "0" * 16 + "." + "0" * 32}, SAME_SITE),
        ({}, {"Origin": "https://evil.test"}),
        ({}, {"Origin": "null"}),
        ({}, {"Sec-Fetch-Site": "cross-site"}),
        ({}, {"Sec-Fetch-Site": "same-site"}),
    ],
)
async def test_a_form_that_is_not_ours_signs_nobody_in(house: House, change: dict[str, str], headers: dict[str, str]) -> None:
    await register(house)
    visitor = Visitor(house)
    page = await visitor.open("/login")

    answer = await visitor.client.post(
        "/login", data={**page.forms[0], "email": "ada@example.org", "password": PASSWORD, **change}, headers=headers
    )

    assert answer.status_code == 403
    assert "ostiary_session" not in visitor.client.cookies


async def test_a_token_of_another_browser_fits_no_form(house: House) -> None:
    await register(house)
    visitor, attacker = Visitor(house), Visitor(house)
    await visitor.open("/login")
    theirs = (await attacker.open("/login")).forms[0]["form_token"]

    await visitor.send(email="ada@example.org", password=PASSWORD, form_token=theirs)

    assert visitor.answer.status_code == 403


async def test_behind_tls_the_cookies_are_secure_and_no_neighbour_can_plant_one(make_house: MakeHouse) -> None:
    url = "https://id.example.org"
    house = await make_house(DOMAIN_CLIENT=url, DOMAIN_SERVER=url)

    answer = await house.client.get("/login", headers={"Host": "id.example.org"})

    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("__Host-ostiary_form=")
    assert cookie.endswith("; Path=/; HttpOnly; Secure; SameSite=Lax")


@pytest.mark.parametrize(
    "environment",
    [
        {"DOMAIN_CLIENT": "https://chat.example.org", "DOMAIN_SERVER": "https://id.example.org"},
        {"OSTIARY_PAGES": "false"},
    ],
)
async def test_where_the_pages_are_somebody_elses_there_are_none_here(make_house: MakeHouse, environment: dict[str, str]) -> None:
    house = await make_house(**environment)
    visitor = Visitor(house)

    for path in ("/", "/login", "/nowhere"):
        await visitor.open(path)
        assert (visitor.answer.status_code, visitor.answer.json()) == (404, {"message": "Endpoint not found"})


async def test_a_host_name_that_is_a_wires_alone_shows_no_page(make_house: MakeHouse) -> None:
    house = await make_house(OSTIARY_LIBREPASS_HOST="vault.example.org")

    answer = await house.client.get("/login", headers={"Host": "vault.example.org", "Accept": "text/html"})

    assert answer.json()["error"] == "LP-404"


async def test_an_unknown_path_is_a_page_for_a_person_and_json_for_a_program(house: House) -> None:
    visitor = Visitor(house)

    page = await visitor.open("/nowhere")

    assert (visitor.answer.status_code, page.title) == (404, "Nothing here · Ostiary")
    for path, accept in (("/nowhere", "*/*"), ("/api/nowhere", "text/html"), ("/oauth/nowhere", "text/html")):
        answer = await house.client.get(path, headers={"Accept": accept})
        assert answer.json() == {"message": "Endpoint not found"}


async def test_who_is_slowed_down_gets_a_page_with_the_time_left(make_house: MakeHouse) -> None:
    house = await make_house(RATE_LIMITS="on", LOGIN_MAX="1", LOGIN_WINDOW="5")
    visitor = Visitor(house)
    await sign_in(visitor)

    page = await sign_in(visitor)

    assert visitor.answer.status_code == 429
    assert "Please try again in 5 minutes." in page.words
    assert visitor.answer.headers["retry-after"] == "300"


async def test_a_sign_in_never_leads_to_an_address_that_somebody_put_into_the_link(house: House) -> None:
    await register(house)
    for wanted in ("https://evil.test/", "//evil.test", "/api/user", "\\evil"):
        visitor = Visitor(house)
        page = await visitor.open(f"/login?redirect_to={wanted}")

        answer = await visitor.client.post(
            f"/login?redirect_to={wanted}",
            data={**page.forms[0], "email": "ada@example.org", "password": PASSWORD},
            headers=SAME_SITE,
        )

        assert answer.headers["location"] == "/account"


async def test_a_browser_is_answered_in_its_language_and_in_the_one_that_it_chose(house: House) -> None:
    german = Visitor(house, **{"Accept-Language": "fr, de-AT;q=0.8, en;q=0.5"})
    page = await german.open("/login")
    chosen = await german.open("/login?lang=en&redirect_to=/account")
    kept = await german.open("/login")

    assert page.title == "Anmelden · Ostiary"
    assert chosen.title == kept.title == "Sign in · Ostiary"
    assert "?redirect_to=%2Faccount&lang=de" in chosen.links


async def test_a_logo_of_the_operators_runs_nothing(make_house: MakeHouse, tmp_path: Path) -> None:
    picture = tmp_path / "ours.svg"
    picture.write_text("<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>")
    house = await make_house(OSTIARY_LOGO=str(picture))

    page = (await house.client.get("/login")).text
    answer = await house.client.get(re.findall(r'src="(/assets/[^"]+/logo\.svg)"', page)[0])

    assert answer.headers["content-type"] == "image/svg+xml"
    assert answer.headers["content-security-policy"] == "default-src 'none'; style-src 'unsafe-inline'; sandbox"


@pytest.mark.parametrize("ground", ["#f4f5f8", "#ffffff", "#dcdcdc", "#FFDCdc", "#dcdcff"])
@pytest.mark.parametrize("accent", ["#3a5bc7", "#ffee00", "#000000", "#ffffff", "#777777", "#00aa55", "#c02020"])
def test_whatever_the_colours_text_can_be_read(accent: str, ground: str) -> None:
    sheet = theme.style(Pages.read({"OSTIARY_ACCENT_COLOR": accent, "OSTIARY_GROUND_COLOR": ground}))

    faint = re.findall(r"--faint: (#\w{6})", (WEB / "static" / "page.css").read_text())[0]
    assert f"--ground:{ground};" in sheet
    assert theme.contrast(faint, ground) >= 4.5
    on_accent = re.findall(r"--on-accent:(#\w{6})", sheet)[0]
    on_light, on_dark = re.findall(r"--link:(#\w{6})", sheet)
    assert theme.contrast(on_accent, accent) >= 4.5
    assert theme.contrast(on_light, theme.LIGHT) >= 4.5
    assert theme.contrast(on_light, ground) >= 4.5
    assert theme.contrast(on_dark, theme.DARK) >= 4.5


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("OSTIARY_GROUND_COLOR", "#101217"),
        ("OSTIARY_GROUND_COLOR", "#dbffff"),
        ("OSTIARY_GROUND_COLOR", "#fff"),
        ("OSTIARY_GROUND_COLOR", "#f4f5f8;}"),
        ("OSTIARY_GROUND_COLOR", "white"),
        ("OSTIARY_CORNER_RADIUS", "33"),
        ("OSTIARY_CORNER_RADIUS", "-1"),
        ("OSTIARY_CORNER_RADIUS", "1rem"),
        ("OSTIARY_FONT_FAMILY", 'Inter", url(https://evil.test)'),
        ("OSTIARY_FONT_FAMILY", "Inter;} body{"),
        ("OSTIARY_FONT_FAMILY", "Inter\\22"),
        ("OSTIARY_FONT_FAMILY", "serif, x\n@import 'https://evil.test'"),
        ("OSTIARY_FONT_FAMILY", "</style>"),
    ],
)
def test_looks_that_would_be_unreadable_or_more_than_looks_stop_the_start(variable: str, value: str) -> None:
    with pytest.raises(SettingsError, match=variable):
        Settings.load({variable: value})


def test_every_language_says_everything_with_the_same_places() -> None:
    ours = catalogue("en").texts

    for language in LANGUAGES:
        texts = catalogue(language).texts
        assert texts.keys() == ours.keys()
        for key, text in texts.items():
            assert text.strip(), key
            assert set(re.findall(r"\{(\w+)\}", text)) == set(re.findall(r"\{(\w+)\}", ours[key])), key


def test_every_text_is_used_somewhere() -> None:
    sources = "\n".join(path.read_text(encoding="utf-8") for path in [*WEB.rglob("*.py"), *WEB.rglob("*.html")])
    core = "\n".join(path.read_text(encoding="utf-8") for path in WEB.parent.joinpath("identity").glob("*.py"))
    codes = {kind.code for kind in vars(refusals).values() if isinstance(kind, type) and issubclass(kind, Refusal)}
    of_pages = {
        "otherwise",
        "banned_account",
        "mailbox",
        "not_found",
        "malformed",
        "failed",
        forms.FormRefused.code,
        key_sign_in.ScriptNeeded.code,
    }
    made = {
        "register": {kind.code for kind in (refusals.AddressInvalid, refusals.InvitationRefused, NameRefused, TermsRefused)},
        "check_mail": set(get_args(About)),
    }

    for key in catalogue("en").texts:
        named = key.removesuffix(".one").removesuffix(".other")
        match key.split("."):
            case ["refused", code, "title" | "text"]:
                assert code in codes | of_pages, key
            case ["notice", name]:
                assert name in NOTICES, key
            case ["account", "notice", name]:
                assert name in ACCOUNT_NOTICES, key
            case ["password", reason] if reason != "rule":
                assert f'PasswordRefused("{reason}"' in core or reason == "otherwise", key
            case ["event", name]:
                assert name in set(Event) | {"other"}, key
            case [subject, name] if name in made.get(subject, ()):
                continue
            case _:
                assert f'"{named}"' in sources, key


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_no_template_says_anything_by_itself(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    Environment(autoescape=True).parse(source)

    # The width is a class of the sheet's.
    bare = re.sub(r"\{% block width %\}\w+\{% endblock %\}", " ", source)
    bare = re.sub(r"\{#.*?#\}|\{%.*?%\}|\{\{.*?\}\}", " ", bare, flags=re.DOTALL)
    bare = re.sub(r"<[^>]*>", " ", bare)
    assert not re.search(r"[^\W\d_]{2,}", bare), bare
    for attribute in re.findall(r'(?:alt|title|placeholder|aria-label)="([^"]*)"', source):
        assert not attribute or "{{" in attribute


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_no_template_holds_a_style_a_handler_or_a_foreign_address(path: Path) -> None:
    source = path.read_text(encoding="utf-8")

    assert not re.search(r"<style|<script(?![^>]*\bsrc=)|\sstyle=|\son\w+=|javascript:|https?://", source)
