"""Analyses of unlearning, one file each; every one gives rows and evidence for claims."""

from __future__ import annotations

from palimpsest.probes.unlearning.analyses.asked import asked, out_of_reach, reasons
from palimpsest.probes.unlearning.analyses.changes import changes
from palimpsest.probes.unlearning.analyses.frames import Data, read
from palimpsest.probes.unlearning.analyses.fronts import fronts
from palimpsest.probes.unlearning.analyses.guards import guards
from palimpsest.probes.unlearning.analyses.lacks import lacks
from palimpsest.probes.unlearning.analyses.membership import membership
from palimpsest.probes.unlearning.analyses.populations import populations
from palimpsest.probes.unlearning.analyses.quality import quality
from palimpsest.probes.unlearning.analyses.relearning import relearning
from palimpsest.probes.unlearning.analyses.requests import requests
from palimpsest.probes.unlearning.analyses.verdicts import verdicts

#: In the order of the page.
ALL = (
    verdicts,
    populations,
    changes,
    fronts,
    membership,
    quality,
    relearning,
    requests,
    guards,
    asked,
)

__all__ = ["ALL", "Data", "lacks", "out_of_reach", "read", "reasons"]
