"""Claims of few-shot memory, fixed before any run, and the view through which all is read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from palimpsest.probes.few_shot_memory import analyses
from palimpsest.probes.few_shot_memory.analyses.learning import MARGIN
from palimpsest.probes.few_shot_memory.analyses.states import has_any
from palimpsest.statistics.claims import Claim, analysed
from palimpsest.statistics.headlines import Headline

if TYPE_CHECKING:
    import duckdb

    from palimpsest.probes.few_shot_memory.settings import Settings

PAPER = "Orhan 2023 (arXiv 2303.17557)"
DESIGN = "design of this study"

#: One row an observation, with the factors of its cell and the parts of the item by name.
VIEW = """
SELECT
  c.study, c.role, c.model, c.state, c.seed, c.experiment AS stimuli,
  try_cast(json_extract_string(c.parameters, '$.list') AS INT) AS list,
  json_extract_string(c.parameters, '$.origin') AS origin,
  json_extract_string(c.parameters, '$.adapter') AS adapter,
  json_extract_string(c.parameters, '$.optimizer') AS optimizer,
  try_cast(json_extract_string(c.parameters, '$.batch_size') AS INT) AS batch_size,
  try_cast(json_extract_string(c.parameters, '$.learning_rate') AS DOUBLE) AS given_rate,
  split_part(o.item, '/', 1) AS item, o.grp AS kind,
  nullif(split_part(o.item, '/', 3), '') AS phase,
  try_cast(split_part(o.item, '/', 4) AS INT) AS exposures,
  try_cast(split_part(o.item, '/', 5) AS INT) AS updates,
  try_cast(split_part(o.item, '/', 6) AS INT) AS delay,
  o.metric, o.value, o.text, split_part(o.item, '/', 2) AS part, o.cell
FROM observations o JOIN cells c USING (study, cell)
WHERE c.probe = 'few_shot_memory' AND c.status = 'done'
"""

STANDING = (
    Claim(
        "one_exposure",
        PAPER,
        "After a single exposure sentences are recognised at 0.9 or better.",
        "above",
        0.9,
        "two-alternative forced choice by mean loss, natural sentences, one exposure, at the rate "
        "that validation pairs chose",
        matters=0.05,
    ),
    Claim(
        "three_exposures",
        PAPER,
        "Three exposures give near-perfect recall.",
        "above",
        0.9,
        "ROUGE-L recall of the completion alone after half a sentence, natural sentences, three "
        "exposures",
        matters=0.05,
    ),
    Claim(
        "steep_then_gradual",
        PAPER,
        "Forgetting is steep over the first ten updates on new material and gradual from then on.",
        "above",
        0.0,
        "loss of recalled prefix an update, first ten updates minus later ones, natural sentences",
    ),
    Claim(
        "some_survive",
        PAPER,
        "Some sentences are still recalled word for word after the last update on new material.",
        "above",
        0.0,
        "share recalled exactly after half a sentence, minus the same before study",
        matters=0.1,
    ),
    Claim(
        "recognition_outlives_recall",
        PAPER,
        "Recognition outlives recall.",
        "above",
        0.0,
        "of sentences both recognised and recalled (nine tenths of the rest before an error) "
        "after study: share still recognised minus share still recalled, after the last update",
        matters=0.1,
    ),
    Claim(
        "sentences_beat_strings",
        PAPER,
        "Sentences are remembered better than strings of random words.",
        "above",
        0.0,
        "share of the rest recalled before the first error, natural sentences minus random words, "
        "after the last exposure",
        matters=0.1,
    ),
    Claim(
        "never_studied_at_floor",
        DESIGN,
        "Pairs of which nothing was studied are not recognised (negative control).",
        "within",
        0.1,
        "margin of the drops of the loss between the items of pairs never studied, as a share of "
        "the mean margin of studied pairs, last exposure, exchangeable kinds",
    ),
    Claim(
        "exposure_teaches",
        DESIGN,
        "Studied sentences are told from their foils by the drop of their loss (positive control).",
        "above",
        0.5,
        "forced choice by the drop of the loss, all kinds, last exposure",
        matters=0.1,
    ),
)

#: Stated where a study has an unlearned state and the state that it came from.
OF_UNLEARNED = (
    Claim(
        "unlearned_recognises_alike",
        DESIGN,
        "After unlearning new sentences are recognised as well as before.",
        "within",
        MARGIN,
        "forced choice by the drop of the loss, last exposure, unlearned state minus the state "
        "before, paired by item",
    ),
    Claim(
        "unlearned_recalls_alike",
        DESIGN,
        "After unlearning new sentences are recalled as well as before.",
        "within",
        MARGIN,
        "share of the rest recalled before the first error, last exposure, unlearned state minus "
        "the state before, paired by item",
    ),
)
CLAIMS = (*STANDING, *OF_UNLEARNED)


#: What the overview shows of a state.
HEADLINES = (
    Headline(
        "sentences told from foils after {step} exposures, by the drop in loss (floor 0.5)",
        {"analysis": "recognition", "metric": "correct_drop", "arm": "studied"},
    ),
)


def analyse(
    connection: duckdb.DuckDBPyConnection, settings: Settings, study: str
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """All statistics and all claims of a study.

    Args:
        connection: holds the view ``few_shot_memory``.
        settings: the probe's settings.
        study: name of the study.

    Returns:
        Rows of the tables ``statistics`` and ``claims``, without the study.
    """
    data = analyses.read(connection, study)
    stated = CLAIMS if has_any(data) else STANDING
    return analysed(analyses.ANALYSES, data, settings, stated)
