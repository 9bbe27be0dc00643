"""The explorer: what it finds, its means and intervals, what a page carries of it."""

import json
import re

import duckdb
import numpy as np
import polars as pl
import pytest
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from palimpsest.evidence.database import Database, EvidenceError
from palimpsest.evidence.schema import SCHEMA_VERSION, TABLES, create_statement
from palimpsest.reports import explore_data
from palimpsest.reports.blocks import Explore, StudyPage
from palimpsest.reports.build import build_study
from palimpsest.reports.evidence import StudyEntry
from palimpsest.reports.explore import explorer

ENTRY = StudyEntry("s", "toy", "S", "?", {}, "s.html", {})


def write(path, rows, view=None):
    """A database from rows (role, seed, parameters, step, grp, item, metric, value)."""
    with duckdb.connect(str(path)) as connection:
        for table in TABLES:
            connection.execute(create_statement(table))
        connection.execute("INSERT INTO run VALUES ('schema_version', ?)", [str(SCHEMA_VERSION)])
        cells = {}
        for role, seed, parameters, step, grp, item, metric, value in rows:
            place = (role, seed, parameters, step)
            if place not in cells:
                cells[place] = f"c{len(cells)}"
                connection.execute(
                    "INSERT INTO cells VALUES (?, 's', 'toy', ?, ?, 'tiny', ?, ?, 'e', ?, 'done', "
                    "NULL, NULL)",
                    [cells[place], f"{role}{seed}", role, seed, step, parameters],
                )
            connection.execute(
                "INSERT INTO observations VALUES ('s', ?, ?, ?, ?, ?, ?, NULL)",
                [cells[place], item, grp, step, metric, value],
            )
        if view:
            connection.execute(f"CREATE VIEW toy AS {view}")
    return path


def made(path, stated=None):
    with Database(path) as database:
        return explorer(database, ENTRY, stated or Explore())


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    return [
        (role, seed, "{}", step, grp, f"i{item}", metric,
         float(rng.uniform() < 0.4) if metric == "correct" else rng.normal() + step)
        for role in ("planted", "untouched")
        for seed in (range(4) if role == "planted" else [0])
        for step in ((0, 1, 3) if role == "planted" else [0])
        for grp in ("never", "planted_false")
        for item in range(5)
        for metric in ("correct", "margin")
    ]  # fmt: skip


@pytest.fixture(scope="module")
def path(rows, tmp_path_factory):
    return write(tmp_path_factory.mktemp("explore") / "a.duckdb", rows)


def test_dimensions_and_replicates_are_found(path):
    found = made(path)
    assert {d.name: d.values for d in found.dimensions} == {
        "role": ["planted", "untouched"], "step": [0, 1, 3], "grp": ["never", "planted_false"],
    }  # fmt: skip
    assert found.metrics == ["correct", "margin"]
    assert found.replicates == [f"seed {i}" for i in range(4)]
    assert found.chosen == {
        "metric": "correct", "x": "step", "colour": "role", "grp": "never",
    }  # fmt: skip
    assert found.unit == "replicates"


def test_means_and_intervals_are_those_of_numpy_and_scipy(path, rows):
    frame = made(path).frame
    values = np.array(
        [r[7] for r in rows if (r[0], *r[3:5], r[6]) == ("planted", 1, "never", "margin")]
    ).reshape(4, 5)  # fmt: skip
    here = frame.filter(role="planted", step=1, grp="never", metric="margin")
    for unit, means in (("replicates", values.mean(axis=1)), ("items", values.mean(axis=0))):
        (row,) = here.filter(pl.col("replicate").is_null(), unit=unit).to_dicts()
        interval = stats.ttest_1samp(means, 0).confidence_interval()
        assert row["n"] == len(means)
        assert (row["mean"], row["low"], row["high"]) == (
            pytest.approx(means.mean()), pytest.approx(interval.low), pytest.approx(interval.high),
        )  # fmt: skip
    (row,) = here.filter(replicate="seed 2").to_dicts()
    assert (row["mean"], row["n"]) == (pytest.approx(values[2].mean()), 5)


