"""Signing in with SAML through the served application: with a provider from npm, and with one that lies."""

from __future__ import annotations

import asyncio
import time
import zlib
from base64 import b64decode
from dataclasses import replace
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from lxml import etree

from ostiary.identity import audit, bans
from tests.conftest import MakeHouse
from tests.dialects.librechat.browser import Browser, browser, cookies_of, enrolled, signed_in
from tests.federation.saml_desk import variables
from tests.federation.saml_forge import AUDIENCE, CONSUMER, Story, posted
from tests.house import House
from tests.services.saml import SamlIdp, form_of

CALLBACK = "/oauth/saml/callback"
HOME = "http://127.0.0.1:3080"
FAILED = f"{HOME}/login?redirect=false&error=auth_failed"
CLAIMS = "http://schemas.xmlsoap.org/ws/2005/05/identity/claims"
NAMES = {
    "SAML_EMAIL_CLAIM": f"{CLAIMS}/emailaddress",
    "SAML_GIVEN_NAME_CLAIM": f"{CLAIMS}/givenname",
    "SAML_FAMILY_NAME_CLAIM": f"{CLAIMS}/surname",
    "SAML_USERNAME_CLAIM": "http://schemas.passportjs.com/groups",
}


async def house_of(make_house: MakeHouse, **environment: str) -> House:
    return await make_house(**variables(**environment))


async def house_with(make_house: MakeHouse, idp: SamlIdp, query: str = "", **environment: str) -> House:
    """A house that trusts the provider from npm, and has its clock: that one's cannot be set."""
    house = await house_of(make_house, SAML_ENTRY_POINT=f"{idp.url}/sso{query}", **NAMES, **environment)
    house.clock.now = time.time_ns() // 1000
    return house


async def answered(someone: Browser) -> dict[str, str]:
    """Start here, go there, and hold in hand the form that comes back."""
    started = await someone.get("/oauth/saml")
    assert started.status_code == 302, started.text
    async with httpx.AsyncClient() as elsewhere:
        page = await elsewhere.get(started.headers["location"])
    action, form = form_of(page.text)
    assert action == CONSUMER
    return form


