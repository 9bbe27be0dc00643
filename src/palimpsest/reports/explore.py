"""The explorer of a study page: means of every metric by everything that was varied.

Dimensions are found, not declared: the columns of the probe's view (or of cells and observations)
that take a few values. What takes many values names items and is averaged over. All means are made
by SQL; the page holds them, and the reader's browser only chooses among them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from palimpsest.evidence.database import Database
from palimpsest.evidence.factors import FAMILY, REPLICATE
from palimpsest.reports import explore_data
from palimpsest.reports.blocks import Explore
from palimpsest.reports.evidence import StudyEntry
from palimpsest.reports.formatting import without_hidden
from palimpsest.reports.palette import COLOURS, HUES
from palimpsest.reports.sources import Asked

#: A column with more values names items, not conditions.
MOST_VALUES = 40
#: With fewer replicates, intervals are over items until the reader asks for others.
LEAST_REPLICATES = 3
#: Rows of the table that is there without scripts.
STATIC_ROWS = 120

#: Columns that are no dimension whatever their values.
_BOOKKEEPING = {"study", "cell", "state", "metric", "value", "text", "seed", "run", "origin"}
#: Columns that name items; an item asked in several wordings stays one item.
_ITEMS = {"item", "sentence"}
_WORDINGS = {"question", "template", "wording"}
#: Dimensions that stay even where another one tells their value.
_LASTING = {"model", "role", "step"}
_PREFERRED_X = ("step", "exposures", "epoch", "epochs", "updates", "delay", "level")
_PREFERRED_COLOUR = ("role", "arm", "grp", "kind", "part", "condition", "model")
_PREFERRED_METRICS = ("correct", "right", "accuracy", "probability", "exact", "loss")
_HUES = ("blue", "vermilion", "green", "purple", "orange", "sky", "grey")


@dataclass(frozen=True)
class Dimension:
    """One thing that was varied; ``values`` in their order, ``hues`` their colours."""

    name: str
    numeric: bool
    values: list[Any]
    hues: list[str]


@dataclass
class Explorer:
    """What the explorer shows.

    ``frame`` has the columns metric, one for each dimension, replicate (null: all together), mean,
    low, high, n, unit; ``sql`` gives its means, variances and n.
    """

    dimensions: list[Dimension]
    metrics: list[str]
    frame: pl.DataFrame
    averaged: list[str]
    chosen: dict[str, str]
    replicates: list[str] = field(default_factory=list)
    sql: str = ""

    @property
    def unit(self) -> str:
        """The unit of the intervals that are shown first: few replicates say too little."""
        of_replicates = self.frame.filter(unit="replicates")["n"]
        return "replicates" if (of_replicates.max() or 0) >= LEAST_REPLICATES else "items"

    @property
    def data(self) -> dict[str, Any]:
        """For the script: names once, rows as numbers that point to them."""
        units = self.frame["unit"].unique().sort().to_list()
        places = {"metric": self.metrics, "replicate": self.replicates, "unit": units}
        places |= {d.name: d.values for d in self.dimensions}
        coded = self.frame.select(
            _code("metric", places),
            *(_code(d.name, places) for d in self.dimensions),
            _code("replicate", places),
            *(pl.col(name).round_sig_figs(5) for name in ("mean", "low", "high")),
            "n",
            _code("unit", places),
        )
        return {
            "metrics": [without_hidden(name) for name in self.metrics],
            "replicates": [without_hidden(name) for name in self.replicates],
            "units": units,
            "unit": self.unit,
            "dimensions": [
                {
                    "name": d.name,
                    "label": label(d.name),
                    "numeric": d.numeric,
                    "values": [v if d.numeric else without_hidden(_text(v)) for v in d.values],
                    "hues": d.hues,
                }
                for d in self.dimensions
            ],
            "rows": [list(row) for row in coded.iter_rows()],
            "chosen": {key: without_hidden(value) for key, value in self.chosen.items()},
        }

    def default_view(self) -> pl.DataFrame:
        """Rows that the explorer shows first, for readers without scripts."""
        names = [d.name for d in self.dimensions]
        view = (
            self.frame.filter(pl.col("replicate").is_null(), metric=self.chosen["metric"])
            .sort(pl.col("unit") != self.unit)
            .unique(names, keep="first", maintain_order=True)
        )
        for d in self.dimensions:
            if d.name in self.chosen:
                view = view.filter(_is(d, self.chosen[d.name]))
        return view.sort(names, nulls_last=True).head(STATIC_ROWS)


def label(name: str) -> str:
    """A column's name as a reader would say it."""
    return {"grp": "group", "n": "n"}.get(name, name.replace("_", " "))


def explorer(database: Database, entry: StudyEntry, stated: Explore) -> Explorer | None:
    """The explorer of a study; None where it has no number that varies.

    What ``stated`` names but this study does not vary is left out of account.

    Raises:
        EvidenceError: a query fails.
        ValueError: ``stated`` names a column that the probe's view does not have.
    """
    database = Asked(database)
    columns = explore_data.gathered(database, entry.study, entry.probe)
    if not database.frame("SELECT count(*) FROM explored").item():
        return None
    _demand(stated, columns)
    counts = explore_data.counted(database, columns)
    varied = [name for name in columns if name not in _BOOKKEEPING and counts[name] > 1]
    varied = [name for name in varied if not re.search(REPLICATE, name)]
    items = [name for name in varied if _names_items(name, counts[name])]
    dimensions = [name for name in varied if name not in items and name not in _WORDINGS]
    wanted = {stated.x, stated.colour, *stated.fixed}
    dimensions, averaged = explore_data.fitting(database, dimensions, counts, wanted)
    frame = explore_data.means(database, dimensions, [*items, *averaged])
    dimensions = _telling(frame, dimensions, stated)
    metrics = sorted(frame["metric"].unique().to_list())
    described = [_dimension(frame, name) for name in dimensions]
    return Explorer(
        described,
        metrics,
        frame,
        [label(name) for name in [*averaged, *items] if name not in _ITEMS],
        _chosen(frame, described, metrics, stated),
        sorted(frame["replicate"].drop_nulls().unique().to_list(), key=_natural),
        ";\n\n".join([*database.kept, database.sql]) + ";",
    )


