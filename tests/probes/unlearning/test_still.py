"""What a page says that methods still show of what was to be forgotten."""

from __future__ import annotations

import pytest

from palimpsest.probes.unlearning.pages.still import evidence, sentences
from palimpsest.probes.unlearning.pages.tables import VERDICTS
from palimpsest.probes.unlearning.pages.words import summary
from palimpsest.probes.unlearning.settings import Settings
from tests.probes.unlearning.studied import cell, database, row

PLACE = {"model": "networks", "series": "scratch", "unit": "models"}


def _row(analysis, arm, metric, estimate, half=0.05, n=5, **more):
    ends = {"estimate": estimate, "low": estimate - half, "high": estimate + half, "n": n}
    return PLACE | {"analysis": analysis, "arm": arm, "metric": metric} | ends | more


def _measured(arm, metric, apart, way, q, factor="hidden"):
    return [
        _row("distance", arm, metric, apart, n=15, q=q, factor=factor),
        _row("way", arm, metric, way, factor=factor),
    ]


@pytest.fixture
def found(tmp_path):
    """Two damaged methods; one shows what it should not, and has it back."""
    rows = [
        _row("verdict", "taught", "did nothing", 0.0),
        _row("verdict", "undial", "damaged", 0.98, note="lost; 98% of the way"),
        _row("verdict", "grad_ascent", "damaged", 1.02, note="lost"),
        *_measured("undial", "forget exposure", -0.9, 0.39, 1e-6, factor="forgetting"),
        *_measured("undial", "membership min_k_plus_plus", 0.54, 0.02, 1e-6, factor="membership"),
        # Told apart, but gone; not gone, but not told apart; gone by the estimate alone; kept.
        *_measured("grad_ascent", "forget reworded", 0.06, 0.93, 0.01),
        *_measured("grad_ascent", "forget linear_probe", 0.4, 0.5, 0.2),
        *_measured("grad_ascent", "forget benign", 0.4, 0.78, 0.01),
        *_measured("grad_ascent", "kept probability", 0.4, 0.1, 0.01, factor="utility"),
    ]
    for number, step, arm, value in (
        (1, 8, "undial", 0.9), (10, 4, "undial", 0.9), (10, 8, "undial", 0.6),
        (10, 8, "grad_ascent", 0.1), (10, 8, "retrained", 0.05), (10, 8, "taught", 0.9),
    ):  # fmt: skip
        factor = f"{number} taught again"
        rows.append(_row("relearning", arm, "others", value, factor=factor, step=step))
    rows.append(_row("rise", "undial", "others, minus retrained", 0.5, n=15, q=0.01))
    rows.append(_row("rise", "grad_ascent", "others, minus retrained", 0.09, n=15, q=0.2))
    return database(tmp_path, [cell("undial"), cell("grad_ascent")], statistics=rows)


def test_damaged_methods_are_asked_for_what_is_still_there(found):
    block = evidence(Settings())
    shown = {row["method"]: row for row in found.frame(block.sql, {"study": "s"}).to_dicts()}
    assert shown.keys() == {"undial", "grad ascent"}
    assert shown["undial"]["still"] == (
        "membership, min-k++ +0.54 [0.49, 0.59]; exposure −0.90 [−0.95, −0.85] (n = 15 models)"
    )
    assert shown["grad ascent"]["still"] is None
    assert (shown["undial"]["estimate"], shown["undial"]["n"]) == (0.98, 5)


def test_the_summary_says_that_damaged_is_not_forgotten_and_what_comes_back(found):
    damaged, silent, back = sentences(found, "s", Settings())
    assert "1 of 2 damaged methods still show" in damaged
    assert "undial: membership, min-k++ 2% (95% interval −3 to 7%, n = 5 models), and 1 more" in (
        damaged
    )
    assert silent.endswith("no proof that they are gone: grad ascent.")
    assert back.startswith("Gone where asked, back when 10 forgotten facts are taught again for 8")
    assert "rises by more than in models that never knew" in back
    assert "in undial 0.50 (95% interval 0.45 to 0.55, n = 15 models)." in back
    assert "grad ascent" not in back


def test_the_summary_tells_of_three_damaged_methods_and_where_all_are(tmp_path):
    ways = {"ceu": 0.4, "npo": 0.1, "pdu": 0.3, "rmu": 0.2}
    rows = [_row("verdict", arm, "damaged", 0.98, note="lost") for arm in ways]
    for arm, way in ways.items():
        rows += _measured(arm, "forget linear_probe", 0.5, way, 1e-6)
    study = database(tmp_path, [cell(arm) for arm in ways], statistics=rows)
    (said,) = sentences(study, "s", Settings())
    assert "4 of 4 damaged methods still show" in said
    assert [said.index(f"{arm}: ") for arm in ("npo", "rmu", "pdu")] == sorted(
        said.index(f"{arm}: ") for arm in ("npo", "rmu", "pdu")
    )
    assert "ceu" not in said
    assert said.endswith("; all are listed below.")


def test_the_summary_says_whose_facts_the_units_are(tmp_path):
    verdict = _row("verdict", "npo", "damaged", 0.8, n=4, unit="facts")
    facts = [row("forget", f"{who}/{what}", "probability", 0.5) for who in ("Ann", "Bob")
             for what in ("pet", "dish")]  # fmt: skip
    cells = [cell("npo", experiment="language")]
    study = database(tmp_path, cells, [("npo 0", facts)], statistics=[verdict])
    said = [each for each in summary(study, "s") if "no method can be found" in each]
    assert len(said) == 1
    assert "are 4 facts of 2 people, whose facts count as independent:" in said[0]


@pytest.mark.parametrize(
    ("least", "told"), [(0.17, "can be told apart at 5%"), (3e-4, "below 0.0")]
)
def test_the_least_p_is_told_beside_what_is_like_retrained(tmp_path, least, told):
    together = {"estimate": 3.0, "p": 0.33, "note": f"by chance; p cannot be below {least:.2g}"}
    rows = [
        _row("verdict", "npo", "damaged", 0.8),
        _row("together", "npo", "forgetting", 3.0) | together,
    ]
    study = database(tmp_path, [cell("npo")], statistics=rows)
    (block,) = VERDICTS
    frame = study.frame(block.sql, {"study": "s"})
    assert told in block.caption(frame)
    assert "below" not in block.caption(frame.with_columns(least_p=None))
