"""How often intervals must cover and tests may err in simulated studies.

`make calibrate` draws at least 2,000 studies everywhere; `make test` fewer where a fit is slow, and
then allows for the noise of the share itself.
"""

import os

import numpy as np

FULL = bool(os.environ.get("PALIMPSEST_CALIBRATE"))
LEAST = 2000


def studies(quick: int) -> int:
    """Number of simulated studies: ``quick`` ones in everyday tests."""
    return max(LEAST, quick) if FULL else quick


def covers(hits: int, studies: int, level: float = 0.95) -> bool:
    """Within two points of the level, or 2.6 standard errors where studies are few."""
    error = 2.576 * np.sqrt(level * (1 - level) / studies)
    return abs(hits / studies - level) <= max(0.02, 0 if studies >= LEAST else error)


def keeps_size(rejections: int, studies: int, level: float = 0.05) -> bool:
    """At most a point above the level, or 1.75 standard errors where studies are few."""
    error = 1.75 * np.sqrt(level * (1 - level) / studies)
    return rejections / studies <= level + max(0.01, 0 if studies >= LEAST else error)
