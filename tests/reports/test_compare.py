"""Two runs compared: itself, a known shift, other seeds, another machine, other settings."""

import importlib.util
import re
from pathlib import Path

import duckdb
import numpy as np
import polars as pl
import pytest

from palimpsest.evidence.database import EvidenceError
from palimpsest.evidence.two_runs import TwoRuns
from palimpsest.reports import two_runs
from palimpsest.reports.calls import Calls
from palimpsest.reports.compare import _metric_blocks, build_compare, find_database
from palimpsest.statistics.run_differences import compared

_FILE = Path(__file__).with_name("fixture_runs.py")


@pytest.fixture(scope="module")
def make(tmp_path_factory):
    """Writes a synthetic run and returns its path."""
    spec = importlib.util.spec_from_file_location("fixture_runs", _FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    folder = tmp_path_factory.mktemp("runs")

    def write(**how) -> Path:
        return module.write_run(folder / f"{len(list(folder.iterdir()))}.duckdb", **how)

    return write


@pytest.fixture(scope="module")
def base(make):
    return make()


def metrics_of(old, new):
    with TwoRuns(old, new) as database:
        return compared(database.moments())


def words(path):
    html = re.sub(r"<(style|script)>.*?</\1>", "", path.read_text("utf-8"), flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


def planted_false(row):
    chosen = ("planted", "planted_false", "score")
    return 2.0 if (row["role"], row["grp"], row["metric"]) == chosen else 0.0


def test_a_run_against_itself_is_identical_bit_by_bit(base, tmp_path):
    text = words(build_compare(base, base, tmp_path / "c.html"))
    assert "The observations of both runs are identical, bit by bit: 24 cells" in text
    assert "Nothing: settings, code, models and versions are the same." in text
    assert "Nothing: both runs have the same studies" in text
    with TwoRuns(base, base) as database:
        shared = database.shared()
        assert shared["equal"].all()
        assert shared["carried_over"].all()
        assert database.unequal().is_empty()
        assert database.moments().is_empty()


def test_other_seeds_with_equal_truth_show_no_change(base, make):
    frame = metrics_of(base, make(seeds=range(20, 26)))
    assert "changed" not in set(frame["verdict"])
    assert set(frame["role"]) == {"planted", "networks"}  # the untouched cells are equal
    assert frame.height == 6 + 2 * 6
    assert frame["p"].count() == frame.height
    assert set(frame.filter(role="planted")["unit"]) == {"replicates"}


@pytest.mark.parametrize("seeds", [range(6), range(20, 26)])
def test_a_shifted_metric_of_one_group_is_found_and_nothing_else(base, make, seeds):
    """In the same cells (where it is a defect) and in cells of other seeds."""
    frame = metrics_of(base, make(seeds=seeds, shift=planted_false))
    found = frame.filter(verdict="changed").to_dicts()
    assert [(row["role"], row["grp"], row["metric"]) for row in found] == [
        ("planted", "planted_false", "score")
    ]
    assert found[0]["low"] <= 2.0 <= found[0]["high"]
    if seeds == range(6):
        others = frame.filter(pl.col("verdict") != "changed")
        assert set(others["note"]) == {"every number is the same"}


def test_a_shift_in_one_condition_stays_in_it(base, make):
    def none_only(row):
        return 1.5 if '"none"' in row["parameters"] and row["metric"] == "loss" else 0.0

    frame = metrics_of(base, make(seeds=range(20, 26), shift=none_only))
    found = frame.filter(verdict="changed")
    assert set(found["condition"]) == {"arm=none"}
    assert set(found["metric"]) == {"loss"}


def test_moments_are_those_of_numpy(base, make):
    new = make(seeds=range(20, 24))
    (row,) = metrics_of(base, new).filter(role="planted", grp="never", metric="score").to_dicts()
    means = []
    for path in (base, new):
        with duckdb.connect(str(path), read_only=True) as connection:
            means.append(connection.execute(
                "SELECT avg(value) FROM observations JOIN cells USING (study, cell) WHERE role = "
                "'planted' AND grp = 'never' AND metric = 'score' GROUP BY cell"
            ).fetchnumpy()["avg(\"value\")"])  # fmt: skip
    old_means, new_means = (np.asarray(m) for m in means)
    assert (row["n_old"], row["n_new"]) == (6, 4)
    assert row["old"] == pytest.approx(old_means.mean())
    assert row["difference"] == pytest.approx(new_means.mean() - old_means.mean())
    from scipy.stats import ttest_ind

    assert row["p"] == pytest.approx(ttest_ind(new_means, old_means, equal_var=False).pvalue)


def test_another_machine_may_differ_in_the_last_digits_and_the_same_may_not(base, make, tmp_path):
    def last_digit(row):
        return 1e-13 if row["metric"] == "loss" else 0.0

    elsewhere = make(shift=last_digit, machine="CPU two", started="2026-02-02 00:00:00")
    with TwoRuns(base, elsewhere) as database:
        shared, unequal = database.shared(), database.unequal()
    assert not shared["equal"].any()
    assert not shared["same_machine"].any()
    assert set(unequal["metric"]) == {"loss"}
    assert unequal["largest"].max() == pytest.approx(1e-13, rel=0.01)
    assert unequal["alone"].sum() == 0
    page = words(build_compare(base, elsewhere, tmp_path / "c.html"))
    assert "A rerun on the same machine" not in page
    assert "changed" not in set(metrics_of(base, elsewhere)["verdict"])

    again = make(shift=last_digit, started="2026-02-02 00:00:00")
    page = words(build_compare(base, again, tmp_path / "d.html"))
    assert "A rerun on the same machine gave other numbers" in page
    assert "24 cells with the same identity, device, thread count and package versions" in page


def test_the_order_of_rows_means_nothing(base, tmp_path):
    path = tmp_path / "shuffled.duckdb"
    path.write_bytes(base.read_bytes())
    with duckdb.connect(str(path)) as connection:
        connection.execute(
            "CREATE TABLE o AS SELECT * FROM observations ORDER BY hash(item, metric, cell);"
            "DELETE FROM observations; INSERT INTO observations SELECT * FROM o; DROP TABLE o"
        )
    with TwoRuns(base, path) as database:
        assert database.shared()["equal"].all()


def test_a_text_or_a_row_more_makes_cells_unequal(base, tmp_path):
    path = tmp_path / "more.duckdb"
    path.write_bytes(base.read_bytes())
    with duckdb.connect(str(path)) as connection:
        connection.execute("UPDATE observations SET text = 'x' WHERE study = 'networks' AND item = "
                           "'item3' AND metric = 'loss'")  # fmt: skip
        connection.execute("DELETE FROM observations WHERE study = 'recall' AND item = 'item1'")
    with TwoRuns(base, path) as database:
        unequal = database.unequal()
    assert set(unequal.filter(study="networks")["texts"]) == {12}
    assert set(unequal.filter(study="networks")["numbers"]) == {0}
    assert set(unequal.filter(study="recall")["alone"]) == {12}


def test_what_is_in_one_run_alone_and_what_was_set_differently(base, make):
    new = make(
        seeds=range(4, 9),
        settings={"scratch": {"epochs": 5}, "series": ["a"]},
        machine="CPU two",
    )
    with duckdb.connect(str(new)) as connection:
        connection.execute("UPDATE provenance SET settings = '{\"epochs\": 9}' WHERE rule = "
                           "'intervene'; UPDATE models SET revision = '2'; UPDATE provenance SET "
                           "versions = '{\"torch\": \"2.1\"}'")  # fmt: skip
    with TwoRuns(base, new) as database:
        made = two_runs.made_differently(database)
        alone = two_runs.alone(database)
    found = {(row["what"], row["where"], row["key"]): (row["old"], row["new"]) for row in made}
    assert found["settings of the study", "recall", "scratch.epochs"] == ("not given", "5")
    assert found["last intervention of the state", "recall: planted", "epochs"] == ("3", "9")
    assert found["model", "", "tiny"] == ("package, 1", "package, 2")
    assert found["version of package", "", "torch"] == ('"2.0"', '"2.1"')
    seeds = next(row for row in alone if (row["study"], row["kind"]) == ("recall", "seed"))
    assert seeds["old"] == [f"seed {i} of planted" for i in range(4)]
    assert seeds["new"] == [f"seed {i} of planted" for i in range(6, 9)]
    replicates = next(row for row in alone if row["kind"] == "replicate")
    assert replicates["new"] == [f"network_seed={i}" for i in range(6, 9)]


def test_a_study_in_one_run_alone_is_listed_once(base, make):
    with TwoRuns(base, make(name="other")) as database:
        alone = two_runs.alone(database)
        assert database.common_studies() == ["networks"]
    assert alone == [{"study": "", "kind": "study", "old": ["recall"], "new": ["other"]}]


def _claim(name, estimate, half, verdict, n=40, test="95% interval above 0"):
    return {
        "study": "recall", "claim": name, "statement": f"Statement {name}.", "test": test,
        "estimate": estimate, "low": estimate - half, "high": estimate + half, "n": n,
        "unit": "items", "verdict": verdict, "direction": "above", "level": 0.95,
    }  # fmt: skip


def test_claims_move_by_more_than_noise_or_not(make, tmp_path):
    old = make(claims=[
        _claim("jumps", 0.1, 0.1, "inconclusive"), _claim("flips", 0.11, 0.1, "supported"),
        _claim("stays", 0.5, 0.1, "supported"), _claim("retested", 0.5, 0.1, "supported"),
        _claim("gone", 0.5, 0.1, "supported"),
    ])  # fmt: skip
    new = make(seeds=range(20, 26), claims=[
        _claim("jumps", 0.6, 0.1, "supported"), _claim("flips", 0.09, 0.1, "inconclusive"),
        _claim("stays", 0.5, 0.1, "supported"),
        _claim("retested", 0.9, 0.1, "supported", test="95% interval above 0.5"),
    ])  # fmt: skip
    with TwoRuns(old, new) as database:
        claims = {row["claim"]: row for row in two_runs.claims(database).to_dicts()}
    assert {name: row["change"] for name, row in claims.items()} == {
        "jumps": "changed", "flips": "cannot tell", "stays": "the same",
        "retested": "cannot tell", "gone": "cannot tell",
    }  # fmt: skip
    assert claims["jumps"]["low"] == pytest.approx(0.5 - np.hypot(0.1, 0.1))
    assert claims["jumps"]["p_adjusted"] == pytest.approx(2 * claims["jumps"]["p"])
    assert claims["retested"]["p"] is None
    assert claims["jumps"]["detectable"] == pytest.approx(0.1414 * 2.837 / 1.991, rel=1e-3)
    assert claims["retested"]["detectable"] is None
    text = words(build_compare(old, new, tmp_path / "c.html"))
    assert "2 of 4 claims have another verdict, 1 of these by more than noise." in text
    assert "differ no more than two runs may by chance" in text
    assert "The test is another one" in text
    assert re.search(r"recall claim gone –", text)
    assert re.search(
        r"old 0\.10 \[0\.00, 0\.20\] n = 40 items new 0\.60 \[0\.50, 0\.70\] n = 40 items "
        r".{0,80}could find 0\.202",
        text,
    )


def test_compared_metrics_say_what_could_be_found(base, make, tmp_path):
    path = make(seeds=range(20, 26), shift=planted_false)
    text = words(build_compare(base, path, tmp_path / "c.html"))
    assert "Could find" in text


def test_other_analysis_of_the_same_observations_needs_no_p(make):
    old = make(claims=[_claim("a", 0.5, 0.1, "supported")])
    new = make(claims=[_claim("a", 0.51, 0.1, "supported")])
    with TwoRuns(old, new) as database:
        (row,) = two_runs.claims(database).to_dicts()
    assert row["same_observations"]
    assert (row["change"], row["p"]) == ("changed", None)


def test_hostile_names_stay_text(base, make, toy, tmp_path):
    bad = "</script><script>window.hacked=1</script>\"'><svg onload=x>\u202e{{ 777*7 }}"
    path = make(seeds=range(20, 26), shift=planted_false, settings={bad: bad},
                claims=[_claim("a", 0.5, 0.1, bad)])  # fmt: skip
    with duckdb.connect(str(path)) as connection:
        connection.execute("UPDATE observations SET metric = $1 WHERE metric = 'score'", [bad])
        connection.execute("UPDATE cells SET experiment = $1", [bad])
        connection.execute(
            "UPDATE provenance SET device = $1, rule = $1 WHERE rule = 'probe'", [bad]
        )
        connection.execute("UPDATE claims SET statement = $1", [bad])
    html = build_compare(path, path, tmp_path / "a.html").read_text("utf-8")
    html += build_compare(base, path, tmp_path / "b.html").read_text("utf-8")
    assert html.count("<script") == 2
    assert "<svg onload" not in html
    assert "\u202e" not in html
    assert "5439" not in html


def test_the_page_is_one_file_with_a_policy(base, make, tmp_path):
    new = make(seeds=range(20, 26), shift=planted_false)
    html = build_compare(base, new, tmp_path / "c.html").read_text("utf-8")
    assert "default-src 'none'" in html.replace("&#39;", "'")
    assert len(html.encode()) < 3_000_000
    assert not re.search(r"<(link|img|iframe|object|embed|base|form)\b|\sstyle=", html)
    ids = re.findall(r'\sid="([^"]+)"', html)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#([^"]+)"', html)) <= set(ids)


def test_databases_are_found_by_name_or_folder(base, tmp_path):
    assert find_database(base) == base
    (tmp_path / "run" / "results").mkdir(parents=True)
    inner = tmp_path / "run" / "results" / "palimpsest.duckdb"
    with pytest.raises(EvidenceError, match="has neither results/palimpsest"):
        find_database(tmp_path / "run")
    inner.write_bytes(base.read_bytes())
    assert find_database(tmp_path / "run") == inner
    assert find_database(tmp_path / "run" / "results") == inner
    with pytest.raises(EvidenceError, match="no such database or run folder"):
        find_database(tmp_path / "nothing")


def test_a_file_that_is_no_database_is_named(base, tmp_path):
    text = tmp_path / "a'b.duckdb"
    text.write_text("hello")
    for pair in ((base, text), (text, base)):
        with pytest.raises(EvidenceError, match=r"a'b\.duckdb"):
            TwoRuns(*pair)
    old = tmp_path / "o'ld.duckdb"
    old.write_bytes(base.read_bytes())
    with TwoRuns(old, base) as database:
        assert database.shared().height == 24
    with duckdb.connect(str(old)) as connection:
        connection.execute("UPDATE run SET value = '0' WHERE key = 'schema_version'")
    with pytest.raises(EvidenceError, match="schema_version is 0"):
        TwoRuns(base, old)


def test_factors_have_their_meaning(base, make):
    frame = metrics_of(base, make(seeds=range(20, 26)))
    assert set(frame.filter(study="networks")["condition"]) == {"arm=replay", "arm=none"}
    assert set(frame.filter(role="planted")["condition"]) == {"cutoff=2020"}


def test_figures_say_n_and_how_far_noise_reaches(base, make):
    moved = metrics_of(base, make(seeds=range(40, 46), shift=planted_false))
    metrics = pl.concat([moved] * 4)
    calls = Calls((base, base), 0.05, 0.2)
    clearest, expected = _metric_blocks(metrics, calls, 1)[:2]
    assert re.search(r"; n = \d.* in the run that has fewer\.$", clearest.caption)
    assert clearest.frame["n"].null_count() == 0
    count = metrics["p"].count()
    assert f"n = {count} comparisons." in expected.caption
    # The smallest of m uniform p-values is above x with probability (1 - x)^m.
    lowest = expected.frame.row(0, named=True)
    assert (1 - lowest["low"]) ** count == pytest.approx(0.975)
    assert (1 - lowest["high"]) ** count == pytest.approx(0.025)
    assert (expected.frame["low"] < expected.frame["expected"]).all()
    assert (expected.frame["expected"] < expected.frame["high"]).all()
