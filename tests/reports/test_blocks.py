import polars as pl
import pytest

from palimpsest.reports.blocks import Column, Prose, StudyPage, Table, n_caption
from palimpsest.reports.render import Limits, Prepared, glossary, table_view


@pytest.mark.parametrize("identity", ["Figure", "a b", "claims", "", "1st", "a<b"])
def test_unfit_ids_are_refused(identity):
    with pytest.raises(ValueError, match="block id"):
        StudyPage("s", "t", "q", [], [Prose(identity, "t", [])])


def test_an_id_taken_twice_is_refused():
    with pytest.raises(ValueError, match="'same'"):
        StudyPage("s", "t", "q", [], [Prose("same", "t", []), Prose("same", "u", [])])


def test_an_interval_column_needs_its_ends():
    with pytest.raises(ValueError, match="low"):
        Column("Share", "interval")


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        ([(5, "facts"), (5, "facts")], "n = 5 facts a point"),
        ([(5, "facts"), (None, None), (9, "facts")], "n = 5 to 9 facts a point"),
        ([(40, "items"), (2, "models"), (48, "items")], "n = 40 to 48 items or 2 models a point"),
        ([(None, None)], "n = unknown a point"),
    ],
)
def test_a_caption_has_the_n_of_every_unit(counts, said):
    frame = pl.DataFrame(counts, schema={"n": pl.Int64, "unit": pl.String}, orient="row")
    assert n_caption("Shares")(frame) == f"Shares; {said}."


@pytest.mark.parametrize(
    ("models", "rows", "told"),
    [("aaaa", 4, True), ("aaab", 4, False), ("aaa", 3, False)],
    ids=["alike", "one differs", "few rows"],
)
def test_a_column_that_never_changes_is_told_once(models, rows, told):
    columns = {"model": Column("Model"), "metric": Column("Metric"), "n": Column("n", "number")}
    frame = pl.DataFrame(
        {"model": list(models), "metric": [f"m{i}" for i in range(rows)], "n": [7] * rows}
    )
    item = Prepared(Table("t", "T", "C", "", columns), "table", 1, frame=frame)
    view = table_view(item, Limits(9, 9, 9))
    assert view["alike"] == ("In all rows: Model: a." if told else "")
    assert [c.header for c in view["columns"]] == ["Model", "Metric", "n"][told:]
    assert {len(row) for row in view["rows"]} == {3 - told}


@pytest.mark.parametrize("nothing", [None, float("nan")])
def test_a_column_without_a_value_is_told_once(nothing):
    columns = {"model": Column("Model"), "metric": Column("Metric"), "n": Column("n", "number")}
    columns |= {"p": Column("p", "p"), "rank": Column("rank", "number")}
    frame = pl.DataFrame(
        {
            "model": ["a"] * 4,
            "metric": list("abcd"),
            "n": range(4),
            "p": pl.Series([nothing] * 4, dtype=pl.Float64),
            "rank": pl.Series([nothing] * 3 + [1.0], dtype=pl.Float64),
        }
    )
    view = table_view(
        Prepared(Table("t", "T", "C", "", columns), "table", 1, frame=frame), Limits(9, 9, 9)
    )
    assert view["alike"] == "In all rows: Model: a. No value in any row: p."
    assert [c.header for c in view["columns"]] == ["Metric", "n", "rank"]


def test_of_columns_that_never_change_two_others_must_be_left():
    columns = {"model": Column("Model"), "n": Column("n", "number")}
    frame = pl.DataFrame({"model": ["a"] * 4, "n": range(4)})
    view = table_view(
        Prepared(Table("t", "T", "C", "", columns), "table", 1, frame=frame), Limits(9, 9, 9)
    )
    assert not view["alike"]
    assert len(view["columns"]) == 2


def test_the_glossary_says_terms_of_the_page_and_columns_as_they_are_headed():
    columns = {"detectable": Column("could find", "number", help="what is found"), "n": Column("n")}
    frame = pl.DataFrame({"detectable": [1.0], "n": [2], "arm": ["a"]})
    item = Prepared(Table("t", "T", "C", "", columns), "table", 1, frame=frame)
    meanings = {"detectable": "of the database", "n": "number", "arm": "any", "other": "absent"}
    assert glossary([item], meanings, {"arm": "a method", "Exposure": "a rank"}) == [
        ("arm", "a method"),
        ("could find", "what is found"),
        ("Exposure", "a rank"),
        ("n", "number"),
    ]
