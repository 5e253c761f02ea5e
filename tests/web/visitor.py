"""A person at a browser without scripts: opens pages, fills the form that is there, follows where it leads."""

from __future__ import annotations

from html.parser import HTMLParser

import httpx

from tests.house import ORIGIN, House

PASSWORD = "correct horse battery"


class Shown(HTMLParser):
    """What a page shows: its title, its words, its links, and its forms with what stands in them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.title = ""
        self.words = ""
        self.links: list[str] = []
        self.forms: list[dict[str, str]] = []
        self.actions: list[str] = []
        self._tag = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self._tag = tag
        if tag == "a":
            self.links.append(given.get("href", ""))
        elif tag == "form":
            assert given.get("method") == "post"
            self.forms.append({})
            self.actions.append(given.get("action", ""))
        elif tag == "input" and self.forms and given.get("name") and (given.get("type") != "checkbox" or "checked" in given):
            self.forms[-1][given["name"]] = given.get("value", "")

    def handle_data(self, data: str) -> None:
        if self._tag == "title":
            self.title += data.strip()
        self.words += " ".join(data.split()) + " "

    def handle_endtag(self, tag: str) -> None:
        self._tag = ""


class Visitor:
    """Holds the browser and what it shows now."""

    def __init__(self, house: House, address: str = "127.0.0.1", **headers: str) -> None:
        self.client = house.client_at(address, **{"Accept": "text/html", "Accept-Language": "en", **headers})
        self.answer = httpx.Response(200)
        self.path = "/"

    async def open(self, path: str) -> Shown:
        """The page at this path, after its redirects."""
        self.answer = await self.client.get(path, follow_redirects=True)
        return self._here()

    async def send(self, form: int = -1, /, **fields: str) -> Shown:
        """Fill in the last form of the page (or another), send it as a browser does, and follow."""
        page = self.shown
        typed = {**page.forms[form], **fields}
        self.answer = await self.client.post(
            page.actions[form] or self.path, data=typed, headers={"Origin": ORIGIN, "Sec-Fetch-Site": "same-origin"}
        )
        if self.answer.is_redirect:
            self.answer = await self.client.get(self.answer.headers["location"], follow_redirects=True)
        return self._here()

    async def sign_out(self) -> Shown:
        """By the button of the account page."""
        await self.open("/account")
        return await self.send(self.shown.actions.index("/logout"))

    @property
    def shown(self) -> Shown:
        """What the page shows."""
        return Shown(self.answer.text)

    def _here(self) -> Shown:
        url = self.answer.request.url
        self.path = url.raw_path.decode()
        return self.shown


async def register(house: House, email: str = "ada@example.org", password: str = PASSWORD) -> None:
    """A password account."""
    fields = {"name": "Ada Lovelace", "email": email, "password": password, "confirm_password": password}
    assert (await house.client.post("/api/auth/register", json=fields)).status_code == 200


async def sign_in(visitor: Visitor, email: str = "ada@example.org", password: str = PASSWORD) -> Shown:
    """Through the sign-in page."""
    await visitor.open("/login")
    return await visitor.send(email=email, password=password)
