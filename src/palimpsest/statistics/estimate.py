"""The one shape in which a statistic leaves this package."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True)
class Estimate:
    """An estimate with its interval, its n and the unit that was resampled.

    ``low`` and ``high`` are the ends of a ``level`` interval (nan where it cannot be computed, and
    then ``note`` says why). ``n`` counts ``unit``: the unit over which uncertainty was taken, not
    the number of rows. ``p`` is a p-value or None. ``dof`` are the degrees of freedom of the t
    behind the interval, None where it rests on none; ``uncut`` is the longer half that an interval
    cut to possible values had before.
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
