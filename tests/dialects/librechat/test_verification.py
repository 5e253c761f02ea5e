"""E-mail verification (librechat-wire 6): needed where mail leaves by SMTP, and a link that a scanner cannot use up."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from ostiary.identity import accounts, audit
from tests.conftest import MakeHouse
from tests.dialects.librechat.browser import EMAIL, REGISTERED, Browser, browser, parameters_of
from tests.house import House, text_of
from tests.services.smtp import MailServer

DONE = (200, {"message": "Email verification was successful", "status": "success"})
REFUSED = (400, {"message": "Invalid or expired email verification token"})
UNVERIFIED = (422, {"message": "Email not verified."})
WEEK = 7 * 24 * 3600
SUBJECT = "Verify your email"


class Post:
    """A house whose mail goes to a real server, and that server's deliveries."""

    def __init__(self, house: House, server: MailServer) -> None:
        self.house = house
        self._server = server

    async def link(self, email: str = EMAIL) -> dict[str, str]:
        """What the newest verification mail to this address links to."""
        await self.house.jobs.dispatch()
        mail = await self._server.wait_for(email, SUBJECT)
        return parameters_of(next(word for word in text_of(mail).split() if word.startswith("http")))

    async def count(self) -> int:
        """How many mails have left."""
        await self.house.jobs.dispatch()
        return len(self._server.deliveries)


@pytest.fixture
async def post(make_house: MakeHouse) -> AsyncIterator[Post]:
    with MailServer() as server:
        settings = {"EMAIL_HOST": "127.0.0.1", "EMAIL_PORT": str(server.port), "EMAIL_ENCRYPTION": "none"}
        yield Post(await make_house(**settings, EMAIL_FROM="ostiary@example.org"), server)


async def registered(post: Post, email: str = EMAIL) -> Browser:
    someone = browser(post.house)
    assert (await someone.register(email)).json() == REGISTERED
    return someone


async def verified(post: Post, body: object) -> tuple[int, object]:
    answer = await post.house.client.post("/api/user/verify", json=body)
    return answer.status_code, answer.json()


async def test_an_unverified_address_signs_in_after_its_verification_only(post: Post) -> None:
    someone = await registered(post)
    before, wrong = await someone.login(), await someone.login(password="wrong password")

    done = await verified(post, await post.link())

    assert (before.status_code, before.json()) == UNVERIFIED
    assert (wrong.status_code, wrong.json()) == (404, {"message": "Invalid credentials"})
    assert done == DONE
    assert (await someone.login()).json()["user"]["emailVerified"] is True


async def test_the_link_leads_to_the_clients_page(make_house: MakeHouse) -> None:
    house = await make_house(DOMAIN_CLIENT="https://chat.example.org", EMAIL_VERIFICATION_REQUIRED="true")
    await browser(house).register("o'brien+tag@example.com")

    text = text_of(await house.last_mail(SUBJECT))

    assert "https://chat.example.org/verify?token=" in text
    assert "&email=o%27brien%2Btag%40example.com" in text


async def test_the_same_link_goes_on_succeeding_until_it_expires(post: Post) -> None:
    await registered(post)
    link = await post.link()

    answers = [await verified(post, link) for _ in range(3)]
    post.house.clock.advance(15 * 60)

    assert answers == [DONE] * 3
    assert await verified(post, link) == REFUSED


async def test_opening_the_link_by_get_does_nothing(post: Post) -> None:
    """A mail scanner follows links; the page behind them posts."""
    someone = await registered(post)
    link = await post.link()

    for method in ("GET", "HEAD"):
        await post.house.client.request(method, "/api/user/verify", params=link)

    assert (await someone.login()).status_code == 422
    assert await verified(post, link) == DONE


async def test_a_link_expires_after_exactly_fifteen_minutes(post: Post) -> None:
    await registered(post)
    link = await post.link()
    post.house.clock.advance(15 * 60)

    late = await verified(post, link)

    await post.house.client.post("/api/user/verify/resend", json={"email": EMAIL})
    fresh = await post.link()
    post.house.clock.advance(15 * 60 - 0.000001)
    assert (late, await verified(post, fresh)) == (REFUSED, DONE)


async def test_after_a_resend_only_the_new_link_works(post: Post) -> None:
    await registered(post)
    old = await post.link()
    answer = await post.house.client.post("/api/user/verify/resend", json={"email": EMAIL})
    new = await post.link()

    assert (answer.status_code, answer.json()) == (200, REGISTERED)
    assert await verified(post, old) == REFUSED
    assert await verified(post, new) == DONE


async def test_resending_tells_a_stranger_nothing(post: Post) -> None:
    await registered(post, "unverified@example.com")
    await registered(post, "verified@example.com")
    await verified(post, await post.link("verified@example.com"))
    before = await post.count()

    answers = [
        await post.house.client.post("/api/user/verify/resend", json={"email": email})
        for email in ("unverified@example.com", "verified@example.com", "nobody@example.com", "", None)
    ]

    assert {(answer.status_code, answer.content) for answer in answers} == {(200, answers[0].content)}
    assert await post.count() == before + 1


async def test_a_link_is_bound_to_its_account(post: Post) -> None:
    await registered(post)
    other = await registered(post, "other@example.com")
    link = await post.link()

    assert await verified(post, {**link, "email": "other@example.com"}) == REFUSED
    assert (await other.login("other@example.com")).status_code == 422


