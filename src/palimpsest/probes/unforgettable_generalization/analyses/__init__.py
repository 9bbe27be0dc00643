"""Analyses of unforgettable generalization; every one gives rows and evidence for claims."""

from __future__ import annotations

from palimpsest.probes.unforgettable_generalization.analyses.course import course
from palimpsest.probes.unforgettable_generalization.analyses.depth import depth, relearning
from palimpsest.probes.unforgettable_generalization.analyses.frames import Data, read
from palimpsest.probes.unforgettable_generalization.analyses.predictors import predictors
from palimpsest.probes.unforgettable_generalization.analyses.ratios import ratios, reach
from palimpsest.probes.unforgettable_generalization.analyses.transfer import transfer

#: In the order of the page.
ALL = (ratios, reach, course, predictors, transfer, depth, relearning)

__all__ = ["ALL", "Data", "read"]
