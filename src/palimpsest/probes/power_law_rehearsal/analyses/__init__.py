"""Statistics of power-law rehearsal: levels, contrasts, facilitation, gap, retention, schedules."""

from palimpsest.probes.power_law_rehearsal.analyses.contrasts import contrasts
from palimpsest.probes.power_law_rehearsal.analyses.courses import courses, facilitation, gaps
from palimpsest.probes.power_law_rehearsal.analyses.frames import Data, read
from palimpsest.probes.power_law_rehearsal.analyses.levels import levels
from palimpsest.probes.power_law_rehearsal.analyses.published import published
from palimpsest.probes.power_law_rehearsal.analyses.retention import retention
from palimpsest.probes.power_law_rehearsal.analyses.schedules import schedules

ANALYSES = (levels, contrasts, facilitation, gaps, courses, retention, schedules, published)

__all__ = ["ANALYSES", "Data", "read"]