@pytest.mark.parametrize(
    "change",
    [
        {"token": ""},
        {"token": None},
        {"token": []},
        {"token": "0" * 64},
        {"token": "upper"},
        {"token": "nul\0"},
        {"email": ""},
        {"email": "nobody@example.com"},
        {"email": "%00"},
        {"email": "%"},
        {"email": "%zz%ff%fe"},
        {"email": "nul\0"},
        {"email": 5},
    ],
)
async def test_every_failure_looks_alike(post: Post, change: dict[str, object]) -> None:
    await registered(post)
    link = await post.link()
    if change == {"token": "upper"}:
        change = {"token": link["token"].upper()}

    assert await verified(post, {**link, **change}) == REFUSED


@pytest.mark.parametrize("spelling", ["U@Example.COM", "u%40example.com", "U%40EXAMPLE.com"])
async def test_the_address_is_percent_decoded_once_more(post: Post, spelling: str) -> None:
    await registered(post)
    link = await post.link()

    assert await verified(post, {**link, "email": spelling}) == DONE


async def test_an_address_that_holds_an_escape_of_its_own_is_found(post: Post) -> None:
    """A plus stays a plus, whether the client decoded it or not."""
    await registered(post, "o'brien+tag@example.com")
    link = await post.link("o'brien+tag@example.com")

    assert await verified(post, {**link, "email": "o'brien+tag@example.com"}) == DONE


async def test_the_account_may_be_named_by_its_id(post: Post) -> None:
    await registered(post)
    link = await post.link()
    async with post.house.begin() as ctx:
        account = await accounts.named(ctx, EMAIL)

    assert await verified(post, {"userId": account.id, "token": link["token"]}) == DONE


async def test_an_unverified_account_goes_after_exactly_seven_days(post: Post) -> None:
    someone = await registered(post)
    await registered(post, "verified@example.com")
    await verified(post, await post.link("verified@example.com"))
    post.house.clock.advance(WEEK)
    await post.house.jobs.sweep()
    at_the_end = await someone.login()

    post.house.clock.advance(0.000001)
    await post.house.jobs.sweep()
    async with post.house.begin() as ctx:
        # As for somebody who was verified between the sweep's look and its deletion.
        is_swept = await accounts.remove_unverified(ctx, (await accounts.named(ctx, "verified@example.com")).id)

    assert not is_swept
    assert (at_the_end.status_code, at_the_end.json()) == UNVERIFIED
    assert (await someone.login()).status_code == 404
    assert (await someone.login("verified@example.com")).status_code == 200
    async with post.house.begin() as ctx:
        assert len(await audit.latest(ctx, event=audit.Event.EXPIRED)) == 1


async def test_the_first_administrators_place_becomes_free_again(post: Post) -> None:
    """Whoever registers first on an exposed server and cannot read the mail must not keep the place."""
    await registered(post, "typo@example.com")
    post.house.clock.advance(WEEK + 1)
    await post.house.jobs.sweep()

    owner = await registered(post)
    await verified(post, await post.link())

    assert (await owner.login()).json()["user"]["role"] == "ADMIN"


async def test_an_address_that_nobody_verified_can_be_registered_by_its_owner(post: Post) -> None:
    """Squatting: whoever typed it first did not read its mail."""
    squatter = await registered(post)
    of_squatter = await post.link()
    owner = browser(post.house)
    await owner.register(password="the owner's own", confirm_password="the owner's own")
    of_owner = await post.link()

    assert await verified(post, of_squatter) == REFUSED
    assert await verified(post, of_owner) == DONE
    assert (await squatter.login()).status_code == 404
    assert (await owner.login(password="the owner's own")).json()["user"]["role"] == "ADMIN"


async def test_a_verified_owner_is_told_when_someone_registers_the_address(post: Post) -> None:
    owner = await registered(post)
    await verified(post, await post.link())

    await registered(post)

    await post.house.jobs.dispatch()
    assert await post._server.wait_for(EMAIL, "You already have an account")
    assert (await owner.login()).status_code == 200


async def test_where_unverified_addresses_may_sign_in_none_is_removed(make_house: MakeHouse) -> None:
    house = await make_house(EMAIL_HOST="127.0.0.1", EMAIL_FROM="o@example.org", ALLOW_UNVERIFIED_EMAIL_LOGIN="true")
    someone = browser(house)
    await someone.register()
    house.clock.advance(30 * 24 * 3600)
    await house.jobs.sweep()

    answer = await someone.login()

    assert answer.status_code == 200
    assert answer.json()["user"]["emailVerified"] is False


async def test_verification_can_be_required_with_the_local_mailbox(make_house: MakeHouse) -> None:
    house = await make_house(EMAIL_VERIFICATION_REQUIRED="true", REGISTER_AUTO_LOGIN="true")
    someone = browser(house)

    answer = await someone.register()

    assert answer.json() == REGISTERED
    assert (await someone.login()).status_code == 422
    link = parameters_of(next(w for w in text_of(await house.last_mail(SUBJECT)).split() if w.startswith("http")))
    assert (await house.client.post("/api/user/verify", json=link)).status_code == 200
    assert (await someone.login()).status_code == 200
