"""A plot as SVG: panels side by side, requests a second on one logarithmic scale."""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape

COLOURS = ("#1b6ca8", "#2a9d5c", "#c77d0a", "#b3343c")
DASHES = ("", ' stroke-dasharray="6 4"')
WIDTH, HEIGHT, MARGIN, GAP = 300, 260, 60, 30


@dataclass(frozen=True, slots=True)
class Line:
    """One operation on one engine."""

    name: str
    engine: str
    points: list[tuple[int, float]]


@dataclass(frozen=True, slots=True)
class Panel:
    """What one thing that grows does to all of them."""

    title: str
    lines: list[Line]


def drawn(panels: list[Panel]) -> str:
    """The picture."""
    rates = [rate for panel in panels for line in panel.lines for _, rate in line.points if rate > 0] or [1.0]
    low, high = math.floor(math.log10(min(rates))), math.ceil(math.log10(max(rates) * 1.01))
    names = list(dict.fromkeys(line.name for panel in panels for line in panel.lines))
    engines = list(dict.fromkeys(line.engine for panel in panels for line in panel.lines))
    width = MARGIN + len(panels) * (WIDTH + GAP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {HEIGHT + 130}" font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{HEIGHT + 130}" fill="#ffffff"/>',
    ]

    def y(rate: float) -> float:
        return 20 + HEIGHT * (1 - (math.log10(max(rate, 10.0**low)) - low) / max(1, high - low))

    for power in range(low, high + 1):
        at = y(10.0**power)
        parts.append(f'<line x1="{MARGIN}" x2="{width - GAP}" y1="{at:.0f}" y2="{at:.0f}" stroke="#dddddd"/>')
        parts.append(f'<text x="{MARGIN - 6}" y="{at + 4:.0f}" text-anchor="end">{10**power:,.0f}/s</text>')
    for index, panel in enumerate(panels):
        left = MARGIN + index * (WIDTH + GAP)
        places = sorted({place for line in panel.lines for place, _ in line.points})
        step = WIDTH / max(1, len(places))
        x = {place: left + step * (number + 0.5) for number, place in enumerate(places)}
        parts.append(f'<text x="{left + WIDTH / 2:.0f}" y="{HEIGHT + 60}" text-anchor="middle">{escape(panel.title)}</text>')
        parts += [f'<text x="{x[place]:.0f}" y="{HEIGHT + 40}" text-anchor="middle">{place:,}</text>' for place in places]
        for line in panel.lines:
            style = f'stroke="{COLOURS[names.index(line.name) % 4]}"{DASHES[engines.index(line.engine) % 2]}'
            corners = " ".join(f"{x[place]:.1f},{y(rate):.1f}" for place, rate in line.points)
            parts.append(f'<polyline points="{corners}" fill="none" stroke-width="2" {style}/>')
            parts += [
                f'<circle cx="{x[place]:.1f}" cy="{y(rate):.1f}" r="3" fill="{COLOURS[names.index(line.name) % 4]}"/>'
                for place, rate in line.points
            ]
    for number, name in enumerate(names):
        at = MARGIN + number * 150
        parts.append(f'<rect x="{at}" y="{HEIGHT + 78}" width="20" height="4" fill="{COLOURS[number % 4]}"/>')
        parts.append(f'<text x="{at + 26}" y="{HEIGHT + 86}">{escape(name)}</text>')
    for number, engine in enumerate(engines):
        at = MARGIN + number * 150
        parts.append(
            f'<line x1="{at}" x2="{at + 20}" y1="{HEIGHT + 108}" y2="{HEIGHT + 108}"'
            f' stroke="#333333" stroke-width="2"{DASHES[number % 2]}/>'
        )
        parts.append(f'<text x="{at + 26}" y="{HEIGHT + 112}">{escape(engine)}</text>')
    return "\n".join([*parts, "</svg>", ""])
