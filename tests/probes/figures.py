"""The figures of a probe, drawn from statistics that a test has made."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import polars as pl

from palimpsest.evidence.database import Database
from palimpsest.evidence.gather import connect, frame_of
from palimpsest.reports.blocks import Figure
from palimpsest.reports.figure_style import style
from palimpsest.reports.render import bound

STUDY = "s"
Tables = dict[str, list[pl.DataFrame]]
#: Analyses that give a page blocks that it has only now and then.
NOW_AND_THEN = ("asked", "requests", "detector")


@contextmanager
def database(
    probe: str, statistics: list[dict] = (), tables: Tables | None = None, study: str = STUDY
) -> Iterator[Database]:
    """A run of ``probe`` in which nothing but these statistics and tables is there."""
    claims = importlib.import_module(f"palimpsest.probes.{probe}.claims")
    kinds = [{"analysis": kind, "n": 0, "metric": ""} for kind in NOW_AND_THEN]
    rows = [row | {"study": study} for row in [*statistics, *kinds]]
    claim = {"study": study, "claim": "c", "statement": "", "verdict": "not tested"}
    made = {"statistics": [frame_of("statistics", rows)], "claims": [frame_of("claims", [claim])]}
    with connect(
        (tables or {}) | made, {probe: claims.VIEW} if hasattr(claims, "VIEW") else {}
    ) as connection:
        run = object.__new__(Database)
        run._connection = connection
        yield run


def blocks(probe: str, run: Database) -> list:
    """Blocks of the probe's page, also those that it has only now and then, some of them twice."""
    page = importlib.import_module(f"palimpsest.probes.{probe}.figures")
    modules = [page]
    if importlib.util.find_spec(f"palimpsest.probes.{probe}.pages"):
        folder = importlib.import_module(f"palimpsest.probes.{probe}.pages")
        inside = pkgutil.iter_modules(folder.__path__, f"{folder.__name__}.")
        modules += [importlib.import_module(each.name) for each in inside]
    found = []
    for value in (value for module in modules for value in vars(module).values()):
        found += value if isinstance(value, list) else [value]
    if probe == "_template":
        found += page.page(run, STUDY).blocks
    elif probe == "unlearning":
        found += page._blocks(run, STUDY)
    elif probe == "economic_recall":
        found += page._blocks([])
    elif hasattr(page, "_blocks"):
        found += page._blocks()
    return found


def figures(probe: str, run: Database) -> dict[str, Figure]:
    """Figures of the probe by id."""
    return {block.id: block for block in blocks(probe, run) if isinstance(block, Figure)}


def undrawn(
    probe: str, statistics: list[dict], tables: Tables | None = None, study: str = STUDY
) -> tuple[list[str], list[str]]:
    """Figures that have rows, and of these the numbers whose intervals leave no mark."""
    filled, hidden = [], []
    with database(probe, statistics, tables, study) as run:
        for name, figure in figures(probe, run).items():
            frame = run.frame(bound(figure.sql, study))
            if frame.is_empty():
                continue
            filled.append(name)
            for number, (low, high) in figure.numbers.items():
                if figure.bare or frame.drop_nulls([low, high]).is_empty():
                    continue
                without = frame.with_columns(
                    pl.lit(None, dtype=pl.Float64).alias(end) for end in (low, high)
                )
                if _marks(figure, frame) == _marks(figure, without):
                    hidden.append(f"{name}: {number}")
    return filled, hidden


def _marks(figure: Figure, frame: pl.DataFrame) -> list:
    """Texts, lines and shapes of a drawing."""
    with style():
        drawing = figure.draw(frame)
    marks = []
    for ax in drawing.axes:
        marks += [text.get_text() for text in ax.texts]
        marks += [np.asarray(line.get_xydata(), dtype=float).tolist() for line in ax.lines]
        for shape in (*ax.collections, *ax.patches):
            paths = shape.get_paths() if hasattr(shape, "get_paths") else [shape.get_path()]
            marks += [path.vertices.tolist() for path in paths]
    return [str(mark) for mark in marks]
