"""The page of economic recall: from the database to figures, tables and words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from palimpsest.probes.economic_recall.pages import behind_endpoints, unlearned
from palimpsest.probes.economic_recall.pages.tables import GALLERY, TABLES, VERDICTS
from palimpsest.probes.economic_recall.pages.words import LIMITATIONS, REFERENCES, methods, summary
from palimpsest.reports.blocks import Block, Explore, Figure, StudyPage, n_caption
from palimpsest.reports.evidence import study_entry
from palimpsest.reports.figure_style import chance_line, errorbars, forest, name, panels
from palimpsest.statistics.intervals import clustered_mean

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

    from palimpsest.evidence.database import Database

CHANCE_PLANTED = """(SELECT 1 / any_value(value) FROM economic_recall
  WHERE study = $study AND metric = 'choices' AND facts = 'planted') AS chance"""
#: False discovery rate at which a date is flagged.
FLAGGED = 0.1
CHANCE_ASKED = CHANCE_PLANTED.replace("'planted'", "'asked'")


def page(database: Database, study: str) -> StudyPage:
    """The page of one study."""
    entry = study_entry(database, study)
    changed = unlearned.has_any(database, study)
    return StudyPage(
        study=study,
        title=entry.title,
        question=entry.question,
        summary=summary(database, study),
        blocks=_blocks(unlearned.BLOCKS if changed else []),
        methods=methods(database, study),
        limitations=[
            *behind_endpoints.limitations(database, study),
            *LIMITATIONS,
            *([unlearned.LIMITATION] if changed else []),
        ],
        references=REFERENCES,
        explore=Explore(
            "correct", x="step", colour="arm", fixed={"role": "planted", "experiment": "value"}
        ),
    )


def _blocks(after_verdicts: list[Block]) -> list[Block]:
    return [
        VERDICTS,
        *after_verdicts,
        Figure(
            "exposures",
            "How often must a fact be seen?",
            n_caption(
                "Forced choice in phrasings that were never trained on, by number of exposures. "
                "planted false contradicts reality and can only come out by memory; never was "
                "treated alike and taught nothing. Bars: 95% intervals, facts resampled"
            ),
            "Lines rise with exposures for the planted arms and stay near chance for the arm never",
            f"""SELECT arm, step AS exposures, estimate, low, high, n, unit, {CHANCE_PLANTED}
FROM statistics
WHERE study = $study AND analysis = 'recall' AND metric = 'correct'
  AND factor = 'value' AND arm IN ('planted_true', 'planted_false', 'never')
ORDER BY arm, step""",
            _draw_exposures,
        ),
        Figure(
            "binding",
            "Is the value bound to its date?",
            n_caption(
                "Matching: among all values taught for a series, is the one taught for the date "
                "asked the likeliest? A model that has only learned which values belong to the "
                "series stays at chance; for never, one of them was drawn at random. Bars: 95% "
                "intervals, facts resampled"
            ),
            "Accuracy of matching values to dates by exposures and arm, with chance",
            """SELECT arm, step AS exposures, estimate, low, high, n, unit,
  (SELECT avg(1 / value) FROM economic_recall
   WHERE study = $study AND metric = 'rivals' AND origin IS NULL) AS chance
FROM statistics
WHERE study = $study AND analysis = 'recall' AND metric = 'matched'
ORDER BY arm, step""",
            _draw_exposures,
        ),
        Figure(
            "dates",
            "Which dates are remembered?",
            _dates_caption,
            "One mark a date: its rank among alternatives against time, flagged ones filled",
            """SELECT role, series, arm, try_cast(factor AS DATE) AS date, p, q,
  estimate AS rank, n, unit
FROM statistics
WHERE study = $study AND analysis = 'dates'
ORDER BY role, arm, date""",
            _draw_dates,
            bare="A mark is one answer and n its alternatives: a rank has no interval.",
        ),
        Figure(
            "series",
            "Series by series",
            n_caption(
                "Forced choice for values of each series: the model as it is, the same "
                "architecture with random weights, and after the largest number of exposures. "
                "Bars: 95% intervals, facts resampled"
            ),
            "A forest of accuracies by series, role and arm with chance as a line",
            f"""SELECT CASE WHEN arm = 'asked' THEN role ELSE arm END AS state, series,
  estimate, low, high, n, unit, {CHANCE_ASKED}
