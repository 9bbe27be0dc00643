"""Statistics of few-shot memory: recognition, recall, retention, relearning, memorability."""

from palimpsest.probes.few_shot_memory.analyses.forms import forms
from palimpsest.probes.few_shot_memory.analyses.frames import Data, read
from palimpsest.probes.few_shot_memory.analyses.items import memorability
from palimpsest.probes.few_shot_memory.analyses.learning import recall, recognition
from palimpsest.probes.few_shot_memory.analyses.paper import published
from palimpsest.probes.few_shot_memory.analyses.retention import forgetting, relearning
from palimpsest.probes.few_shot_memory.analyses.states import against

ANALYSES = (recognition, recall, forgetting, forms, relearning, memorability, published, against)

__all__ = ["ANALYSES", "Data", "read"]
