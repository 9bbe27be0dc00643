"""The colours, by role; each with a tone for text on white and a tone for the dark page.

The style sheet gets them as custom properties (``--hue-blue`` and ``--hue-blue-text``), the SVG
refers to these with the light tone as fallback, so a figure that is saved on its own keeps them.
"""

from __future__ import annotations

from typing import NamedTuple


class Hue(NamedTuple):
    """One hue: marks on light, text on light, marks and text on dark."""

    mark: str
    text: str
    dark: str


#: Okabe and Ito (2008) without yellow and black, plus a grey; text tones reach 4.5:1 on white.
HUES = {
    "blue": Hue("#0072b2", "#0069a5", "#5aaee6"),
    "vermilion": Hue("#d55e00", "#b24e00", "#f58a4b"),
    "green": Hue("#009e73", "#00785a", "#35c79c"),
    "purple": Hue("#cc79a7", "#a2487d", "#e3a3c8"),
    "orange": Hue("#e69f00", "#8a6000", "#f0b440"),
    "sky": Hue("#56b4e9", "#1f74a4", "#8accf5"),
    "grey": Hue("#808080", "#6a6a6a", "#a3a3a3"),
}

#: Text, axes and guides; matplotlib draws with these, the SVG carries the page's colours instead.
INK = "#1b1b1a"
MUTED = "#6b6b68"
GRID = "#e4e4e0"

CYCLE = [HUES[hue].mark for hue in ("blue", "vermilion", "green", "purple", "orange", "sky")]

#: What a colour means, the same in every figure of every study.
COLOURS = {
    "planted_false": HUES["vermilion"].mark,
    "planted_true": HUES["blue"].mark,
    "never": HUES["grey"].mark,
    "planted": HUES["vermilion"].mark,
    "untouched": HUES["green"].mark,
    "randomised": HUES["purple"].mark,
    "reference": INK,
    "forget": HUES["vermilion"].mark,
    "retain": HUES["blue"].mark,
    "retrained": HUES["green"].mark,
    "unlearned": HUES["orange"].mark,
    "member": HUES["vermilion"].mark,
    "nonmember": HUES["grey"].mark,
    "control": HUES["grey"].mark,
}


def variables(dark: bool) -> str:
    """CSS declarations of the hues for the light or the dark page."""
    lines = []
    for name, hue in HUES.items():
        mark, text = (hue.dark, hue.dark) if dark else (hue.mark, hue.text)
        lines.append(f"--hue-{name}:{mark};--hue-{name}-text:{text};")
    return "".join(lines)


def svg_colours(text: bool) -> dict[str, str]:
    """Colour drawn by matplotlib -> colour in the page, for marks or for text."""
    chosen = {
        hue.mark: f"var(--hue-{name}{'-text' if text else ''},{hue.text if text else hue.mark})"
        for name, hue in HUES.items()
    }
    return chosen | {
        INK: "currentColor",
        MUTED: f"var(--muted,{MUTED})",
        GRID: f"var(--grid,{GRID})",
        "#000000": "currentColor",
    }
