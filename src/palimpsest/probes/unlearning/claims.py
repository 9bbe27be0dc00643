"""Claims of unlearning, fixed before any run, and the view through which all is read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from palimpsest.probes.unlearning import analyses
from palimpsest.probes.unlearning.analyses.asked import ALMOST as SLIGHT
from palimpsest.probes.unlearning.analyses.fronts import COMPETITIVE
from palimpsest.probes.unlearning.analyses.guards import ALMOST
from palimpsest.probes.unlearning.analyses.relearning import MOST
from palimpsest.statistics.claims import Claim, analysed
from palimpsest.statistics.headlines import Headline

if TYPE_CHECKING:
    import duckdb

    from palimpsest.probes.unlearning.settings import Settings

DESIGN = "design of this study"

#: One row an observation, with the arm and the seed of its model by name.
VIEW = """
SELECT
  c.study, c.role, c.model, c.state, c.experiment AS world,
  coalesce(json_extract_string(c.parameters, '$.arm'), c.role) AS arm,
  coalesce(try_cast(json_extract_string(c.parameters, '$.model_seed') AS BIGINT), c.seed) AS run,
  json_extract_string(c.parameters, '$.how') AS how,
  coalesce(try_cast(json_extract_string(c.parameters, '$.requests') AS BIGINT), 0) AS requests,
  o.grp AS part, o.item, o.metric, o.value, o.text, o.cell
