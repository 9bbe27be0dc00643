"""The page of few-shot memory: from the database to figures, tables and words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from palimpsest.probes.few_shot_memory.pages.states import AGAINST, has_any
from palimpsest.probes.few_shot_memory.pages.tables import GALLERY, TABLES
from palimpsest.probes.few_shot_memory.pages.words import LIMITATIONS, REFERENCES, methods, summary
from palimpsest.reports.blocks import Block, Explore, Figure, StudyPage, n_caption
from palimpsest.reports.evidence import study_entry
from palimpsest.reports.figure_style import (
    chance_line,
    colours_for,
    direct_labels,
    errorbars,
    forest,
    markers_for,
    name,
    panels,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

    from palimpsest.evidence.database import Database

#: Smallest memory that is drawn on a logarithmic axis.
LEAST_ON_LOG = 0.01
#: Rows at the rates that validation chose, for the state that claims are judged on.
MAIN = """study = $study AND factor LIKE '%chosen rate'
  AND role = (SELECT coalesce(max(role) FILTER (role = 'untouched'),
                min(role) FILTER (json_extract_string(parameters, '$.origin') IS NULL), min(role))
              FROM cells WHERE study = $study)"""


def page(database: Database, study: str) -> StudyPage:
    """The page of one study."""
    entry = study_entry(database, study)
    return StudyPage(
        study=study,
        title=entry.title,
        question=entry.question,
        summary=summary(database, study),
        blocks=[b for b in _blocks() if _shown(b, database, study)],
        methods=methods(database, study),
        limitations=LIMITATIONS,
        references=REFERENCES,
        explore=Explore("rougeL", x="exposures", fixed={"phase": "study"}),
    )


def _shown(block: Block, database: Database, study: str) -> bool:
    """What compares states only where there are several."""
    if block in AGAINST:
        return has_any(database, study)
    query = "SELECT count(DISTINCT role || model) FROM cells WHERE study = ?"
    return block.id != "states" or database.frame(query, [study]).item() > 1


def _blocks() -> list[Block]:
    return [
        Figure(
            "recognition",
            "How often must a sentence be seen to be recognised?",
            n_caption(
                "Forced choice between the studied item and its foil. By loss: the paper's rule, "
                "whose floor is the point at 0 exposures. By drop of the loss: against the model "
                "before study. never: pairs of which nothing was studied. Dashed: Shepard's (1967) "
                "people, 0.89 for sentences. Bars: 95% intervals, items resampled"
            ),
            "Accuracy by exposures and stimuli, one panel for each rule, with human performance",
            f"""SELECT CASE metric WHEN 'correct' THEN 'by loss' ELSE 'by drop of the loss' END
  AS rule, CASE arm WHEN 'never' THEN 'never, ' || series ELSE series END AS stimuli,
  step AS exposures, estimate, low, high, n, unit
FROM statistics
WHERE {MAIN} AND analysis = 'recognition' AND metric IN ('correct', 'correct_drop')
ORDER BY rule DESC, arm DESC, series, step""",
            _draw_recognition,
        ),
        Figure(
            "recall",
            "And to be recalled?",
            n_caption(
                "Recall after half of the sentence. prefix: share of the rest before the first "
                "error; exact: all of the rest; ROUGE-L: recall of the completion alone. Bars: 95% "
                "intervals, items resampled"
            ),
            "Recall by exposures, one panel for each measure, one line for each kind of stimuli",
            f"""SELECT CASE metric WHEN 'rougeL' THEN 'ROUGE-L' WHEN 'exact_50' THEN 'exact'
    ELSE 'prefix' END AS measure,
  series AS stimuli, step AS exposures, estimate, low, high, n, unit
FROM statistics
WHERE {MAIN} AND analysis = 'recall' AND metric IN ('rougeL', 'exact_50', 'prefix_50')
ORDER BY measure, stimuli, step""",
            _draw_recall,
        ),
        Figure(
            "cues",
            "How long must the cue be?",
            n_caption(
                "Share of the rest recalled before the first error, by the share of the sentence "
                "that is given, after the largest number of exposures. Bars: 95% intervals, items "
                "resampled"
            ),
            "Recall by length of the cue, one line for each kind of stimuli",
            f"""SELECT series AS stimuli, try_cast(replace(metric, 'prefix_', '') AS INT) AS cue,
  estimate, low, high, n, unit
FROM statistics
WHERE {MAIN} AND analysis = 'recall' AND metric LIKE 'prefix%'
  AND step = (SELECT max(step) FROM statistics WHERE study = $study AND analysis = 'recall')
