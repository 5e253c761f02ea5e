"""Our own pages: whether they are served, and what they look like."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

from ostiary.settings.reading import Flag, Group, Names, Whole, setting

MAX_LOGO = 256 * 1024
LOGO_TYPES = {".svg": "image/svg+xml", ".png": "image/png", ".webp": "image/webp", ".jpg": "image/jpeg"}
_COLOUR = re.compile(r"#[0-9a-fA-F]{6}")
_LIGHT = re.compile(r"#([e-fE-F][0-9a-fA-F]|[dD][c-fC-F]){3}")
"""Each part #dc or more: upon it our faintest text has the contrast of WCAG 2.2, 1.4.3, whatever the hue."""
_FONT = re.compile(r"[0-9A-Za-z][0-9A-Za-z -]{0,63}")
"""Nothing that could end a quoted name in a style sheet."""


class Pages(Group):
    """Pages for people, where DOMAIN_CLIENT and DOMAIN_SERVER are one address: ours."""

    title = "Pages"
    are_served: Flag = setting(True, "OSTIARY_PAGES", about="false serves no pages, as if DOMAIN_CLIENT were elsewhere")
    accent: str = setting("#3a5bc7", "OSTIARY_ACCENT_COLOR", about="the colour of buttons and links, such as #3a5bc7")
    ground: str = setting("#f4f5f8", "OSTIARY_GROUND_COLOR", about="the colour behind the cards by day: light, such as #f4f5f8")
    corners: Whole = setting(
        16, "OSTIARY_CORNER_RADIUS", about="how round cards are, from 0 to 32; fields and buttons follow", ge=0, le=32
    )
    fonts: Names = setting(
        (),
        "OSTIARY_FONT_FAMILY",
        about="comma list of fonts, such as Inter, sans-serif; those of the reader's machine, none is fetched",
    )
    logo: str = setting("", "OSTIARY_LOGO", about="path of a logo (SVG, PNG, WebP, JPEG; 256 KiB at most); else a mark of ours")
    language: Literal["en", "de"] = setting("en", "OSTIARY_LANGUAGE", about="en or de, for browsers that ask for neither")

    def complaints(self) -> Iterator[str]:
        """What cannot be used, with the remedy."""
        if not _COLOUR.fullmatch(self.accent):
            yield "OSTIARY_ACCENT_COLOR must be # and six hex digits, such as #3a5bc7"
        if not _LIGHT.fullmatch(self.ground):
            yield "OSTIARY_GROUND_COLOR must be light, # and six hex digits of which each pair is dc or more, such as #f4f5f8"
        if not all(_FONT.fullmatch(font) for font in self.fonts):
            yield "OSTIARY_FONT_FAMILY must be names of fonts between commas, of letters, digits, spaces and hyphens"
        if self.logo and not self.logo.lower().endswith(tuple(LOGO_TYPES)):
            yield f"OSTIARY_LOGO must end in one of {', '.join(LOGO_TYPES)}"
