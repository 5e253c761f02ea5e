"""Known answers, as data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

LIBREPASS: dict[str, Any] = json.loads((Path(__file__).parent / "librepass-vectors.json").read_text(encoding="utf-8"))
"""For a server that speaks LibrePass's wire: derivations, curve points, one-time codes, recorded requests of a real client."""
