"""The one shape in which a statistic leaves this package."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.special import stdtr, stdtrit


@dataclass(frozen=True)
class Estimate:
    """An estimate with its interval, its n and the unit that was resampled.

    ``low`` and ``high`` are the ends of a ``level`` interval (nan where it cannot be computed, and
    then ``note`` says why). ``n`` counts ``unit``: the unit over which uncertainty was taken, not
    the number of rows. ``p`` is a p-value or None, of the test that the true value is ``null``, or
    lies on the wrong side of it; where a margin was tested, of that. ``dof`` are the degrees of
    freedom of the t behind the interval, None where it rests on none; ``uncut`` is the longer half
    that an interval cut to possible values had before.
    """

    estimate: float
    low: float
    high: float
    n: int
    unit: str
    method: str
    level: float = 0.95
    p: float | None = None
    note: str | None = None
    dof: float | None = None
    uncut: float | None = None
    null: float = 0.0

    def within(self, least: float, most: float) -> Estimate:
        """The interval cut to the bounds of what is estimated; only impossible values are lost."""
        low, high = np.clip((self.low, self.high), least, most).tolist()
        return replace(self, low=low, high=high, uncut=self.half)

    @property
    def half(self) -> float:
        """The longer half of the interval, before it was cut; nan where there is none."""
        if self.uncut is not None:
            return self.uncut
        return float(np.maximum(self.estimate - self.low, self.high - self.estimate))

    def p_above(self, threshold: float) -> float | None:
        """One-sided p of "not above ``threshold``", by the t distribution of the interval.

        None where the interval is none of Student's t about the estimate, or has no width.
        """
        if self.dof is None or "Wilson" in self.method or not self.half > 0:
            return None
        ends = self.estimate - self.half, self.estimate + self.half
        # Of a cut interval an end may lie further in; whatever else is uneven is no t interval.
        if self.uncut is None and not np.allclose(ends, (self.low, self.high), rtol=1e-9):
            return None
        error = self.half / stdtrit(self.dof, (1 + self.level) / 2)
        return float(stdtr(self.dof, (threshold - self.estimate) / error))
