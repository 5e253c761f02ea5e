"""The desk at which commands work: the settings, the services, and plain words for what may go wrong."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy.exc import SQLAlchemyError

from ostiary.app import open_services
from ostiary.cli.output import Answer, TroubleError, answering, note
from ostiary.identity import refusals
from ostiary.identity.context import Client, Context, Services, begin
from ostiary.identity.refusals import Refusal
from ostiary.observability.logging import set_up
from ostiary.settings import Settings, SettingsError
from ostiary.storage.trouble import ForeignTablesError, UnavailableError, UnstorableError

WORDS: dict[type[Refusal], str] = {
    refusals.AccountGone: "There is no such account. `ostiary user list` shows all; accounts are named by e-mail or id.",
    refusals.AddressTaken: "That address has an account already.",
    refusals.AddressInvalid: "That is neither an e-mail, an id, nor a network address such as 203.0.113.7.",
    refusals.DomainRefused: "Addresses of that domain may not have accounts here: see OSTIARY_ALLOWED_DOMAINS.",
    refusals.Busy: "Too many passwords are being hashed. Try again.",
    refusals.FactorAbsent: "That account has no password of its own here: it signs in with a key or through a provider.",
}
PASSWORD_RULES = {
    "short": "The password is too short: MIN_PASSWORD_LENGTH is {least}.",
    "long": "The password is too long: 128 characters at most.",
    "blank": "The password is nothing but blanks.",
    "nul": "The password holds a NUL character.",
    "common": "The password is too common: it is among the first that others would try.",
    "breached": "The password is known from a data breach (OSTIARY_HIBP_URL).",
    "own_words": "The password is made of the owner's or this server's own names.",
}
DOCTOR_TELLS_MORE = "; `ostiary doctor` tells more."
DATABASE_TROUBLE = {
    "ConnectionRefusedError": "nobody listens there",
    "OSError": "nobody listens there",
    "gaierror": "its host name is unknown",
    "TimeoutError": "it does not answer in time",
    "InvalidPasswordError": "it refuses the user or the password",
    "InvalidAuthorizationSpecificationError": "it refuses the user",
    "InvalidCatalogNameError": "it has no database of that name",
    "InsufficientPrivilegeError": "the user may not do this there",
}


class Desk(msgspec.Struct, frozen=True):
    """What a command works with."""

    services: Services

    @property
    def settings(self) -> Settings:
        """The settings."""
        return self.services.settings

    def begin(self) -> Context:
        """One unit of work, audited as the command line's."""
        return begin(self.services, Client("", f"command line, uid {os.getuid()}"))


def on_services(body: Callable[..., Awaitable[Answer]]) -> Callable[..., None]:
    """A command whose coroutine takes the desk first. Gives it `--json`, opens the services, explains what goes wrong."""

    @functools.wraps(body)
    def run(**arguments: Any) -> Answer:  # noqa: ANN401 - the command's own
        return asyncio.run(_run(body, arguments))

    return answering(run)


def load_settings() -> Settings:
    """The settings of this folder and environment; logs of commands are errors alone. Raises TroubleError."""
    with explained():
        settings = Settings.load()
    set_up(settings.server.log_format, "error")
    return settings


@contextlib.asynccontextmanager
async def open_desk(settings: Settings) -> AsyncIterator[Desk]:
    """Open the services. Raises TroubleError."""
    if is_still_to_be_made(settings):
        note(f"There was no database at {settings.database_url}: making it. (Elsewhere? See OSTIARY_DATA and DATABASE_URL.)")
    async with contextlib.AsyncExitStack() as stack:
        with explained(settings):
            services = await stack.enter_async_context(open_services(settings))
        yield Desk(services)


def is_still_to_be_made(settings: Settings) -> bool:
    """Whether the embedded database does not exist yet."""
    url = settings.database_url
    return url.startswith("sqlite") and not Path(url.removeprefix("sqlite:///")).exists()


@contextlib.contextmanager
def explained(settings: Settings | None = None) -> Iterator[None]:
    """Turn what can be expected to go wrong into a TroubleError that says what to do."""
    try:
        yield
    except SettingsError as error:
        raise TroubleError(str(error)) from error
    except Refusal as refusal:
        raise TroubleError(words_for(refusal, settings)) from refusal
    except UnstorableError as error:
        raise TroubleError("Something given holds characters that the database cannot keep, such as NUL.") from error
    except ForeignTablesError as error:
        text = "The database's tables were made by a newer version, or by another program. Use that one, or look at DATABASE_URL."
        raise TroubleError(text) from error
    except UnavailableError as error:
        raise TroubleError(_database_words(str(error), settings)) from error
    except (SQLAlchemyError, sqlite3.Error) as error:
        cause = getattr(error, "orig", None) or error
        raise TroubleError(_database_words(str(cause).partition("\n")[0] or type(cause).__name__, settings)) from error
    except PermissionError as error:
        raise TroubleError(
            f"{error.filename} may not be read or written by this user. Change its mode, or OSTIARY_DATA."
        ) from error
    except OSError as error:
        raise TroubleError(f"{error.filename or 'The operating system'}: {error.strerror or error}.") from error


def words_for(refusal: Refusal, settings: Settings | None = None) -> str:
    """A refusal in an operator's words."""
    if isinstance(refusal, refusals.PasswordRefused):
        least = settings.passwords.min_length if settings else "set"
        rule = PASSWORD_RULES.get(refusal.reason, "The password breaks a rule.").format(least=least)
        return f"{rule} {refusal.advice}".rstrip()
    found = next((WORDS[kind] for kind in type(refusal).__mro__ if kind in WORDS), None)
    return found or f"Refused: {(type(refusal).__doc__ or refusal.code).partition(chr(10))[0]} ({refusal.reason or refusal.code})"


def _database_words(what: str, settings: Settings | None) -> str:
    kind = "PostgreSQL" if settings and not settings.database_url.startswith("sqlite") else "The database"
    return f"{kind} cannot be used: {DATABASE_TROUBLE.get(what, what)}. Look at DATABASE_URL{DOCTOR_TELLS_MORE}"


async def _run(body: Callable[..., Awaitable[Answer]], arguments: dict[str, Any]) -> Answer:
    settings = load_settings()
    async with open_desk(settings) as desk:
        with explained(settings):
            return await body(desk, **arguments)