ORDER BY stimuli, cue""",
            _draw_cues,
        ),
        Figure(
            "retention",
            "What does new material leave?",
            n_caption(
                "Recognition by drop of the loss, and recall (share of the rest before the first "
                "error after half a sentence), by updates on new material; 0 is the end of study. "
                "Updates are spaced evenly. Bars: 95% intervals, items resampled"
            ),
            "Recognition and recall by updates on new material, one panel each",
            f"""SELECT CASE metric WHEN 'correct_drop' THEN 'recognition' ELSE 'recall' END
  AS memory, series || CASE arm WHEN 'different' THEN ', other type' ELSE '' END AS stimuli,
  step AS updates, estimate, low, high, n, unit
FROM statistics
WHERE {MAIN} AND analysis = 'retention' AND metric IN ('correct_drop', 'prefix_50')
ORDER BY memory, stimuli, step""",
            _draw_retention,
        ),
        Figure(
            "forms",
            "In which form does it fade?",
            n_caption(
                "Memory above its floor (0: guessing or known before study, 1: all), on plain axes "
                "and on logarithmic ones, where a power law is a straight line. Recognition: share "
                "of foils beaten by the drop of the loss; recall: share of tokens behind half a "
                "sentence that are the likeliest. Lines and bands: the form that was named, or "
                "where none was, the pooled curve that fits best (see the table), 95% bootstrap "
                "over items. A curve that levels off above the floor is the shape that Bahrick "
                "(1984) called permastore. Bars: 95% intervals, items resampled"
            ),
            "Recognition and recall above their floors by updates on new material, with fitted "
            "curves, on linear and on logarithmic axes",
            f"""SELECT split_part(factor, ',', 1) AS memory, analysis,
  series || CASE arm WHEN 'different' THEN ', other type' ELSE '' END AS stimuli,
  metric AS form, step AS updates, estimate, low, high, n, unit
FROM statistics WHERE {MAIN} AND analysis IN ('curve', 'retained')
ORDER BY memory DESC, stimuli, analysis, updates""",
            _draw_forms,
        ),
        Figure(
            "states",
            "Which state remembers better?",
            n_caption(
                "Recognition by drop of the loss, and recall (share of the rest before the first "
                "error after half a sentence), after the last exposure, by state of the model. "
                "Bars: 95% intervals, items resampled"
            ),
            "Recognition and recall after the last exposure for every state",
            """SELECT CASE metric WHEN 'correct_drop' THEN 'recognition' ELSE 'recall' END
  AS memory, coalesce(role, '') || ', ' || model AS state, series AS stimuli,
  estimate, low, high, n, unit
FROM statistics
WHERE study = $study AND factor LIKE '%chosen rate' AND arm = 'studied'
  AND metric IN ('correct_drop', 'prefix_50') AND analysis IN ('recognition', 'recall')
  AND step = (SELECT max(step) FROM statistics WHERE study = $study AND analysis = 'recall')
QUALIFY row_number() OVER (PARTITION BY memory, state, stimuli ORDER BY factor) = 1
ORDER BY memory DESC, state, stimuli""",
            _draw_states,
        ),
        Figure(
            "memorability",
            "Which items are remembered?",
            n_caption(
                "Change of the drop of an item's loss (nats a token) with one standard deviation "
                "of each predictor, all three in one mixed model with items and lists as random "
                "effects. Word frequency: mean Zipf value of the words. Bars: 95% intervals"
            ),
            "Coefficients of length, base loss and word frequency by stimuli",
            f"""SELECT series || ': ' || split_part(split_part(metric, ' by ', 2), ',', 1) AS item,
  estimate, low, high, n, unit