def test_shares_of_items_get_wilson_and_stay_in_their_range(path, rows):
    frame = made(path).frame
    hits = [r[7] for r in rows if (r[0], r[4], r[6]) == ("untouched", "never", "correct")]
    (row,) = frame.filter(
        pl.col("replicate").is_null(), role="untouched", grp="never", metric="correct"
    ).to_dicts()
    low, high = proportion_confint(sum(hits), 5, method="wilson")
    assert (row["low"], row["high"]) == (pytest.approx(low), pytest.approx(high))
    shares = frame.filter(metric="correct")
    assert shares["low"].min() >= 0
    assert shares["high"].max() <= 1


def test_one_unit_or_no_spread_has_no_interval(tmp_path):
    base = ("a", 0, "{}", 0)
    found = made(write(tmp_path / "x.duckdb", [
        (*base, "one", "i", "m", 2.0),
        (*base, "flat", "i", "m", 3.0), (*base, "flat", "j", "m", 3.0),
    ]))  # fmt: skip
    assert found.frame["low"].to_list() == [None, None]


def test_numbers_in_names_become_a_dimension_and_constants_go(tmp_path):
    found = made(write(tmp_path / "x.duckdb", [
        ("a", 0, "{}", 0, "g", f"i{i}", name, float(i + len(name)))
        for i in range(3) for name in ("probe/0", "probe/12", "bits_4", "bits_8", "alone_3")
    ] + [("a", 0, "{}", 0, "g", f"i{i}", "constant", 1.0) for i in range(3)]))  # fmt: skip
    assert found.metrics == ["alone_3", "bits", "probe"]
    (level,) = found.dimensions
    assert (level.name, level.values) == ("level", [0, 4, 8, 12, None])
    assert found.chosen["x"] == "level" or found.chosen["metric"] == "alone_3"


def test_numbered_networks_are_replicates_and_conditions_come_from_the_view(tmp_path):
    view = (
        "SELECT c.study, c.role, c.cell, json_extract_string(c.parameters, '$.arm') AS arm, "
        "json_extract(c.parameters, '$.network_seed')::INT AS network_seed, o.item, o.metric, "
        "o.value FROM observations o JOIN cells c USING (study, cell)"
    )
    found = made(write(tmp_path / "x.duckdb", [
        ("n", 0, json.dumps({"arm": arm, "network_seed": seed}), 0, "g", f"i{i}", "m", seed + i)
        for arm in ("replay", "none") for seed in range(3) for i in range(4)
    ], view))  # fmt: skip
    assert [d.name for d in found.dimensions] == ["arm"]
    assert found.replicates == [f"seed 0 network_seed={i}" for i in range(3)]
    pooled = found.frame.filter(unit="replicates")
    assert pooled["n"].to_list() == [3, 3]
    assert pooled["mean"].to_list() == [2.5, 2.5]


def test_dates_fractions_and_truth_values_are_dimensions_too(tmp_path):
    view = (
        "SELECT c.study, c.role, c.cell, make_date(2000 + o.step, 1, 1) AS cutoff, "
        "0.00001 * (o.step + 1) AS rate, o.step > 1 AS late, o.step * 1.0 AS dose, o.item, "
        "o.metric, o.value + o.step AS value "
        "FROM observations o JOIN cells c USING (study, cell)"
    )
    data = [("a", 0, "{}", s, "g", f"i{i}", "m", 1.0 * i) for s in range(3) for i in range(3)]
    path = write(tmp_path / "x.duckdb", data, view)
    for name in ("cutoff", "rate", "late", "dose"):
        found = made(path, Explore(x=name, fixed={"rate": "2e-05", "dose": "1"}))
        assert found.chosen["x"] == name
        assert found.default_view().height in (1, 3)
        json.dumps(found.data)


def test_too_many_rows_are_averaged_over_the_longest_dimension(path, monkeypatch):
    monkeypatch.setattr(explore_data, "ROWS", 10)
    found = made(path)
    assert "step" in found.averaged
    assert [d.name for d in found.dimensions] == ["role", "grp"]
    monkeypatch.setattr(explore_data, "ROWS_OF_REPLICATES", 3)
    assert made(path).replicates == []


