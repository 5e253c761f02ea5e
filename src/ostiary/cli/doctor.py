"""`ostiary doctor`: what is wrong, in plain words, and what to do about it."""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import click
import msgspec
from dotenv import dotenv_values
from redis.asyncio import Redis
from redis.exceptions import RedisError
from sqlalchemy import BigInteger, cast, func, select

from ostiary.app import GENERATED, now
from ostiary.cli import limits, queues
from ostiary.cli.config import without_password
from ostiary.cli.desk import DOCTOR_TELLS_MORE, Desk, explained, is_still_to_be_made, open_desk
from ostiary.cli.elsewhere import answers, arrived, asked, asked_directory, refused_since, why_refused
from ostiary.cli.output import Answer, TroubleError, answering, spoken
from ostiary.crypto.desks import HAS_LANES
from ostiary.federation.ldap import LdapDirectory
from ostiary.federation.providers import breached_passwords, build_federation
from ostiary.identity import accounts, arrivals, audit
from ostiary.identity.arrivals import Seen
from ostiary.identity.blocklist import Blocklist
from ostiary.identity.context import Context
from ostiary.identity.refusals import FederationRefused
from ostiary.mail.outbox import DeliveryError
from ostiary.mail.smtp import SMTPTransport
from ostiary.observability.logging import set_up
from ostiary.settings import LOOPBACK_HOSTS, Secrets, SecretStr, Settings, SettingsError
from ostiary.storage.migrate import HEAD, at_head
from ostiary.storage.statements import Query

SECOND = 1_000_000
DAY = 24 * 3600 * SECOND
MOST_CLOCK_DIFFERENCE = 5 * SECOND
LEAST_DISK = 200 * 1024 * 1024
REDIS_SECONDS = 2
ADVISED_LENGTH = 15
"""NIST SP 800-63B-4, 3.1.1.2: for a password that is the only factor."""
BREACHED = "password1"
_READABLE_BY_OTHERS = stat.S_IRWXG | stat.S_IRWXO

_POSTGRESQL_NOW: Query[int | None] = Query(int, select(cast(func.extract("epoch", func.clock_timestamp()) * SECOND, BigInteger)))


class Finding(msgspec.Struct, frozen=True):
    """One thing looked at. A `problem` makes the exit code 1."""

    about: str
    state: Literal["ok", "warning", "problem"]
    text: str


@click.command("doctor")
@answering
def doctor() -> Answer:
    """Look at settings, secrets, proxies, cookies, database, clock, mails, audit, Redis, limits, directory and providers.

    The exit code is 1 when something is wrong; a warning alone leaves it 0.
    """
    findings = asyncio.run(_examine())
    is_failure = any(finding.state == "problem" for finding in findings)
    lines = [f"{finding.state.ljust(7)}  {finding.about}: {finding.text}" for finding in findings]
    verdict = "Something is wrong: see the problems above." if is_failure else "Nothing is wrong."
    value = {"ok": not is_failure, "findings": [msgspec.structs.asdict(finding) for finding in findings]}
    return Answer(value, "\n".join([*lines, "", verdict]), is_failure)


async def _examine() -> list[Finding]:
    try:
        settings = Settings.load()
    except SettingsError as error:
        return [Finding("settings", "problem", f"{error}.")]
    set_up(settings.server.log_format, "error")
    found = [Finding("settings", "ok", "they can be used.")]
    found += [Finding("settings", "warning", f"{warning}.") for warning in settings.warnings()]
    found += [*_secrets(settings), *_proxies(settings), *_cookies(settings), _hashing(), await _passwords(settings)]
    seen: dict[str, Seen] = {}
    found += [finding async for finding in _database(settings, seen)]
    found += [await _mail(settings), *[finding async for finding in _redis(settings)]]
    found += [Finding(about, "ok", text) for about, text in await limits.described(settings)]
    found += [finding async for finding in _directory(settings, seen)]
    return [*found, *[finding async for finding in _providers(settings, seen)]]


