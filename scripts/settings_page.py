"""Writes docs/settings.md from the settings themselves: `python scripts/settings_page.py`. A test keeps the two alike."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from ostiary.settings import Settings
from ostiary.settings.reading import Kind, SecretStr, Setting, written

PAGE = Path(__file__).parent.parent / "docs" / "settings.md"
INTRODUCTION = """# Settings

This page is made by `scripts/settings_page.py`; change the settings, then run it.

Settings come from the environment and from a `.env` file in the working directory; the environment wins, and an empty value
counts as none. A variable `X` can also be given as `X_FILE`, the path of a file that holds it, as fits secrets. Numbers may be
sums (`1000 * 60 * 15`), switches are `true` or `false`. An unknown `OSTIARY_…` name, a value that cannot be read, or a dangerous
combination stops the start with one line that names the variable and the remedy; `ostiary check-config` says the same without
starting, and `ostiary doctor` looks further. Without the prefix, a name that is one slip away from one of these (`LOGIN_MAXX`) is
warned about, and `ostiary check-config --strict` fails: other programs' variables stand in the environment too.

Where LibreChat or LibrePass has a variable for a thing, its name is honoured with its meaning; where two names stand together,
the first wins. Further OpenID providers beside the first are named: `OPENID_WORK_ISSUER`, `OPENID_WORK_CLIENT_ID` and so on, for
each of the `OPENID_…` variables below.
"""


def page() -> str:
    """The whole page."""
    parts = [INTRODUCTION]
    for group in Settings.groups().values():
        about = (group.__doc__ or "").strip().partition("\n\n")[0]
        rows = [_row(setting, group.kinds()[field]) for field, setting in group.settings().items()]
        parts.append(
            "\n".join([f"## {group.title}\n", f"{about}\n", "| variable | default | meaning |", "| --- | --- | --- |", *rows])
            + "\n"
        )
    return "\n".join(parts)


def _row(setting: Setting, kind: Kind) -> str:
    variables = ", ".join(f"`{name}`" for name in setting.names)
    return f"| {variables} | {_default(setting, kind)} | {_escaped(setting.about)} |"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")


def _default(setting: Setting, kind: Kind) -> str:
    match setting.default:
        case None | "" | SecretStr() | ():
            return "none"
        case bool() as switch:
            return f"`{str(switch).lower()}`"
        case timedelta() as duration:
            return f"`{written(duration, kind)}`"
        case tuple() as names:
            return f"`{','.join(names)}`"
        case other:
            return f"`{other}`"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
