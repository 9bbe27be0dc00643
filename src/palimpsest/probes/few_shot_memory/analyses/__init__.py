"""Statistics of few-shot memory: recognition, recall, retention, relearning, memorability."""

from palimpsest.probes.few_shot_memory.analyses.frames import Data, read
from palimpsest.probes.few_shot_memory.analyses.items import memorability
from palimpsest.probes.few_shot_memory.analyses.learning import published, recall, recognition
from palimpsest.probes.few_shot_memory.analyses.retention import forgetting, forms, relearning

ANALYSES = (recognition, recall, forgetting, forms, relearning, memorability, published)

__all__ = ["ANALYSES", "Data", "read"]
