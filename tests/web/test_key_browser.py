"""Key accounts in a real Chromium: the script computes what the vectors say, and nothing that it must keep leaves the browser."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from playwright.async_api import Browser, Page

from tests.served import Served, served
from tests.services.browser import somebody
from tests.vectors import LIBREPASS

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

IN_RANGE = [row for row in LIBREPASS["derivation"] if row["argon2id"]["memory"] >= 20480]
CHEAPEST = min(IN_RANGE, key=lambda row: row["argon2id"]["memory"] * row["argon2id"]["iterations"])
"""Where the key is not what a test looks at."""
WORK = """([url, message]) => new Promise((resolve, reject) => {
  const worker = new Worker(url, { type: "module" });
  worker.onmessage = ({ data }) => resolve(data);
  worker.onerror = (event) => reject(new Error(event.message));
  worker.postMessage(message);
})"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server as it comes, with the local mailbox."""
    with served(tmp_path_factory.mktemp("keys")) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def tab(browser: Browser, place: Served) -> AsyncIterator[Page]:
    """The page of key accounts, under its own strict policy, in a browser that speaks English. No test here changes it."""
    async with somebody(browser, locale="en-GB") as context:
        page = await context.new_page()
        await page.goto(f"{place.url}/login/key")
        yield page


async def work(page: Page, **message: Any) -> Any:
    """What the page's own worker answers."""
    url = await page.get_attribute("form[data-key]", "data-worker")
    return await page.evaluate(WORK, [url, message])


def person(row: dict[str, Any]) -> dict[str, Any]:
    """Whose key a vector derives."""
    parameters = {name: row["argon2id"][name] for name in ("parallelism", "memory", "iterations")}
    return {"email": row["email"], "password": row["password"], "parameters": parameters}


@pytest.mark.parametrize("row", IN_RANGE, ids=[row["id"] for row in IN_RANGE])
async def test_the_worker_derives_what_every_client_derives(tab: Page, row: dict[str, Any]) -> None:
    found = await work(tab, task="prove", who=person(row), serverPublicKey=row["serverPublicKey"])

    assert found == {"done": {"publicKey": row["userPublicKey"], "sharedKey": row["sharedKey"]}}


async def test_x25519_is_that_of_the_rfc(tab: Page) -> None:
    url = str(await tab.get_attribute("form[data-key]", "data-worker")).replace("key_worker.js", "vendored/x25519.js")
    known = LIBREPASS["x25519_reference"] + LIBREPASS["x25519_noncanonical_accepted"]

    agreed = await tab.evaluate(
        """async ([url, rows]) => {
          const { x25519 } = await import(url);
          const bytes = (hex) => Uint8Array.from(hex.match(/../g), (pair) => parseInt(pair, 16));
          const hex = (found) => Array.from(found, (byte) => byte.toString(16).padStart(2, "0")).join("");
          return rows.map(({ scalar, u }) => hex(x25519.getSharedSecret(bytes(scalar), bytes(u))));
        }""",
        [url, known],
    )

    assert agreed == [row["result"] for row in known]


async def test_a_server_key_of_low_order_is_refused(tab: Page) -> None:
    url = str(await tab.get_attribute("form[data-key]", "data-worker")).replace("key_worker.js", "derivation.js")
    points = [point["publicKey"] for point in LIBREPASS["low_order_points"]]
    others = [point["publicKey"] for point in LIBREPASS["low_order_lookalikes_not_low_order"]]

    answers = await tab.evaluate(
        """async ([url, points]) => {
          const { sharedKey } = await import(url);
          const key = crypto.getRandomValues(new Uint8Array(32));
          return points.map((point) => { try { return sharedKey(key, point).length; } catch (error) { return error.message; } });
        }""",
        [url, points + others],
    )

    assert answers == ["server"] * len(points) + [64] * len(others)


async def test_a_server_cannot_talk_the_browser_into_a_key_that_is_cheap_to_guess(tab: Page) -> None:
    usual = {"parallelism": 3, "memory": 65536, "iterations": 4}
    bent: list[dict[str, Any]] = [
        {"memory": 20479},
        {"memory": 153601},
        {"memory": "65536"},
        {"parallelism": 0},
        {"parallelism": 11},
        {"iterations": 0},
        {"iterations": 11},
        {"iterations": None},
    ]

    for change in bent:
        who = {"email": "grace@example.org", "password": "correct horse", "parameters": {**usual, **change}}
        answer = await work(tab, task="prove", who=who, serverPublicKey="09" + 31 * "00")
        assert answer == {"trouble": "parameters"}, change


async def test_an_address_too_short_to_be_a_salt_is_said_to_be(tab: Page) -> None:
    who = {**person(CHEAPEST), "email": "a@b.co"}

    assert await work(tab, task="prove", who=who, serverPublicKey=CHEAPEST["serverPublicKey"]) == {"trouble": "address"}


async def test_a_vault_is_written_anew_under_the_key_of_the_new_password(tab: Page) -> None:
    before, after = CHEAPEST, next(row for row in IN_RANGE[1:] if row["argon2id"]["memory"] == 65536)
    nonce, contents = bytes(range(12)), '{"name":"ein Brief – ✉"}'.encode()
    stored = nonce + AESGCM(bytes.fromhex(before["aesKey"])).encrypt(nonce, contents, None)
    rows = [{"id": "one", "data": stored.hex()}, {"id": "two", "data": stored.hex().upper()}]

    found = await work(
        tab, task="replace", **{"from": person(before)}, to=person(after), serverPublicKey=before["serverPublicKey"], rows=rows
    )

    made = found["done"]
    assert made["oldSharedKey"] == before["sharedKey"]
    assert made["newPublicKey"] == after["userPublicKey"]
    assert [row["id"] for row in made["rows"]] == ["one", "two"]
    sealed = [bytes.fromhex(row["data"]) for row in made["rows"]]
    assert [AESGCM(bytes.fromhex(after["aesKey"])).decrypt(row[:12], row[12:], None) for row in sealed] == [contents] * 2
    assert len({row[:12] for row in (nonce + b"", *sealed)}) == 3


async def test_one_row_that_does_not_open_keeps_all_as_they_are(tab: Page) -> None:
    theirs = {"from": person(CHEAPEST), "to": person(CHEAPEST), "serverPublicKey": CHEAPEST["serverPublicKey"]}

    for data in ("00" * 40, "00", "", "zz"):
        found = await work(tab, task="replace", **theirs, rows=[{"id": "one", "data": data}])
        assert found == {"trouble": "vault"}, data


async def test_the_page_itself_makes_no_code(tab: Page) -> None:
    # The debugger's own code may do everything; what it leaves for later is held to the page's policy.
    later = """() => new Promise((resolve) => setTimeout(() => {
      try { CODE; resolve("ran"); } catch (error) { resolve(error.name); }
    }))"""
    made = {
        "eval('1')": "EvalError",
        "new Function('return 1')()": "EvalError",
        "new WebAssembly.Module(new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0]))": "CompileError",
    }

    for code, expected in made.items():
        assert await tab.evaluate(later.replace("CODE", code)) == expected


async def test_the_worker_may_compute_and_connect_to_nobody(tab: Page) -> None:
    module = str(await tab.get_attribute("form[data-key]", "data-worker"))

    answer = await tab.context.request.get(f"{tab.url.partition('/login')[0]}{module}")

    assert answer.headers["content-security-policy"] == "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'"
