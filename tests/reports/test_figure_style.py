import colorsys
import re
import subprocess
import sys
import xml.etree.ElementTree as ET

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize

from palimpsest.reports import figure_style as fs
from palimpsest.reports import svg
from palimpsest.reports.labels import settle, spread
from palimpsest.reports.palette import COLOURS, CYCLE, HUES, INK, MUTED


def _frame():
    return pl.DataFrame(
        {
            "step": [0, 10, 20] * 2,
            "arm": ["planted_false"] * 3 + ["never"] * 3,
            "estimate": [0.1, 0.4, 0.7, 0.12, 0.13, 0.14],
            "low": [0.0, 0.3, 0.6, 0.05, 0.06, None],
            "high": [0.2, 0.5, 0.8, 0.2, 0.21, None],
        }
    )


def _drawn(title="T"):
    figure, axes = fs.panels()
    fs.errorbars(axes[0, 0], _frame(), "step", hue="arm")
    fs.chance_line(axes[0, 0], 0.125)
    axes[0, 0].set_title(title)
    return figure


def _to_svg(figure, **words):
    return fs.to_svg(figure, **({"id": "f", "title": "t", "description": "d"} | words))


def test_the_same_figure_gives_the_same_bytes():
    assert _to_svg(_drawn()) == _to_svg(_drawn())


def test_the_same_bytes_in_another_process():
    code = (
        "from palimpsest.reports import figure_style as fs\n"
        "figure, axes = fs.panels(); axes[0, 0].plot([1, 2, 3], marker='o')\n"
        "print(fs.to_svg(figure, id='f'), end='')"
    )
    command = [sys.executable, "-c", code]
    other = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    figure, axes = fs.panels()
    axes[0, 0].plot([1, 2, 3], marker="o")
    assert fs.to_svg(figure, id="f") == other


def test_the_svg_keeps_the_content_policy_and_names_itself():
    text = _to_svg(_drawn(), id="one", title="A <b>", description="d & e")
    root = ET.fromstring(text)
    assert root.attrib["role"] == "img"
    assert root.attrib["aria-labelledby"] == "one-title one-desc"
    assert root[0].text == "A <b>"
    assert root[1].text == "d & e"
    assert all("style" not in element.attrib for element in root.iter())
    assert {element.tag for element in root.iter()} <= {
        "svg", "title", "desc", "defs", "g", "path", "use", "text", "clipPath", "rect",
    }  # fmt: skip
    assert "http" not in text
    assert "width" in root.attrib
    assert "viewBox" in root.attrib


def test_ids_of_two_figures_do_not_meet():
    found = []
    for name in ("one", "two"):
        root = ET.fromstring(_to_svg(_drawn(), id=name))
        ids = {element.attrib["id"] for element in root.iter() if "id" in element.attrib}
        assert all(identity.startswith(name + "-") for identity in ids)
        used = {
            value.removeprefix("url(").strip("#)")
            for element in root.iter()
            for key, value in element.attrib.items()
            if key == "href" or value.startswith("url(#")
        }
        assert used <= ids
        found.append(ids)
    assert not found[0] & found[1]


def test_colours_follow_the_page():
    text = _to_svg(_drawn())
    for colour in (INK, MUTED, *(hue.mark for hue in HUES.values())):
        for attribute in ("fill", "stroke"):
            assert f'{attribute}="{colour}"' not in text
    assert "currentColor" in text
    assert "var(--hue-vermilion,#d55e00)" in text
    assert "var(--hue-vermilion-text," in text


def test_hostile_text_stays_text_in_the_figure():
    bad = "</text><script>window.hacked=1</script> $x_$ \\frac \u202e \x00 &amp;"
    root = ET.fromstring(_to_svg(_drawn(bad)))
    titles = [element.text for element in root.iter("text") if element.text]
    assert bad.replace("\u202e", "⟨U+202E⟩").replace("\x00", "⟨U+0000⟩") in titles
    assert not list(root.iter("script"))


def test_a_missing_interval_is_drawn_hollow_and_has_no_whisker():
    figure = _drawn()
    ax = figure.axes[0]
    whiskers = [len(lines.get_segments()) for lines in ax.collections]
    assert whiskers == [3, 2]
    hollow = [
        line for line in ax.lines if line.get_markerfacecolor() == "none" and len(line.get_xdata())
    ]
    assert [line.get_ydata().tolist() for line in hollow] == [[0.14]]


