"""The command line: what an operator asks and orders. Each group of commands is loaded when it is called, and not before."""

from __future__ import annotations

import gc
import importlib
import json
import sys
from collections.abc import Sequence
from typing import Any, ClassVar, NoReturn

import click

from ostiary import __version__


class LazyGroup(click.Group):
    """A group whose commands are named by module and loaded on demand, so that none pays for the imports of the others."""

    commands_at: ClassVar[dict[str, tuple[str, str]]] = {}
    """Command → where it is (`module:attribute`), and its line in the list of commands."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """In the order in which they are documented."""
        return list(self.commands_at)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        """Load one."""
        if cmd_name not in self.commands_at:
            return None
        module, _, attribute = self.commands_at[cmd_name][0].partition(":")
        if module not in sys.modules:
            _load(module)
        command: click.Command = getattr(sys.modules[module], attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands, without loading any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, self.commands_at[name][1]) for name in self.list_commands(ctx)])


def _load(module: str) -> None:
    """Import it unwatched: what modules make lives as long as the process.

    To look through it for garbage, meanwhile and once afterwards, takes a quarter of a start, and finds next to nothing.
    """
    gc.disable()
    try:
        importlib.import_module(module)
    finally:
        gc.freeze()
        gc.enable()


class Ostiary(LazyGroup):
    """The whole tree, and what it says when something goes wrong."""

    commands_at: ClassVar[dict[str, tuple[str, str]]] = {
        "serve": ("ostiary.cli.serve:serve", "Serve both wires."),
        "check-config": ("ostiary.cli.config:check_config", "Read and check the settings, and change nothing."),
        "migrate": ("ostiary.cli.database:migrate_database", "Bring the database to this version's tables."),
        "doctor": ("ostiary.cli.doctor:doctor", "Look for what is wrong, and say what to do about it."),
        "user": ("ostiary.cli.accounts:user", "Accounts: create, look at, change, end."),
        "invite": ("ostiary.cli.invitations:invite", "Invitations: links that let one address register."),
        "ban": ("ostiary.cli.bans:ban", "Bans: shut out accounts and network addresses."),
        "keys": ("ostiary.cli.keys:keys", "Keys: put fresh ones in place while the server runs."),
        "mail": ("ostiary.cli.mail:mail", "Mail: send a test, look at what waits."),
        "federation": ("ostiary.cli.federation:federation", "Sign-in elsewhere: ask providers, see why people were refused."),
        "audit": ("ostiary.cli.audit:audit_log", "The audit: who did what, and what was refused."),
        "import": ("ostiary.cli.imports:import_accounts", "Move accounts in from another server."),
    }

    def main(self, args: Sequence[str] | None = None, **extra: Any) -> Any:  # type: ignore[override]  # noqa: ANN401 - click's
        """Run and leave the process: 0, 1 when it failed, 2 when it was called wrongly.

        With `--json` a failure, too, is one JSON value on standard output; the words are on standard error in any case.
        """
        given = sys.argv[1:] if args is None else list(args)
        try:
            code = super().main(given, **{**extra, "standalone_mode": False})
        except click.Abort:
            _fail("Stopped.", given)
        except click.ClickException as error:
            error.show()
            _fail("", given, error)
        sys.exit(code if isinstance(code, int) else 0)


def _fail(words: str, given: list[str], error: click.ClickException | None = None) -> NoReturn:
    if words:
        click.echo(words, err=True)
    if "--json" in given:
        click.echo(json.dumps({"error": words or (error.format_message() if error else "")}))
    sys.exit(error.exit_code if error else 1)


@click.group(
    name="ostiary",
    cls=Ostiary,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Every command takes --json, and --help. The settings come from the environment and from .env in this folder.",
)
@click.version_option(__version__, "--version", message="%(prog)s %(version)s")
def ostiary() -> None:
    """Ostiary, the doorkeeper: an authentication server that speaks LibreChat's and LibrePass's wires."""