FROM statistics
WHERE study = $study AND analysis = 'recall_by_series'
  AND (arm IN ('asked', 'planted_false', 'never'))
  AND (step = (SELECT max(step) FROM statistics WHERE study = $study
               AND analysis = 'recall_by_series' AND arm = 'never') OR arm = 'asked')
ORDER BY role DESC, arm DESC, series""",
            _draw_series,
        ),
        Figure(
            "fake-cutoff",
            "Does telling it to forget help?",
            n_caption(
                "Change of forced choice when the prompt says to ignore everything after a year "
                "that lies so many years from the date asked; negative distances forbid the "
                "answer. The band is the margin of equivalence, plus or minus 0.10. Bars: 90% "
                "intervals, facts resampled"
            ),
            "Differences with and without the instruction, with the margin of equivalence",
            """SELECT role, factor AS distance, estimate, low, high, n, unit
FROM statistics
WHERE study = $study AND analysis = 'fake_cutoff' AND factor LIKE '%years'
ORDER BY role, try_cast(split_part(factor, ' ', 1) AS INT)""",
            _draw_fake_cutoff,
        ),
        Figure(
            "forecast",
            "Memory or skill?",
            n_caption(
                "Probability that falls on the planted value when the last values of the series "
                "stand in the prompt, with the name of the series and dates (named) and without "
                "(anonymous). A forecaster has no reason to prefer a falsehood. Bars: 95% "
                "intervals, facts resampled"
            ),
            "Probability of planted values with named and anonymous context",
            """SELECT arm, replace(factor, 'context=', '') AS context, estimate, low, high, n, unit
FROM statistics
WHERE study = $study AND analysis = 'forecast' AND metric = 'share_assigned'
  AND role = 'planted'
ORDER BY arm, context""",
            _draw_forecast,
        ),
        Figure(
            "gain",
            "Nearer to the truth than a forecaster?",
            n_caption(
                "Free answers of untouched models: median of log(error of the baseline / error of "
                "the answer). Right of the line the model is nearer to the truth. Last value, "
                "drift and AR(1) know the past of each date, frozen only that of the knowledge "
                "cutoff, interpolation the values at the ends of years. Answers without a number "
                "are left out, and points of fewer than five facts. Bars: 95% bootstrap intervals, "
                "facts resampled, where they are very long only in part"
            ),
            "Median gains over five baselines, by what stood in the prompt and side of the cutoff",
            """SELECT model, split_part(factor, '; ', 1) AS prompt,
  CASE metric WHEN 'persistence' THEN 'last value' WHEN 'ar1' THEN 'AR(1)' ELSE metric END
    AS baseline, split_part(factor, '; ', 2) AS side, estimate, low, high, n, unit
FROM statistics
WHERE study = $study AND analysis = 'gain' AND arm = 'asked' AND role NOT LIKE 'random%'
  AND n >= 5
ORDER BY prompt, model, side DESC, baseline""",
            _draw_gain,
        ),
        Figure(
            "events",
            "Headlines, names and their order",
            n_caption(
                "Forced choice for events, those asked of models as they are from before the "
                "cutoff: month and year of a headline, the masked name, and which of two headlines "
                "came first (chance 0.5). another event: the same alternatives after the headline "
                "of another event. Bars: 95% intervals, events resampled"
            ),
            "Accuracies for events by state with their chance levels",
            f"""SELECT experiment, state, estimate, low, high, n, unit, {CHANCE_ASKED} FROM (
  SELECT factor AS experiment, CASE WHEN arm = 'asked' THEN role ELSE arm END AS state,
    estimate, low, high, n, unit, step,
    max(step) OVER (PARTITION BY role) AS last
  FROM statistics WHERE study = $study AND analysis = 'recall' AND metric = 'correct'
    AND factor LIKE 'event%'
  UNION ALL
  SELECT 'event_order', role, estimate, low, high, n, unit, 0, 0
  FROM statistics WHERE study = $study AND analysis = 'event_order'
  UNION ALL
  SELECT factor, role || ', another event', estimate, low, high, n, unit, 0, 0
  FROM statistics WHERE study = $study AND analysis = 'events' AND metric = 'another event'
  UNION ALL
  SELECT 'event_entity', 'word statistics', estimate, low, high, n, unit, 0, 0
  FROM statistics WHERE study = $study AND analysis = 'events' AND metric = 'TF-IDF floor')