def test_whiskers_are_the_interval():
    ax = _drawn().axes[0]
    segments = np.array(ax.collections[0].get_segments())
    np.testing.assert_allclose(segments[:, :, 1], [[0.0, 0.2], [0.3, 0.5], [0.6, 0.8]])


def test_series_without_order_are_drawn_in_order_of_x():
    ax = fs.panels()[1][0, 0]
    fs.errorbars(ax, _frame()[[2, 0, 1]], "step")
    assert ax.lines[0].get_xdata().tolist() == [0, 10, 20]


def test_forest_puts_the_first_row_on_top():
    axes = fs.panels()[1]
    frame = pl.DataFrame({"arm": ["a_b", "c"], "estimate": [1, 2], "low": [0, 1], "high": [2, 3]})
    fs.forest(axes[0, 0], frame, "arm", reference=0)
    assert [label.get_text() for label in axes[0, 0].get_yticklabels()] == ["a b", "c"]
    assert axes[0, 0].get_ylim()[0] > axes[0, 0].get_ylim()[1]


def test_logarithmic_axes_have_readable_labels():
    figure, axes = fs.panels()
    axes[0, 0].set_yscale("log")
    axes[0, 0].plot([1, 2], [1e-7, 1e7])
    text = _to_svg(figure)
    assert "mathdefault" not in text
    labels = re.findall(r">([^<>]+)</text>", text)
    assert labels[-8:] == ["10⁻⁷", "10⁻⁵", "0.001", "0.1", "10", "1,000", "10⁵", "10⁷"]


def test_a_heavy_drawing_becomes_a_bitmap_with_vector_text(monkeypatch):
    monkeypatch.setattr(svg, "LARGEST", 60_000)
    figure, axes = fs.panels()
    generator = np.random.default_rng(0)
    axes[0, 0].scatter(generator.random(5_000), generator.random(5_000))
    axes[0, 0].set_title("kept as text")
    text = _to_svg(figure)
    assert 'href="data:image/png;base64,' in text
    assert "kept as text</text>" in text


def test_roles_keep_their_colour_and_others_get_free_ones():
    chosen = fs.colours_for(["new", "never", "other", "never"])
    assert chosen["never"] == COLOURS["never"]
    assert len(set(chosen.values())) == 3
    assert fs.markers_for(["planted_true", "never"]) == {
        key: marker
        for key, marker in fs.markers_for(["never", "x", "planted_true"]).items()
        if key != "x"
    }


def _luminance(colour):
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))


def _contrast(one, other):
    bright, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("hue", HUES)
def test_names_of_series_can_be_read_on_both_pages(hue):
    assert _contrast(HUES[hue].text, "#fffefc") >= 4.5
    assert _contrast(HUES[hue].dark, "#16171a") >= 4.5


def test_hues_differ_for_readers_with_colour_blindness():
    """Viénot, Brettel and Mollon (1999): projections for protanopes and deuteranopes."""
    kinds = (
        np.array([[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]]),
        np.array([[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]]),
    )
    for kind in kinds:
        seen = []
        for colour in CYCLE:
            rgb = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
            seen.append((kind @ rgb**2.2).clip(0, 1) ** (1 / 2.2))
        distances = [
            np.linalg.norm(np.array(colorsys.rgb_to_yiq(*a)) - colorsys.rgb_to_yiq(*b))
            for i, a in enumerate(seen)
            for b in seen[:i]
        ]
        assert min(distances) > 0.05


@given(st.lists(st.floats(0, 100), min_size=1, max_size=6))
def test_labels_are_apart_and_in_order(levels):
    placed = spread(levels, 11)
    order = np.argsort(levels, kind="stable")
    gaps = np.diff(np.array(placed)[order])
    assert (gaps >= 11 - 1e-6).all()


def test_labels_move_as_little_as_needed():
    levels = np.array([3.0, 5.0, 6.0, 40.0, 44.0])
    best = minimize(
        lambda x: ((x - levels) ** 2).sum(),
        np.arange(5) * 20.0,
        constraints={"type": "ineq", "fun": lambda x: np.diff(x) - 11},
    )
    np.testing.assert_allclose(spread(levels.tolist(), 11), best.x, atol=1e-4)
    assert spread([10.0, 50.0]) == [10.0, 50.0]


def test_direct_labels_settle_after_the_limits_are_final():
    figure, axes = fs.panels()
    fs.direct_labels(axes[0, 0], [(0.50, "one", INK), (0.51, "two", INK)])
    axes[0, 0].set_ylim(0, 1)
    settle(figure)
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in axes[0, 0].texts]
    assert boxes[1].y0 >= boxes[0].y1 - 4