def _hashing() -> Finding:
    if HAS_LANES:
        return Finding("hashing", "ok", "several password hashes are computed in each thread.")
    return Finding(
        "hashing", "ok", "the bcrypt package computes alone. For several times the sign-ins install gcc and set up again."
    )


async def _passwords(settings: Settings) -> Finding:
    """What a new one must be, and whether the lists are there."""
    rules = settings.passwords
    try:
        known = len(Blocklist(rules.blocklist)) if rules.refuse_common else 0
    except SettingsError as error:
        return Finding("passwords", "problem", f"{error}.")
    words = [f"{rules.min_length} characters or more, {known} known ones refused."]
    breaches = breached_passwords(settings)
    if breaches is not None:
        try:
            await breaches.holds(BREACHED)
        except FederationRefused as refusal:
            text = f"{rules.breaches_url} gives no answer ({refusal.reason}): breached passwords are taken. See OSTIARY_HIBP_URL."
            return Finding("passwords", "warning", text)
        finally:
            await breaches.close()
        words.append(f"{rules.breaches_url} answers.")
    if rules.min_length < ADVISED_LENGTH:
        words.append(f"NIST advises {ADVISED_LENGTH} where nothing else is asked: see MIN_PASSWORD_LENGTH.")
    return Finding("passwords", "ok", " ".join(words))


def _secrets(settings: Settings) -> Iterator[Finding]:
    """Files that hold secrets are their owner's alone; what is generated can be written."""
    kept = _kept(settings)
    exposed = [file for file in (kept, *_given_files()) if file.exists() and file.stat().st_mode & _READABLE_BY_OTHERS]
    yield from (Finding("secrets", "problem", f"{file} can be read by other users. Run: chmod 600 {file}") for file in exposed)
    if _lacks_secrets(settings) and not is_still_to_be_made(settings):
        text = (
            f"there is a database, and no {kept}. If accounts were made before, bring that file back before you start: with "
            "fresh secrets nobody's second factor can be read."
        )
        yield Finding("secrets", "warning", text)
    elif not exposed:
        where = f"in {kept}" if kept.exists() else "made at the first start" if _lacks_secrets(settings) else "given by settings"
        yield Finding("secrets", "ok", f"{where}. Keep a copy elsewhere: without them nobody's second factor can be read.")
    folder = settings.server.data
    nearest = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    if not os.access(nearest, os.W_OK | os.X_OK):
        yield Finding("data", "problem", f"{folder} cannot be written by this user. Change its owner, or OSTIARY_DATA.")
    elif shutil.disk_usage(nearest).free < LEAST_DISK:
        yield Finding("data", "problem", f"the disk of {folder} is almost full.")
    else:
        yield Finding("data", "ok", f"{folder} can be written.")


def _kept(settings: Settings) -> Path:
    return settings.server.data / "secrets.env"


def _lacks_secrets(settings: Settings) -> bool:
    """Whether a start would make fresh ones."""
    given = settings.secrets.given
    is_missing = any(name in GENERATED and field not in given for field, (name, *_) in Secrets.variables().items())
    return is_missing and not _kept(settings).exists()


def _given_files() -> Iterator[Path]:
    """Files in which secrets are handed over: `X_FILE`, and `.env` when a secret is in it."""
    secret = {
        name
        for group in Settings.groups().values()
        for field, names in group.variables().items()
        for name in names
        if group.kinds()[field].read is SecretStr
    }
    yield from (Path(os.environ[f"{name}_FILE"]) for name in sorted(secret) if os.environ.get(f"{name}_FILE"))
    if secret & {name for name, value in dotenv_values(".env").items() if value}:
        yield Path(".env")