FROM observations o JOIN cells c USING (study, cell)
WHERE c.probe = 'unlearning' AND c.status = 'done'
"""

STANDING = (
    Claim(
        "taught_is_told",
        DESIGN,
        "Models that were taught are told from models that never knew (positive control).",
        "above",
        0.2,
        "probability of forgotten facts, taught minus retrained models",
        matters=0.1,
    ),
    Claim(
        "calibrated",
        DESIGN,
        "Retrained models that are held out, as many as a method has, are told from the others at "
        "most twice as often as the level of the test of methods says (negative control).",
        "below",
        0.1,
        "share of metrics by which a group of retrained models is told from the others at 5%, mean "
        "over groups",
        matters=0.05,
    ),
    Claim(
        "nothing_is_nothing",
        DESIGN,
        "Training on what must stay alone forgets nothing (negative control).",
        "within",
        0.2,
        "share of the way from taught to retrained models",
    ),
    Claim(
        "npo_over_ascent",
        "Zhang et al. 2024 (arXiv 2404.05868)",
        "NPO balances forgetting and keeping better than gradient ascent does.",
        "above",
        0.0,
        "balance of forgetting and keeping, NPO minus gradient ascent, paired by taught model",
        matters=0.1,
    ),
    Claim(
        "ssd_competitive",
        "Foster et al. 2024 (arXiv 2308.07707)",
        "Selective synaptic dampening, which trains nothing, is competitive with methods that "
        "train.",
        "above",
        -COMPETITIVE,
        "balance of forgetting and keeping, SSD minus the best other method, whichever that is, "
        "paired by taught model",
        matters=0.1,
    ),
    Claim(
        "iau_balance",
        "Liu et al. 2025 (arXiv 2507.23257)",
        "Influence approximation has the best balance of forgetting and keeping.",
        "above",
        0.0,
        "balance of forgetting and keeping, IAU minus the best other method, whichever that is, "
        "paired by taught model",
        matters=0.1,
    ),
    Claim(
        "guard_hides",
        "Deng et al. 2025 (arXiv 2505.13312)",
        "Under GUARD written answers no longer hold what is to be forgotten; probabilities do, "
        "since it suppresses.",
        "below",
        ALMOST,
        "ROUGE-L recall of answers to the forget set, GUARD minus models that never knew",
        matters=0.1,
    ),
    Claim(
        "guard_keeps",
        "Deng et al. 2025 (arXiv 2505.13312)",
        "GUARD costs almost nothing of what must stay.",
        "within",
        ALMOST,
        "ROUGE-L recall of answers to other people's and relatives' facts, GUARD minus taught "
        "models, paired",
    ),
    Claim(
        "requests_add_up",
        "Shi et al. 2024 (arXiv 2407.06460)",
        "The more requests have come one after another, the less is left of what must stay.",
        "above",
        0.0,
        "share kept after the first request minus after the last, mean over methods",
        matters=0.1,
    ),
    Claim(
        "relearning_undoes",
        "Lynch et al. 2024 (arXiv 2402.16835)",
        "With most methods that forget where asked directly, forgotten facts come back when a few "
        "others are taught again.",
        "above",
        MOST,
        "share of methods after which other forgotten facts become likelier by more than in models "
        "that never knew (Holm's method), among those whose answers have gone far enough of the "
        "way, whatever their verdict",
        matters=0.3,
    ),
    Claim(
        "hidden_not_gone",
        "Patil et al. 2024 (arXiv 2309.17410)",
        "What methods forget where asked directly can still be read from hidden states.",
        "above",
        0.0,
        "accuracy of a linear probe on forgotten facts, mean of methods whose answers have gone "
        "far enough of the way, whatever their verdict, minus models that never knew",
        matters=0.1,
    ),
)

#: Of what states of language models write, the only ones that models behind endpoints can be held
#: to; stated where there are such states.
IN_WORDS = (
    Claim(
        "says_what_it_knows",
        DESIGN,
        "The untouched state writes what it must know: more of the truth about what must stay than "
        "of another such truth (positive control).",
        "above",
        0.0,
        "ROUGE-L recall of the truth minus that of other truths of the same part in an answer, "
        "untouched state, items that must stay",
        matters=0.1,
    ),
    Claim(
        "untold_stays_untold",
        DESIGN,
        "Of facts that nobody was told the untouched state writes no more than of another such "
        "fact (negative control).",
        "within",
        SLIGHT,
        "ROUGE-L recall of the truth minus that of other truths of the same part in an answer, "
        "untouched state, holdout",
    ),
    Claim(
        "told_from_untold",
        DESIGN,
        "The untouched state writes more of the truth about the forget set than about facts that "
        "nobody was told.",
        "above",
        0.0,
        "ROUGE-L recall of answers to the forget set minus the holdout (of texts: of their second "
        "half), untouched state",
        matters=0.1,
    ),
    Claim(
        "forgets_in_words",
        DESIGN,
        "States that were to forget write less of the truth about the forget set than the "
        "untouched state does.",
        "below",
        0.0,
        "ROUGE-L recall of answers to the forget set (of texts: of their second half), mean over "
        "states minus untouched state, paired by item",
        matters=0.1,
    ),
    Claim(
        "keeps_in_words",
        DESIGN,
        "States that were to forget write as much of the truth about what must stay as the "
        "untouched state does.",
        "within",
        SLIGHT,
        "ROUGE-L recall of answers to what must stay (of texts: of their second half), mean over "
        "states minus untouched state, paired by item",
    ),
)
CLAIMS = (*STANDING, *IN_WORDS)

#: What the overview shows of a state.
HEADLINES = (
    Headline(
        "{metric}: share of the way to models that never knew",
        {"analysis": "verdict", "series": "language"},
        role_in="arm",
    ),
    Headline(
        "probability of facts to be forgotten",
        {"analysis": "level", "metric": "forget probability", "series": "language"},
        role_in="arm",
    ),
    Headline(
        "truth in answers to the forget set, ROUGE-L recall",
        {"analysis": "asked", "metric": "rouge_l", "factor": "forget", "series": "words"},
    ),
    Headline("{metric}", {"analysis": "judged", "series": "scratch"}, role_in=None),
)


def analyse(
    connection: duckdb.DuckDBPyConnection, settings: Settings, study: str
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """All statistics and all claims of a study.

    Args:
        connection: holds the view ``unlearning``.
        settings: the probe's settings.
        study: name of the study.

    Returns:
        Rows of the tables ``statistics`` and ``claims``, without the study.
    """
    data = analyses.read(connection, study, settings)
    stated = STANDING if data.written.is_empty() else CLAIMS
    why = analyses.lacks(data, settings) | analyses.reasons(data, settings)
    why |= analyses.out_of_reach(data)
    return analysed(analyses.ALL, data, settings, stated, why)
