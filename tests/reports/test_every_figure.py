"""Every figure of every probe asks for n and for the interval of each number that it draws."""

from __future__ import annotations

import ast
import importlib
import pkgutil
from pathlib import Path

import polars as pl
import pytest

from palimpsest import discovery
from palimpsest.evidence.database import Database
from palimpsest.evidence.gather import connect, frame_of
from palimpsest.reports.blocks import Figure
from palimpsest.reports.render import bound

PROBES = [*discovery.names("probes"), "_template"]
#: Figures of numbers that can have no interval.
BARE = {("economic_recall", "dates")}


@pytest.fixture(params=PROBES)
def probe(request):
    return request.param


@pytest.fixture
def database(probe):
    """A run of the probe in which an analysis of every kind has a row, and nothing was measured."""
    claims = importlib.import_module(f"palimpsest.probes.{probe}.claims")
    kinds = ("asked", "requests", "detector")
    rows = [{"study": "s", "analysis": kind, "n": 0, "metric": ""} for kind in kinds]
    claim = {"study": "s", "claim": "c", "statement": "", "verdict": "not tested"}
    tables = {"statistics": [frame_of("statistics", rows)], "claims": [frame_of("claims", [claim])]}
    with connect(tables, {probe: claims.VIEW} if hasattr(claims, "VIEW") else {}) as connection:
        made = object.__new__(Database)
        made._connection = connection
        yield made


def _modules(probe):
    package = importlib.import_module(f"palimpsest.probes.{probe}")
    for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        yield importlib.import_module(found.name)


def _figures(probe, database):
    """Figures of the page, and those that it has only now and then."""
    page = importlib.import_module(f"palimpsest.probes.{probe}.figures")
    blocks = [each for module in _modules(probe) for each in _listed(vars(module).values())]
    if probe == "_template":
        blocks += page.page(database, "s").blocks
    elif probe == "unlearning":
        blocks += page._blocks(database, "s")
    elif probe == "economic_recall":
        blocks += page._blocks([])
    elif hasattr(page, "_blocks"):
        blocks += page._blocks()
    return {block.id: block for block in blocks if isinstance(block, Figure)}


def _listed(values):
    for value in values:
        yield from value if isinstance(value, list) else [value]


def test_every_figure_has_n_and_intervals(probe, database):
    found = _figures(probe, database)
    for name, figure in found.items():
        frame = database.frame(bound(figure.sql, "s"))
        assert figure.wanting(frame.clear()) == [], name
        assert bool(figure.bare) == ((probe, name) in BARE), name
        assert "$study" in figure.sql, name


def test_no_figure_is_forgotten(probe, database):
    folder = Path(importlib.import_module(f"palimpsest.probes.{probe}").__path__[0])
    written = [
        node
        for file in folder.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Figure"
    ]
    assert len(_figures(probe, database)) == len(written)


def test_a_figure_that_asks_for_too_little_is_seen():
    figure = Figure("f", "T", "c", "a", "", lambda frame: None)
    assert figure.wanting(pl.DataFrame({"estimate": [0.5], "low": [0.1], "n": [3]})) == ["high"]