def _names_items(name: str, count: int) -> bool:
    return name in _ITEMS or re.search(FAMILY, name) is not None or count > MOST_VALUES


def _telling(frame: pl.DataFrame, dimensions: list[str], stated: Explore) -> list[str]:
    """Dimensions without those whose value another one tells."""
    kept = list(dimensions)
    for name in dimensions:
        if name in _LASTING or name in {stated.x, stated.colour, *stated.fixed}:
            continue
        others = [other for other in kept if other != name]
        if any(frame[o].n_unique() == frame.select(o, name).n_unique() for o in others):
            kept.remove(name)
    return kept


def _dimension(frame: pl.DataFrame, name: str) -> Dimension:
    numeric = frame[name].dtype.is_numeric()
    values = sorted(frame[name].unique().to_list(), key=_natural)
    return Dimension(name, numeric, values, _hues([_text(value) for value in values]))


def _hues(values: list[str]) -> list[str]:
    """A hue for each value: that of its meaning where it has one, else in turn."""
    by_mark = {hue.mark: name for name, hue in HUES.items()}
    known = {value: by_mark.get(COLOURS.get(value, "")) for value in values}
    if len(set(filter(None, known.values()))) == len(list(filter(None, known.values()))):
        free = [hue for hue in _HUES if hue not in known.values()] or list(_HUES)
    else:
        known, free = {}, list(_HUES)
    turn = iter(range(len(values)))
    return [known.get(value) or free[next(turn) % len(free)] for value in values]


def _chosen(
    frame: pl.DataFrame, dimensions: list[Dimension], metrics: list[str], stated: Explore
) -> dict[str, str]:
    """What is shown first: metric, x, colour, and one value of every other dimension."""
    wanted = (stated.metric, *_PREFERRED_METRICS)
    metric = next((m for m in wanted if m in metrics), metrics[0])
    here = frame.filter(pl.col("replicate").is_null(), metric=metric, unit="items")
    varied = {d.name: here[d.name].n_unique() for d in dimensions}
    numbers = [d.name for d in dimensions if d.numeric and varied[d.name] > 1]
    texts = [d.name for d in dimensions if not d.numeric and varied[d.name] > 1]
    fallback = max(texts, key=varied.get, default=None)
    x = _first([stated.x, *_PREFERRED_X, *numbers, fallback], [*numbers, *texts])
    free = [n for n in (*texts, *numbers) if n != x and varied[n] <= len(_HUES)]
    small = [n for n in texts if n in free and n not in stated.fixed]
    colour = _first([stated.colour], free) or _first([*_PREFERRED_COLOUR, *small], small)
    chosen = {"metric": metric, "x": x or "", "colour": colour or ""}
    for d in dimensions:
        if d.name in (x, colour) or varied[d.name] < 2:
            continue
        axes = [name for name in (x, colour) if name]
        if axes and here.select(axes).n_unique() == here.select(*axes, d.name).n_unique():
            continue  # a point has one value of it: nothing to choose
        # Else the value that leaves most to see.
        reach = pl.col(x).n_unique() if x else pl.lit(0)
        seen = here.group_by(d.name).agg(reach.alias("_reach"), pl.len().alias("_rows"))
        seen = seen.sort("_reach", "_rows", d.name, descending=[True, True, False])
        values = [_text(value) for value in seen[d.name]]
        chosen[d.name] = _first([stated.fixed.get(d.name)], values) or values[0]
        here = here.filter(_is(d, chosen[d.name]))
    return chosen


def _first(wanted: list[str | None], there: list[str]) -> str | None:
    return next((name for name in wanted if name in there), None)


def _demand(stated: Explore, columns: list[str]) -> None:
    for name in filter(None, (stated.x, stated.colour, *stated.fixed)):
        if name not in columns:
            raise ValueError(f"explore: no column {name!r}; there are {', '.join(columns)}")


def _code(name: str, places: dict[str, list[Any]]) -> pl.Expr:
    old = places[name]
    codes = {value: index for index, value in enumerate(old) if value is not None}
    null = old.index(None) if None in old else None
    coded = pl.col(name).replace_strict(codes, default=None, return_dtype=pl.Int64)
    return coded.fill_null(null) if null is not None else coded


def _is(dimension: Dimension, text: str) -> pl.Expr:
    """True for rows whose value reads ``text``."""
    values = [value for value in dimension.values if _text(value) == text]
    return pl.col(dimension.name).is_in(values, nulls_equal=True)


def _text(value: Any) -> str:
    """A value as the script writes it."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return "–" if value is None else str(value)


def _natural(value: Any) -> tuple[bool, bool, float, str]:
    number = isinstance(value, int | float)
    if number:
        return (False, False, float(value), "")
    digits = re.search(r"\d+", str(value))
    return (value is None, True, float(digits[0]) if digits else 0.0, str(value))
