"""Names beside the lines they name, moved apart where they would touch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Annotation

_MARK = "direct-label"
_POINTS_APART = 11.0
_MARGIN = 4.0


def direct_labels(ax: Axes, labels: Sequence[tuple[float, str, str]]) -> None:
    """Names (y, text, colour) in the right margin, each at the height of its y.

    Where names would touch, :func:`settle` moves them apart when the figure is finished, so limits
    may still change after the call.
    """
    for y, text, colour in labels:
        ax.annotate(
            text,
            (1, y),
            xycoords=("axes fraction", "data"),
            xytext=(_MARGIN, 0),
            textcoords="offset points",
            va="center",
            fontsize=8.5,
            color=colour,
            annotation_clip=False,
            gid=_MARK,
        )


def settle(figure: Figure) -> None:
    """Move the direct labels of every axes apart, as little as needed."""
    marked = {
        ax: [text for text in ax.texts if isinstance(text, Annotation) and text.get_gid() == _MARK]
        for ax in figure.axes
    }
    if not any(marked.values()):
        return
    figure.draw_without_rendering()
    for ax, labels in marked.items():
        points = 72 / figure.dpi
        heights = [ax.transData.transform((0, label.xy[1]))[1] * points for label in labels]
        for label, height, level in zip(labels, heights, spread(heights), strict=True):
            label.set_position((_MARGIN, level - height))


def spread(levels: Sequence[float], gap: float = _POINTS_APART) -> list[float]:
    """``levels`` moved so that neighbours are at least ``gap`` apart, in the same order.

    The squared shifts sum to the least possible: an isotonic regression of level - rank * gap,
    solved by pooling adjacent violators (Barlow et al. 1972), which keeps each group's centre.
    """
    order = np.argsort(levels, kind="stable")
    pools: list[tuple[float, int]] = []
    for rank, index in enumerate(order):
        pools.append((levels[index] - rank * gap, 1))
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            (mean, count), (before, earlier) = pools.pop(), pools.pop()
            total = count + earlier
            pools.append(((mean * count + before * earlier) / total, total))
    bases = [mean for mean, count in pools for _ in range(count)]
    placed = [0.0] * len(bases)
    for rank, index in enumerate(order):
        placed[index] = bases[rank] + rank * gap
    return placed
