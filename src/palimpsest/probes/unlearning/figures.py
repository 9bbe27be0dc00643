"""The page of unlearning: from the database to figures, tables and words."""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize

from palimpsest.probes.unlearning.analyses.frames import in_words
from palimpsest.probes.unlearning.pages import asked
from palimpsest.probes.unlearning.pages.cards import cards
from palimpsest.probes.unlearning.pages.empty import explained
from palimpsest.probes.unlearning.pages.methods import methods
from palimpsest.probes.unlearning.pages.still import evidence
from palimpsest.probes.unlearning.pages.tables import DETECTOR, GALLERY, TABLES, VERDICTS
from palimpsest.probes.unlearning.pages.terms import TERMS
from palimpsest.probes.unlearning.pages.words import LIMITATIONS, REFERENCES, summary
from palimpsest.probes.unlearning.settings import Settings
from palimpsest.reports.blocks import Block, Explore, Figure, StudyPage, n_caption
from palimpsest.reports.evidence import study_entry
from palimpsest.reports.figure_style import WIDTH, colours_for, direct_labels, name, panels
from palimpsest.reports.heat_map import grids, heat_map
from palimpsest.reports.palette import INK, MUTED
from palimpsest.reports.sentences import settings_used

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

    from palimpsest.evidence.database import Database

_caption = partial(n_caption, each="")

#: Colours of the heat map, and panels beside one another.
_MAP = "RdYlBu"
_ACROSS = 6


def page(database: Database, study: str) -> StudyPage:
    """The page of one study."""
    entry = study_entry(database, study)
    in_words = asked.in_words_alone(database, study)
    used = settings_used(database, study, Settings)
    return StudyPage(
        study=study,
        title=entry.title,
        question=asked.QUESTION if in_words else entry.question,
        summary=summary(database, study),
        blocks=explained(_blocks(database, study), database, study, used),
        methods=methods(database, study),
        limitations=_limitations(database, study, in_words),
        references=REFERENCES,
        terms=TERMS,
        explore=Explore(
            "rouge_l" if in_words else "probability",
            x="arm",
            colour="part",
            fixed={"how": "–", "requests": "0"},
        ),
    )


