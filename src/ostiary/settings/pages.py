"""Our own pages: whether they are served, and what they look like."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

from ostiary.settings.reading import Flag, Group, setting

MAX_LOGO = 256 * 1024
LOGO_TYPES = {".svg": "image/svg+xml", ".png": "image/png", ".webp": "image/webp", ".jpg": "image/jpeg"}
_COLOUR = re.compile(r"#[0-9a-fA-F]{6}")


class Pages(Group):
    """Pages for people, where DOMAIN_CLIENT and DOMAIN_SERVER are one address: ours."""

    title = "Pages"
    are_served: Flag = setting(True, "OSTIARY_PAGES", about="false serves no pages, as if DOMAIN_CLIENT were elsewhere")
    accent: str = setting("#3a5bc7", "OSTIARY_ACCENT_COLOR", about="the colour of buttons and links, such as #3a5bc7")
    logo: str = setting("", "OSTIARY_LOGO", about="path of a logo (SVG, PNG, WebP, JPEG; 256 KiB at most); else a mark of ours")
    language: Literal["en", "de"] = setting("en", "OSTIARY_LANGUAGE", about="en or de, for browsers that ask for neither")

    def complaints(self) -> Iterator[str]:
        """What cannot be used, with the remedy."""
        if not _COLOUR.fullmatch(self.accent):
            yield "OSTIARY_ACCENT_COLOR must be # and six hex digits, such as #3a5bc7"
        if self.logo and not self.logo.lower().endswith(tuple(LOGO_TYPES)):
            yield f"OSTIARY_LOGO must end in one of {', '.join(LOGO_TYPES)}"
