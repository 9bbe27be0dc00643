import polars as pl
import pytest

from palimpsest.reports.blocks import Column, Prose, StudyPage, n_caption


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