def _blocks(database: Database, study: str) -> list[Block]:
    there = database.frame("SELECT DISTINCT analysis FROM statistics WHERE study = ?", [study])
    there = set(there["analysis"])
    used = settings_used(database, study, Settings)
    written = asked.blocks(used) if "asked" in there else []
    if asked.in_words_alone(database, study):
        return [*written, GALLERY] if written else []
    shown = database.frame(
        "SELECT max(try_cast(split_part(factor, ' ', 1) AS INTEGER)) AS most FROM statistics "
        "WHERE study = ? AND analysis = 'relearning' AND metric = 'others'",
        [study],
    )["most"][0]
    return [
        *VERDICTS,
        evidence(used),
        Figure(
            "front",
            "What does forgetting cost?",
            _caption(
                "How far each method has gone from taught models (0) to models that never knew (1) "
                "in the probability of forgotten facts, against what is kept of facts that must "
                "stay and were never trained on again, as a share of what retrained models have. "
                "Bars: 95% intervals; large points: on the front in most bootstrap samples. "
                "Where the dashed lines cross is retraining"
            ),
            "Forgetting against keeping, one point for each method",
            """SELECT arm, max(estimate) FILTER (metric = 'forgotten') AS x,
  max(low) FILTER (metric = 'forgotten') AS x_low,
  max(high) FILTER (metric = 'forgotten') AS x_high,
  max(estimate) FILTER (metric = 'kept') AS y, max(low) FILTER (metric = 'kept') AS y_low,
  max(high) FILTER (metric = 'kept') AS y_high,
  max(estimate) FILTER (metric = 'on the front') AS front,
  max(n) FILTER (metric = 'forgotten') AS n, max(unit) FILTER (metric = 'forgotten') AS unit,
  series, model
FROM statistics WHERE study = $study AND analysis = 'front' GROUP BY ALL ORDER BY series, arm""",
            _draw_front,
            numbers={"x": ("x_low", "x_high"), "y": ("y_low", "y_high")},
        ),
        Figure(
            "robustness",
            "Is it gone, or hidden?",
            _caption(
                "How far each method has gone from taught models (0%, red) to models that never "
                "knew (100%) by each measure; above 100% (blue) a method has pushed beyond "
                "them. Measures that do not tell taught from retrained models are left out. "
                "Rows: the methods that have gone furthest in the mean of all measures first. "
                "Below each number: its 95% interval"
            ),
            "Heat map of the way gone, methods by measures",
            """SELECT arm, metric, factor AS kind, estimate, low, high, n, unit, series, model
FROM statistics WHERE study = $study AND analysis = 'way'
ORDER BY series, CASE factor WHEN 'forgetting' THEN 0 WHEN 'hidden' THEN 1 ELSE 2 END,
  metric, arm""",
            _draw_map,
        ),
        Figure(
            "populations",
            "Where do models that never knew lie?",
            _caption(
                "Mean of each arm with its 95% interval; grey: that of retrained "
                "models, which are the null distribution of every measure"
            ),
            "Means of four measures by arm, with intervals",
            """SELECT arm, metric, estimate, low, high, n, unit, series, model
FROM statistics WHERE study = $study AND analysis = 'level' AND metric IN (
  'forget probability', 'forget linear_probe', 'membership loss', 'kept probability')
ORDER BY series, metric, arm""",
            _draw_populations,
        ),
        Figure(
            "relearning",
            "How soon is it back?",
            _caption(
                f"Probability of forgotten facts while {shown or 'some'} are taught again: of "
                "those that are not. Where they rise more than in models that never knew, memory "
                "was hidden. Grey, the same in every panel: taught models (above) and retrained "
                "ones (below). Bands and bars: 95% intervals over models"
            ),
            "Probability of other forgotten facts by updates of relearning, a panel a method",
            """SELECT arm, step AS updates, estimate, low, high, n, unit, series, model
FROM statistics WHERE study = $study AND analysis = 'relearning' AND metric = 'others'
  AND factor = (SELECT max_by(factor, try_cast(split_part(factor, ' ', 1) AS INTEGER))
    FROM statistics WHERE study = $study AND analysis = 'relearning' AND metric = 'others')
ORDER BY series, arm, updates""",
            _draw_relearning,
        ),
        *([_REQUESTS] if "requests" in there else []),
        cards(database, study, used),
        *TABLES,
        *([DETECTOR] if "detector" in there else []),
        *written,
        GALLERY,
    ]


def _limitations(database: Database, study: str, in_words: bool) -> list[str]:
    of_models = asked.limitations(database, study)
    if in_words:
        return [*of_models, *asked.LIMITATIONS]
    worlds = database.frame("SELECT DISTINCT world FROM unlearning WHERE study = ?", [study])
    written = set(worlds["world"]) - {"scratch"}
    return [*of_models, *LIMITATIONS, *(asked.LIMITATIONS if written else [])]


def _draw_front(frame: pl.DataFrame) -> Drawing:
    figure, axes = panels(height=4.2)
    ax = axes[0, 0]
    told = _told_apart(frame["arm"].to_list())
    ax.axvline(1, color=MUTED, linewidth=0.8, linestyle=(0, (4, 3)))
    ax.axhline(1, color=MUTED, linewidth=0.8, linestyle=(0, (4, 3)))
    for row in frame.to_dicts():
        (colour, marker, _), on = told[row["arm"]], (row["front"] or 0) >= 0.5
        if row["x_low"] is not None:
            ax.hlines(row["y"], row["x_low"], row["x_high"], color=colour, linewidth=0.8)
            ax.vlines(row["x"], row["y_low"], row["y_high"], color=colour, linewidth=0.8)
        ax.plot(row["x"], row["y"], marker, color=colour, markersize=6 if on else 3.5)
    _label_points(ax, frame, told)
    ax.set_xlabel("way gone to models that never knew")
    ax.set_ylabel("kept of what must stay")
    return figure