FROM statistics WHERE {MAIN} AND analysis = 'memorability' ORDER BY series, metric""",
            _draw_memorability,
        ),
        *AGAINST,
        *TABLES,
        GALLERY,
    ]


def _small_multiples(frame: pl.DataFrame, by: str, x: str, label: str) -> Drawing:
    kinds = frame[by].unique(maintain_order=True).to_list()
    figure, axes = panels(len(kinds), height=2.4)
    for ax, kind in zip(axes[:, 0], kinds, strict=True):
        errorbars(ax, frame.filter(pl.col(by) == kind), x, hue="stimuli")
        ax.set_title(name(kind), loc="left", fontsize=9)
        ax.set_ylim(-0.03, 1.04)
    if frame[x].dtype.is_integer():
        # The panels share their axis, and one of them may lack a value.
        at = frame[x].unique().sort().to_list()
        axes[-1, 0].set_xticks(at, [str(value) for value in at])
    axes[-1, 0].set_xlabel(label)
    return figure


def _draw_recognition(frame: pl.DataFrame) -> Drawing:
    figure = _small_multiples(frame, "rule", "exposures", "exposures")
    for ax in figure.axes:
        chance_line(ax, 0.89, "people")
    return figure


def _draw_recall(frame: pl.DataFrame) -> Drawing:
    return _small_multiples(frame, "measure", "exposures", "exposures")


def _draw_cues(frame: pl.DataFrame) -> Drawing:
    figure, axes = panels(height=2.6)
    errorbars(axes[0, 0], frame, "cue", hue="stimuli")
    axes[0, 0].set_xlabel("share of the sentence given, percent")
    axes[0, 0].set_ylabel("share recalled")
    axes[0, 0].set_ylim(-0.03, 1.04)
    return figure


def _draw_retention(frame: pl.DataFrame) -> Drawing:
    order = sorted(frame["updates"].unique().to_list())
    named = frame.with_columns(
        pl.col("updates").replace_strict(
            {value: str(value) for value in order}, return_dtype=pl.String
        )
    )
    ranked = pl.DataFrame({"updates": [str(value) for value in order]})
    shown = ranked.join(named, on="updates", maintain_order="left")
    return _small_multiples(
        shown.sort("memory", "stimuli", maintain_order=True), "memory", "updates",
        "updates on new material",
    )  # fmt: skip


def _draw_forms(frame: pl.DataFrame) -> Drawing:
    kinds = frame["memory"].unique(maintain_order=True).to_list()
    stimuli = frame["stimuli"].unique(maintain_order=True).to_list()
    colours, markers = colours_for(stimuli), markers_for(stimuli)
    figure, axes = panels(len(kinds), 2, height=2.6, sharex=False, sharey=False)
    for line, kind in zip(axes, kinds, strict=True):
        for ax, log in zip(line, (False, True), strict=True):
            ends = []
            for each in stimuli:
                part = frame.filter((pl.col("memory") == kind) & (pl.col("stimuli") == each))
                curve, points = (
                    part.filter(pl.col("analysis") == a) for a in ("curve", "retained")
                )
                ends += _draw_curve(ax, curve, points, colours[each], markers[each], log)
            ax.set_title(f"{kind}{', logarithmic axes' if log else ''}", loc="left", fontsize=9)
            if log:
                direct_labels(ax, [(y, name(text), colours[text]) for y, text in ends])
        line[0].set_ylim(-0.08, 1.04)
        line[0].set_ylabel("above the floor")
    axes[-1, 0].set_xlabel("updates on new material")
    axes[-1, 1].set_xlabel("1 + updates on new material")
    return figure


def _draw_curve(
    ax: Axes, curve: pl.DataFrame, points: pl.DataFrame, colour: str, marker: str, log: bool
) -> list[tuple[float, str]]:
    """A curve with its band and its points; where its end lies, for its name."""
    if log:
        ax.set_xscale("log")
        ax.set_yscale("log")
        curve = curve.filter(pl.col("estimate") > LEAST_ON_LOG)
        points = points.filter(pl.col("estimate") > LEAST_ON_LOG)
    shift = 1 if log else 0
    least = LEAST_ON_LOG if log else -1.0
    if curve.height:
        band = curve.drop_nulls(["low", "high"])
        low, high = (band[end].clip(least, None) for end in ("low", "high"))
        ax.fill_between(band["updates"] + shift, low, high, color=colour, alpha=0.18, linewidth=0)
        ax.plot(curve["updates"] + shift, curve["estimate"], color=colour)
    known = points.drop_nulls(["low", "high"])
    low = known["low"].clip(least, None)
    ax.vlines(known["updates"] + shift, low, known["high"], color=colour, linewidth=1.3)
    ax.plot(points["updates"] + shift, points["estimate"], marker, color=colour)
    shown = curve if curve.height else points
    return [(shown["estimate"][-1], shown["stimuli"][0])] if shown.height else []


def _draw_states(frame: pl.DataFrame) -> Drawing:
    kinds = frame["memory"].unique(maintain_order=True).to_list()
    height = 0.9 + 0.26 * frame.height / len(kinds)
    figure, axes = panels(1, len(kinds), height=height)
    for ax, kind in zip(axes[0], kinds, strict=True):
        part = frame.filter(pl.col("memory") == kind).sort("state", "stimuli")
        forest(ax, part.with_columns(row=pl.format("{}: {}", "state", "stimuli")), "row")
        ax.set_title(kind, loc="left", fontsize=9)
        ax.set_xlim(-0.03, 1.03)
    return figure


def _draw_memorability(frame: pl.DataFrame) -> Drawing:
    figure, axes = panels(height=0.7 + 0.28 * frame.height)
    forest(axes[0, 0], frame, "item", reference=0.0)
    axes[0, 0].set_xlabel("nats a token for one standard deviation")
    return figure
