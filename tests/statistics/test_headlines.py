"""The number of a state for the overview: which row is taken, and under what name."""

import pytest

from palimpsest import discovery
from palimpsest.evidence.schema import columns
from palimpsest.statistics.headlines import Headline, headlines

RECALL = {"analysis": "recall", "metric": "correct"}


def _row(role, step, estimate, **more):
    return RECALL | {"role": role, "model": "m", "step": step, "estimate": estimate} | more


def test_the_highest_step_of_each_state_is_taken_and_named():
    rows = [_row("planted", 10, 0.9), _row("planted", 30, 1.0), _row("planted", 3, 0.5)]
    rows += [_row("untouched", None, 0.1), _row("other", 1, None)]
    found = headlines(rows, [Headline("chosen after {step}", RECALL)])
    assert [(r["role"], r["metric"], r["estimate"]) for r in found] == [
        ("planted", "chosen after 30", 1.0),
        ("untouched", "chosen after None", 0.1),
    ]
    assert {r["analysis"] for r in found} == {"headline"}
    assert rows[1]["metric"] == "correct", "the row itself stays as it is"


def test_the_first_headline_that_fits_decides_and_roles_narrow_it_down():
    rows = [_row("a", 1, 0.1), _row("b", 1, 0.2), _row("a", 1, 0.3, metric="second")]
    stated = [
        Headline("one", {"metric": "second"}),
        Headline("two", RECALL, roles=("a", "b")),
        Headline("three", RECALL),
    ]
    found = {row["role"]: (row["metric"], row["estimate"]) for row in headlines(rows, stated)}
    assert found == {"a": ("one", 0.3), "b": ("two", 0.2)}
    only = headlines(rows, [Headline("two", RECALL, roles=("b",))])
    assert [row["role"] for row in only] == ["b"]


def test_the_role_can_stand_in_another_column_or_in_none():
    rows = [_row(None, 1, 0.4, arm="npo"), _row(None, 1, 2.0, metric="methods that forgot")]
    stated = [
        Headline("kept", RECALL, role_in="arm"),
        Headline("{metric}", {"metric": "methods that forgot"}, role_in=None),
    ]
    found = [(row["role"], row["metric"]) for row in headlines(rows, stated)]
    assert found == [("npo", "kept"), (None, "methods that forgot")]


@pytest.mark.parametrize("probe", [*discovery.names("probes"), "_template"])
def test_every_probe_states_what_the_overview_shows(probe):
    stated = discovery.probe(probe, "claims").HEADLINES
    assert stated
    for headline in stated:
        assert set(headline.where) <= set(columns("statistics"))
        names = discovery.probe(probe).Settings().model_dump()
        assert headline.label.format(**names, step=3, metric="x")
