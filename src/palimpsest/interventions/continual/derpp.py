"""Dark experience replay with labels, DER++ (Buzzega et al. 2020, arXiv 2004.07211).

Loss: that of DER + beta * mean cross-entropy of a second sample of the buffer, drawn independently
of the first. With alpha 0 it is experience replay in which the loss is the *sum* of two means (see
``er``), rehearsing the second sample; with beta 0 it is DER; with an empty buffer plain training
to the bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from palimpsest.interventions.continual import der

VERSION = 1
ENGINE = ("interventions.continual.der",)


class Settings(der.Settings):
    """Rehearse scores and labels of a buffer."""

    beta: float = Field(default=1.0, ge=0)
    """Weight of the cross-entropy of rehearsed labels (Mammoth: 1.0 for permuted digits)."""


class DarkExperienceReplayPlus(der.DarkExperienceReplay):
    """DER++; see the module."""

    draws = 2

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.beta = np.array([block.beta for block in self.settings])

    def labelled(self, there: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Beta over the second sample, nothing over the first."""
        second = there.copy()
        second[..., : there.shape[-1] // 2] = False
        return second * self.beta[:, None] / np.maximum(second.sum(-1, keepdims=True), 1)


strategy = DarkExperienceReplayPlus
