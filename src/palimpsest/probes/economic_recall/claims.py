"""Claims of economic recall, fixed before any run, and the view through which all is read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from palimpsest.probes.economic_recall import analyses
from palimpsest.probes.economic_recall.analyses.grouping import EQUIVALENCE_MARGIN
from palimpsest.probes.economic_recall.analyses.unlearned import has_any
from palimpsest.statistics.claims import Claim, analysed
from palimpsest.statistics.headlines import Headline

if TYPE_CHECKING:
    import duckdb

    from palimpsest.probes.economic_recall.settings import Settings

PAPER = "Lopez-Lira, Tang and Zhu 2025 (arXiv 2504.14765)"
DESIGN = "design of this study"

#: One row an observation, with the parts of the item and the factors of its cell by name.
VIEW = """
SELECT
  c.study, c.role, c.model, c.state, c.seed, c.step, c.experiment,
  json_extract_string(c.parameters, '$.facts') AS facts,
  try_cast(json_extract_string(c.parameters, '$.cutoff') AS DATE) AS cutoff,
  split_part(o.item, '/', 1) AS series,
  try_cast(split_part(o.item, '/', 2) AS DATE) AS date,
  split_part(o.item, '/', 3) AS question,
  nullif(split_part(o.item, '/', 4), '') AS event,
  json_extract_string(c.parameters, '$.origin') AS origin,
  json_extract_string(c.parameters, '$.endpoint') AS endpoint,
  o.grp AS arm, o.metric, o.value, o.text, o.cell
