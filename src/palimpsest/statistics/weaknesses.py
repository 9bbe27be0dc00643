"""Which notes of estimates warn a reader: no fit, or too few units for the interval."""

from __future__ import annotations

import re
from typing import Literal

Weakness = Literal["fit", "few"]

_FIT = re.compile(r"converge|singular|collinear|separated|likelihood flat|has no end", re.I)
_FEW = re.compile(
    r"too few |fewer than |not assured below|may be too short|^one (cluster|level)|cannot reach p|"
    r"^one replicate",
    re.I,
)


def weakness(note: str | None) -> Weakness | None:
    """``fit``: not converged or not determined; ``few``: too few units for what is stated.

    ``note`` is that of an :class:`~palimpsest.statistics.estimate.Estimate`. None for remarks that
    take nothing from the number.
    """
    if not note:
        return None
    if _FIT.search(note):
        return "fit"
    return "few" if _FEW.search(note) else None
