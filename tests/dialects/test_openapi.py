"""The OpenAPI document tells the truth: whatever a client makes of it, the answers are the documented ones and never a 5xx."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance, status_code_conformance

from ostiary.app import documented
from tests.served import Served, served

pytest_plugins = ("schemathesis.pytest.plugin",)
"""Loaded here alone (pyproject.toml keeps it out): importing it costs every start of pytest a second."""
schema = schemathesis.openapi.from_dict(documented())
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("openapi"), {"LOCKOUT": "off"}) as running:
        yield running


@schema.parametrize()
@settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.function_scoped_fixture],
)
def test_no_request_made_from_the_document_gets_an_answer_that_it_does_not_name(
    case: schemathesis.Case[Any], place: Served
) -> None:
    response = case.call(base_url=place.url, allow_redirects=False)

    case.validate_response(response, checks=CHECKS)


def test_every_route_is_documented_with_its_answers(place: Served) -> None:
    paths = documented()["paths"]

    assert len(paths) > 50
    assert all(operation["responses"] for operations in paths.values() for operation in operations.values())
