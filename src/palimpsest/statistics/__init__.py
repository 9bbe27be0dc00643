"""Statistics: estimates with intervals, tests, curve fits. Pure functions, no torch."""

from palimpsest.statistics.estimate import Estimate

__all__ = ["Estimate"]
