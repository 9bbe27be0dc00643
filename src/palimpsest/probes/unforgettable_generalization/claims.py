"""Claims of unforgettable generalization, fixed before any run, and the view of its rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from palimpsest.probes.unforgettable_generalization import analyses
from palimpsest.probes.unforgettable_generalization.analyses.frames import THRESHOLDS
from palimpsest.statistics.claims import Claim, analysed
from palimpsest.statistics.headlines import Headline

if TYPE_CHECKING:
    import duckdb

    from palimpsest.probes.unforgettable_generalization.settings import Settings

PAPER = "Zhang et al. 2024 (arXiv 2409.02228)"
DESIGN = "design of this study"

#: One row an observation, with the factors of its cell by name.
VIEW = """
SELECT c.study, c.role, c.model, c.state, c.experiment AS task,
  try_cast(json_extract_string(c.parameters, '$.replicate') AS BIGINT) AS replicate,
  json_extract_string(c.parameters, '$.arm') AS arm,
  json_extract_string(c.parameters, '$.mode') AS mode,
  o.grp, o.item, o.metric, o.value, o.text, o.cell
FROM observations o JOIN cells c USING (study, cell)
WHERE c.probe = 'unforgettable_generalization' AND c.status = 'done'
"""

CLAIMS = (
    Claim(
        "trained_forgotten",
        PAPER,
        "On the items that were trained with random labels answers become near random.",
        "above",
        THRESHOLDS["trained_forgotten"],
        "forget ratio of trained items, mean over tasks",
        matters=0.1,
    ),
    Claim(
        "generalisation_varies",
        PAPER,
        "How much of a task's unseen items is forgotten differs extremely from task to task.",
        "above",
        THRESHOLDS["generalisation_varies"],
        "standard deviation between tasks of the forget ratio of unseen items, beyond their noise",
        matters=0.1,
    ),
    Claim(
        "difficulty_is_no_guide",
        PAPER,
        "The difficulty of a task does not predict how much forgetting generalises.",
        "within",
        THRESHOLDS["difficulty_is_no_guide"],
        "Spearman's rho over tasks: loss before forgetting, and forget ratio of unseen items",
    ),
    Claim(
        "doubt_predicts",
        PAPER,
        "Forgetting generalises more where the model was less confident.",
        "below",
        THRESHOLDS["doubt_predicts"],
        "Spearman's rho over tasks: confidence before forgetting, and forget ratio of unseen items",
        matters=0.5,
    ),
    Claim(
        "uniformity_predicts",
        PAPER,
        "Forgetting generalises more where the states of training items vary less.",
        "below",
        THRESHOLDS["uniformity_predicts"],
        "Spearman's rho over tasks: total variance of last-layer states, and forget ratio of "
        "unseen items",
        matters=0.5,
    ),
    Claim(
        "forgetting_spills",
        PAPER,
        "Forgetting one task can make the model forget another.",
        "above",
        THRESHOLDS["forgetting_spills"],
        "forget ratio of a task after another one was forgotten: the pair that is clearest, its "
        "interval widened for the number of pairs",
        matters=0.1,
    ),
    Claim(
        "probes_recover",
        PAPER,
        "After forgetting, linear probes on hidden states still solve the task.",
        "above",
        THRESHOLDS["probes_recover"],
        "accuracy of the linear probe on unseen items, after minus before, mean over tasks",
        matters=0.1,
    ),
    Claim(
        "relearned_sooner",
        DESIGN,
        "What was forgotten is learned again sooner than it was learned at first.",
        "above",
        THRESHOLDS["relearned_sooner"],
        "accuracy on unseen items, mean over the first updates, relearning minus first learning, "
        "mean over tasks",
        matters=0.1,
    ),
    Claim(
        "true_labels_keep",
        DESIGN,
        "Training on true labels for as many updates forgets nothing (negative control).",
        "within",
        THRESHOLDS["true_labels_keep"],
        "forget ratio of unseen items after true labels, mean over tasks",
    ),
    Claim(
        "head_reaches_all",
        DESIGN,
        "With an output layer of noise every item is forgotten (positive control: forgetting that "
        "generalises).",
        "above",
        THRESHOLDS["head_reaches_all"],
        "forget ratio of unseen items under a broken output layer, mean over tasks",
        matters=0.1,
    ),
    Claim(
        "head_erases_nothing",
        DESIGN,
        "With an output layer of noise linear probes lose nothing (positive control: shallow "
        "forgetting).",
        "within",
        THRESHOLDS["head_erases_nothing"],
        "accuracy of the linear probe, broken output layer minus before, mean over tasks",
    ),
    Claim(
        "table_reaches_nothing",
        DESIGN,
        "A table of the training items with random labels forgets no unseen item (negative "
        "control: forgetting that does not generalise).",
        "within",
        THRESHOLDS["table_reaches_nothing"],
        "forget ratio of unseen items behind the table, mean over tasks",
    ),
    Claim(
        "table_forgets_its_own",
        DESIGN,
        "Behind a table of random labels all trained items are forgotten (positive control).",
        "above",
        THRESHOLDS["table_forgets_its_own"],
        "forget ratio of trained items behind the table, mean over tasks",
        matters=0.1,
    ),
)


#: What the overview shows of a state.
HEADLINES = (
    Headline(
        "forget ratio on unseen items, mean over tasks",
        {"analysis": "mean", "metric": "unseen", "arm": "forget"},
    ),
    Headline(
        "unseen items right before anything is forgotten, mean over tasks",
        {"analysis": "mean", "metric": "right_before", "arm": "before"},
    ),
)


def analyse(
    connection: duckdb.DuckDBPyConnection, settings: Settings, study: str
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """All statistics and all claims of a study.

    Args:
        connection: holds the view ``unforgettable_generalization``.
        settings: the probe's settings.
        study: name of the study.

    Returns:
        Rows of the tables ``statistics`` and ``claims``, without the study.
    """
    data = analyses.read(connection, study)
    return analysed(analyses.ALL, data, settings, CLAIMS)
