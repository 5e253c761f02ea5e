"""What holds for every command."""

from __future__ import annotations

import json
import os
import pty
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import click
import pytest

from ostiary import __version__
from ostiary.cli import LazyGroup, ostiary
from tests.cli.conftest import PASSWORD, Operator
from tests.cli.test_serve import environment

CONTRACT = {
    "serve", "check-config", "migrate", "doctor", "user create", "user list", "user show", "user delete", "user set-password",
    "user set-role", "user reset-2fa", "user unlock", "user sessions", "user logout", "user reset-link", "invite create",
    "invite list", "invite revoke", "ban add", "ban list", "ban lift", "mail test", "mail list", "mail retry", "audit tail",
    "audit list", "import librechat", "import librepass",
}  # fmt: skip


def commands(group: click.Group = ostiary, prefix: str = "") -> Iterator[tuple[str, click.Command]]:
    """Every command that does something, by the words that call it."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, f"{prefix}{name} ")
        else:
            yield f"{prefix}{name}", command


def test_the_commands_of_the_contract_are_there() -> None:
    assert {name for name, _ in commands()} >= CONTRACT


@pytest.mark.parametrize(("name", "command"), list(commands()))
def test_every_command_has_json_and_says_what_it_does(name: str, command: click.Command) -> None:
    assert "--json" in {option for parameter in command.params for option in parameter.opts}
    assert command.help
    assert not {"--password", "--secret"} & {option for parameter in command.params for option in parameter.opts}


def test_the_list_of_commands_says_what_each_says_of_itself() -> None:
    assert isinstance(ostiary, LazyGroup)
    for name, (_, line) in ostiary.commands_at.items():
        command = ostiary.get_command(click.Context(ostiary), name)
        assert command is not None
        assert command.name == name
        assert line.endswith(".")


def test_the_list_of_commands_is_shown_without_loading_them() -> None:
    program = "import sys; from ostiary.cli import ostiary; ostiary.main(['--help'], standalone_mode=False)"
    loaded = f"import atexit, sys; atexit.register(lambda: print('sqlalchemy' in sys.modules, file=sys.stderr)); {program}"

    done = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)

    assert "Move accounts in" in done.stdout
    assert done.stderr.strip() == "False"


def test_a_wrong_call_fails_with_two_and_one_json_value(operator: Operator) -> None:
    assert "No such command 'usr'" in operator.complaint("usr", code=2)
    assert "Missing argument 'ACCOUNT'" in operator.complaint("user", "show", code=2)
    assert operator.run("user").exit_code == 2


def test_the_version_is_told(operator: Operator) -> None:
    assert operator.text("--version") == f"ostiary {__version__}\n"


def test_settings_are_read_from_the_folder_and_the_environment_wins(operator: Operator, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("APP_TITLE=From the file\nPORT=4000\n")

    shown = operator.json("check-config", PORT="5000")["settings"]

    assert (shown["APP_TITLE"], shown["PORT"]) == ("From the file", 5000)


def test_a_database_that_does_not_answer_is_said_in_plain_words(operator: Operator) -> None:
    complaint = operator.complaint("user", "list", DATABASE_URL="postgresql://postgres@127.0.0.1:1/x")

    assert complaint.startswith("PostgreSQL cannot be used: nobody listens there.")


def test_a_folder_that_cannot_be_written_is_said_in_plain_words(operator: Operator, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")

    complaint = operator.complaint("user", "list", OSTIARY_DATA=str(tmp_path / "file" / "data"), DATABASE_URL="")

    assert "cannot be written" in complaint


def test_migrating_twice_changes_nothing_the_second_time(operator: Operator, tmp_path: Path) -> None:
    fresh = {"DATABASE_URL": f"sqlite:///{tmp_path / 'fresh.db'}"}

    assert [operator.json("migrate", **fresh)["migrated"] for _ in range(2)] == [True, False]


def test_a_database_of_a_newer_version_is_left_alone(operator: Operator, tmp_path: Path) -> None:
    file = tmp_path / "newer.db"
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("CREATE TABLE alembic_version (version_num TEXT)")
        connection.execute("INSERT INTO alembic_version VALUES ('9999')")

    for words in (("migrate",), ("user", "list")):
        assert "made by a newer version" in operator.complaint(*words, DATABASE_URL=f"sqlite:///{file}")


def test_it_runs_as_a_module_and_by_its_name(tmp_path: Path) -> None:
    for command in ([sys.executable, "-m", "ostiary"], [sys.executable, "-c", "from ostiary.__main__ import main; main()"]):
        done = subprocess.run(
            [*command, "user", "list", "--json"], cwd=tmp_path, env=environment(), capture_output=True, text=True, check=True
        )
        assert json.loads(done.stdout) == []


def at_a_terminal(operator: Operator, words: list[str], *talk: tuple[str, str]) -> tuple[int, str, str]:
    """Run a command whose standard input is a terminal, and answer each question once it is asked.

    The exit code, and what was said on both outputs.
    """
    settings = {name: value for name, value in operator.environment.items() if value is not None}
    leader, follower = pty.openpty()
    # In a session of its own, so that it asks this terminal and not the one where the tests were started.
    process = subprocess.Popen(
        [sys.executable, "-m", "ostiary", *words],
        cwd=operator.folder,
        env=environment(**settings),
        stdin=follower,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    os.close(follower)
    assert process.stderr is not None
    asked = b""
    for question, reply in talk:
        while question.encode() not in asked:
            more = os.read(process.stderr.fileno(), 1024)
            assert more, asked
            asked += more
        os.write(leader, reply.encode())
    said, rest = process.communicate(timeout=60)
    os.close(leader)
    return process.returncode, said.decode(), (asked + rest).decode()


@pytest.mark.parametrize(("reply", "is_deleted"), [("n\n", False), ("y\n", True)])
def test_at_a_terminal_it_asks_before_it_destroys(operator: Operator, reply: str, is_deleted: bool) -> None:
    operator.json("user", "create", "ada@example.org")

    code, _, asked = at_a_terminal(operator, ["user", "delete", "ada@example.org"], ("[y/N]: ", reply))

    assert "Delete ada@example.org" in asked
    assert code == (0 if is_deleted else 1)
    assert (operator.json("user", "list") == []) is is_deleted


def test_at_a_terminal_it_does_not_ask_when_told_so(operator: Operator) -> None:
    operator.json("user", "create", "ada@example.org")

    code, _, asked = at_a_terminal(operator, ["user", "delete", "ada@example.org", "--yes"])

    assert (code, asked) == (0, "")


def test_at_a_terminal_a_password_is_asked_for_twice_and_not_shown(operator: Operator) -> None:
    words = ["user", "create", "ada@example.org", "--json"]
    # What is typed before the terminal stopped echoing is thrown away; the blank comes after that.
    talk = ("make one up): ", f"{PASSWORD}\n"), ("confirmation: ", f"{PASSWORD}\n")

    code, said, asked = at_a_terminal(operator, words, *talk)

    assert code == 0, asked
    assert "horse" not in said + asked
    assert "password" not in json.loads(said)
