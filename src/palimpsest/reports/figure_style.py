"""One visual language for every figure: palette with named roles, type, helpers, inline SVG.

The hues are those of Okabe and Ito (2008, "Color Universal Design"), without the yellow, which
nobody can read on white. Colour never stands alone: a role also has its marker, and lines carry
their name beside them. Text and axes take the colour of the page, so one drawing serves light and
dark.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import matplotlib as mpl
import numpy as np
import polars as pl
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from palimpsest.reports.formatting import number
from palimpsest.reports.labels import direct_labels
from palimpsest.reports.palette import COLOURS, CYCLE, GRID, INK, MUTED
from palimpsest.reports.svg import to_svg

__all__ = [
    "COLOURS",
    "CYCLE",
    "chance_line",
    "colours_for",
    "direct_labels",
    "errorbars",
    "forest",
    "markers_for",
    "name",
    "panels",
    "style",
    "to_svg",
]

#: Full width of the text column, inches; 9 pt in the figure is 12 px on the page.
WIDTH = 7.2

#: Up to so many distinct numbers on an axis each get their own tick.
_MOST_TICKS = 7

_MARKERS = ("o", "s", "D", "^", "v", "P", "X", "<")

_SETTINGS = {
    "figure.facecolor": "none",
    "figure.constrained_layout.use": True,
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "savefig.dpi": 150,
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "text.color": INK,
    # Text comes from models and users: a dollar sign is a dollar sign.
    "text.parse_math": False,
    "axes.labelsize": 9,
    "axes.labelcolor": INK,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 8,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.prop_cycle": cycler(color=CYCLE),
    "axes.unicode_minus": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "xtick.major.width": 0.7,
    "xtick.major.size": 3,
    "ytick.major.size": 0,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
    "lines.linewidth": 1.6,
    "lines.markersize": 5,
    "lines.solid_capstyle": "round",
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "patch.linewidth": 0.0,
}


@contextmanager
def style() -> Iterator[None]:
    """Matplotlib settings of the reports, for the time of a ``with`` block."""
    with mpl.rc_context(_SETTINGS):
        yield


def panels(
    rows: int = 1,
    columns: int = 1,
    *,
    height: float = 2.6,
    width: float = WIDTH,
    sharex: bool = True,
    sharey: bool = True,
) -> tuple[Figure, np.ndarray]:
    """A figure of small multiples and its axes, shape (rows, columns), in the house style.

    ``height`` is that of one row, in inches. No pyplot: nothing stays in memory afterwards.
    """
    with style():
        figure = Figure(figsize=(width, height * rows), layout="constrained")
        axes = figure.subplots(rows, columns, sharex=sharex, sharey=sharey, squeeze=False)
    return figure, axes


def name(key: str) -> str:
    """A name of a role, arm or metric as words: ``planted_false`` becomes ``planted false``."""
    return str(key).replace("_", " ")


def colours_for(keys: Sequence[str]) -> dict[str, str]:
    """A colour for each key: its role's where it has one, else the next free of the cycle."""
    taken = {COLOURS[key] for key in keys if key in COLOURS}
    free = [colour for colour in CYCLE if colour not in taken] or CYCLE
    chosen: dict[str, str] = {}
    for key in keys:
        if key not in chosen:
            unnamed = sum(1 for other in chosen if other not in COLOURS)
            chosen[key] = COLOURS.get(key, free[unnamed % len(free)])
    return chosen


def markers_for(keys: Sequence[str]) -> dict[str, str]:
    """A marker for each key, the same for a named role in every figure."""
    named = {role: _MARKERS[index % len(_MARKERS)] for index, role in enumerate(COLOURS)}
    taken = {named[key] for key in keys if key in named}
    free = [marker for marker in _MARKERS if marker not in taken] or list(_MARKERS)
    chosen: dict[str, str] = {}
    for key in keys:
        if key not in chosen:
            unnamed = sum(1 for other in chosen if other not in named)
            chosen[key] = named.get(key, free[unnamed % len(free)])
    return chosen


