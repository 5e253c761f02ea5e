"""Every refusal has a code of its own and a sentence, and every wire has an answer for it that its clients can read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from ostiary.dialects.librechat import LibreChat
from ostiary.dialects.librechat import errors as librechat_errors
from ostiary.dialects.librepass import LibrePass
from ostiary.http.calls import Call
from ostiary.http.wire import Wire
from ostiary.identity import refusals
from ostiary.identity.context import Client
from ostiary.identity.refusals import Refusal, Throttled
from ostiary.limits.store import Rule, Taken
from tests.house import House

TAKEN = Taken(Rule("login.address", 7, 300_000_000), is_allowed=False, remaining=0, reset_at=1_900_000_000_000_000, retry_after=5)
OF_THE_OTHER_WIRE: dict[str, set[type[Refusal]]] = {
    "librechat": {
        refusals.SecretWeak,
        refusals.AddressTaken,
        refusals.AddressInvalid,
        refusals.KeyRefused,
        refusals.ParametersRefused,
        refusals.RowsMismatched,
        refusals.RowRefused,
        refusals.RowLimitReached,
        refusals.RowGone,
        refusals.CollectionGone,
        refusals.CollectionRefused,
    },
    "librepass": {
        refusals.InvitationRefused,
        refusals.PasswordRefused,
        refusals.ResetClosed,
        refusals.FederationRefused,
        refusals.GroupRefused,
        refusals.DirectoryUnavailable,
        refusals.LastWayIn,
    },
}
"""What no route of this wire can raise: its general answer would do."""
BY_ROUTE: set[type[Refusal]] = {refusals.LinkRefused, refusals.CodeMissing, refusals.FactorAbsent}
"""What LibreChat's wire says differently at each route that can raise it, and nowhere in general."""
IN_WORDS_OF_ITS_OWN: set[type[Refusal]] = {refusals.PasswordRefused, Refusal}
"""PasswordRefused becomes the texts of the fields (`schemas.password_complaint`)."""


def kinds(root: type[Refusal] = Refusal) -> Iterator[type[Refusal]]:
    """The class and all below it, those of the dialects too."""
    yield root
    for below in root.__subclasses__():
        yield from kinds(below)


def of_the_core() -> list[type[Refusal]]:
    """The core's."""
    return [kind for kind in kinds() if kind.__module__ == refusals.__name__]


def made(kind: type[Refusal], reason: str = "") -> Refusal:
    """One of this kind."""
    return kind(TAKEN) if issubclass(kind, Throttled) else kind(reason)


def answered(house: House, wire: Wire, refusal: Refusal, path: str) -> tuple[int, Any, str]:
    """Status, body and content type of the wire's answer at this path."""
    scope = {"method": "POST", "path": path, "headers": [], "query_string": b""}
    response = wire.refused(Call(scope, b"", house.services, Client("127.0.0.1")), refusal)
    headers = dict(response.raw_headers)
    kind = headers[b"content-type"].decode()
    body = bytes(response.body)
    return response.status_code, msgspec.json.decode(body) if kind.startswith("application/json") else body.decode(), kind


def test_every_code_is_one_refusals_alone_within_its_module() -> None:
    for module in {kind.__module__ for kind in kinds()}:
        codes = [kind.code for kind in kinds() if kind.__module__ == module]
        assert len(codes) == len(set(codes)), module
        assert all("code" in vars(kind) for kind in kinds() if kind.__module__ == module)


def test_every_refusal_says_in_a_sentence_what_is_declined() -> None:
    for kind in kinds():
        assert kind.__doc__, kind
        assert kind.__doc__.strip().endswith("."), kind


def test_a_reason_stays_out_of_the_public_text() -> None:
    assert str(refusals.ProofRefused("unknown_account")) == "proof_refused: unknown_account"
    assert str(refusals.ProofRefused()) == "proof_refused"


@pytest.mark.parametrize("engine", ["sqlite"])
@pytest.mark.parametrize("wire", [LibreChat, LibrePass])
async def test_every_wire_answers_every_refusal_with_something_readable(house: House, wire: type[Wire]) -> None:
    chosen = wire()
    allowed = {"librechat": {"message"}, "librepass": {"error", "status", "message"}}[chosen.name]
    for path in ("/api/nowhere", *chosen.paths):
        for kind in of_the_core():
            status, body, content_type = answered(house, chosen, made(kind, "mismatch"), path)
            assert 400 <= status < 600, kind
            assert status < 500 or kind in (refusals.Busy, refusals.DirectoryUnavailable), kind
            if content_type.startswith("text/html"):
                assert body, kind
                continue
            assert set(body) <= allowed, kind
            assert body.get("message") or body.get("error"), kind
            assert body.get("status", status) == status, kind


@pytest.mark.parametrize("engine", ["sqlite"])
@pytest.mark.parametrize("wire", [LibreChat, LibrePass])
async def test_no_refusal_that_a_wire_can_raise_gets_its_general_answer(house: House, wire: type[Wire]) -> None:
    chosen = wire()
    elsewhere = OF_THE_OTHER_WIRE[chosen.name] | IN_WORDS_OF_ITS_OWN | (BY_ROUTE if wire is LibreChat else set())
    general = answered(house, chosen, Refusal(), "/api/nowhere")

    for kind in of_the_core():
        if kind in elsewhere:
            continue
        assert answered(house, chosen, made(kind, "mismatch"), "/api/nowhere") != general, kind


@pytest.mark.parametrize("engine", ["sqlite"])
async def test_each_route_that_says_it_differently_does(house: House) -> None:
    wire = LibreChat()
    for route, words in librechat_errors.TABLE_AT.items():
        path, _, query = route.partition("?")
        assert ("POST", path) in wire.exact or ("DELETE", path) in wire.exact, route
        for kind, expected in words.items():
            if query:
                continue
            status, body, _ = answered(house, wire, made(kind, "the reason"), path)
            text = body["message"] if isinstance(body, dict) else body
            assert (status, text) == (expected.status, expected.text or "the reason")


@pytest.mark.parametrize("engine", ["sqlite"])
@pytest.mark.parametrize("wire", [LibreChat, LibrePass])
async def test_no_answer_tells_why_unless_the_operator_wants_it(house: House, wire: type[Wire]) -> None:
    chosen = wire()
    for path in chosen.paths:
        found = {
            repr(answered(house, chosen, refusals.ProofRefused(reason), path))
            for reason in ("unknown_account", "mismatch", "no_password", "no_key", "changed_meanwhile")
        }
        assert len(found) == 1, path
