"""`ostiary federation …`: do providers answer, what to register there, which claims arrived, why sign-ins were refused."""

from __future__ import annotations

from typing import Any

import click

from ostiary.app import now
from ostiary.cli.desk import Desk, on_services
from ostiary.cli.elsewhere import answers, arrived, asked, asked_directory, why_refused
from ostiary.cli.output import Answer, TroubleError, facts, moment, spoken, table
from ostiary.federation.ldap import LdapDirectory
from ostiary.federation.oidc import OpenIDProvider
from ostiary.federation.providers import RedirectProvider, callback_url
from ostiary.identity import arrivals
from ostiary.identity.arrivals import MOST_REFUSALS, Seen


@click.group(name="federation")
def federation() -> None:
    """Sign-in elsewhere: ask providers, see which claims arrived and why people were refused."""


@federation.command("test")
@click.argument("name")
@on_services
async def test(desk: Desk, name: str) -> Answer:
    """Ask a provider (or the directory: ldap) what a sign-in would ask first; show what its latest sign-ins brought here."""
    directory = desk.services.directory
    well = "it answers"
    if isinstance(directory, LdapDirectory) and name == directory.name:
        found: dict[str, Any] = {"provider": name, "address": desk.settings.directory.url}
        trouble = await asked_directory(directory, now())
    else:
        found, trouble, well = await _provider(desk, name)
    async with desk.begin() as ctx:
        seen = (await arrivals.seen(ctx)).get(name, Seen())
    return Answer(
        _value(found, trouble, seen), _text(found, trouble or well, seen, is_well=not trouble), is_failure=bool(trouble)
    )


async def _provider(desk: Desk, name: str) -> tuple[dict[str, Any], str, str]:
    provider: RedirectProvider | None = desk.services.redirect_providers.get(name)
    if provider is None:
        known = ", ".join(desk.services.redirect_providers) or "none"
        raise TroubleError(f"{name} is not configured, or ALLOW_SOCIAL_LOGIN is not true. Configured: {known}.")
    begins_at, trouble = await asked(desk.settings, provider)
    found = {"provider": name, "label": provider.label, "redirect address": callback_url(desk.settings, name)}
    found["begins at"] = begins_at
    if isinstance(provider, OpenIDProvider) and not trouble:
        document = await provider.metadata()
        found |= {"issuer": document.issuer, "signs with": ", ".join(document.algorithms)}
    if name == "saml":
        found["our metadata"] = f"{desk.settings.server.public_server_url}/oauth/saml/metadata"
    return found, trouble, answers(provider)


def _value(found: dict[str, Any], trouble: str, seen: Seen) -> dict[str, Any]:
    refusals = [{"at": moment(at), "reason": why} for at, why in seen.refusals[:MOST_REFUSALS]]
    claims = {"at": moment(seen.claims_at), "names": seen.claims, "made": seen.made}
    return {**found, "ok": not trouble, "trouble": trouble, "claims": claims, "refusals": refusals}


def _text(found: dict[str, Any], words: str, seen: Seen, *, is_well: bool) -> str:
    said = (
        f"{words[0].upper()}{words[1:]}. Whether both sides fit shows at a sign-in."
        if is_well
        else f"It cannot be used: {words}."
    )
    rows = [(spoken(at), why_refused(why)) for at, why in seen.refusals[:MOST_REFUSALS]]
    told = arrived(seen)
    parts = [facts(list(found.items())), said, f"{told[0].upper()}{told[1:]}."]
    return "\n\n".join([*parts, table(("refused", "why"), rows, "Nobody was refused lately.")])
