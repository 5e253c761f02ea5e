"""`ostiary federation …`: whether providers answer, what to register there, and why sign-ins were refused."""

from __future__ import annotations

import json

import click

from ostiary.cli.desk import Desk, on_services
from ostiary.cli.output import Answer, TroubleError, facts, moment, spoken, table
from ostiary.federation.flows import new_flow
from ostiary.federation.oidc import OpenIDProvider
from ostiary.federation.providers import RedirectProvider, callback_url
from ostiary.identity import audit
from ostiary.identity.refusals import FederationRefused

MOST_REFUSALS = 10
LOOKED_THROUGH = 1000
WORDS = {
    "provider_unreachable": "it cannot be reached: a wrong address, a closed port, or a certificate that nobody here trusts",
    "provider_slow": "it does not answer in time (OSTIARY_FEDERATION_TIMEOUT)",
    "provider_without_tls": "one of its addresses has no TLS",
    "provider_speaks_no_json": "its answer is no JSON: is that address really its own?",
    "discovery_issuer": "its discovery document names another issuer: write OPENID_ISSUER as it stands there",
    "discovery_malformed": "its discovery document lacks what it must have",
    "key_unknown": "the ID token was signed with a key that it does not publish",
    "token_audience": "the ID token was for another client: is the client id right?",
    "token_expired": "the ID token had expired: is this machine's clock right?",
    "token_issued_later": "the ID token comes from the future: is this machine's clock right?",
    "provider_status_400": "it refused the code: is the redirect address registered there exactly as shown here?",
    "provider_refused_grant": "it refused the code: is the redirect address registered there exactly as shown here?",
    "provider_status_401": "it does not know us: client id or secret are wrong",
    "apple_key_unusable": "the key cannot be read or is none (APPLE_PRIVATE_KEY_PATH, OSTIARY_APPLE_PRIVATE_KEY)",
    "declined": "the person said no there",
    "no_flow": "the browser that came back had not begun here, or took more than ten minutes",
    "state_mismatch": "the answer was not to the browser's last start",
    "no_email": "it gave no usable address: is the scope for it asked for and granted?",
    "no_registration": "nobody new may come in (ALLOW_SOCIAL_REGISTRATION, OSTIARY_OPENID_REGISTRATION)",
    "address_of_another_account": "the address has an account that comes in another way; its owner can link the two",
    "role_missing": "the role that OPENID_REQUIRED_ROLE asks for was not in the claim",
    "domain_refused": "addresses of that domain may not register (OSTIARY_ALLOWED_DOMAINS)",
    "address_unverified": "the address must be verified first; a mail with a link is on its way",
}


@click.group(name="federation")
def federation() -> None:
    """Sign-in elsewhere: ask providers, see why people were refused."""


@federation.command("test")
@click.argument("name")
@on_services
async def test(desk: Desk, name: str) -> Answer:
    """Ask the provider what a sign-in would ask first, and show its latest refusals here."""
    provider: RedirectProvider | None = desk.services.redirect_providers.get(name)
    if provider is None:
        known = ", ".join(desk.services.redirect_providers) or "none"
        raise TroubleError(f"{name} is not configured, or ALLOW_SOCIAL_LOGIN is not true. Configured: {known}.")
    callback = callback_url(desk.settings, name)
    trouble = ""
    try:
        url = await provider.start(new_flow(name, callback))
    except FederationRefused as refusal:
        url, trouble = "", WORDS.get(refusal.reason, refusal.reason)
    found = {"provider": name, "label": provider.label, "redirect address": callback, "begins at": url.partition("?")[0]}
    if isinstance(provider, OpenIDProvider) and not trouble:
        document = await provider.metadata()
        found |= {"issuer": document.issuer, "signs with": ", ".join(document.algorithms)}
    refusals = await _refusals(desk, name)
    value = {**found, "ok": not trouble, "trouble": trouble, "refusals": [{"at": at, "reason": why} for at, why, _ in refusals]}
    rows = [(spoken_at, WORDS.get(why, why)) for _, why, spoken_at in refusals]
    said = f"It cannot be used: {trouble}." if trouble else "It answers. Whether the client secret is right shows at a sign-in."
    lines = [facts(list(found.items())), "", said, "", table(("refused", "why"), rows, "Nobody was refused lately.")]
    return Answer(value, "\n".join(lines), is_failure=bool(trouble))


async def _refusals(desk: Desk, name: str) -> list[tuple[str | None, str, str]]:
    """When and why, the newest first."""
    async with desk.begin() as ctx:
        events = await audit.latest(ctx, event=audit.Event.SIGN_IN_REFUSED, most=LOOKED_THROUGH)
    mine = [event for event in events if json.loads(event.detail or "{}").get("method") == name]
    return [(moment(event.at), event.reason or "", spoken(event.at)) for event in mine[:MOST_REFUSALS]]