def _proxies(settings: Settings) -> Iterator[Finding]:
    """Whose word is taken for the client's address, and whether passwords travel in the clear."""
    server = settings.server
    scheme, host = _scheme_and_host(server.public_server_url)
    knows_proxy = bool(server.trusted_proxies) or server.trusted_hops > 0
    if scheme == "https" and not knows_proxy:
        text = (
            "DOMAIN_SERVER is https, so a proxy stands in front, but none is named: all clients would share its address, and one "
            "ban would shut out everybody. Set TRUSTED_PROXIES to the proxy's address, such as 127.0.0.1/32."
        )
        yield Finding("proxies", "problem", text)
    elif scheme == "http" and host not in LOOPBACK_HOSTS:
        text = (
            f"{server.public_server_url} is not https: passwords cross the network in the clear. Put a TLS proxy in front, set "
            "DOMAIN_CLIENT, DOMAIN_SERVER and TRUSTED_PROXIES (docs/operating.md)."
        )
        yield Finding("proxies", "warning", text)
    elif knows_proxy:
        who = ", ".join(server.trusted_proxies) or f"{server.trusted_hops} of them"
        yield Finding("proxies", "ok", f"{who}, whose X-Forwarded-For is believed.")
    else:
        yield Finding("proxies", "ok", "none: clients connect directly.")


def _cookies(settings: Settings) -> Iterator[Finding]:
    """Secure where there is TLS, and not where there is none."""
    client, server = settings.server.public_client_url, settings.server.public_server_url
    scheme, host = _scheme_and_host(server)
    is_secure = settings.secure_cookies
    if scheme == "https" and not is_secure:
        text = "DOMAIN_SERVER is https and the cookies are not Secure. Set NODE_ENV=production or SESSION_COOKIE_SECURE=true."
        yield Finding("cookies", "problem", text)
    elif scheme == "http" and is_secure and host not in LOOPBACK_HOSTS:
        text = (
            "the cookies are Secure and DOMAIN_SERVER is http, so browsers drop them. Serve https (docs/operating.md), or set "
            "SESSION_COOKIE_SECURE=false."
        )
        yield Finding("cookies", "problem", text)
    else:
        yield Finding("cookies", "ok", f"{'Secure' if is_secure else 'not Secure'}, as {scheme} needs.")
    if _scheme_and_host(client)[0] != scheme:
        yield Finding("cookies", "warning", f"DOMAIN_CLIENT and DOMAIN_SERVER should be alike: they are {client} and {server}.")


