"""Every method can be told from the others in the figures of the page."""

from __future__ import annotations

import polars as pl
import pytest

from palimpsest.probes.unlearning import figures
from palimpsest.probes.unlearning.pages.tables import VERDICTS
from palimpsest.probes.unlearning.settings import DEFAULT_METHODS
from palimpsest.reports.figure_style import style
from tests.probes.unlearning.studied import cell, database

ARMS = [*DEFAULT_METHODS]


def test_no_two_methods_have_colour_and_marker_alike():
    told = figures._told_apart(ARMS)
    assert len({(colour, marker) for colour, marker, _ in told.values()}) == len(ARMS) > 15
    assert len({(colour, sign) for colour, _, sign in told.values()}) == len(ARMS)


@pytest.mark.parametrize("arms", [ARMS, ARMS[:1]])
def test_relearning_has_a_panel_for_each_method_with_both_references(arms):
    frame = pl.DataFrame(
        [
            {"arm": arm, "updates": step, "estimate": 0.5, "low": 0.4, "high": 0.6}
            for arm in [*arms, "taught", "retrained"]
            for step in (1, 8)
        ]
    )
    with style():
        drawing = figures._draw_relearning(frame)
    shown = [ax for ax in drawing.axes if ax.get_visible()]
    titles = [ax.get_title(loc="left") for ax in shown]
    assert titles == [arm.replace("_", " ") for arm in arms]
    assert all(len(ax.lines) == 3 for ax in shown)


def test_the_heat_map_has_a_scale():
    rows = [
        {"arm": arm, "metric": metric, "estimate": 0.5, "low": 0.4, "high": 0.6}
        for arm in ("npo", "pdu")
        for metric in ("forget exposure", "membership loss")
    ]
    with style():
        drawing = figures._draw_map(pl.DataFrame(rows))
    labels = [text.get_text() for ax in drawing.axes for text in ax.get_xticklabels()]
    assert "100% (never knew)" in labels


def test_a_method_at_the_end_of_what_can_be_measured_is_marked(tmp_path):
    rows = [
        {"analysis": analysis, "metric": metric, "arm": arm, "model": "networks", "estimate": value}
        for arm, value in (("pdu", 0.0003), ("npo", 0.08))
        for analysis, metric in (("verdict", "damaged"), ("level", "forget probability"))
    ]
    study = database(tmp_path, [cell("pdu"), cell("npo")], statistics=rows)
    shown = study.frame(VERDICTS[0].sql, {"study": "s"}).to_dicts()
    remarks = {row["method"]: row["remark"] for row in shown}
    assert remarks["pdu"].startswith("at the end of what can be measured")
    assert remarks["npo"] is None
