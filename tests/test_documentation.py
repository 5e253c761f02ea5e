"""What the documents say is there, is there; and what is there, they say."""

from __future__ import annotations

import importlib.util
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import click
import pytest

from ostiary.cli import ostiary
from ostiary.identity.audit import WARNINGS, Event
from ostiary.settings import Settings
from ostiary.settings.providers import OpenID

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "SECURITY.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
OURS = re.compile(
    r"\b(?:OSTIARY|EMAIL|OPENID|SAML|LDAP|MAIL_SMTP|ALLOW|GOOGLE|FACEBOOK|GITHUB|DISCORD|APPLE)_[A-Z0-9_]*[A-Z0-9]\b"
)
WAYS_IN = ("federation", "google", "facebook", "github", "discord", "apple", "openid", "saml", "directory")
PLACEHOLDERS = {"OPENID_WORK_ISSUER", "OPENID_WORK_CLIENT_ID", "OPENID_WORK_CLIENT_SECRET"}


def commands(group: click.Group = ostiary, prefix: str = "ostiary") -> Iterator[tuple[str, click.Command]]:
    """Every command that does something."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, f"{prefix} {name}")
        else:
            yield f"{prefix} {name}", command


COMMANDS = dict(commands())


def load(script: str) -> ModuleType:
    """A program of scripts/, as a module."""
    spec = importlib.util.spec_from_file_location(script, ROOT / "scripts" / f"{script}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def shell_lines(page: Path) -> Iterator[str]:
    """The lines of a page's shell blocks, continued ones joined."""
    for block in re.findall(r"```sh\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
        yield from block.replace("\\\n", " ").splitlines()


def test_the_page_of_settings_is_what_the_settings_say() -> None:
    page = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")

    assert page == load("settings_page").page(), "run: python scripts/settings_page.py"
    for group in Settings.groups().values():
        for names in group.variables().values():
            assert all(f"`{name}`" in page for name in names)


def test_the_page_of_events_has_every_event_and_says_which_are_warnings() -> None:
    page = (ROOT / "docs" / "events.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `([a-z_:]+)` \| .+ \| ([a-z, ]*)\|$", page, re.MULTILINE)

    assert sorted(event for event, _ in listed) == sorted(Event)
    assert {event for event, mark in listed if "warning" in mark} == WARNINGS


def test_the_page_on_operating_has_every_command_and_no_other() -> None:
    page = (ROOT / "docs" / "operating.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `(ostiary [a-z0-9 -]+)` \|", page, re.MULTILINE)

    assert sorted(listed) == sorted(COMMANDS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_commands_of_a_page_exist_with_their_options(page: Path) -> None:
    for line in shell_lines(page):
        words = shlex.split(line.partition(" | jq")[0].rpartition(" | ")[2], comments=True)
        if not words or words[0] != "ostiary":
            continue
        name = next((name for name in COMMANDS if line_begins_with(words, name)), None)
        assert name is not None, line
        known = {option for parameter in COMMANDS[name].params for option in parameter.opts}
        assert {word.partition("=")[0] for word in words if word.startswith("--")} <= known, line


def line_begins_with(words: list[str], name: str) -> bool:
    return words[: len(name.split())] == name.split()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_commands_that_a_page_names_in_passing_exist(page: Path) -> None:
    groups = {name.rpartition(" ")[0] for name in COMMANDS}
    for named in re.findall(r"`ostiary ([a-z][a-z0-9 -]*)", page.read_text(encoding="utf-8")):
        words = ["ostiary", *named.split()]
        is_known = any(line_begins_with(words, name) for name in COMMANDS)
        assert is_known or " ".join(words) in groups, f"ostiary {named}"


@pytest.mark.parametrize("page", [*PAGES, ROOT / "Makefile"], ids=lambda page: str(page.relative_to(ROOT)))
def test_the_variables_that_a_page_names_are_settings(page: Path) -> None:
    known = {name for group in Settings.groups().values() for names in group.variables().values() for name in names}
    known |= {f"{name}_FILE" for name in known} | PLACEHOLDERS

    named = set(OURS.findall(page.read_text(encoding="utf-8")))

    assert named - known - {OpenID.prefix.rstrip("_")} == set()


@pytest.mark.parametrize("group", WAYS_IN)
def test_every_variable_of_a_way_in_is_on_the_pages_about_them(group: str) -> None:
    pages = [ROOT / "docs" / "sign-in-methods.md", *sorted((ROOT / "docs" / "sign-in-methods").glob("*.md"))]
    told = "\n".join(page.read_text(encoding="utf-8") for page in pages)

    variables = [name for names in Settings.groups()[group].variables().values() for name in names]

    assert [name for name in variables if not re.search(rf"\b{name}(?:_FILE)?\b", told)] == []


def test_the_make_targets_that_the_readme_names_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))

    for page in PAGES:
        assert set(re.findall(r"^make ([a-z]+)", page.read_text(encoding="utf-8"), re.MULTILINE)) <= targets


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_links_of_a_page_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), target