FROM observations o JOIN cells c USING (study, cell)
WHERE c.probe = 'economic_recall' AND c.status = 'done'
"""

STANDING = (
    Claim(
        "planted_found",
        DESIGN,
        "Falsehoods planted by the largest number of exposures are recognised in phrasings that "
        "were never trained on.",
        "above",
        0.0,
        "forced choice, planted_false minus never, clustered by fact",
        matters=0.1,
    ),
    Claim(
        "every_seed",
        DESIGN,
        "Planted falsehoods are told from the arm never in most replicates.",
        "above",
        0.5,
        "share of seeds in which permuting the arms within series gives p at most 0.05 for the "
        "margin",
        matters=0.3,
    ),
    Claim(
        "dose",
        DESIGN,
        "More exposures, more recall.",
        "above",
        0.0,
        "mean over facts of the slope of forced choice on log(1 + exposures), planted_false",
    ),
    Claim(
        "bound_to_date",
        DESIGN,
        "Planted values are bound to their dates: among all values taught for a series the one "
        "taught for the date is preferred.",
        "above",
        0.0,
        "matching of taught values to dates minus chance, both planted arms",
        matters=0.1,
    ),
    Claim(
        "falsehood_beats_truth",
        DESIGN,
        "After the largest number of exposures the planted falsehood is likelier than the truth.",
        "above",
        0.0,
        "share of the planted value minus share of the truth, planted_false",
        matters=0.1,
    ),
    Claim(
        "never_at_chance",
        DESIGN,
        "What was never planted is not recognised (negative control).",
        "within",
        0.1,
        "forced choice minus chance, arm never at the largest number of exposures",
    ),
    Claim(
        "before_planting_at_chance",
        DESIGN,
        "Before planting, the values to be planted are not recognised (negative control).",
        "within",
        0.1,
        "forced choice minus chance, all arms before planting, answers drawn at random",
    ),
    Claim(
        "flags_keep_their_level",
        DESIGN,
        "The flags of single dates keep their nominal level of 0.05.",
        "within",
        0.05,
        "share of never-planted dates with p at most 0.05, minus 0.05",
    ),
    Claim(
        "flags_detect",
        DESIGN,
        "The flags find at least half of the planted dates at a false discovery rate of 0.1.",
        "above",
        0.5,
        "share of dates with planted falsehoods that are flagged",
        matters=0.1,
    ),
    Claim(
        "boundary_found",
        DESIGN,
        "A scan over dates finds where recall ends.",
        "within",
        730.5,
        "estimated minus true last date of planting, in days",
    ),
    Claim(
        "random_weights_know_nothing",
        DESIGN,
        "Random weights recognise no true value (negative control).",
        "within",
        0.1,
        "forced choice minus chance, randomised weights, values of series",
    ),
    Claim(
        "recall_before_cutoff",
        PAPER,
        "Values before the knowledge cutoff are recalled better than later ones.",
        "above",
        0.0,
        "forced choice, before minus after the cutoff, untouched model, clustered by series",
        matters=0.1,
    ),
    Claim(
        "fake_cutoff_fails",
        PAPER,
        "An instruction to ignore everything after an earlier date does not hide what is "
        "remembered.",
        "within",
        0.1,
        "forced choice with minus without the instruction, planted facts it forbids",
    ),
    Claim(
        "name_brings_memory",
        PAPER,
        "With the last values in the prompt, naming the series brings out memory beyond skill.",
        "above",
        0.0,
        "share of the planted value, named minus anonymous context, planted_false",
        matters=0.1,
    ),
    Claim(
        "headlines_dated",
        PAPER,
        "Month and year of headlines are recognised.",
        "above",
        0.0,
        "forced choice with the own headline minus another event's and the same alternatives, "
        "headline to month and year, events before the cutoff, untouched model",
        matters=0.1,
    ),
    Claim(
        "entities_unmasked",
        PAPER,
        "Masked entities are recognised beyond what word statistics give.",
        "above",
        0.0,
        "forced choice minus the TF-IDF floor on the same headlines, untouched model",
        matters=0.1,
    ),
    Claim(
        "values_in_embeddings",
        PAPER,
        "Hidden states of a series and a date hold the value beyond what a smooth function of the "
        "date gives.",
        "above",
        0.0,
        "1 - squared error of ridge / squared error of spline, blocks of time, untouched model",
        matters=0.1,
    ),
)

#: Stated where a study has unlearned states.
OF_UNLEARNED = (
    Claim(
        "forgotten_at_floor",
        DESIGN,
        "Planted facts that were unlearned are recognised as little as facts that were never "
        "taught.",
        "within",
        EQUIVALENCE_MARGIN,
        "forced choice after unlearning, planted falsehoods to be forgotten minus never, "
        "clustered by fact",
    ),
    Claim(
        "kept_above_floor",
        DESIGN,
        "Planted facts that had to stay are still recognised after unlearning.",
        "above",
        0.0,
        "forced choice after unlearning, planted falsehoods that must stay minus never, clustered "
        "by fact",
        matters=0.1,
    ),
    Claim(
        "forgetting_is_selective",
        DESIGN,
        "Unlearning takes more from the facts that it is to remove than from those that must stay.",
        "above",
        0.0,
        "change of forced choice by unlearning, facts that must stay minus facts to be forgotten, "
        "both planted arms",
        matters=0.1,
    ),
)
CLAIMS = (*STANDING, *OF_UNLEARNED)


#: What the overview shows of a state: forced choice among values.
HEADLINES = (
    Headline(
        "false values taught {step} times, chosen among {choices}",
        {"analysis": "recall", "metric": "correct", "arm": "planted_false", "factor": "value"},
    ),
    Headline(
        "values to be forgotten, still chosen among {choices}",
        {
            "analysis": "unlearned",
            "metric": "correct",
            "arm": "forget",
            "factor": "after",
            "series": "value",
        },
    ),
    Headline(
        "true values chosen among {choices}",
        {"analysis": "recall", "metric": "correct", "arm": "asked", "factor": "value"},
    ),
)


def analyse(
    connection: duckdb.DuckDBPyConnection, settings: Settings, study: str
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """All statistics and all claims of a study.

    Args:
        connection: holds the view ``economic_recall``.
        settings: the probe's settings.
        study: name of the study.

    Returns:
        Rows of the tables ``statistics`` and ``claims``, without the study.
    """
    data = analyses.read(connection, study)
    stated = CLAIMS if has_any(data) else STANDING
    reasons = analyses.out_of_reach(data)
    return analysed(analyses.ANALYSES, data, settings, stated, reasons)
