"""Heat maps: what a cell says, and that it can be read on both pages."""

import re

import numpy as np
import pytest
from matplotlib import colormaps

from palimpsest.reports.figure_style import panels, style
from palimpsest.reports.heat_map import grids, heat_map, luminance, text_colour
from palimpsest.reports.palette import svg_colours
from palimpsest.reports.svg import to_svg


def _drawn(values, lows, highs, **how):
    with style():
        figure, axes = panels()
        arrays = (np.array(each, dtype=float) for each in (values, lows, highs))
        heat_map(axes[0, 0], *arrays, colours="RdYlBu", ends=(0, 2), **how)
        return axes[0, 0], to_svg(figure)


@pytest.mark.parametrize("colours", ["RdYlBu", "Blues", "viridis", "gray"])
def test_text_contrasts_with_every_colour_of_a_map(colours):
    for cell in colormaps[colours](np.linspace(0, 1, 401)):
        text = text_colour(cell)
        rgb = [int(text[k : k + 2], 16) / 255 for k in (1, 3, 5)]
        lighter, darker = sorted([luminance(rgb), luminance(cell)], reverse=True)
        assert (lighter + 0.05) / (darker + 0.05) >= 4.5


def test_luminance_is_that_of_the_standard():
    assert luminance((1, 1, 1)) == pytest.approx(1)
    assert luminance((0, 0, 0)) == 0
    # #808080 against white is 3.95:1.
    assert 1.05 / (luminance((128 / 255,) * 3) + 0.05) == pytest.approx(3.95, abs=0.005)


def test_text_of_a_cell_keeps_its_colour_on_the_dark_page():
    values = [[0.0, 0.5, 1.0, 1.5, 2.0, np.nan]]
    ax, svg = _drawn(values, np.subtract(values, 0.1), np.add(values, 0.1), absent="none")
    inside = {text.get_text(): text.get_color() for text in ax.texts}
    replaced = set(svg_colours(text=True))
    assert {inside[f"{value:.2f}"] for value in values[0][:5]} & replaced == set()
    # A cell without a number is the page itself, and so is its text.
    fills = {
        text: fill
        for fill, text in re.findall(r'<text[^>]* fill="([^"]+)"[^>]*>([^<]+)</text>', svg)
    }
    assert fills["none"] == "currentColor"
    assert fills["1.00"] == "#040404"
    assert fills["0.00"] == fills["2.00"] == "#ffffff"


def test_a_cell_has_its_number_and_its_interval():
    ax, _ = _drawn([[0.634, 1.2]], [[0.5, np.nan]], [[0.71, np.nan]])
    assert [text.get_text() for text in ax.texts] == ["0.63", "0.50 to 0.71", "1.20"]
    ax, _ = _drawn([[0.634, -0.001]], [[-0.12, -40]], [[1.2, 40]], percent=True)
    assert [text.get_text() for text in ax.texts] == ["63", "−12 to 120", "0", "<−999 to >999"]


def test_rows_find_their_cells():
    rows = [
        {"a": "x", "b": "2", "estimate": 1.0, "low": 0.5, "high": 2.0},
        {"a": "y", "b": "1", "estimate": 3.0, "low": None, "high": None},
    ]
    found = grids(rows, ("a", "b"), (["x", "y"], ["1", "2"]))
    nan = np.nan
    for grid, values in zip(
        found,
        ([[nan, 1], [3, nan]], [[nan, 0.5], [nan, nan]], [[nan, 2], [nan, nan]]),
        strict=True,
    ):
        np.testing.assert_array_equal(grid, np.array(values, dtype=float))
