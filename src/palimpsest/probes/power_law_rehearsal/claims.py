"""Claims of power-law rehearsal, fixed before any run, and the view through which all is read."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from palimpsest.probes.power_law_rehearsal import analyses
from palimpsest.statistics.claims import Claim, analysed
from palimpsest.statistics.headlines import Headline

if TYPE_CHECKING:
    import duckdb

    from palimpsest.probes.power_law_rehearsal.settings import Settings

PAPER = "Gandhi et al. 2024 (arXiv 2401.10393)"
GAP = "De Lange et al. 2023 (arXiv 2205.13452)"
DESIGN = "design of this study"

#: One row an observation, with the factors of its network by name.
VIEW = """
SELECT
  c.study, c.role, c.model, c.state, c.experiment AS benchmark,
  try_cast(json_extract_string(c.parameters, '$.tasks') AS INT) AS tasks,
  try_cast(json_extract_string(c.parameters, '$.width') AS INT) AS width,
  json_extract_string(c.parameters, '$.compute') AS compute,
  json_extract_string(c.parameters, '$.condition') AS condition,
  try_cast(json_extract_string(c.parameters, '$.network_seed') AS INT) AS network_seed,
  o.grp AS kind, o.item, try_cast(split_part(o.item, '/', 1) AS INT) AS place,
  try_cast(nullif(split_part(o.item, '/', 2), '') AS INT) AS task, o.metric, o.value, o.cell
FROM observations o JOIN cells c USING (study, cell)
WHERE c.probe = 'power_law_rehearsal' AND c.status = 'done'
"""

#: Those whose threshold is the margin of the settings.
BY_MARGIN = ("not_inferior_to_regularisers", "not_inferior_to_uniform")

CLAIMS = (
    Claim(
        "beats_no_rehearsal",
        PAPER,
        "Power-law rehearsal beats no rehearsal and rehearsal of the most recent task alone.",
        "above",
        0.0,
        "average accuracy after the last task, power law minus the better of the two, paired by "
        "seed",
        matters=0.05,
    ),
    Claim(
        "not_inferior_to_regularisers",
        PAPER,
        "Power-law rehearsal is comparable or superior to EWC, SI and LwF.",
        "above",
        -0.03,
        "average accuracy after the last task, power law minus the best of EWC, SI and LwF, paired "
        "by seed, one-sided at 2.5%",
        matters=0.03,
    ),
    Claim(
        "not_inferior_to_uniform",
        DESIGN,
        "Power-law rehearsal is not inferior to uniform rehearsal at the same budget.",
        "above",
        -0.03,
        "average accuracy after the last task, power law minus uniform, paired by seed, one-sided "
        "at 2.5%",
        matters=0.03,
    ),
    Claim(
        "facilitates",
        PAPER,
        "With power-law rehearsal later tasks are learned faster than the first.",
        "below",
        1.0,
        "new examples seen before the criterion, mean of the second half of the tasks over the "
        "first task, mean over seeds",
        matters=0.1,
    ),
    Claim(
        "robust",
        PAPER,
        "Power-law rehearsal beats no rehearsal however many tasks, however wide the network, "
        "whatever the budget and the compute.",
        "above",
        0.0,
        "average accuracy after the last task, power law minus no rehearsal, in the combination of "
        "factors where that is least",
        matters=0.05,
    ),
    Claim(
        "stability_gap",
        GAP,
        "Every method of rehearsal and regularisation passes through a stability gap.",
        "above",
        0.0,
        "accuracy on old tasks that falls after a switch and comes back before the next, minus the "
        "same where all tasks are identical, in the condition where that is least, paired by seed",
        matters=0.05,
    ),
    Claim(
        "identical_tasks_keep",
        DESIGN,
        "Where all tasks are the same nothing is forgotten (positive control).",
        "above",
        -0.02,
        "average accuracy after the last task minus that on each task just after it was learned, "
        "identical tasks",
        matters=0.02,
    ),
    Claim(
        "identical_tasks_facilitate",
        DESIGN,
        "Where all tasks are the same later ones are learned faster (positive control).",
        "above",
        0.0,
        "accuracy over the first updates of a task, second half of the tasks minus the first task, "
        "identical tasks",
        matters=0.05,
    ),
    Claim(
        "unlearnable_tasks_teach_nothing",
        DESIGN,
        "Where labels are dealt out at random there is no facilitation (negative control).",
        "within",
        0.05,
        "accuracy over the first updates of a task, second half of the tasks minus the first task, "
        "shuffled labels",
    ),
)


#: What the overview shows of a state.
HEADLINES = (
    Headline(
        "accuracy over all tasks where old ones return with power-law odds",
        {"analysis": "level", "metric": "average_accuracy", "arm": "power"},
    ),
)


def analyse(
    connection: duckdb.DuckDBPyConnection, settings: Settings, study: str
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """All statistics and all claims of a study.

    Args:
        connection: holds the view ``power_law_rehearsal``.
        settings: the probe's settings.
        study: name of the study.

    Returns:
        Rows of the tables ``statistics`` and ``claims``, without the study.
    """
    claims = [
        replace(claim, threshold=-settings.margin, matters=settings.margin)
        if claim.name in BY_MARGIN
        else claim
        for claim in CLAIMS
    ]
    data = analyses.read(connection, study, settings)
    return analysed(analyses.ANALYSES, data, settings, claims)
