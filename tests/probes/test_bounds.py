"""Intervals of shares hold only what a share can be; those of other measures are not cut."""

from __future__ import annotations

import polars as pl
import pytest

from palimpsest.probes.economic_recall.analyses.grouping import mean_of
from palimpsest.probes.few_shot_memory.analyses.learning import mean, share

VALUES = [0.99, 0.7, 0.995, 0.999]


@pytest.mark.parametrize(("metric", "cut"), [("share_assigned", True), ("margin", False)])
def test_the_mean_of_facts(metric, cut):
    frame = pl.DataFrame({"value": VALUES, "unit": list("abcd"), "metric": [metric] * 4})
    found = mean_of(frame)
    whole = mean_of(frame.drop("metric"))
    assert whole.high > 1
    assert found.high == (1 if cut else whole.high)
    assert (found.estimate, found.low) == (whole.estimate, whole.low)
    # What a study of this size can find rests on the interval before it was cut.
    assert found.half == pytest.approx(whole.half)


def test_the_mean_of_sentences():
    frame = pl.DataFrame({"value": VALUES, "unit": list("abcd")})
    assert mean(frame).high > 1
    assert share(frame).high == 1
    assert share(frame).low == mean(frame).low
