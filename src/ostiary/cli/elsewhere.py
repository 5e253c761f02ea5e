"""Ways in elsewhere in an operator's words: whether they answer, which claims arrived last, why people were refused."""

from __future__ import annotations

from ostiary.cli.output import spoken
from ostiary.federation.flows import new_flow
from ostiary.federation.ldap import LdapDirectory
from ostiary.federation.oidc import OpenIDProvider
from ostiary.federation.providers import RedirectProvider, callback_url
from ostiary.identity.arrivals import MOST_REFUSALS, Seen
from ostiary.identity.refusals import DirectoryRefused, DirectoryUnavailable, FederationRefused
from ostiary.settings import Settings

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
    "groups_unknown": "the groups are too many for a token, and Microsoft Graph did not tell them: may our client act on behalf?",
    "no_permitted_group": "none of the person's groups is among OSTIARY_LDAP_PERMITTED_GROUPS",
    "no_stable_id": "the entry has no LDAP_ID",
    "unknown_account": "LDAP_SEARCH_FILTER found nobody, or more than one",
    "mismatch": "the password is wrong",
    "directory_unavailable": "the directory could not be asked",
    "banned": "that account is banned here: ostiary ban list",
    "domain_refused": "addresses of that domain may not register (OSTIARY_ALLOWED_DOMAINS)",
    "address_unverified": "the address must be verified first; a mail with a link is on its way",
}
OWN_DOING = frozenset({"declined", "banned", "mismatch", "unknown_account", "empty_password", "malformed", "no_flow"})


def why_refused(reason: str) -> str:
    """A private reason in plain words."""
    return WORDS.get(reason, reason)


async def asked(settings: Settings, provider: RedirectProvider) -> tuple[str, str]:
    """Where a sign-in would begin, and what is wrong with it; asks the provider what a sign-in would ask first."""
    try:
        url = await provider.start(new_flow(provider.name, callback_url(settings, provider.name)))
    except FederationRefused as refusal:
        return "", why_refused(refusal.reason)
    return url.partition("?")[0], ""


def answers(provider: RedirectProvider) -> str:
    """What may be said of a provider that has no trouble: only one with a discovery document has been asked for anything."""
    return "it answers" if isinstance(provider, OpenIDProvider) else "it is configured, and cannot be asked before a sign-in"


async def asked_directory(directory: LdapDirectory, now: int) -> str:
    """What is wrong with the directory."""
    try:
        await directory.check(now)
    except DirectoryRefused:
        return "it answers, and the search base is not there. See LDAP_USER_SEARCH_BASE"
    except DirectoryUnavailable as refusal:
        return f"it cannot be used: {refusal.reason}. See LDAP_URL"
    return ""


def arrived(seen: Seen) -> str:
    """What came with the latest sign-in that said anything, in one line."""
    if seen.claims_at is None:
        return "nobody has come by it lately"
    made = "; ".join(f"{what} from {of}" if what != "role" else f"role {of}" for what, of in seen.made.items())
    return f"claims at {spoken(seen.claims_at)}: {' '.join(seen.claims) or 'none'}" + (f" ({made})" if made else "")


def refused_since(seen: Seen) -> list[tuple[int, str]]:
    """The refusals after the last time that somebody came in, the newest first, without those that are the person's own doing."""
    later = [(at, why) for at, why in seen.refusals if seen.at is None or at > seen.at]
    return [(at, why) for at, why in later if why not in OWN_DOING][:MOST_REFUSALS]
