import pytest

from palimpsest.reports.blocks import Column, Prose, StudyPage


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