#: Markers, and how a label shows them, for methods whose colours come again.
_MARKERS = (("o", "●"), ("s", "■"), ("^", "▲"), ("D", "◆"))


def _told_apart(arms: list[str]) -> dict[str, tuple[str, str, str]]:
    """Colour, marker and the marker as a character, of each arm; no two arms have the same."""
    colours, used = colours_for(arms), Counter[str]()
    found = {}
    for arm, colour in colours.items():
        found[arm] = (colour, *_MARKERS[used[colour] % len(_MARKERS)])
        used[colour] += 1
    return found


def _label_points(ax: Axes, frame: pl.DataFrame, told: dict[str, tuple[str, str, str]]) -> None:
    """Names in the right margin, from top to bottom as the points are, tied to them by a line."""
    ordered = frame.sort("y", descending=True).to_dicts()
    places = np.linspace(0.98, 0.02, len(ordered)) if len(ordered) > 1 else [0.5]
    for row, place in zip(ordered, places, strict=True):
        ax.annotate(
            f"{told[row['arm']][2]} {name(row['arm'])}",
            (row["x"], row["y"]),
            xytext=(1.06, place),
            textcoords=ax.transAxes,
            fontsize=7.5,
            va="center",
            color=told[row["arm"]][0],
            annotation_clip=False,
            # To the middle of the left end, so that no line runs through a name.
            arrowprops={
                "arrowstyle": "-",
                "color": told[row["arm"]][0],
                "linewidth": 0.4,
                "alpha": 0.7,
                "relpos": (0, 0.5),
            },
        )


def _draw_map(frame: pl.DataFrame) -> Drawing:
    arms = frame["arm"].unique(maintain_order=True).to_list()
    measures = frame["metric"].unique(maintain_order=True).to_list()
    found = grids(frame.to_dicts(), ("arm", "metric"), (arms, measures))
    order = np.argsort(-np.nanmean(found[0], axis=1))
    width = max(WIDTH, 1.6 + 0.4 * len(measures))
    height = 2.2 + 0.28 * len(arms)
    figure, axes = panels(height=height, width=width)
    ax = axes[0, 0]
    heat_map(ax, *(grid[order] for grid in found), colours=_MAP, ends=(0, 2), percent=True)
    ax.set_yticks(range(len(arms)), [name(arms[k]) for k in order])
    labels = [in_words(m.removeprefix("forget ")) for m in measures]
    ax.set_xticks(range(len(measures)), labels, rotation=60, ha="right", fontsize=7)
    scale = ScalarMappable(Normalize(0, 200), _MAP)
    bar = figure.colorbar(
        scale, ax=ax, location="top", shrink=0.6, fraction=0.3 / height, pad=0.1 / height, aspect=40
    )
    bar.set_ticks([0, 100, 200], labels=["0% (as taught)", "100% (never knew)", "200% and more"])
    bar.outline.set_visible(False)
    return figure


def _draw_populations(frame: pl.DataFrame) -> Drawing:
    metrics = frame["metric"].unique(maintain_order=True).to_list()
    arms = frame["arm"].unique(maintain_order=True).to_list()
    first = [arm for arm in ("retrained", "taught") if arm in arms]
    arms = first + [arm for arm in arms if arm not in first]
    figure, axes = panels(1, len(metrics), height=0.8 + 0.2 * len(arms), sharex=False)
    for ax, metric in zip(axes[0], metrics, strict=True):
        part = {row["arm"]: row for row in frame.filter(pl.col("metric") == metric).to_dicts()}
        never = part.get("retrained")
        if never and never["low"] is not None:
            ax.axvspan(never["low"], never["high"], color=MUTED, alpha=0.3, linewidth=0)
        for place, arm in enumerate(arms):
            row = part.get(arm)
            if row is None:
                continue
            if row["low"] is not None:
                ax.hlines(place, row["low"], row["high"], color=INK, linewidth=1)
            ax.plot(row["estimate"], place, "o", color=INK, markersize=3.5)
        ax.set_title(in_words(metric), loc="left", fontsize=8)
        ax.set_yticks(range(len(arms)), [name(arm) for arm in arms])
        ax.set_ylim(len(arms) - 0.5, -0.5)
    return figure


