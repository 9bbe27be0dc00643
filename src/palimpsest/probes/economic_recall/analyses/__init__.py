"""From observations of economic recall to estimates with intervals.

Every analysis takes all observations of the study (:func:`grouping.read`) and the settings, and
returns rows of the table ``statistics`` and the estimates that claims rest on. The unit of
resampling is the fact (its phrasings stay together) unless a row says otherwise.
"""

from palimpsest.probes.economic_recall.analyses import asked, planted, prompts
from palimpsest.probes.economic_recall.analyses.behind_endpoints import (
    choices_in_words,
    out_of_reach,
)
from palimpsest.probes.economic_recall.analyses.grouping import read, standing
from palimpsest.probes.economic_recall.analyses.unlearned import unlearned

_STANDING = (
    planted.recall,
    planted.seeds,
    planted.dose,
    planted.falsehood,
    planted.dates,
    prompts.fake_cutoff,
    prompts.forecasts,
    prompts.gains,
    prompts.errors,
    prompts.answers,
    choices_in_words,
    prompts.paper,
    asked.events,
    asked.embedding,
    asked.scan,
    asked.scatter,
    asked.around_cutoff,
    asked.contaminated,
)
ANALYSES = (*map(standing, _STANDING), unlearned)

__all__ = ["ANALYSES", "out_of_reach", "read"]