WHERE step = last ORDER BY experiment, state""",
            _draw_events,
        ),
        Figure(
            "embedding",
            "Are the values in the hidden states?",
            n_caption(
                "Correlation between the true value and what ridge regression reads out of hidden "
                'states of "series at date", predicted for blocks of time that were left out. '
                "The spline knows the date alone; the placebo has the values in random order. "
                "Bars: 95% intervals over blocks of five dates"
            ),
            "Correlations of ridge, spline and placebo by series",
            """SELECT series, factor AS predictor, estimate, low, high, n, unit
FROM statistics
WHERE study = $study AND analysis = 'embedding' AND metric = 'correlation out of block'
ORDER BY series, predictor""",
            _draw_embedding,
        ),
        *TABLES,
        GALLERY,
    ]


def _dates_caption(frame: pl.DataFrame) -> str:
    parts = []
    for (arm,), group in frame.group_by("arm", maintain_order=True):
        flags = (group["q"].fill_null(1) <= FLAGGED).cast(pl.Float64)
        # A date that several states were asked is one cluster.
        dates = group.select(pl.format("{} {}", "series", "date")).to_series()
        share = clustered_mean(flags.to_numpy(), dates.to_numpy(), unit="dates")
        interval = f"95% interval {share.low:.0%} to {share.high:.0%}"
        parts.append(f"{name(arm)} {flags.sum():.0f} of {group.height} ({interval})")
    least, most = frame["n"].min(), frame["n"].max()
    return (
        "Every mark is one date: p = rank of the answer among "
        f"{least}{'' if least == most else f' to {most}'} alternatives. Filled marks are flagged "
        f"at a false discovery rate of {FLAGGED:g} within their state. Flagged: "
        f"{'; '.join(parts)}. For planted false and never the p-value is exact by design, for the "
        "other arms it also rises with skill."
    )


def _draw_exposures(frame: pl.DataFrame) -> Drawing:
    figure, axes = panels(height=3.2)
    ax = axes[0, 0]
    at = {step: str(step) for step in sorted(frame["exposures"].unique())}
    shown = frame.with_columns(pl.col("exposures").replace_strict(at, return_dtype=pl.String))
    order = pl.DataFrame({"exposures": list(at.values())})
    shown = order.join(shown, on="exposures", maintain_order="left")
    errorbars(ax, shown, "exposures", hue="arm")
    chance_line(ax, frame["chance"][0])
    ax.set_xlabel("exposures of each planted fact")
    ax.set_ylabel("share right")
    ax.set_ylim(-0.02, 1.03)
    return figure


def _draw_dates(frame: pl.DataFrame) -> Drawing:
    from palimpsest.reports.figure_style import colours_for

    arms = [
        a
        for a in ("planted_false", "planted_true", "never", "asked")
        if a in frame["arm"].to_list()
    ]
    figure, axes = panels(len(arms), height=1.35, sharex=False)
    colours = colours_for(arms)
    for ax, arm in zip(axes[:, 0], arms, strict=True):
        part = frame.filter(pl.col("arm") == arm)
        flagged = (part["q"].fill_null(1) <= FLAGGED).to_numpy()
        days, p = part["date"].to_numpy(), part["p"].to_numpy()
        for some, face in ((~flagged, "none"), (flagged, colours[arm])):
            ax.plot(
                days[some],
                p[some],
                linestyle="none",
                marker="o",
                markersize=4.5,
                markerfacecolor=face,
                markeredgecolor=colours[arm],
            )
        ax.set_yscale("log")
        ax.set_ylim(1.4, 0.7 * frame["p"].min())
        ax.set_yticks([1, 0.1, 0.01][: 2 + (frame["p"].min() < 0.02)])
        ax.yaxis.set_major_formatter("{x:g}")
        ax.minorticks_off()
        ax.set_ylabel("p")
        ax.set_title(name(arm), loc="left", fontsize=9)
    return figure


def _draw_series(frame: pl.DataFrame) -> Drawing:
    figure, axes = panels(height=0.6 + 0.24 * frame.height)
    shown = frame.with_columns(
        label=pl.col("series").str.replace_all("_", " ")
        + "  ("
        + pl.col("state").str.strip_chars().str.replace_all("_", " ")
        + ")"
    )
    forest(axes[0, 0], shown, "label", hue="state", reference=frame["chance"][0])
    axes[0, 0].set_xlabel("forced choice (line: chance)")
    axes[0, 0].set_xlim(-0.02, 1.02)
    return figure


def _draw_fake_cutoff(frame: pl.DataFrame) -> Drawing:
    figure, axes = panels(height=3.0)
    ax = axes[0, 0]
    ax.axhspan(-0.1, 0.1, color="#808080", alpha=0.15, linewidth=0)
    ordered = frame.sort(pl.col("distance").str.split(" ").list.first().cast(pl.Int64))
    errorbars(ax, ordered, "distance", hue="role", connect=False)
    ax.axhline(0, color="#6b6b68", linewidth=0.9)
    ax.set_xlabel("fake cutoff, distance from the date asked")
    ax.set_ylabel("with minus without")
    return figure


def _draw_forecast(frame: pl.DataFrame) -> Drawing:
    figure, axes = panels(height=2.8)
    errorbars(axes[0, 0], frame, "context", hue="arm", connect=False)
    axes[0, 0].set_ylabel("probability of the taught value")
    axes[0, 0].set_ylim(bottom=0)
    return figure


def _draw_gain(frame: pl.DataFrame) -> Drawing:
    prompts = frame["prompt"].unique(maintain_order=True).to_list()
    heights = [0.55 + 0.24 * frame.filter(pl.col("prompt") == prompt).height for prompt in prompts]
    figure, axes = panels(len(prompts), height=sum(heights) / len(prompts), sharey=False)
    axes[0, 0].get_gridspec().set_height_ratios(heights)
    for ax, prompt in zip(axes[:, 0], prompts, strict=True):
        part = frame.filter(pl.col("prompt") == prompt)
        label = pl.format("{}, {}", "baseline", "side")
        if frame["model"].n_unique() > 1:
            label = pl.format("{}: {}", "model", label)
        forest(ax, part.with_columns(label=label), "label", hue="side", reference=0.0)
        ax.set_title(prompt, loc="left", fontsize=9)
    # One answer in billions stretches an interval without end; the points stay in sight.
    known = frame["estimate"].drop_nulls()
    axes[-1, 0].set_xlim(min(known.min(), 0) - 1.5, max(known.max(), 0) + 1.5)
    axes[-1, 0].set_xlabel("median gain over the baseline (log ratio of errors)")
    return figure


def _draw_events(frame: pl.DataFrame) -> Drawing:
    kinds = frame["experiment"].unique(maintain_order=True).to_list()
    heights = [frame.filter(pl.col("experiment") == kind).height for kind in kinds]
    height = sum(0.55 + 0.24 * count for count in heights) / len(kinds)
    figure, axes = panels(len(kinds), height=height, sharey=False)
    axes[0, 0].get_gridspec().set_height_ratios([0.5 + 0.24 * count for count in heights])
    for ax, kind in zip(axes[:, 0], kinds, strict=True):
        part = frame.filter(pl.col("experiment") == kind)
        shown = part.with_columns(pl.col("state").str.replace_all("_", " "))
        forest(ax, shown, "state", reference=0.5 if kind == "event_order" else frame["chance"][0])
        ax.set_title(name(kind).removeprefix("event "), loc="left", fontsize=9)
        ax.set_xlim(-0.02, 1.02)
    axes[-1, 0].set_xlabel("forced choice (line: chance)")
    return figure


def _draw_embedding(frame: pl.DataFrame) -> Drawing:
    figure, axes = panels(height=0.6 + 0.24 * frame.height)
    shown = frame.with_columns(
        label=(pl.col("series") + "  (" + pl.col("predictor") + ")").str.replace_all("_", " "),
        # The house's colours: what is under test, what it must beat, and what knows nothing.
        role=pl.col("predictor").replace_strict(
            {"spline": "reference", "placebo": "control"}, default="untouched"
        ),
    )
    forest(axes[0, 0], shown, "label", hue="role", reference=0.0)
    axes[0, 0].set_xlabel("correlation out of block")
    axes[0, 0].set_xlim(-1, 1)
    return figure
