"""The servers that federation is tested against."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.federation.hostile import Provider, provider
from tests.federation.saml_forge import signer
from tests.house import Clock
from tests.services.saml import SamlIdp
from tests.services.slapd import SlapdServer


@pytest.fixture(scope="session")
def slapd() -> Iterator[SlapdServer]:
    """One real OpenLDAP for this worker's session."""
    with SlapdServer() as server:
        yield server


@pytest.fixture(scope="session")
def saml_idp() -> Iterator[SamlIdp]:
    """One SAML identity provider from npm for this worker's session."""
    with SamlIdp(signer().key_pem, signer().pem) as server:
        yield server


@pytest.fixture
async def op() -> AsyncIterator[Provider]:
    """A hostile OpenID provider; its clock stands until the test gives it the house's."""
    async with provider(Clock()) as served:
        yield served
