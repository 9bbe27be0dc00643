"""Heat maps whose cells say their numbers, readable on the light page and on the dark one."""

from __future__ import annotations

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes

from palimpsest.reports.palette import INK

#: Text on a cell. A cell keeps its colour on the dark page and so must its text: neither of the two
#: is a colour that the page replaces, and the better of them reaches 4.5:1 on every colour.
ON_LIGHT, ON_DARK = "#040404", "#ffffff"


def luminance(colour: tuple[float, ...]) -> float:
    """Relative luminance (WCAG 2.2) of red, green and blue, each 0 to 1."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour[:3]]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def text_colour(cell: tuple[float, ...]) -> str:
    """The one of :data:`ON_LIGHT` and :data:`ON_DARK` that contrasts more with a cell's colour."""
    # Where both contrast alike: 1.05 / (L + 0.05) = (L + 0.05) / (0.0012 + 0.05).
    return ON_LIGHT if luminance(cell) > 0.182 else ON_DARK


def heat_map(
    ax: Axes,
    values: np.ndarray,
    lows: np.ndarray,
    highs: np.ndarray,
    *,
    colours: str,
    ends: tuple[float, float],
    percent: bool = False,
    absent: str = "",
) -> None:
    """Cells in colour, each with its number and below it the ends of its interval.

    Args:
        ax: to draw on.
        values: (rows, columns); nan is not drawn.
        lows: ends of the intervals, of the same shape; nan leaves the interval out.
        highs: the other ends.
        colours: name of a colour map.
        ends: values of its first and its last colour; what lies beyond takes these.
        percent: 0.25 is written 25, else 0.25.
        absent: what a cell without a number says.
    """
    scale = np.clip((np.clip(values, *ends) - ends[0]) / (ends[1] - ends[0]), 0, 1)
    shades = colormaps[colours](scale)
    shades[~np.isfinite(values), 3] = 0.0
    ax.imshow(shades, aspect="auto", interpolation="nearest")
    for (y, x), value in np.ndenumerate(values):
        if not np.isfinite(value):
            ax.text(x, y, absent, ha="center", va="center", fontsize=5, color=INK)
            continue
        colour, low, high = text_colour(shades[y, x]), lows[y, x], highs[y, x]
        known = bool(np.isfinite(low) and np.isfinite(high))
        ax.text(x, y - 0.16 * known, _written(value, percent), ha="center", va="center",
                fontsize=6.5, color=colour)  # fmt: skip
        if known:
            interval = f"{_written(low, percent)} to {_written(high, percent)}"
            ax.text(x, y + 0.24, interval, ha="center", va="center", fontsize=5, color=colour)
    ax.grid(visible=False)


def grids(
    rows: list[dict], at: tuple[str, str], places: tuple[list[str], list[str]]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Estimates, lower and upper ends as arrays (rows, columns); nan where there is none.

    Args:
        rows: with ``estimate``, ``low`` and ``high``.
        at: the keys that say in which row and in which column of the map one stands.
        places: the values of these keys in the order of the map.
    """
    shape = tuple(len(names) for names in places)
    found = tuple(np.full(shape, np.nan) for _ in range(3))
    for row in rows:
        cell = tuple(names.index(row[key]) for key, names in zip(at, places, strict=True))
        for grid, key in zip(found, ("estimate", "low", "high"), strict=True):
            grid[cell] = np.nan if row[key] is None else row[key]
    return found


def _written(value: float, percent: bool) -> str:
    if percent and abs(value) >= 9.995:
        return "<−999" if value < 0 else ">999"
    # Adding zero takes the sign from a negative number that rounds to nothing.
    shown = round(100 * value) + 0 if percent else round(value, 2) + 0.0
    return (f"{shown}" if percent else f"{shown:.2f}").replace("-", "−")
