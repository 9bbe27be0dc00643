"""Every table of comparisons says what the study was large enough to find; its query gives that."""

import importlib
import pkgutil
import re

import polars as pl
import pytest

from palimpsest import discovery, probes
from palimpsest.evidence.gather import connect
from palimpsest.probes.unlearning.pages import asked
from palimpsest.probes.unlearning.settings import Settings as Unlearning
from palimpsest.reports.blocks import FINDS, Table
from palimpsest.reports.compare import _COLUMNS
from palimpsest.reports.render import Limits, Prepared, bound, table_view


def _blocks(value):
    if isinstance(value, Table):
        return [value]
    return [block for each in value for block in _blocks(each)] if isinstance(value, list) else []


def _tables():
    """Tables of all probes by probe and id."""
    found = {}
    for module in pkgutil.walk_packages(probes.__path__, "palimpsest.probes."):
        parts = module.name.split(".")
        if parts[2].startswith("_") or parts[-2] != "pages":
            continue
        for value in vars(importlib.import_module(module.name)).values():
            found |= {(parts[2], table.id): table for table in _blocks(value)}
    found |= {("unlearning", t.id): t for t in _blocks(asked.blocks(Unlearning()))}
    return found


TABLES = _tables()
#: Tables with a p that need no column, and why.
OTHERWISE = {
    ("economic_recall", "scan-table"): "a date and no difference; p by permutation",
    ("economic_recall", "scatter-table"): "permutation and runs tests, without an interval",
    ("power_law_rehearsal", "environments-table"): "goodness of fit of what was drawn",
    ("unforgettable_generalization", "predictors-table"): "its column power says the least rho",
    ("unforgettable_generalization", "likeness-table"): "permutation tests, without an interval",
}


def test_there_are_tables_of_all_probes():
    names = {module.name for module in pkgutil.iter_modules(probes.__path__)}
    assert {probe for probe, _ in TABLES} == {name for name in names if name[0] != "_"}
    assert len(TABLES) > 30
    assert set(OTHERWISE) <= set(TABLES)


def _compares(table):
    kinds = {column.kind for column in table.columns.values()}
    words = " ".join(c.header for c in table.columns.values() if c.kind == "interval")
    return "p" in kinds or re.search(r"minus|difference|\bchange\b|contrast", words)


@pytest.mark.parametrize(
    "place", [place for place in TABLES if place not in OTHERWISE], ids="/".join
)
def test_a_table_of_comparisons_says_what_could_be_found(place):
    table = TABLES[place]
    if _compares(table):
        assert table.columns.get("detectable") == FINDS


@pytest.mark.parametrize("place", TABLES, ids="/".join)
def test_the_query_gives_every_column(place):
    probe, _ = place
    table = TABLES[place]
    with connect({}, {probe: discovery.probe(probe, "claims").VIEW}) as connection:
        names = {column[0] for column in connection.execute(bound(table.sql, "s")).description}
    assert set(table.columns) <= names


def test_the_comparison_of_runs_says_it_too():
    assert (_COLUMNS["detectable"].kind, _COLUMNS["detectable"].help) == (FINDS.kind, FINDS.help)


def test_an_empty_cell_says_why():
    table = Table("t", "T", "c", "", {"detectable": FINDS})
    frame = pl.DataFrame({"detectable": [0.125, None]})
    rows = table_view(Prepared(table, "table", 1, frame=frame), Limits(9, 9, 9))["rows"]
    assert [(cell.text, cell.why) for (cell,) in rows] == [("0.125", None), ("–", FINDS.empty)]