async def hand_in(someone: Browser, form: dict[str, str]) -> httpx.Response:
    """Post the form as a browser does from the identity provider's page."""
    headers = {"Origin": "https://idp.example.org", "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    return await someone.client.post(CALLBACK, data=form, headers=headers)


async def begun(someone: Browser) -> tuple[str, str]:
    """Start, and read what a hostile provider would: the request's id, and RelayState."""
    return request_in((await someone.get("/oauth/saml")).headers["location"])


def request_in(address: str) -> tuple[str, str]:
    """The id and the RelayState in an address that the browser is sent to."""
    query = parse_qs(urlsplit(address).query)
    request = etree.fromstring(zlib.decompress(b64decode(query["SAMLRequest"][0]), -15))
    return request.get("ID") or "", query["RelayState"][0]


async def lied(someone: Browser, story: Story) -> httpx.Response:
    """Start, and hand in this story, told in answer to the request."""
    identifier, relay_state = await begun(someone)
    document = replace(story, request_id=identifier).signed()
    return await hand_in(someone, {"SAMLResponse": posted(document), "RelayState": relay_state})


def refused(answer: httpx.Response) -> bool:
    is_cookie_set = any(cookie.startswith(("refreshToken=", "token_provider=")) for cookie in cookies_of(answer))
    return answer.status_code == 302 and answer.headers["location"] == FAILED and not is_cookie_set


async def reasons(house: House) -> list[str | None]:
    """What the audit says of refusals."""
    async with house.begin() as ctx:
        return [line.reason for line in await audit.latest(ctx)]


@pytest.mark.parametrize(
    ("query", "response_signed"),
    [("", "false"), ("?sign=response", "true")],
    ids=["assertion signed", "response signed"],
)
async def test_someone_signs_in(make_house: MakeHouse, saml_idp: SamlIdp, query: str, response_signed: str) -> None:
    house = await house_with(make_house, saml_idp, query, SAML_USE_AUTHN_RESPONSE_SIGNED=response_signed)
    ada = browser(house)

    answer = await hand_in(ada, await answered(ada))

    assert (answer.status_code, answer.headers["location"]) == (302, HOME)
    assert any(cookie.startswith("token_provider=librechat") for cookie in cookies_of(answer))
    user = (await ada.refresh()).json()["user"]
    assert (user["email"], user["name"], user["username"]) == ("ada@example.org", "Ada Lovelace", "staff_engine")
    assert (user["provider"], user["role"], user["emailVerified"]) == ("saml", "USER", True)


async def test_the_same_person_finds_the_same_account(make_house: MakeHouse, saml_idp: SamlIdp) -> None:
    house = await house_with(make_house, saml_idp)
    first, second = browser(house), browser(house)
    await hand_in(first, await answered(first))

    await hand_in(second, await answered(second))

    assert (await first.refresh()).json()["user"]["id"] == (await second.refresh()).json()["user"]["id"]


async def test_the_second_factor_is_owed_all_the_same(make_house: MakeHouse, saml_idp: SamlIdp) -> None:
    house = await house_with(make_house, saml_idp)
    ada = browser(house)
    await hand_in(ada, await answered(ada))
    await ada.refresh()
    app = await enrolled(house, ada)
    house.clock.now = time.time_ns() // 1000

    again = browser(house)
    answer = await hand_in(again, await answered(again))

    location = urlsplit(answer.headers["location"])
    assert (location.path, again.refresh_cookie) == ("/login/2fa", "")
    house.clock.advance(90)
    proved = await again.prove(parse_qs(location.query)["tempToken"][0], token=app.code())
    assert proved.status_code == 200, proved.text


async def test_an_answer_serves_once(make_house: MakeHouse, saml_idp: SamlIdp) -> None:
    """SAM-06, OAU-17: the second is refused, the first session stays."""
    house = await house_with(make_house, saml_idp)
    ada, thief = browser(house), browser(house)
    form = await answered(ada)
    assert (await hand_in(ada, form)).headers["location"] == HOME

    assert refused(await hand_in(ada, form))
    assert refused(await hand_in(thief, form))
    assert (await ada.refresh()).status_code == 200


async def test_an_answer_to_another_browser_is_refused(make_house: MakeHouse, saml_idp: SamlIdp) -> None:
    """SAM-06: else an attacker could sign a victim in to the attacker's account, or use a stolen answer."""
    house = await house_with(make_house, saml_idp)
    ada, eve = browser(house), browser(house)
    theirs = await answered(ada)
    own = await answered(eve)

    assert refused(await hand_in(eve, theirs))

    own = await answered(eve)
    assert refused(await hand_in(eve, {**theirs, "RelayState": own["RelayState"]}))
    assert (await hand_in(ada, theirs)).headers["location"] == HOME


class TestBegunThere:
    """A sign-in that began at the identity provider."""

    async def unsolicited(self, idp: SamlIdp) -> dict[str, str]:
        async with httpx.AsyncClient() as elsewhere:
            page = await elsewhere.get(f"{idp.url}/unsolicited", params={"to": CONSUMER, "audience": AUDIENCE})
        return form_of(page.text)[1]

    async def test_is_refused_by_default(self, make_house: MakeHouse, saml_idp: SamlIdp) -> None:
        house = await house_with(make_house, saml_idp)

        assert refused(await hand_in(browser(house), await self.unsolicited(saml_idp)))

    async def test_is_taken_once_by_the_switch(self, make_house: MakeHouse, saml_idp: SamlIdp) -> None:
        house = await house_with(make_house, saml_idp, OSTIARY_SAML_IDP_INITIATED="true")
        form = await self.unsolicited(saml_idp)

        assert (await hand_in(browser(house), form)).headers["location"] == HOME
        assert refused(await hand_in(browser(house), form))

    @pytest.mark.parametrize("left", ["a flow", "a cookie without one"])
    async def test_a_flow_that_was_given_up_here_is_in_nobodys_way(
        self, make_house: MakeHouse, saml_idp: SamlIdp, left: str
    ) -> None:
        house = await house_with(make_house, saml_idp, OSTIARY_SAML_IDP_INITIATED="true")
        ada = browser(house)
        if left == "a flow":
            await begun(ada)
        else:
            ada.client.cookies.set("ostiary_flow", "long gone", domain="127.0.0.1", path="/oauth")

        assert (await hand_in(ada, await self.unsolicited(saml_idp))).headers["location"] == HOME

    async def test_of_twenty_at_once_one_comes_in(self, make_house: MakeHouse) -> None:
        house = await house_of(make_house, OSTIARY_SAML_IDP_INITIATED="true")
        form = {"SAMLResponse": posted(replace(Story(), request_id=None).signed())}

        answers = await asyncio.gather(*(hand_in(browser(house), form) for _ in range(20)))

        assert sum(answer.headers["location"] == HOME for answer in answers) == 1
        assert sum(refused(answer) for answer in answers) == 19

    async def test_the_memory_outlives_the_answer(self, make_house: MakeHouse, saml_idp: SamlIdp) -> None:
        """Up to the last moment at which it would be believed, skew and all, and past the sweep."""
        house = await house_with(make_house, saml_idp, OSTIARY_SAML_IDP_INITIATED="true")
        form = await self.unsolicited(saml_idp)
        await hand_in(browser(house), form)

        for _ in range(11):
            house.clock.advance(30)
            await house.jobs.sweep()
            assert refused(await hand_in(browser(house), form))


@pytest.mark.parametrize(
    "relay_state",
    [
        "//evil.example",
        "https:evil.example",
        "/\\evil.example",
        "/%09/evil.example",
        "javascript:alert(1)",
        "https://app.test@evil.example",
        "http://127.0.0.1:3080.evil.example/",
        "https://evil.example/",
        "",
    ],
)
@pytest.mark.parametrize("engine", ["sqlite"])
async def test_sam_10_relay_state_leads_nowhere(make_house: MakeHouse, relay_state: str) -> None:
    """SAM-10: an honest answer with another RelayState is refused, and with the switch it still ends at home."""
    house = await house_of(make_house, OSTIARY_SAML_IDP_INITIATED="true")
    ada = browser(house)
    identifier, _ = await begun(ada)
    solicited = posted(replace(Story(), request_id=identifier).signed())
    unsolicited = posted(replace(Story(), request_id=None, assertion_id="_other").signed())

    assert refused(await hand_in(ada, {"SAMLResponse": solicited, "RelayState": relay_state}))
    fresh = await hand_in(browser(house), {"SAMLResponse": unsolicited, "RelayState": relay_state})
    assert fresh.headers["location"] == HOME


async def test_an_owner_links_the_identity_and_comes_in_by_it(make_house: MakeHouse) -> None:
    house = await house_of(make_house)
    owner = await signed_in(house, "somebody@example.com")
    started = await owner.post("/api/user/identities/saml", {})
    assert started.status_code == 200, started.text
    identifier, relay_state = request_in(started.json()["url"])
    linking = posted(replace(Story(), request_id=identifier, assertion_id="_link").signed())

    linked = await hand_in(owner, {"SAMLResponse": linking, "RelayState": relay_state})

    assert linked.headers["location"] == HOME
    elsewhere = browser(house)
    assert (await lied(elsewhere, Story())).headers["location"] == HOME
    assert (await elsewhere.refresh()).json()["user"]["email"] == "somebody@example.com"


async def test_a_banned_owner_stays_out(make_house: MakeHouse) -> None:
    house = await house_of(make_house)
    ada = browser(house)
    await lied(ada, Story())
    account = (await ada.refresh()).json()["user"]["id"]
    async with house.begin() as ctx:
        await bans.add(ctx, "account", account, "a test", None)

    answer = await lied(browser(house), Story(assertion_id="_later"))

    assert answer.status_code == 403
    assert not any(cookie.startswith("refreshToken=") for cookie in cookies_of(answer))


@pytest.mark.parametrize("engine", ["sqlite"])
class TestLies:
    """What the wire says of them; each by itself is in test_saml_attacks.py."""

    async def test_a_refusal_tells_the_browser_nothing_and_the_audit_why(self, make_house: MakeHouse) -> None:
        house = await house_of(make_house)

        answer = await lied(browser(house), Story(audience="https://other.example.org"))

        assert refused(answer)
        assert "saml:audience" in await reasons(house)

    async def test_an_honest_story_is_believed(self, make_house: MakeHouse) -> None:
        house = await house_of(make_house)

        assert (await lied(browser(house), Story())).headers["location"] == HOME

    async def test_hundreds_of_groups_fit(self, make_house: MakeHouse) -> None:
        """Beyond OSTIARY_MAX_BODY, which other forms must not exceed."""
        house = await house_of(make_house)
        groups = [f"cn=group-{number},ou=groups,dc=example,dc=org" for number in range(2000)]

        answer = await lied(browser(house), Story(attributes={"email": ["ada@example.org"], "groups": groups}))

        assert answer.headers["location"] == HOME

    async def test_a_body_beyond_that_is_not_read(self, make_house: MakeHouse) -> None:
        house = await house_of(make_house)

        assert (await hand_in(browser(house), {"SAMLResponse": "x" * 600_000})).status_code == 413

    async def test_someone_elses_verified_account_is_not_taken_over(self, make_house: MakeHouse) -> None:
        house = await house_of(make_house)
        owner = browser(house)
        await owner.register("ada@example.org")

        assert refused(await lied(browser(house), Story()))
        assert (await owner.login("ada@example.org")).status_code == 200

    async def test_registration_can_be_closed(self, make_house: MakeHouse) -> None:
        house = await house_of(make_house, OSTIARY_SAML_REGISTRATION="false")

        assert refused(await lied(browser(house), Story()))

    async def test_no_address_no_account(self, make_house: MakeHouse) -> None:
        house = await house_of(make_house)

        assert refused(await lied(browser(house), Story(name_id="ada", attributes={})))
        assert "no_email" in await reasons(house)

    @pytest.mark.parametrize("form", [{}, {"SAMLResponse": ""}, {"SAMLResponse": "x"}, {"SAMLart": "x"}])
    async def test_a_form_without_an_answer(self, make_house: MakeHouse, form: dict[str, str]) -> None:
        house = await house_of(make_house)
        ada = browser(house)
        _, relay_state = await begun(ada)

        assert refused(await hand_in(ada, {**form, "RelayState": relay_state}))

    async def test_an_answer_by_the_wrong_method(self, make_house: MakeHouse) -> None:
        house = await house_of(make_house)

        assert (await browser(house).get(f"{CALLBACK}?SAMLResponse=x")).status_code in {302, 405}


@pytest.mark.parametrize("engine", ["sqlite"])
class TestScreens:
    """What the client is told."""

    async def test_the_button_and_its_words(self, make_house: MakeHouse) -> None:
        house = await house_of(make_house, SAML_BUTTON_LABEL="Work account", SAML_IMAGE_URL="https://x.example/a.png")

        config = (await browser(house).get("/api/config")).json()
        page = (await browser(house).get("/login")).text

        assert ">Work account</a>" in page
        assert (config["samlLoginEnabled"], config["socialLoginEnabled"]) == (True, True)
        assert (config["samlLabel"], config["samlImageUrl"]) == ("Work account", "https://x.example/a.png")

    async def test_no_button_without_a_provider(self, make_house: MakeHouse) -> None:
        house = await make_house()

        config = (await browser(house).get("/api/config")).json()

        assert config["samlLoginEnabled"] is False
        assert "samlLabel" not in config
        assert refused(await browser(house).get("/oauth/saml"))

    async def test_metadata_is_served_to_anyone(self, make_house: MakeHouse) -> None:
        house = await house_of(make_house)

        answer = await browser(house).get("/oauth/saml/metadata")

        assert (answer.status_code, answer.headers["content-type"]) == (200, "application/samlmetadata+xml")
        assert etree.fromstring(answer.content).get("entityID") == AUDIENCE

    async def test_no_metadata_without_a_provider(self, make_house: MakeHouse) -> None:
        house = await make_house()

        assert (await browser(house).get("/oauth/saml/metadata")).status_code == 404


async def test_behind_tls_the_flow_survives_a_form_from_another_site(make_house: MakeHouse) -> None:
    house = await house_of(make_house, DOMAIN_SERVER="https://id.example.org", DOMAIN_CLIENT="https://id.example.org")

    answer = await browser(house).get("/oauth/saml")

    flow = next(cookie for cookie in cookies_of(answer) if cookie.startswith("ostiary_flow="))
    assert "; Secure" in flow
    assert "; SameSite=None" in flow
    assert "; HttpOnly" in flow