def _draw_relearning(frame: pl.DataFrame) -> Drawing:
    """A panel for each method, with the taught and the retrained models in every one."""
    parts = {
        str(arm): part.sort("updates")
        for (arm,), part in frame.group_by(["arm"], maintain_order=True)
    }
    references = {arm: parts.pop(arm) for arm in ("taught", "retrained") if arm in parts}
    panes = parts or {"": frame.clear()}
    columns = min(_ACROSS, len(panes))
    rows = -(-len(panes) // columns)
    figure, axes = panels(rows, columns, height=1.25 if rows > 1 else 2.4)
    for ax, (arm, part) in zip(axes.flat, panes.items(), strict=False):
        for each in references.values():
            known = each.drop_nulls(["low", "high"])
            ax.fill_between(known["updates"], known["low"], known["high"], color=MUTED, alpha=0.3)
            ax.plot(each["updates"], each["estimate"], "--", color=MUTED, linewidth=0.9)
        known = part.drop_nulls(["low", "high"])
        ax.vlines(known["updates"], known["low"], known["high"], color=INK, linewidth=0.9)
        ax.plot(part["updates"], part["estimate"], "-o", color=INK, linewidth=1.2, markersize=2.5)
        ax.set_title(name(arm), loc="left", fontsize=8)
        ax.set_xticks(sorted(frame["updates"].unique().to_list()))
        ax.tick_params(labelsize=7)
    for ax in list(axes.flat)[len(panes) :]:
        ax.set_visible(False)
    figure.supxlabel("updates of relearning", fontsize=8.5)
    figure.supylabel("probability of the other facts", fontsize=8.5)
    return figure


def _draw_requests(frame: pl.DataFrame) -> Drawing:
    figure, axes = panels(1, 2, height=3.2, sharey=False)
    arms = frame["arm"].unique(maintain_order=True).to_list()
    colours = colours_for(arms)
    for ax, metric in zip(axes[0], ("forgotten", "kept"), strict=True):
        ends = []
        own = frame.filter(pl.col("metric") == metric)
        for (arm, how), part in own.group_by(["arm", "how"], maintain_order=True):
            colour, line = colours[arm], "-" if how == "successive" else "--"
            ax.plot(part["requests"], part["estimate"], line, color=colour, linewidth=1.2)
            known = part.drop_nulls(["low", "high"])
            # Beside one another, so that no interval hides another.
            at = known["requests"] + 0.03 * (2 * arms.index(arm) + (how != "successive"))
            ax.vlines(at, known["low"], known["high"], color=colour, linewidth=0.8)
            if how == "successive":
                ends.append((part["estimate"][-1], name(arm), colour))
        direct_labels(ax, ends)
        ax.set_title(metric, loc="left", fontsize=8)
        ax.set_xlabel("requests")
        ax.set_xticks(sorted(own["requests"].unique().to_list()))
    return figure


_REQUESTS = Figure(
    "requests",
    "One request after another",
    _caption(
        "Forgotten, from taught models (0) to models that never knew (1), and kept of what "
        "must stay, as a share of retrained models, by the number of requests met. Lines: "
        "one request after another; dashed: the same requests at once, in one larger set. "
        "Bars: 95% intervals over taught models"
    ),
    "Forgotten and kept by the number of requests, one line a method",
    """SELECT arm, factor AS how, metric, step AS requests, estimate, low, high, n, unit,
  series, model
FROM statistics WHERE study = $study AND analysis = 'requests'
ORDER BY series, metric, arm, how, requests""",
    _draw_requests,
)