def errorbars(
    ax: Axes,
    frame: pl.DataFrame,
    x: str,
    y: str = "estimate",
    low: str = "low",
    high: str = "high",
    hue: str | None = None,
    *,
    connect: bool = True,
    label: bool = True,
) -> None:
    """Points with their intervals over ``x``; one line, colour and marker for each ``hue``.

    Series are set apart by a little so that whiskers do not hide each other. A point whose
    interval is missing is drawn hollow. A text ``x`` keeps the order of its first appearance.
    With ``label`` each connected series carries its name in the right margin; series of single
    points get a legend.
    """
    keys = [None] if hue is None else frame[hue].unique(maintain_order=True).to_list()
    colours = colours_for([str(key) for key in keys])
    positions, step = _positions(ax, frame[x])
    markers = markers_for([str(key) for key in keys])
    ends: list[tuple[float, str, str]] = []
    for index, key in enumerate(keys):
        part = frame if hue is None else frame.filter(pl.col(hue).eq_missing(key))
        shift = (index - (len(keys) - 1) / 2) * step * min(0.12, 0.5 / len(keys))
        across = np.array([positions[value] for value in part[x]], dtype=float) + shift
        order = np.argsort(across, kind="stable")
        across = across[order]
        values = _floats(part[y])[order]
        ends_low, ends_high = _floats(part[low])[order], _floats(part[high])[order]
        colour = INK if hue is None else colours[str(key)]
        if connect:
            ax.plot(across, values, color=colour, linewidth=1.6, zorder=2)
        _points(ax, across, values, ends_low, ends_high, colour, markers[str(key)])
        known = np.flatnonzero(np.isfinite(values))
        if hue is not None and known.size:
            ends.append((values[known[-1]], name(key), colour))
    if label and hue is not None:
        _name_series(ax, ends, markers, connect)


def forest(
    ax: Axes,
    frame: pl.DataFrame,
    label: str,
    estimate: str = "estimate",
    low: str = "low",
    high: str = "high",
    hue: str | None = None,
    reference: float | None = None,
) -> None:
    """Estimates with intervals as rows from top to bottom; ``reference`` draws a vertical line.

    A row whose interval is missing is drawn hollow; rows keep their order.
    """
    values, lows, highs = (_floats(frame[column]) for column in (estimate, low, high))
    keys = ["" if key is None else str(key) for key in frame[hue]] if hue else [""] * len(frame)
    colours = colours_for(keys)
    markers = markers_for(keys)
    for row, key in enumerate(keys):
        _points(
            ax,
            np.array([row], dtype=float),
            *(column[row : row + 1] for column in (values, lows, highs)),
            colours[key] if hue else INK,
            markers[key],
            horizontal=True,
        )
    ax.set_yticks(range(len(frame)), [name(text) for text in frame[label]])
    ax.set_ylim(len(frame) - 0.5, -0.5)
    ax.grid(axis="x")
    ax.grid(visible=False, axis="y")
    if reference is not None:
        ax.axvline(reference, color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)


def chance_line(ax: Axes, value: float, label: str = "chance") -> None:
    """A dashed horizontal line at ``value`` with its name in the right margin."""
    ax.axhline(value, color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
    direct_labels(ax, [(value, label, MUTED)])


def _name_series(
    ax: Axes, ends: list[tuple[float, str, str]], markers: dict[str, str], connect: bool
) -> None:
    if connect:
        direct_labels(ax, ends)
        return
    shapes = {name(key): marker for key, marker in markers.items()}
    for _, text, colour in ends:
        ax.plot([], [], marker=shapes[text], color=colour, linestyle="none", label=text)
    # Above the axes, where no interval can lie under it.
    ax.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=len(ends))


def _points(
    ax: Axes,
    at: np.ndarray,
    values: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    colour: str,
    marker: str,
    *,
    horizontal: bool = False,
) -> None:
    known = np.isfinite(low) & np.isfinite(high)
    lines = ax.hlines if horizontal else ax.vlines
    lines(at[known], low[known], high[known], color=colour, linewidth=1.3, zorder=2)
    for some, face in ((known, colour), (~known, "none")):
        along = (values[some], at[some]) if horizontal else (at[some], values[some])
        ax.plot(
            *along,
            marker=marker,
            color=colour,
            markerfacecolor=face,
            linestyle="none",
            zorder=3,
        )


def _positions(ax: Axes, values: pl.Series) -> tuple[dict[object, float], float]:
    """Where each value lies on the axis, and the smallest step between two of them."""
    distinct = values.unique(maintain_order=True).to_list()
    if values.dtype.is_numeric():
        ordered = sorted(float(value) for value in distinct if value is not None)
        steps = np.diff(ordered)
        if len(ordered) <= _MOST_TICKS:
            ax.set_xticks(ordered, [number(value) for value in ordered])
        elif values.dtype.is_integer():
            ax.xaxis.set_major_locator(MaxNLocator(nbins=_MOST_TICKS, integer=True))
        return {value: float(value) for value in distinct if value is not None}, (
            float(steps.min()) if steps.size else 1.0
        )
    ax.set_xticks(range(len(distinct)), [name(value) for value in distinct])
    ax.set_xlim(-0.5, len(distinct) - 0.5)
    return {value: float(index) for index, value in enumerate(distinct)}, 1.0


def _floats(values: pl.Series) -> np.ndarray:
    return values.cast(pl.Float64).fill_null(float("nan")).to_numpy()
