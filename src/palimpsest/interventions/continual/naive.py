"""Plain sequential training: the lower end of every comparison.

Each task's examples are shown and nothing is done about forgetting. Every other strategy equals
this one to the bit where its strength is zero or its buffer empty.
"""

from __future__ import annotations

from palimpsest.blocks import Block
from palimpsest.interventions.continual._base import Strategy

VERSION = 1
ENGINE = ("interventions.continual._base",)


class Settings(Block):
    """Do nothing about forgetting."""


strategy = Strategy