def _scheme_and_host(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or ""


async def _database(settings: Settings, seen: dict[str, Seen]) -> AsyncIterator[Finding]:
    """There, at this version, on the same time, with an administrator, and what waits in it. Fills in who was seen."""
    url = settings.database_url
    if is_still_to_be_made(settings):
        yield Finding("database", "ok", f"{url} will be made at the first start.")
        return
    try:
        with explained(settings):
            is_current = await at_head(url)
    except TroubleError as error:
        yield Finding("database", "problem", _of_database(error, url))
        return
    if not is_current:
        yield Finding("database", "problem", f"{without_password(url)} is not at version {HEAD}. Run: ostiary migrate")
        return
    yield Finding("database", "ok", f"{without_password(url)} answers and is at version {HEAD}.")
    if _lacks_secrets(settings):
        return
    try:
        async with open_desk(settings) as desk, desk.begin() as ctx:
            there = await _time_there(desk, ctx)
            newest = await audit.latest(ctx, most=1)
            has_admin = await accounts.has_admin(ctx)
            seen.update(await arrivals.seen(ctx))
            sprayed = await audit.latest(ctx, event=audit.Event.SPRAY_SUSPECTED, since=ctx.now - DAY)
            waiting = await queues.described(ctx)
    except TroubleError as error:
        yield Finding("database", "problem", _of_database(error, url))
        return
    yield _clock(there, newest[0].at if newest else None)
    if sprayed:
        yield Finding("spraying", "warning", limits.spraying(sprayed))
    if not has_admin:
        yield Finding("accounts", "warning", "nobody is ADMIN. Run: ostiary user create ada@example.org --role ADMIN")
    for said in waiting:
        yield Finding(*said)


def _of_database(error: TroubleError, url: str) -> str:
    """The words of other commands, which send people here, and the address that was tried."""
    return f"{error.message.removesuffix(DOCTOR_TELLS_MORE)} (it is {without_password(url)})."


async def _time_there(desk: Desk, ctx: Context) -> int | None:
    """The database's clock, where it is another machine's."""
    if desk.services.database.engine != "postgresql":
        return None
    return await ctx.db.one(_POSTGRESQL_NOW)


def _clock(there: int | None, newest: int | None) -> Finding:
    """Codes, links and sessions live by this machine's clock."""
    here = now()
    difference = abs(here - there) if there is not None else 0
    if difference > MOST_CLOCK_DIFFERENCE:
        text = f"this machine and the database differ by {difference // SECOND} seconds. Set both clocks by NTP."
        return Finding("clock", "problem", text)
    if newest is not None and newest > here + MOST_CLOCK_DIFFERENCE:
        return Finding(
            "clock", "problem", f"the newest event is of {spoken(newest)} UTC, which is to come. Set the clock by NTP."
        )
    return Finding("clock", "ok", f"{spoken(here)} UTC" + (", as the database's." if there is not None else "."))


async def _mail(settings: Settings) -> Finding:
    if not settings.mail.is_configured:
        return Finding(
            "mail", "ok", f"no SMTP server is set (EMAIL_HOST): mails are files in {settings.server.data / 'mailbox'}."
        )
    transport = SMTPTransport(settings.mail)
    try:
        await transport.check()
    except DeliveryError as error:
        return Finding("mail", "problem", f"{settings.mail.host}: {error}.")
    return Finding("mail", "ok", f"{settings.mail.host} answers on port {transport.port}. ostiary mail test sends one.")


async def _providers(settings: Settings, seen: Mapping[str, Seen]) -> AsyncIterator[Finding]:
    """Each answers; which claims its latest sign-in brought; and why nobody came in since, if so."""
    federation = build_federation(settings, now)
    try:
        for name, provider in federation.redirect.items():
            _, trouble = await asked(settings, provider)
            if trouble:
                yield Finding(name, "problem", f"{trouble}. ostiary federation test {name} tells more.")
            else:
                yield _way_in(name, answers(provider), seen.get(name, Seen()))
    finally:
        await federation.close()


def _way_in(name: str, well: str, seen: Seen) -> Finding:
    if not (refused := refused_since(seen)):
        return Finding(name, "ok", f"{well}; {arrived(seen)}.")
    (at, why), many = refused[0], len(refused)
    text = f"{well}; nobody came in since it brought {many} who were refused, the last at {spoken(at)}: {why_refused(why)}"
    return Finding(name, "warning", f"{text}; {arrived(seen)}.")


async def _redis(settings: Settings) -> AsyncIterator[Finding]:
    url = settings.storage.redis_url
    if not url:
        return
    redis = Redis.from_url(url, socket_timeout=REDIS_SECONDS, socket_connect_timeout=REDIS_SECONDS)
    try:
        await redis.ping()
    except (RedisError, OSError) as error:
        why = type(error).__name__
        text = f"{without_password(url)} does not answer ({why}): until it does, each process counts for itself. See REDIS_URL."
        yield Finding("redis", "problem", text)
    else:
        yield Finding("redis", "ok", f"{without_password(url)} answers.")
    finally:
        await redis.aclose()


async def _directory(settings: Settings, seen: Mapping[str, Seen]) -> AsyncIterator[Finding]:
    if not settings.directory.is_configured:
        return
    url = settings.directory.url
    directory = LdapDirectory(settings.directory)
    try:
        trouble = await asked_directory(directory, now())
    finally:
        await directory.close()
    if trouble:
        yield Finding("directory", "problem", f"{url}: {trouble} and docs/sign-in-methods/ldap.md.")
    else:
        yield _way_in("directory", "it answers", seen.get(directory.name, Seen()))