def test_a_dimension_that_another_one_tells_is_left_out(tmp_path):
    view = (
        "SELECT c.study, c.role, c.cell, o.grp AS arm, 'f' || (o.grp = 'never') AS facts, o.item, "
        "o.metric, o.value FROM observations o JOIN cells c USING (study, cell)"
    )
    data = [("a", 0, "{}", 0, g, f"i{i}", "m", 1.0 * i) for g in "xyz" for i in range(3)]
    data += [("a", 0, "{}", 0, "never", f"i{i}", "m", 2.0 * i) for i in range(3)]
    found = made(write(tmp_path / "x.duckdb", data, view))
    assert [d.name for d in found.dimensions] == ["arm"]


def test_what_a_probe_states_comes_first(path):
    stated = Explore("margin", x="grp", colour="step", fixed={"role": "planted"})
    found = made(path, stated)
    assert found.chosen == {
        "metric": "margin", "x": "grp", "colour": "step", "role": "planted",
    }  # fmt: skip
    with pytest.raises(ValueError, match=r"no column 'arms'; there are .*grp"):
        made(path, Explore(x="arms"))
    # What this study lacks is no error: probes serve many studies.
    assert made(path, Explore("absent", fixed={"role": "nobody"})).chosen["metric"] == "correct"


def test_rows_of_the_page_point_to_their_names(path):
    found = made(path)
    data = json.loads(json.dumps(found.data))
    assert len(data["rows"]) == found.frame.height
    for row, expected in zip(data["rows"], found.frame.iter_rows(named=True), strict=True):
        metric, *codes, replicate, mean, low, high, n, unit = row
        assert data["metrics"][metric] == expected["metric"]
        for dimension, code in zip(data["dimensions"], codes, strict=True):
            assert dimension["values"][code] == expected[dimension["name"]]
        shown = None if replicate is None else data["replicates"][replicate]
        assert shown == expected["replicate"]
        assert mean == pytest.approx(expected["mean"], rel=1e-4)
        assert (n, data["units"][unit]) == (expected["n"], expected["unit"])
        assert (low is None) == (expected["low"] is None)
        assert (high is None) == (expected["high"] is None)


def test_without_numbers_there_is_no_explorer(tmp_path, toy_probe):
    path = write(tmp_path / "x.duckdb", [("a", 0, "{}", 0, "g", "i", "m", 1.0)])
    assert made(path) is None
    toy_probe.page = lambda database, study: StudyPage(study, "T", "?", [])
    html = build_study(path, "s", tmp_path / "p.html").read_text("utf-8")
    assert 'id="explore"' not in html


def test_an_explorer_that_fails_is_named_and_the_page_stands(path, toy_probe, tmp_path):
    toy_probe.page = lambda database, study: StudyPage(
        study, "T", "?", [], explore=Explore(x="<b>arms")
    )
    html = build_study(path, "s", tmp_path / "p.html").read_text("utf-8")
    assert "no column &#39;&lt;b&gt;arms&#39;" in html
    assert 'id="provenance"' in html


def test_hostile_names_stay_text(tmp_path, toy_probe):
    bad = "</script><script>window.hacked=1</script>\"'><svg onload=x>\u202e{{ 777*7 }}"
    data = [
        (f"{bad}{role}", seed, "{}", 0, f"{bad}{grp}", bad, f"{bad}{m}", float(role + m * seed))
        for role in (1, 2) for seed in range(3) for grp in "ab" for m in (1, 2)
    ]  # fmt: skip
    path = write(tmp_path / "x.duckdb", data)
    toy_probe.page = lambda database, study: StudyPage(study, "T", "?", [])
    html = build_study(path, "s", tmp_path / "p.html").read_text("utf-8")
    assert html.count("<script") == 2
    assert "<svg onload" not in html
    assert "\u202e" not in html
    assert "5439" not in html
    stored = re.search(r'id="explore-data">(.*?)</script>', html, re.DOTALL)[1]
    assert json.loads(stored)["metrics"][0].startswith("</script>")
    assert "⟨U+202E⟩" in json.loads(stored)["metrics"][0]


def test_the_file_is_not_written_to(path):
    before = path.read_bytes()
    made(path)
    assert path.read_bytes() == before
    with Database(path) as database, pytest.raises(EvidenceError, match="SELECT nonsense"):
        database.keep("x", "SELECT nonsense")
