"""Figures of every probe ask for n and all intervals, and tables for what they show."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import polars as pl
import pytest

from palimpsest import discovery
from palimpsest.reports.blocks import Figure, Table
from palimpsest.reports.render import bound
from tests.probes.figures import blocks, database, figures

PROBES = [*discovery.names("probes"), "_template"]
#: Figures of numbers that can have no interval.
BARE = {("economic_recall", "dates")}


@pytest.fixture(params=PROBES)
def probe(request):
    return request.param


@pytest.fixture
def run(probe):
    with database(probe) as made:
        yield made


def test_every_figure_has_n_and_intervals(probe, run):
    found = figures(probe, run)
    for name, figure in found.items():
        frame = run.frame(bound(figure.sql, "s"))
        assert figure.wanting(frame.clear()) == [], name
        assert bool(figure.bare) == ((probe, name) in BARE), name
        assert "$study" in figure.sql, name


def test_every_table_gives_what_it_shows(probe, run):
    tables = {block.id: block for block in blocks(probe, run) if isinstance(block, Table)}
    for name, table in tables.items():
        shown = {
            part
            for key, column in table.columns.items()
            for part in (key, column.low, column.high)
            if part
        }
        assert shown <= set(run.frame(bound(table.sql, "s")).columns), name
    assert tables


def test_no_figure_is_forgotten(probe, run):
    folder = Path(importlib.import_module(f"palimpsest.probes.{probe}").__path__[0])
    written = [
        node
        for file in folder.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Figure"
    ]
    assert len(figures(probe, run)) == len(written)


def test_a_figure_that_asks_for_too_little_is_seen():
    figure = Figure("f", "T", "c", "a", "", lambda frame: None)
    assert figure.wanting(pl.DataFrame({"estimate": [0.5], "low": [0.1], "n": [3]})) == ["high"]
