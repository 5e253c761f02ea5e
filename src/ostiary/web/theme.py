"""The operator's looks. Their colour is made readable: text upon it, and it as text by day and by night (WCAG 2.2, 1.4.3)."""

from __future__ import annotations

from collections.abc import Iterable

from ostiary.settings import Pages as PageSettings

LIGHT, DARK = "#ffffff", "#191c22"
"""What cards are made of; the style sheet has the same. By night the ground around them is darker still."""
ENOUGH = 4.6
"""A little over the 4.5 that WCAG asks for."""
GENERIC = frozenset({"serif", "sans-serif", "monospace", "system-ui", "ui-serif", "ui-sans-serif", "ui-monospace", "ui-rounded"})
"""Fonts whose names stand without quotes (CSS Fonts 4, 2.1.2)."""
FONTS = 'ui-sans-serif,system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans","Helvetica Neue",Arial,sans-serif'
_STEPS = 40


def style(settings: PageSettings) -> str:
    """The style sheet that says what the settings are."""
    accent, ground = settings.accent, settings.ground
    on_accent = LIGHT if contrast(accent, LIGHT) >= ENOUGH else readable(DARK, accent)
    # Links stand on the ground and on cards: by day the ground is the darker of the two, by night cards are the lighter.
    return (
        f":root{{--accent:{accent};--on-accent:{on_accent};--link:{readable(accent, ground)};--ground:{ground};"
        f"--corner:{settings.corners / 16}rem;--font:{_family(settings.fonts) or FONTS}}}"
        f"@media (prefers-color-scheme:dark){{:root{{--link:{readable(accent, DARK)}}}}}"
    )


def _family(fonts: Iterable[str]) -> str:
    return ",".join(font if font in GENERIC else f'"{font}"' for font in fonts)


def readable(colour: str, ground: str) -> str:
    """The colour, as much lighter or darker as it must be to be read on that ground."""
    goal = (0, 0, 0) if _luminance(_parts(ground)) > 0.18 else (255, 255, 255)  # noqa: PLR2004 - half way, as eyes see it
    parts = _parts(colour)
    for step in range(_STEPS + 1):
        mixed = tuple(round(part + (end - part) * step / _STEPS) for part, end in zip(parts, goal, strict=True))
        found = "#{:02x}{:02x}{:02x}".format(*mixed)
        if contrast(found, ground) >= ENOUGH:
            return found
    return "#{:02x}{:02x}{:02x}".format(*goal)


def contrast(one: str, other: str) -> float:
    """From 1, the same, to 21, black on white (WCAG 2.2, "contrast ratio")."""
    lighter, darker = sorted((_luminance(_parts(one)), _luminance(_parts(other))), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def _parts(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def _luminance(parts: tuple[int, int, int]) -> float:
    red, green, blue = ((part / 255 / 12.92) if part <= 10 else ((part / 255 + 0.055) / 1.055) ** 2.4 for part in parts)  # noqa: PLR2004
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
